// What this machine can do at most: multiplications and additions in the best micro-kernel, and bytes read from memory.
import { WasmBackend } from "../../src/backend/wasm.ts";
import type { Buffer, Program, View } from "../../src/tape/program.ts";
import { Parameter } from "../../src/tape/tensor.ts";
import { compile } from "../../src/tape/trace.ts";
import "../../src/tape/ops/all.ts";

const [M, N, K, TIMES] = [128, 16, 256, 64];
const ROUNDS = 200;

/** A panel in L1 and 128 rows, 64 times over: the same operands for the whole batch. */
function panel(): Program {
  const buffer = (id: number, size: number, offset: number): Buffer => ({ id, kind: "arena", size, offset });
  const a = buffer(0, M * K, 0);
  const b = buffer(1, K * N, M * K);
  const y = buffer(2, TIMES * M * N, M * K + K * N);
  const view = (from: Buffer, shape: number[], strides: number[]): View => ({ buffer: from, offset: 0, shape, strides });
  const step = {
    op: "matmul",
    inputs: [view(a, [TIMES, M, K], [0, K, 1]), view(b, [TIMES, K, N], [0, N, 1])],
    outputs: [view(y, [TIMES, M, N], [M * N, N, 1])],
    attrs: { ta: false, tb: false },
    label: "peak",
  };
  return { steps: [step], buffers: [a, b, y], arena: M * K + K * N + TIMES * M * N, outputs: [] };
}

/** GFLOP/s of the micro-kernel at its best on `threads` threads. */
export async function microKernelPeak(threads: number): Promise<number> {
  const backend = await WasmBackend.open({ threads });
  try {
    const executable = backend.loadProgram(panel());
    let best = Number.POSITIVE_INFINITY;
    for (let round = 0; round < ROUNDS; round++) {
      for (const { timeMs } of await executable.profile([])) best = Math.min(best, timeMs);
    }
    return (2 * M * N * K * TIMES) / best / 1e6;
  } finally {
    await backend.close();
  }
}

const FLOATS = 2 ** 26;

/** GB/s of the sum of 256 MiB on `threads` threads, at its best of ten. */
export async function memoryBandwidth(threads: number): Promise<number> {
  const backend = await WasmBackend.open({ threads });
  try {
    const x = new Parameter([FLOATS / 1024, 1024], new Float32Array(FLOATS)); // stays where it is from run to run
    const sum = compile(() => ({ y: x.sum() }), backend);
    await sum();
    let best = Number.POSITIVE_INFINITY;
    for (let round = 0; round < 10; round++) {
      const begin = performance.now();
      await sum();
      best = Math.min(best, performance.now() - begin);
    }
    return (4 * FLOATS) / best / 1e6;
  } finally {
    await backend.close();
  }
}
