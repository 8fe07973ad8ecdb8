// Products, convolutions and a transformer block on a GPU: operands and results stay there, and a run ends when the GPU is done.
import type { Backend } from "../../../src/backend/backend.ts";
import { Block } from "../../../src/models/vit.ts";
import { Buffer } from "../../../src/nn/module.ts";
import { grad } from "../../../src/tape/grad.ts";
import { withScope } from "../../../src/tape/scope.ts";
import { Parameter, type Tensor } from "../../../src/tape/tensor.ts";
import { assign, compile, type Precision } from "../../../src/tape/trace.ts";
import { type BlockJob, type ConvJob, type MatmulJob, outputSide, padding, values } from "../jobs.ts";
import { type Contender, timesOf } from "../measure.ts";

export type GpuJob = (MatmulJob | ConvJob | BlockJob) & { readonly precision: Precision };

/** The jobs in both precisions. */
export const gpuJobs = (side: number, batch: number): readonly GpuJob[] =>
  jobs(side, batch).flatMap((job) => [
    { ...job, precision: "f32" as const },
    { ...job, name: `${job.name}, f16`, precision: "f16" as const },
  ]);

/** Jobs that keep a large card busy: products of `side`, and layers at a batch. */
function jobs(side: number, batch: number): readonly (MatmulJob | ConvJob | BlockJob)[] {
  const rows = batch * 197;
  const conv = (name: string, size: number, inputs: number, outputs: number, kernel: number): ConvJob => {
    return { op: "conv", name: `${name}, batch ${batch}`, batch, side: size, inputs, outputs, kernel, stride: 1 };
  };
  const mlp = `ViT-small/16 mlp, batch ${batch}`;
  return [
    { op: "matmul", name: `${side}^3`, m: side, k: side, n: side },
    { op: "matmul", name: mlp, m: rows, k: 384, n: 1536 },
    { op: "matmul", name: `${mlp}, input gradient`, m: rows, k: 1536, n: 384, tb: true },
    { op: "matmul", name: `${mlp}, weight gradient`, m: 384, k: rows, n: 1536, ta: true },
    conv("ResNet-50 layer1 3 x 3", 56, 64, 64, 3),
    conv("ResNet-50 layer1 1 x 1", 56, 64, 256, 1),
    conv("ResNet-50 layer4 3 x 3", 7, 512, 512, 3),
    { op: "block", name: `ViT-small block with gradients, batch ${batch}, 197 tokens`, batch, tokens: 197, dim: 384, heads: 6 },
  ];
}

/** Opens a job. `result()` reads what the last run left: y, or a block's gradient of x. */
export function openJob(job: GpuJob, backend: Backend): Contender {
  const { kept, run } = job.op === "block" ? block(job, backend) : product(job, backend);
  return {
    name: "Autodidact",
    result: async () => {
      await run();
      return backend.read(kept);
    },
    measure: (stretchMs) => timesOf(run, stretchMs),
    close: async () => {},
  };
}

/** One number, to wait for: a run without results would end when it is submitted. */
const firstOf = (y: Tensor): Tensor => y.reshape([y.size]).slice(0, 0, 1);

/** In half precision the left operand is an activation, which the step rounds first, and the right one a weight, which is kept in float32. */
function product(job: (MatmulJob | ConvJob) & { precision: Precision }, backend: Backend) {
  const { a, b } = values(job);
  const x = new Parameter(a.shape, a.data);
  const w = new Parameter(b.shape, b.data, job.op === "conv" ? { layout: "OHWI" } : {});
  const shape = job.op === "matmul" ? [job.m, job.n] : [job.batch, outputSide(job), outputSide(job), job.outputs];
  const kept = new Buffer(shape);
  const multiply = (a: Tensor) =>
    job.op === "conv" ? a.conv2d(w, { stride: job.stride, padding: padding(job) }) : (job.ta ? a.t() : a).matmul(job.tb ? w.t() : w);
  const { precision } = job;
  const run = compile(
    () => {
      const y = withScope({ module: "product" }, () => multiply(precision === "f16" ? x.mul(1) : x));
      assign(kept, y);
      return firstOf(y);
    },
    backend,
    { precision },
  );
  return { kept, run };
}

function block(job: BlockJob & { precision: Precision }, backend: Backend) {
  const { x, cotangent, ...weights } = values(job);
  const model = new Block(job.dim, job.heads);
  model.load(new Map(Object.entries(weights)));
  const [input, direction] = [x, cotangent].map(({ shape, data }) => new Parameter(shape, data));
  const sources = [input, ...model.parameters()];
  const gradients = sources.map(({ shape }) => new Buffer(shape));
  const run = compile(
    () => {
      const found = grad(model.forward(input).mul(direction).sum(), sources) as Tensor[];
      for (const [i, gradient] of found.entries()) assign(gradients[i], gradient);
      return firstOf(found[0]);
    },
    backend,
    { precision: job.precision },
  );
  return { kept: gradients[0], run };
}

/** Largest error of some entries of a product, computed here in float64, over the largest of these entries. Zero for blocks: `check` holds them. */
export function sampledError(job: GpuJob, y: Float32Array): number {
  if (job.op === "block") return 0;
  const { a, b } = values(job);
  const entry = job.op === "matmul" ? matmulEntry(job, a.data, b.data) : convEntry(job, a.data, b.data);
  let [worst, largest] = [0, 0];
  for (let sample = 0; sample < 64; sample++) {
    const at = Math.floor((y.length * (sample + 0.5)) / 64);
    const expected = entry(at);
    const gap = Math.abs(y[at] - expected);
    worst = Number.isNaN(gap) ? Number.POSITIVE_INFINITY : Math.max(worst, gap);
    largest = Math.max(largest, Math.abs(expected));
  }
  return worst / largest;
}

const matmulEntry =
  ({ m, k, n, ta, tb }: MatmulJob, a: Float32Array, b: Float32Array) =>
  (at: number) => {
    const [i, j] = [Math.floor(at / n), at % n];
    let sum = 0;
    for (let l = 0; l < k; l++) sum += a[ta ? l * m + i : i * k + l] * b[tb ? j * k + l : l * n + j];
    return sum;
  };

const convEntry = (job: ConvJob, a: Float32Array, b: Float32Array) => (at: number) => {
  const { side, inputs, outputs, kernel, stride } = job;
  const out = outputSide(job);
  const [image, row, column, o] = [
    Math.floor(at / outputs / out / out),
    Math.floor(at / outputs / out) % out,
    Math.floor(at / outputs) % out,
    at % outputs,
  ];
  let sum = 0;
  for (let ky = 0; ky < kernel; ky++) {
    for (let kx = 0; kx < kernel; kx++) {
      const [y, x] = [row * stride + ky - padding(job), column * stride + kx - padding(job)];
      if (y < 0 || x < 0 || y >= side || x >= side) continue;
      const [from, weight] = [((image * side + y) * side + x) * inputs, ((o * kernel + ky) * kernel + kx) * inputs];
      for (let c = 0; c < inputs; c++) sum += a[from + c] * b[weight + c];
    }
  }
  return sum;
};
