// How fast the products of training are: GFLOP/s of matmul, convolution and attention with their gradients, on one and two threads,
// and what share of the micro-kernel's own speed that is.
//
//   npx tsx test/bench/kernels.ts [only rows with this in their name]
import type { WasmExecutable } from "../../src/backend/wasm/executable.ts";
import { WasmBackend } from "../../src/backend/wasm.ts";
import { ops } from "../../src/tape/op.ts";
import type { Buffer, Program, Step, View } from "../../src/tape/program.ts";
import { type Shape, size, strides } from "../../src/tape/shape.ts";
import type { Attributes } from "../../src/tape/tensor.ts";
import "../../src/tape/ops/all.ts";

/** A step to measure: its inputs, and the multiplications and additions that it stands for. */
interface Kernel {
  readonly name: string;
  readonly op: string;
  readonly inputs: readonly Shape[];
  readonly attrs: Attributes;
  readonly flops: number;
}

function matmul(name: string, m: number, n: number, k: number, ta = false, tb = false): Kernel {
  const a = ta ? [k, m] : [m, k];
  const b = tb ? [n, k] : [k, n];
  return { name, op: "matmul", inputs: [a, b], attrs: { ta, tb }, flops: 2 * m * n * k };
}

/** y = x w^T with w [n, k], and the gradients of both. */
const linear = (name: string, m: number, n: number, k: number): Kernel[] => [
  matmul(`${name}, forward`, m, n, k, false, true),
  matmul(`${name}, input`, m, k, n),
  matmul(`${name}, weight`, n, k, m, true),
];

function conv(name: string, x: Shape, [outputs, kernel]: [number, number], options: Attributes = {}): Kernel[] {
  const attrs = { stride: 1, padding: (kernel - 1) / 2, dilation: 1, groups: 1, ...options } as Attributes & Record<string, number>;
  const w = [outputs, kernel, kernel, x[3] / attrs.groups];
  const side = Math.floor((x[1] + 2 * attrs.padding - kernel) / attrs.stride) + 1;
  const y = [x[0], side, side, outputs];
  const flops = (2 * size(y) * size(w)) / outputs;
  return [
    { name: `${name}, forward`, op: "conv2d", inputs: [x, w], attrs, flops },
    { name: `${name}, input`, op: "conv2dInputGrad", inputs: [y, w], attrs: { ...attrs, shape: x }, flops },
    { name: `${name}, weight`, op: "conv2dWeightGrad", inputs: [x, y], attrs: { ...attrs, shape: w }, flops },
  ];
}

/** Counts the products alone: two of them forward, five backward. */
function attention(name: string, batch: number, heads: number, tokens: number, d: number): Kernel[] {
  const x = [batch, tokens, heads * d];
  const attrs = { heads, scale: 1 / Math.sqrt(d) };
  const product = 2 * batch * heads * tokens * tokens * d;
  return [
    { name: `${name}, forward`, op: "attention", inputs: [x, x, x], attrs, flops: 2 * product },
    { name: `${name}, gradients`, op: "attentionGrad", inputs: [x, x, x, x, x, [batch, heads, tokens]], attrs, flops: 5 * product },
  ];
}

const kernels: readonly Kernel[] = [
  matmul("1024^3", 1024, 1024, 1024),
  matmul("1024^3, b transposed", 1024, 1024, 1024, false, true),
  matmul("1024^3, a transposed", 1024, 1024, 1024, true),
  matmul("1024^3, both transposed", 1024, 1024, 1024, true, true),
  ...linear("ViT-tiny qkv, batch 16", 1040, 576, 192),
  ...linear("ViT-tiny projection, batch 16", 1040, 192, 192),
  ...linear("ViT-tiny mlp, batch 16", 1040, 768, 192),
  matmul("projection head", 256, 128, 256),
  matmul("similarities", 256, 256, 128, false, true),
  matmul("64^3", 64, 64, 64),
  ...conv("CIFAR stem 3 to 64", [32, 32, 32, 3], [64, 3]).filter(({ op }) => op !== "conv2dInputGrad"), // pictures need no gradient
  ...conv("ResNet-18 64, 32 x 32", [16, 32, 32, 64], [64, 3]),
  ...conv("ResNet-18 64 to 128, stride 2", [8, 32, 32, 64], [128, 3], { stride: 2 }),
  ...conv("ResNet-18 128, 16 x 16", [16, 16, 16, 128], [128, 3]),
  ...conv("ResNet-18 256, 8 x 8", [32, 8, 8, 256], [256, 3]),
  ...conv("ResNet-18 512, 4 x 4", [128, 4, 4, 512], [512, 3]),
  ...conv("width 1/4, 16, 32 x 32", [16, 32, 32, 16], [16, 3]),
  ...conv("1 x 1, 256 to 64, 56 x 56", [2, 56, 56, 256], [64, 1]),
  ...conv("depthwise 7 x 7, 96", [2, 56, 56, 96], [96, 7], { groups: 96 }),
  ...attention("ViT-tiny, 65 tokens, batch 16", 16, 3, 65, 64),
  ...attention("ViT-small, 197 tokens, batch 4", 4, 6, 197, 64),
];

