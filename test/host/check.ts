// Every row of the op table on this machine's GPU, printed; the exit code is 1 if one is wrong. `check` of a packed host runs this.
import { runRows, TOLERANCE } from "../backend/runtimes/rows.ts";

let passed = 0;
let failed = 0;
await runRows((report) => {
  if ("adapter" in report) {
    const { name, software, features, limits } = report.adapter;
    console.log(`${name}${software ? " (software: computes on the CPU)" : ""}`);
    console.log(`features: ${features.join(", ")}`);
    console.log(`largest buffer ${limits.maxBufferSize} bytes, largest binding ${limits.maxStorageBufferBindingSize} bytes\n`);
  } else if ("row" in report) {
    const right = report.gap !== undefined && report.gap < TOLERANCE;
    right ? passed++ : failed++;
    console.log(`${right ? "ok  " : "FAIL"} ${report.row}: ${report.error ?? `largest difference ${report.gap?.toExponential(1)}`}`);
  } else if (report.error) {
    failed++;
    console.log(`FAIL ${report.error}`);
  }
});
console.log(`\n${passed} passed, ${failed} failed`);
process.exitCode = failed ? 1 : 0;
