import { spawnSync } from "node:child_process";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";

const memo = suite<{ folder: string; file: string; start: (cache?: string) => { build: string; why: string; choiceMs: number } }>("memo");
const script = `import { loadKernels } from ${JSON.stringify(import.meta.resolve("../../src/backend/wasm/kernels.ts"))};
  const { build, why, choiceMs } = await loadKernels();
  console.log(JSON.stringify({ build, why, choiceMs }));`;

memo.before.each(async (context) => {
  context.folder = await mkdtemp(join(tmpdir(), "autodidact-memo-"));
  context.file = join(context.folder, "autodidact", "kernels.json");
  context.start = (cache = context.folder) => {
    const options = { encoding: "utf8", env: { ...process.env, XDG_CACHE_HOME: cache } } as const;
    const { stdout, stderr } = spawnSync(process.execPath, ["--import", "tsx", "--input-type=module", "-e", script], options);
    assert.ok(stdout, stderr);
    return JSON.parse(stdout);
  };
});
memo.after.each(({ folder }) => rm(folder, { recursive: true }));

memo("of the first start serves the next: the same kernels, without a race", async ({ file, start }) => {
  const first = start();
  const kept = await readFile(file, "utf8");
  const second = start();
  assert.is(second.build, first.build);
  assert.is(second.choiceMs, 0);
  assert.ok(first.choiceMs > 0);
  assert.is(second.why.replace(", measured at an earlier start", ""), first.why);
  assert.is.not(second.why, first.why);
  assert.is(await readFile(file, "utf8"), kept);
});

memo("that is damaged or says nonsense is made anew", async ({ file, start }) => {
  start();
  const [key] = Object.keys(JSON.parse(await readFile(file, "utf8")).machines);
  for (const text of ["{", "[]", JSON.stringify({ version: 1, machines: { [key]: { speeds: [0, "fast"], proofs: { plain: 7 } } } })]) {
    await writeFile(file, text);
    assert.ok(start().choiceMs > 0);
    assert.is(JSON.parse(await readFile(file, "utf8")).machines[key].speeds.length, 2);
  }
});

memo("that cannot be written changes nothing but the time", async ({ folder, start }) => {
  await writeFile(join(folder, "autodidact"), "a file where the folder should be");
  for (const cache of [folder, join(folder, "autodidact", "deeper"), "/proc/nowhere"]) assert.match(start(cache).build, /plain|relaxed/);
});

memo.run();