/** The same small product over and over: a panel in L1 and 128 rows. */
const peak: Kernel = {
  ...matmul("peak", 128, 16, 256),
  inputs: [
    [64, 128, 256],
    [64, 256, 16],
  ],
  flops: 64 * 2 * 128 * 16 * 256,
};

/** A program that does one step `times` times; operands of `peak` have one matrix for the whole batch. */
function program({ op, inputs, attrs, name }: Kernel, times: number): Program {
  const buffers: Buffer[] = [];
  let arena = 0;
  const place = (shape: Shape): View => {
    const buffer: Buffer = { id: buffers.length, kind: "arena", size: size(shape), offset: arena };
    buffers.push(buffer);
    arena += Math.ceil(buffer.size / 16) * 16;
    const steps = strides(shape);
    return { buffer, offset: 0, shape, strides: name === "peak" ? [0, ...steps.slice(1)] : steps };
  };
  const outShapes = ops.get(op)?.shape(inputs, attrs) ?? [];
  const from = inputs.map(place);
  const to = outShapes.map(place).map((view) => ({ ...view, strides: strides(view.shape) }));
  const step: Step = { op, inputs: from, outputs: to, attrs, label: name };
  return { steps: new Array<Step>(times).fill(step), buffers, arena, outputs: [] };
}

const STRETCH_FLOPS = 4e7; // half a millisecond: short enough to pass between whatever else the machine does
const RUN_FLOPS = 6e8;
const ROUNDS = 5;

/** GFLOP/s of the fastest stretch of so many steps in some runs. */
class Best {
  gigaflops = 0;
  readonly #kernel: Kernel;
  readonly #stretch: number;
  readonly #run: WasmExecutable;

  constructor(kernel: Kernel, backend: WasmBackend) {
    this.#kernel = kernel;
    this.#stretch = Math.max(1, Math.round(STRETCH_FLOPS / kernel.flops));
    const stretches = Math.max(1, Math.round(RUN_FLOPS / this.#stretch / kernel.flops));
    this.#run = backend.loadProgram(program(kernel, this.#stretch * stretches));
  }

  async measure(): Promise<void> {
    const times = (await this.#run.profile([])).map(({ timeMs }) => timeMs);
    for (let at = 0; at < times.length; at += this.#stretch) {
      const timeMs = times.slice(at, at + this.#stretch).reduce((sum, t) => sum + t, 0);
      this.gigaflops = Math.max(this.gigaflops, (this.#stretch * this.#kernel.flops) / timeMs / 1e6);
    }
  }

  dispose(): void {
    this.#run.dispose();
  }
}

/** GFLOP/s of a kernel and of the micro-kernel on each backend: all take turns, since what a machine can do changes from minute to minute. */
async function measure(kernel: Kernel, backends: readonly WasmBackend[]): Promise<{ own: number; limit: number }[]> {
  const pairs = backends.map((backend) => [kernel, peak].map((work) => new Best(work, backend)));
  for (let round = 0; round < ROUNDS; round++) for (const best of pairs.flat()) await best.measure();
  return pairs.map((pair) => {
    const [own, limit] = pair.map(({ gigaflops }) => gigaflops);
    for (const best of pair) best.dispose();
    return { own, limit };
  });
}

const backends = [await WasmBackend.open({ threads: 1 }), await WasmBackend.open({ threads: 2 })];
const wanted = kernels.filter(({ name }) => name.includes(process.argv[2] ?? ""));
console.log(`Node ${process.versions.node}, ${backends[0].describe().build} kernels\n`);
console.log(
  "| product | GFLOP/s, 1 thread | of the micro-kernel | 2 threads | of the micro-kernel | 2 over 1 |\n|---|---|---|---|---|---|",
);
for (const kernel of wanted) {
  const speeds = await measure(kernel, backends);
  const cells = speeds.map(({ own, limit }) => `${own.toFixed(1)} | ${(own / limit).toFixed(2)}`);
  console.log(`| ${kernel.name} | ${cells.join(" | ")} | ${(speeds[1].own / speeds[0].own).toFixed(2)} |`);
}
for (const backend of backends) await backend.close();
