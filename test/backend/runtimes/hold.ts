// What another runtime has reported of the op rows, as tests; where the runtime is missing they are skipped in sight.
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { rows } from "../../op-rows.ts";
import { type Report, TOLERANCE } from "./rows.ts";

/** A runtime that is not there; the message says why. */
export class MissingRuntime extends Error {}

/** Longest silence of a runtime: a row takes seconds where the CPU plays the GPU and is busy besides. */
const SILENCE_MS = 180_000;

/** Gathers reports. */
export class Reports {
  /** All of them, after the last. Rejects when none comes for long. */
  readonly all: Promise<readonly Report[]>;
  readonly #reports: Report[] = [];
  #finish: () => void = () => {};
  #reject: (error: Error) => void = () => {};
  #alarm = this.#wait();

  constructor() {
    this.all = new Promise((resolve, reject) => {
      this.#finish = () => resolve(this.#reports);
      this.#reject = reject;
    });
  }

  add(report: Report): void {
    this.#reports.push(report);
    clearTimeout(this.#alarm);
    if ("done" in report) this.#finish();
    else this.#alarm = this.#wait();
  }

  fail(reason: string): void {
    clearTimeout(this.#alarm);
    this.#reject(new Error(reason));
  }

  #wait() {
    return setTimeout(() => this.fail(`nothing was heard for ${SILENCE_MS / 1000} s, after ${this.#reports.length} reports`), SILENCE_MS);
  }
}

/** Reports of a runtime, or why there are none: it is missing, or it has no GPU and GPU_TESTS does not require one. */
async function reportsOf(run: () => Promise<readonly Report[]>): Promise<readonly Report[] | MissingRuntime> {
  if (process.env.GPU_TESTS === "off") return new MissingRuntime("GPU_TESTS=off");
  try {
    const reports = await run();
    const [first] = reports;
    const idle = "done" in first && first.error && process.env.GPU_TESTS !== "require";
    return idle ? new MissingRuntime(first.error) : reports;
  } catch (error) {
    if (error instanceof MissingRuntime) return error;
    throw error;
  }
}

/** A suite of all rows on a runtime. `run` throws a MissingRuntime where it is missing. */
export async function holdRows(runtime: string, run: () => Promise<readonly Report[]>): Promise<void> {
  const tests = suite(`gpu ops in ${runtime}`);
  const reports = await reportsOf(run);
  if (reports instanceof MissingRuntime) {
    console.log(`GPU tests in ${runtime} are skipped: ${reports.message}`);
    for (const { name } of rows) tests.skip(titleOf(name, runtime), () => {});
    return tests.run();
  }
  for (const report of reports) if ("adapter" in report) console.log(`GPU tests in ${runtime} run on ${report.adapter.name}`);
  for (const { name } of rows) {
    tests(titleOf(name, runtime), () => {
      const report = reports.find((report) => "row" in report && report.row === name);
      assert.ok(report && "row" in report, lastWords(reports));
      assert.is(report.error, undefined);
      assert.ok((report.gap as number) < TOLERANCE, `the largest difference is ${report.gap}`);
    });
  }
  tests.run();
}

const titleOf = (row: string, runtime: string) => `${row}: WebGPU of ${runtime} equals the reference`;

/** Why a row was not run. */
function lastWords(reports: readonly Report[]): string {
  const last = reports.at(-1);
  return (last && "done" in last && last.error) || "it was not run";
}
