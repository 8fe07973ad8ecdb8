import { existsSync, readFileSync } from "node:fs";
import os from "node:os";
import type { AdapterDescription } from "../src/backend/webgpu/device.ts";
import type { Tuning } from "../src/backend/webgpu/tune.ts";
import { command } from "./command.ts";
import { bytes } from "./progress.ts";
import { version } from "./version.ts";

export default command({
  name: "doctor",
  summary: "Show what this machine offers and which parts of it will be used",
  flags: { json: { type: "boolean", help: "Print one JSON object" } },
  examples: ["autodidact doctor", "autodidact doctor --json"],
  async run({ flags, print, printJson, colors }) {
    const built = await kernels(); // first: it may switch features of the engine on
    const report = { autodidact: version(), runtime: runtime(), cpu: cpu(), memory: memory(), kernels: built, gpu: await gpu() };
    if (flags.json) return printJson(report);
    const line = (name: string, text: string) => print(`${colors.command(name.padEnd(12))}${text}`);
    const { runtime: engine, cpu: chip, memory: room } = report;
    line("autodidact", report.autodidact);
    line("runtime", `${engine.name} ${engine.version}, V8 ${engine.v8}, ${engine.platform}`);
    line("cpu", `${chip.model}, ${chip.threads} threads`);
    line("features", chip.features.join(" ") || "unknown");
    line("memory", `${bytes(room.availableBytes)} of ${bytes(room.totalBytes)} free`);
    const { build, revectorized, why, threads, choiceMs = 0 } = built;
    const chosen = `; chosen in ${choiceMs.toFixed(0)} ms`;
    line("kernels", build ? `${build}${revectorized ? ", 256 bits" : ""}, ${threads} threads: ${why}${chosen}` : `none: ${why}`);
    for (const adapter of report.gpu.adapters) line("gpu", showAdapter(adapter));
    if (report.gpu.reason) line("gpu", `none: ${report.gpu.reason}`);
  },
});

function runtime() {
  const { deno, bun, node, v8 } = process.versions as Record<string, string | undefined>;
  const [name, number] = deno ? ["Deno", deno] : bun ? ["Bun", bun] : ["Node.js", node];
  return { name, version: number, v8: v8 ?? "unknown", platform: `${process.platform} ${process.arch}` };
}

function cpu() {
  const model = os.cpus()[0]?.model.trim() || "unknown model";
  return { model, threads: os.availableParallelism(), features: [...cpuFeatures(), ...wasmFeatures()] };
}

/** Vector extensions of the processor, where the system tells them. */
function cpuFeatures(): string[] {
  if (!existsSync("/proc/cpuinfo")) return [];
  const line = /^(?:flags|Features)\s*:\s*(.*)$/m.exec(readFileSync("/proc/cpuinfo", "utf8"));
  return (line?.[1] ?? "")
    .split(" ")
    .filter((flag) => /^(sse4_2|fma|avx|avx2|avx512f|avx512_bf16|avx_vnni|amx_tile|asimd|asimddp|sve2?)$/.test(flag));
}

/** A module of one function whose body is `code`. */
const moduleOf = (...code: number[]) =>
  new Uint8Array([0, 97, 115, 109, 1, 0, 0, 0, 1, 4, 1, 96, 0, 0, 3, 2, 1, 0, 10, code.length + 4, 1, code.length + 2, 0, ...code, 11]);

const zeros = [0xfd, 12, ...new Array(16).fill(0)]; // v128.const 0

/** What WebAssembly code may use here. */
function wasmFeatures(): string[] {
  const probes: Record<string, Uint8Array> = {
    "wasm-simd": moduleOf(...zeros, 0x1a),
    "wasm-relaxed-simd": moduleOf(...zeros, ...zeros, ...zeros, 0xfd, 0x85, 0x02, 0x1a), // f32x4.relaxed_madd
  };
  const found = Object.keys(probes).filter((name) => WebAssembly.validate(probes[name] as Uint8Array<ArrayBuffer>));
  return typeof SharedArrayBuffer === "undefined" ? found : [...found, "shared-memory"];
}

