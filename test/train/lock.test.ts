import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { mkdtemp, readdir, readFile, rm, utimes, writeFile } from "node:fs/promises";
import { hostname, tmpdir } from "node:os";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { takeLock } from "../../src/train/lock.ts";

const refusal = (folder: string) =>
  takeLock(folder).then(
    async (lock) => {
      await lock.release();
      return "taken";
    },
    (error: Error) => `${error.name}: ${error.message}`,
  );

const lock = suite<{ folder: string; write: (owner: object) => Promise<void> }>("lock");
lock.before.each(async (context) => {
  context.folder = await mkdtemp(join(tmpdir(), "autodidact-lock-"));
  context.write = (owner) =>
    writeFile(join(context.folder, "lock"), JSON.stringify({ pid: process.pid, host: hostname(), since: "2026-01-01", ...owner }));
});
lock.after.each(({ folder }) => rm(folder, { recursive: true }));

lock("belongs to one at a time, and is free again when given back, without a trace", async ({ folder }) => {
  const first = await takeLock(folder);
  const text = await refusal(folder);
  assert.match(
    text,
    new RegExp(`^LockedError: Cannot train in ${folder}: process ${process.pid} has worked on it since .*kill ${process.pid}`),
  );
  await first.release();
  assert.equal(await readdir(folder), []);
  assert.is(await refusal(folder), "taken");
});

lock("goes to exactly one of many who want it at once, also when a dead one left it", async ({ folder, write }) => {
  for (const left of [false, true]) {
    if (left) await write({ pid: spawnSync("true").pid });
    const got = await Promise.all(Array.from({ length: 8 }, () => takeLock(folder).catch(() => undefined)));
    assert.is(got.filter(Boolean).length, 1);
    await Promise.all(got.map((one) => one?.release()));
  }
});

lock("of a process that was killed is taken over", async ({ folder }) => {
  const code = `import { takeLock } from ${JSON.stringify(import.meta.resolve("../../src/train/lock.ts"))};
    await takeLock(${JSON.stringify(folder)}); console.log("has it"); setInterval(() => {}, 1000);`;
  const child = spawn(process.execPath, ["--import", "tsx", "--input-type=module", "-e", code], { stdio: ["ignore", "pipe", "inherit"] });
  await once(child.stdout, "data");
  assert.match(await refusal(folder), new RegExp(`process ${child.pid} has worked on it`));
  child.kill("SIGKILL");
  await once(child, "exit");
  assert.ok(existsSync(join(folder, "lock")));
  assert.is(await refusal(folder), "taken");
});

lock("of a process whose number another one has now is taken over", async ({ folder, write }) => {
  if (!existsSync("/proc/self/stat")) return;
  await write({ began: "1" });
  assert.is(await refusal(folder), "taken");
});

lock("of another machine holds while its owner touches it", async ({ folder, write }) => {
  await write({ host: "elsewhere", pid: 1 });
  assert.match(await refusal(folder), /process 1 on elsewhere has worked on it since 2026-01-01; .*or at once without .*lock$/);
  await utimes(join(folder, "lock"), new Date(), new Date(Date.now() - 120_000));
  assert.is(await refusal(folder), "taken");
});

lock("that cannot be read as one is taken over", async ({ folder }) => {
  await writeFile(join(folder, "lock"), "{");
  const held = await takeLock(folder);
  assert.is(JSON.parse(await readFile(join(folder, "lock"), "utf8")).pid, process.pid);
  await held.release();
});

lock.run();
