// What this machine can do at most: multiplications and additions in the best micro-kernel, and bytes read from memory.
import { WasmBackend } from "../../src/backend/wasm.ts";
import type { Buffer, Program, View } from "../../src/tape/program.ts";
import { Parameter } from "../../src/tape/tensor.ts";
import { compile } from "../../src/tape/trace.ts";
import "../../src/tape/ops/all.ts";
import { type Contender, timesOf } from "./measure.ts";

const [M, N, K, TIMES, STEPS] = [128, 16, 256, 64, 16];

/** A panel in L1 and 128 rows, 64 times over, in each of 16 steps: always the same operands, and nothing comes back. */
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
  return { steps: new Array(STEPS).fill(step), buffers: [a, b, y], arena: M * K + K * N + TIMES * M * N, outputs: [] };
}

/** Multiplications and additions of a run of the micro-kernel. */
export const peakFlops = 2 * M * N * K * TIMES * STEPS;

/** The micro-kernel on `threads` threads: it takes its turn among the contenders, since what a machine can do changes from minute to minute. */
export async function microKernel(threads: number): Promise<Pick<Contender, "measure" | "close">> {
  const backend = await WasmBackend.open({ threads });
  const executable = backend.loadProgram(panel());
  return { measure: (stretchMs) => timesOf(() => executable.run([]), stretchMs), close: () => backend.close() };
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
