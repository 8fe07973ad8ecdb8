// Passes over memory: what is no product, and how near it comes to the speed at which memory is read.
import { WasmBackend } from "../../src/backend/wasm.ts";
import { AdamW } from "../../src/nn/optim/adamw.ts";
import { cost } from "../../src/tape/cost.ts";
import { grad } from "../../src/tape/grad.ts";
import { batchNorm, layerNorm } from "../../src/tape/ops/normalize.ts";
import { Parameter, type Tensor } from "../../src/tape/tensor.ts";
import { assign, compile } from "../../src/tape/trace.ts";

const [ROWS, COLUMNS] = [32768, 768]; // 101 MB
const ROUNDS = 5;

export interface PassResult {
  readonly name: string;
  readonly threads: number;
  /** Of the fastest round. */
  readonly timeMs: number;
  /** Bytes of all operands and results, each step of the program on its own. */
  readonly bytes: number;
}

/** A tensor that stays where it is from run to run. */
function resident(shape: readonly number[], seed: number): Parameter {
  const data = Float32Array.from({ length: shape.reduce((a, b) => a * b) }, (_, i) => Math.sin(0.37 * i + seed));
  return new Parameter([...shape], data);
}

interface Operands {
  readonly x: Parameter;
  readonly y: Parameter;
  readonly scale: Parameter;
  readonly shift: Parameter;
  readonly adamw: AdamW;
}

function operands(): Operands {
  const x = resident([ROWS, COLUMNS], 0);
  const y = resident([ROWS, COLUMNS], 1);
  return { x, y, scale: resident([COLUMNS], 2), shift: resident([COLUMNS], 3), adamw: new AdamW([["x", x]]) };
}

type Layer = (x: Tensor, at: Operands) => Tensor;

const forward = (f: Layer) => (at: Operands) => assign(at.y, f(at.x, at));
const backward = (f: Layer) => (at: Operands) => assign(at.y, grad(f(at.x, at).mul(at.y).sum(), [at.x])[0] as Tensor);
const both = (name: string, f: Layer) => ({ [name]: forward(f), [`${name}, gradient`]: backward(f) });

/** Each leaves what it computes in memory; a gradient computes again what it needs of the forward pass. */
const passes: Readonly<Record<string, (at: Operands) => void>> = {
  "x + y": forward((x, { y }) => x.add(y)),
  ...both("GELU", (x) => x.gelu()),
  ...both("softmax", (x) => x.softmax()),
  ...both("layer norm", (x, { scale, shift }) => layerNorm(x, scale, shift, 1e-6)),
  ...both("batch norm", (x, { scale, shift }) => batchNorm(x, scale, shift, 1e-5).y),
  AdamW: ({ y, adamw }) => adamw.update([y], { lr: 1e-3, weightDecay: 0.05 }),
};

export const passNames: readonly string[] = Object.keys(passes);
export const passMegabytes = Math.round((4 * ROWS * COLUMNS) / 1e6);

/** Measures passes by their names. */
export async function measurePasses(threads: number, names: readonly string[]): Promise<PassResult[]> {
  const backend = await WasmBackend.open({ threads });
  const results: PassResult[] = [];
  try {
    const at = operands();
    for (const name of names) {
      const run = compile(() => passes[name](at), backend);
      await run();
      let best = { timeMs: Number.POSITIVE_INFINITY, bytes: 0 };
      for (let round = 0; round < ROUNDS; round++) {
        const { times } = await run.timed();
        const timeMs = times.reduce((sum, step) => sum + step.timeMs, 0);
        if (timeMs < best.timeMs) best = { timeMs, bytes: times.reduce((sum, { step }) => sum + cost(step).bytes, 0) };
      }
      results.push({ name, threads, ...best });
    }
  } finally {
    await backend.close();
  }
  return results;
}