/** Of the machine, or of the container that this process is confined to. */
function memory() {
  const limit = process.constrainedMemory?.() ?? 0;
  const totalBytes = limit > 0 ? Math.min(limit, os.totalmem()) : os.totalmem();
  return { totalBytes, availableBytes: Math.min(totalBytes, process.availableMemory?.() ?? os.freemem()) };
}

interface Kernels {
  build?: string;
  /** Why this build, or why there is none. */
  why: string;
  /** Pairs of 128-bit instructions run as one of 256 bits. */
  revectorized?: boolean;
  threads?: number;
  /** Milliseconds that the choice took, beside compiling. */
  choiceMs?: number;
  /** The most that one program may use. */
  largestBytes?: number;
}

/** Starts the WebAssembly backend, as training would, and stops it again. */
async function kernels(): Promise<Kernels> {
  const { WasmBackend } = await import("../src/backend/wasm.ts");
  try {
    const backend = await WasmBackend.open();
    const { build, revectorized, why, threads, memoryLargest, choiceMs } = backend.describe();
    await backend.close();
    return { build, revectorized, why, threads, choiceMs, largestBytes: memoryLargest };
  } catch (error) {
    return { why: (error as Error).message };
  }
}

interface Gpu {
  /** With what has been measured and proved on each. */
  adapters: (AdapterDescription & Tuning)[];
  /** Why there is none. */
  reason?: string;
}

/** Asks WebGPU for its adapters. Downloads nothing. */
async function gpu(): Promise<Gpu> {
  const { listAdapters } = await import("../src/backend/webgpu/device.ts");
  const { knownTiles } = await import("../src/backend/gpu-tiles.ts");
  try {
    const adapters = await listAdapters();
    return { adapters: await Promise.all(adapters.map(async (adapter) => ({ ...adapter, ...(await knownTiles(adapter)) }))) };
  } catch (error) {
    return { adapters: [], reason: (error as Error).message.replace("Cannot compute on a GPU: ", "") };
  }
}

/** What has become of an adapter's subgroup matrices, which products in half precision use once they are proved. */
export function showMatrices({ matrix, tiles, proofs }: Pick<Gpu["adapters"][number], "matrix" | "tiles" | "proofs">): string {
  if (!matrix) return "";
  const { m, n, k, type } = matrix;
  const used = Object.values(tiles).filter((name) => proofs[name] === "").length;
  const refused = Object.entries(proofs).find(([, wrong]) => wrong);
  const tried = Object.keys(tiles).some((of) => of.endsWith("f16")) ? `used by ${used} kinds of products` : "tried at the first use";
  return `; subgroup matrices of ${m}x${n}x${k} in ${type}, ${tried}${refused ? ` (not ${refused[0]}: ${refused[1]})` : ""}`;
}

/** What kernels can use of an adapter, and its limits. */
function showAdapter(adapter: Gpu["adapters"][number]): string {
  const { name, software, features, limits, tiles } = adapter;
  const used = features.filter((feature) => /f16|subgroup|timestamp/.test(feature));
  const sizes = `${bytes(limits.maxBufferSize)} a buffer, ${bytes(limits.maxStorageBufferBindingSize)} a binding`;
  const workgroup = `${limits.maxComputeInvocationsPerWorkgroup} threads and ${bytes(limits.maxComputeWorkgroupStorageSize)} a workgroup`;
  const measured = Object.keys(tiles).length;
  const tuned = software
    ? ""
    : `; ${measured ? `tiles of ${measured} kinds of products measured` : "tiles of products are measured at the first use"}${showMatrices(adapter)}`;
  return `${name}${software ? " (software: for tests, --backend gpu only)" : ""}, ${sizes}, ${workgroup}; ${used.join(" ") || "no extras"}${tuned}`;
}
