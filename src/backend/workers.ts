// The threads of the wasm backend. What Node does in its own way (threads, files, engine flags) is in this file, in
// wasm/worker.ts and in memo.ts.
import { readFile } from "node:fs/promises";
import { availableParallelism } from "node:os";
import { fileURLToPath } from "node:url";
import { setFlagsFromString } from "node:v8";
import { Worker } from "node:worker_threads";

/** What a thread is started with. */
export interface ThreadData {
  readonly module: WebAssembly.Module;
  readonly memory: WebAssembly.Memory;
  /** Address of the control block. */
  readonly control: number;
  readonly thread: number;
  readonly threads: number;
  /** Address of the thread's own scratch. */
  readonly scratch: number;
}

/** What a thread tells its host: that it waits for work, or why it cannot go on. */
export type Report = "ready" | { readonly error: string };

export interface Thread {
  /** Whether the process has to stay alive for this thread. */
  hold(yes: boolean): void;
  terminate(): Promise<void>;
}

const fromSources = import.meta.url.endsWith(".ts");

/** Starts a module in a thread. Run from sources, the thread first has to learn to read TypeScript. */
export function startModule(name: string, base: string, workerData: unknown): Worker {
  const entry = new URL(fromSources ? `${name}.ts` : `${name}.js`, base);
  if (!fromSources) return new Worker(entry, { workerData });
  const tsx = JSON.stringify(import.meta.resolve("tsx/esm/api")); // a thread's own imports start at the working directory
  const start = `import(${tsx}).then(({ register }) => { register(); return import(${JSON.stringify(entry.href)}); })`;
  return new Worker(start, { eval: true, workerData });
}

/** Starts a thread. `onReport` hears what it says; its unexpected end is reported as an error. */
export function startThread(data: ThreadData, onReport: (report: Report) => void): Thread {
  const worker = startModule("./wasm/worker", import.meta.url, data);
  worker.on("message", onReport);
  worker.on("error", (error) => onReport({ error: error instanceof Error ? error.message : String(error) }));
  worker.on("exit", (code) => onReport({ error: `it ended with code ${code}` }));
  worker.unref();
  return {
    hold: (yes) => (yes ? worker.ref() : worker.unref()),
    terminate: async () => {
      worker.removeAllListeners();
      await worker.terminate();
    },
  };
}

/** Cores that this process may use. */
export const cores = (): number => availableParallelism();

const PAGE = 1024; // floats

/** Floats that are about to be overwritten: nobody sets them to zero, but the machine gives them its pages now, not while they are written. */
export function unsetFloats(length: number): Float32Array<ArrayBuffer> {
  const floats = new Float32Array(Buffer.allocUnsafeSlow(4 * length).buffer);
  for (let i = 0; i < length; i += PAGE) floats[i] = 0;
  return floats;
}

/** The engine's major version. */
export const nodeMajor = Number(process.versions.node.split(".")[0]);

/** Sets flags of V8, for this process and all its threads. */
export function setEngineFlags(...flags: string[]): void {
  for (const flag of flags) setFlagsFromString(flag);
}

/** The bytes of a compiled kernel module, from the build's folder. */
export async function readKernels(name: string): Promise<Uint8Array<ArrayBuffer>> {
  const url = new URL(fromSources ? `../../dist/${name}` : `../../${name}`, import.meta.url);
  try {
    return new Uint8Array(await readFile(url));
  } catch {
    throw new Error(`Cannot open the wasm backend: ${fileURLToPath(url)} is missing; run \`npm run build\``);
  }
}
