// The WebAssembly backend: programs as command streams in one shared memory, walked by all threads together.
import { DONE, FAILED, FINISHED, PASSED, RUNS, STREAM } from "../../assembly/control.ts";
import { lower } from "../tape/lower.ts";
import type { Program } from "../tape/program.ts";
import type { Parameter } from "../tape/tensor.ts";
import type { Trace } from "../tape/trace.ts";
import type { Backend } from "./backend.ts";
import { WasmExecutable } from "./wasm/executable.ts";
import { type Build, type Kernels, loadKernels, speedOf } from "./wasm/kernels.ts";
import { CONTROL, Memory } from "./wasm/memory.ts";
import { Storage } from "./wasm/storage.ts";
import { untilChanged } from "./wasm/wait.ts";
import { cores, type Report, startThread, type Thread } from "./workers.ts";

/** Private memory of a thread, for kernels. */
const SCRATCH = 6 * 1024 * 1024;

export interface WasmOptions {
  /** Default: as many as the process has cores. */
  threads?: number;
  /** Bytes of memory at most; default 4 GiB. */
  memory?: number;
  /** Which build of the kernels; default: the faster one. Builds differ in rounding. */
  build?: Build;
}

/** What a backend has chosen and why, for people. */
export interface Description {
  readonly threads: number;
  readonly build: Build;
  /** Whether V8 joins vectors into 256 bits. */
  readonly revectorized: boolean;
  readonly why: string;
  /** Milliseconds that the choice of the kernels took, beside compiling them. */
  readonly choiceMs: number;
  /** Bytes in use. */
  readonly memoryUsed: number;
  /** Bytes of the largest program that would still fit. */
  readonly memoryLargest: number;
  /** Bytes that programs have been given so far for their intermediate values. */
  readonly arenaBytes: number;
}

/** Runs programs on N threads; the calling thread only waits. Results do not depend on N. */
export class WasmBackend implements Backend {
  readonly name = "wasm";
  readonly threads: number;
  readonly #kernels: Kernels;
  readonly #memory: Memory;
  readonly #control: Int32Array<SharedArrayBuffer>;
  readonly #storage: Storage;
  readonly #threads: Thread[] = [];
  readonly #failure: { promise: Promise<never>; reject: (error: Error) => void };
  #queue: Promise<unknown> = Promise.resolve();
  #broken: Error | undefined;

  private constructor(kernels: Kernels, threads: number, limit?: number) {
    this.#kernels = kernels;
    this.threads = threads;
    this.#memory = new Memory(limit);
    this.#control = new Int32Array(this.#memory.words(CONTROL, 128).buffer, CONTROL, 128);
    this.#storage = new Storage(this.#memory);
    let reject: (error: Error) => void = () => {};
    const promise = new Promise<never>((_, no) => {
      reject = no;
    });
    promise.catch(() => {}); // each run hears of it by itself
    this.#failure = { promise, reject };
  }

  /** Compiles the kernels and starts the threads. */
  static async open({ threads = cores(), memory, build }: WasmOptions = {}): Promise<WasmBackend> {
    if (!Number.isInteger(threads) || threads < 1 || threads > 256) {
      throw new RangeError(`Cannot run on ${threads} threads: expected a whole number from 1 to 256`);
    }
    const backend = new WasmBackend(await loadKernels(build), threads, memory);
    await backend.#start();
    return backend;
  }

  async #start(): Promise<void> {
    const { memory } = this.#memory;
    const ready = Array.from({ length: this.threads }, (_, thread) => {
      const scratch = this.#memory.allocate(SCRATCH);
      return new Promise<void>((resolve) => {
        const onReport = (report: Report) => (report === "ready" ? resolve() : this.#fail(`thread ${thread} stopped: ${report.error}`));
        const data = { module: this.#kernels.module, memory, control: CONTROL, thread, threads: this.threads, scratch };
        this.#threads.push(startThread(data, onReport));
      });
    });
    this.#hold(true);
    try {
      await Promise.race([Promise.all(ready), this.#failure.promise]);
    } catch (error) {
      await this.#endThreads();
      throw error;
    }
    this.#hold(false);
  }

  /** Nothing runs after this; what waits is told. */
  #fail(reason: string): void {
    this.#broken ??= new Error(`Cannot go on with the wasm backend: ${reason}`);
    Atomics.store(this.#control, FAILED / 4, 1);
    for (const word of [PASSED / 4, FINISHED / 4]) {
      Atomics.add(this.#control, word, 1);
      Atomics.notify(this.#control, word);
    }
    this.#failure.reject(this.#broken);
  }

  /** One thread is enough to keep the process alive while something runs. */
  #hold(yes: boolean): void {
    this.#threads[0].hold(yes);
  }

  load(trace: Trace): WasmExecutable {
    return this.loadProgram(lower(trace));
  }

  /** Takes a program that has been lowered already. */
  loadProgram(program: Program): WasmExecutable {
    if (this.#broken) throw this.#broken;
    return new WasmExecutable(program, this.#memory, this.#storage, (work) => this.#inTurn(work));
  }

  /** Runs `work` when everything before it has finished; `work` gets a function that walks a stream. */
  #inTurn<T>(work: (walk: (stream: number) => Promise<void>) => Promise<T>): Promise<T> {
    const result = this.#queue.then(() => {
      if (this.#broken) throw this.#broken;
      return work((stream) => this.#walk(stream));
    });
    this.#queue = result.catch(() => {});
    return result;
  }

  async #walk(stream: number): Promise<void> {
    const control = this.#control;
    const finished = Atomics.load(control, FINISHED / 4);
    Atomics.store(control, DONE / 4, 0);
    Atomics.store(control, STREAM / 4, stream);
    this.#hold(true);
    try {
      Atomics.add(control, RUNS / 4, 1);
      Atomics.notify(control, RUNS / 4);
      await untilChanged(control, FINISHED / 4, finished);
      if (Atomics.load(control, FAILED / 4)) await this.#failure.promise; // the reason may still be on its way
    } finally {
      this.#hold(false);
    }
  }

  read(parameter: Parameter): Promise<Float32Array> {
    return this.#inTurn(async () => parameter.data.slice());
  }

  write(parameter: Parameter, data: Float32Array): Promise<void> {
    if (data.length !== parameter.size) throw new RangeError(`Cannot write ${data.length} numbers to a parameter of ${parameter.size}`);
    return this.#inTurn(async () => parameter.data.set(data));
  }

  peak(): number {
    return this.threads * speedOf(this.#kernels.module);
  }

  describe(): Description {
    const { build, revectorized, why, choiceMs } = this.#kernels;
    const { arenaBytes } = this.#storage;
    const [memoryUsed, memoryLargest] = [this.#memory.used, this.#memory.largest()];
    return { threads: this.threads, build, revectorized, why, choiceMs, memoryUsed, memoryLargest, arenaBytes };
  }

  async close(): Promise<void> {
    await this.#queue;
    if (this.#threads.length === 0) return;
    this.#broken ??= new Error("Cannot use the wasm backend: it has been closed");
    this.#storage.detach();
    await this.#endThreads();
  }

  async #endThreads(): Promise<void> {
    await Promise.all(this.#threads.splice(0).map((thread) => thread.terminate()));
  }
}
