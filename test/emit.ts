// JavaScript of modules of ours and of all that they import, for where TypeScript is not understood.
import { spawnSync } from "node:child_process";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("..", import.meta.url));

/** Writes the modules, named from the repository's root, into a folder, each at the same path. Throws what the compiler says. */
export function emitJavaScript(modules: readonly string[], folder: string): void {
  const compiler = join(dirname(createRequire(import.meta.url).resolve("typescript/package.json")), "bin/tsc");
  const format = ["--module", "nodenext", "--target", "es2023", "--rewriteRelativeImportExtensions", "--rootDir", root, "--outDir", folder];
  const args = [compiler, ...modules, "--ignoreConfig", "--noCheck", ...format];
  const { status, stdout, stderr } = spawnSync(process.execPath, args, { cwd: root, encoding: "utf8" });
  if (status !== 0) throw new Error(`Cannot compile ${modules.join(", ")}: ${stdout}${stderr}`.trim());
}
