// Every row of the op table under Deno's own WebGPU, whose compiler of shaders is another than Dawn's. Deno runs the sources as they are.
// npm run test:deno: $DENO, else `deno` on the path, else the npm package, fetched into .cache/deno for the occasion.
import { spawn, spawnSync } from "node:child_process";
import { existsSync, mkdirSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { holdRows, MissingRuntime, Reports } from "./hold.ts";
import type { Report } from "./rows.ts";

const PACKAGE = "deno@2.9.6";

function findDeno(): string {
  for (const name of process.env.DENO ? [process.env.DENO] : ["deno"]) if (spawnSync(name, ["--version"]).status === 0) return name;
  if (process.env.DENO) throw new MissingRuntime(`$DENO, ${process.env.DENO}, does not run`);
  const folder = fileURLToPath(new URL("../../../.cache/deno", import.meta.url));
  const installer = join(folder, "node_modules/deno/install_api.cjs");
  if (!existsSync(installer)) {
    mkdirSync(folder, { recursive: true });
    const args = ["install", "--no-save", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix", folder, PACKAGE];
    const { status, stderr } = spawnSync("npm", args, { encoding: "utf8", shell: process.platform === "win32" });
    if (status !== 0) throw new MissingRuntime(`no Deno here, and ${PACKAGE} cannot be fetched (${stderr?.trim().split("\n")[0]})`);
  }
  return createRequire(installer)(installer).runInstall();
}

await holdRows("Deno", async () => {
  const rows = new URL("rows.ts", import.meta.url).href;
  const script = `import { runRows } from "${rows}"; await runRows((report) => console.log(JSON.stringify(report)));`;
  const deno = spawn(findDeno(), ["eval", "--no-config", "--unstable-webgpu", script], { stdio: ["ignore", "pipe", "inherit"] });
  const reports = new Reports();
  createInterface({ input: deno.stdout }).on("line", (line) => reports.add(JSON.parse(line) as Report));
  deno.on("error", ({ message }) => reports.fail(message));
  deno.on("close", (code) => reports.fail(`Deno ended with code ${code} before it was done`));
  return reports.all.finally(() => deno.kill());
});
