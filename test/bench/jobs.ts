// The products and convolutions that are measured against other runtimes, and the numbers that all contenders work on.
import type { Host } from "../../src/tape/trace.ts";

/** a [m, k] (or [batch, m, k]) by b [k, n]; `weight`: b is known beforehand, as a layer's weight is. */
export interface MatmulJob {
  readonly op: "matmul";
  readonly name: string;
  readonly batch?: number;
  readonly m: number;
  readonly k: number;
  readonly n: number;
  readonly weight?: true;
}

/** Images of `side` with `inputs` channels, a weight that is known beforehand, no bias. */
export interface ConvJob {
  readonly op: "conv";
  readonly name: string;
  readonly batch: number;
  readonly side: number;
  readonly inputs: number;
  readonly outputs: number;
  readonly kernel: number;
  readonly stride: number;
}

export type Job = MatmulJob | ConvJob;

export const jobs: readonly Job[] = [
  { op: "matmul", name: "1024^3", m: 1024, k: 1024, n: 1024 },
  { op: "matmul", name: "256^3", m: 256, k: 256, n: 256 },
  { op: "matmul", name: "ViT-tiny/16 qkv, batch 16", m: 16 * 197, k: 192, n: 576, weight: true },
  { op: "matmul", name: "ViT-small/16 mlp, batch 8", m: 8 * 197, k: 384, n: 1536, weight: true },
  { op: "matmul", name: "ViT-small/16 attention scores, batch 4", batch: 24, m: 197, k: 64, n: 197 },
  { op: "conv", name: "ResNet-18 stem, CIFAR, batch 32", batch: 32, side: 32, inputs: 3, outputs: 64, kernel: 3, stride: 1 },
  { op: "conv", name: "ResNet-18 layer1, CIFAR, batch 32", batch: 32, side: 32, inputs: 64, outputs: 64, kernel: 3, stride: 1 },
  { op: "conv", name: "ResNet-18 layer4, CIFAR, batch 32", batch: 32, side: 4, inputs: 512, outputs: 512, kernel: 3, stride: 1 },
  { op: "conv", name: "ResNet-50 layer2 1 x 1, batch 8", batch: 8, side: 28, inputs: 128, outputs: 512, kernel: 1, stride: 1 },
  { op: "conv", name: "ResNet-50 layer2 stride 2, batch 8", batch: 8, side: 56, inputs: 128, outputs: 128, kernel: 3, stride: 2 },
];

export const padding = (job: ConvJob): number => (job.kernel - 1) / 2;
export const outputSide = (job: ConvJob): number => Math.floor((job.side + 2 * padding(job) - job.kernel) / job.stride) + 1;

/** Multiplications and additions of a run. */
export function flops(job: Job): number {
  if (job.op === "matmul") return 2 * (job.batch ?? 1) * job.m * job.k * job.n;
  return 2 * job.batch * outputSide(job) ** 2 * job.outputs * job.kernel ** 2 * job.inputs;
}

/** Numbers in [-0.5, 0.5) that depend on their place alone. */
function numbers(shape: readonly number[], seed: number): Host {
  const data = new Float32Array(shape.reduce((a, b) => a * b, 1));
  let x = Math.imul(seed, 2654435761);
  for (let i = 0; i < data.length; i++) {
    x = (Math.imul(x, 1664525) + 1013904223) >>> 0;
    data[i] = x / 4294967296 - 0.5;
  }
  return { data, shape };
}

/** What all contenders work on. A convolution's images `a` are [n, h, w, c], its weight `b` is [o, kh, kw, i]. */
export function values(job: Job): { a: Host; b: Host } {
  if (job.op === "conv") {
    const { batch, side, inputs, outputs, kernel } = job;
    return { a: numbers([batch, side, side, inputs], 1), b: numbers([outputs, kernel, kernel, inputs], 2) };
  }
  const lead = job.batch ? [job.batch] : [];
  return { a: numbers([...lead, job.m, job.k], 1), b: numbers([...lead, job.k, job.n], 2) };
}

/** Axis i of the result is axis order[i] of a four-dimensional x. */
export function permuted({ data, shape }: Host, order: readonly number[]): Host {
  const strides = shape.map((_, axis) => shape.slice(axis + 1).reduce((a, b) => a * b, 1));
  const [s0, s1, s2, s3] = order.map((axis) => strides[axis]);
  const sizes = order.map((axis) => shape[axis]);
  const out = new Float32Array(data.length);
  for (let to = 0, a = 0; a < sizes[0]; a++) {
    for (let b = 0; b < sizes[1]; b++) {
      for (let c = 0; c < sizes[2]; c++) for (let d = 0; d < sizes[3]; d++) out[to++] = data[a * s0 + b * s1 + c * s2 + d * s3];
    }
  }
  return { data: out, shape: sizes };
}
