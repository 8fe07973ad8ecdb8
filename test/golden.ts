// npm run golden -- [--backend wasm|gpu|reference] [--build plain|relaxed] FILE...
// Compares this library with golden files of the official code: one line a file; exit code 1 if one fails or its kind is unknown.
// `--build` names the build of the wasm kernels; without it the one that this machine runs faster.
import { parseArgs } from "node:util";
import { describe, runGolden } from "./golden/run.ts";

const { values: flags, positionals: paths } = parseArgs({
  allowPositionals: true,
  options: { backend: { type: "string", default: "wasm" }, build: { type: "string" } },
});
const backend = (["wasm", "gpu", "reference"] as const).find((name) => name === flags.backend);
const build = (["plain", "relaxed"] as const).find((name) => name === flags.build);
if (paths.length === 0 || !backend || (flags.build && !build)) {
  console.error("Usage: npm run golden -- [--backend wasm|gpu|reference] [--build plain|relaxed] FILE...");
  process.exit(2);
}

for (const path of paths) {
  try {
    const check = await runGolden(path, { backend, build });
    if (!check.passed) process.exitCode = 1;
    console.log(describe(check));
  } catch (error) {
    process.exitCode = 1;
    console.log(`FAIL  ${path}: ${error instanceof Error ? error.message : error}`);
  }
}
