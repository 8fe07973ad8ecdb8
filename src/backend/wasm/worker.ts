// One thread: sleeps until the host has a program, walks it together with the others, and sleeps again.
import { parentPort, workerData } from "node:worker_threads";
import { DONE, FAILED, FINISHED, PASSED, RUNS, STREAM, UNKNOWN_COMMAND } from "../../../assembly/control.ts";
import type { Report, ThreadData } from "../workers.ts";

const { module, memory, control, thread, threads, scratch } = workerData as ThreadData;
const words = new Int32Array(memory.buffer, control);
const report = (message: Report) => parentPort?.postMessage(message);
const kernels = new WebAssembly.Instance(module, { env: { memory, now: () => performance.timeOrigin + performance.now() } }).exports as {
  run(stream: number, thread: number, threads: number, scratch: number, control: number): number;
};

/** Lets the others pass the barrier at which they wait, and tells them that there is no point. */
function fail(error: unknown): void {
  report({ error: error instanceof Error ? error.message : String(error) });
  Atomics.store(words, FAILED / 4, 1);
  Atomics.add(words, PASSED / 4, 1);
  Atomics.notify(words, PASSED / 4);
}

report("ready");
for (let seen = 0; ; ) {
  Atomics.wait(words, RUNS / 4, seen);
  const runs = Atomics.load(words, RUNS / 4);
  if (runs === seen) continue;
  seen = runs;
  const stream = Atomics.load(words, STREAM / 4);
  if (stream === 0) break;
  try {
    if (kernels.run(stream, thread, threads, scratch, control) === UNKNOWN_COMMAND) {
      throw new Error("its kernels are older than the program; run `npm run build`");
    }
  } catch (error) {
    fail(error);
  }
  if (Atomics.add(words, DONE / 4, 1) === threads - 1) {
    Atomics.add(words, FINISHED / 4, 1);
    Atomics.notify(words, FINISHED / 4);
  }
}
