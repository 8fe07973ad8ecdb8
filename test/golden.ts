// npm run golden -- [--backend wasm|gpu|reference] FILE...
// Compares this library with golden files of the official code: one line a file; exit code 1 if one fails or its kind is unknown.
import { describe, runGolden } from "./golden/run.ts";

const args = process.argv.slice(2);
const flag = args.indexOf("--backend");
const backend = flag >= 0 ? args.splice(flag, 2)[1] : "wasm";
if (args.length === 0 || (backend !== "wasm" && backend !== "gpu" && backend !== "reference")) {
  console.error("Usage: npm run golden -- [--backend wasm|gpu|reference] FILE...");
  process.exit(2);
}

for (const path of args) {
  try {
    const check = await runGolden(path, backend);
    if (!check.passed) process.exitCode = 1;
    console.log(describe(check));
  } catch (error) {
    process.exitCode = 1;
    console.log(`FAIL  ${path}: ${error instanceof Error ? error.message : error}`);
  }
}
