// npm run golden -- [--backend wasm|reference] FILE...
// Compares this library with golden files of the official code: one line a file; exit code 1 if one fails or its kind is unknown.
import { describe, openBackend, runGolden } from "./golden/run.ts";

const args = process.argv.slice(2);
const flag = args.indexOf("--backend");
const name = flag >= 0 ? args.splice(flag, 2)[1] : "wasm";
if (args.length === 0) {
  console.error("Usage: npm run golden -- [--backend wasm|reference] FILE...");
  process.exit(2);
}

const backend = await openBackend(name);
let failed = 0;
for (const path of args) {
  try {
    const check = await runGolden(path, backend);
    if (!check.passed) failed++;
    console.log(describe(check));
  } catch (error) {
    failed++;
    console.log(`FAIL  ${path}: ${error instanceof Error ? error.message : error}`);
    if (process.env.DEBUG) console.error(error);
  }
}
await backend.close();
process.exitCode = failed ? 1 : 0;
