// The products and convolutions that are measured against other runtimes, and the numbers that all contenders work on.
import type { Host } from "../../src/tape/trace.ts";

/** a [m, k] (or [batch, m, k]) by b [k, n], either given transposed; `weight`: b is known beforehand, as a layer's weight is. */
export interface MatmulJob {
  readonly op: "matmul";
  readonly name: string;
  readonly batch?: number;
  readonly m: number;
  readonly k: number;
  readonly n: number;
  readonly ta?: boolean;
  readonly tb?: boolean;
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

/** A transformer block, forward and backward: the gradients of sum(block(x) * cotangent) for x [batch, tokens, dim] and all weights. */
export interface BlockJob {
  readonly op: "block";
  readonly name: string;
  readonly batch: number;
  readonly tokens: number;
  readonly dim: number;
  readonly heads: number;
}

/** Features of images by a whole backbone with fresh weights, in evaluation mode. */
export interface NetworkJob {
  readonly op: "network";
  readonly name: string;
  /** A name that `makeBackbone` knows. */
  readonly backbone: string;
  readonly batch: number;
  readonly size: number;
  /** Multiply-adds of one image, by its paper. */
  readonly multiplyAdds: number;
}

export type Job = MatmulJob | ConvJob | BlockJob | NetworkJob;

const matmul = (name: string, m: number, k: number, n: number, more: Partial<MatmulJob> = {}): MatmulJob => ({
  op: "matmul",
  name,
  m,
  k,
  n,
  ...more,
});

/** A linear layer over `rows`: forward with a known weight, the gradient of its input, and that of its weight. */
const linear = (name: string, rows: number, inputs: number, outputs: number): MatmulJob[] => [
  matmul(name, rows, inputs, outputs, { weight: true }),
  matmul(`${name}, input gradient`, rows, outputs, inputs, { tb: true, weight: true }),
  matmul(`${name}, weight gradient`, inputs, rows, outputs, { ta: true }),
];

const conv = (name: string, batch: number, side: number, inputs: number, outputs: number, kernel: number, stride = 1): ConvJob => ({
  op: "conv",
  name,
  batch,
  side,
  inputs,
  outputs,
  kernel,
  stride,
});

const network = (backbone: string, batch: number, multiplyAdds: number): NetworkJob => ({
  op: "network",
  name: `${backbone} features, 224 pixels, batch ${batch}`,
  backbone,
  batch,
  size: 224,
  multiplyAdds,
});

export const jobs: readonly Job[] = [
  matmul("1024^3", 1024, 1024, 1024),
  matmul("1024^3, a transposed", 1024, 1024, 1024, { ta: true }),
  matmul("1024^3, b transposed", 1024, 1024, 1024, { tb: true }),
  matmul("1024^3, both transposed", 1024, 1024, 1024, { ta: true, tb: true }),
  matmul("256^3", 256, 256, 256),
  ...linear("ViT-tiny/16 qkv, batch 16", 16 * 197, 192, 576),
  ...linear("ViT-small/16 mlp, batch 8", 8 * 197, 384, 1536),
  matmul("ViT-small/16 attention scores, batch 4", 197, 64, 197, { batch: 24 }),
  matmul("ResNet-50 layer1 as a product, batch 4", 4 * 56 * 56, 64, 256, { weight: true }),
  conv("ResNet-18 stem, CIFAR, batch 32", 32, 32, 3, 64, 3),
  conv("ResNet-18 layer1, CIFAR, batch 32", 32, 32, 64, 64, 3),
  conv("ResNet-18 layer4, CIFAR, batch 32", 32, 4, 512, 512, 3),
  conv("ResNet-50 layer2 1 x 1, batch 8", 8, 28, 128, 512, 1),
  conv("ResNet-50 layer2 stride 2, batch 8", 8, 56, 128, 128, 3, 2),
  { op: "block", name: "ViT-tiny block with gradients, batch 16, 65 tokens", batch: 16, tokens: 65, dim: 192, heads: 3 },
  ...[1, 8].flatMap((batch) => [network("vit-small-16", batch, 4.6e9), network("resnet50", batch, 4.1e9)]),
];

export const padding = (job: ConvJob): number => (job.kernel - 1) / 2;
export const outputSide = (job: ConvJob): number => Math.floor((job.side + 2 * padding(job) - job.kernel) / job.stride) + 1;

/** Multiplications and additions of a run. Of a block those of its products: two forward, four backward of each, attention's seven in all. */
export function flops(job: Job): number {
  if (job.op === "matmul") return 2 * (job.batch ?? 1) * job.m * job.k * job.n;
  if (job.op === "conv") return 2 * job.batch * outputSide(job) ** 2 * job.outputs * job.kernel ** 2 * job.inputs;
  if (job.op === "network") return 2 * job.batch * job.multiplyAdds;
  const { batch, tokens, dim } = job;
  return batch * (3 * 2 * tokens * 12 * dim ** 2 + 6 * 2 * tokens ** 2 * dim);
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

/** A block's weights under their official names, small enough for its attention to stay soft. */
function blockWeights(dim: number): Record<string, Host> {
  const shapes: Record<string, number[]> = {
    "norm1.weight": [dim],
    "norm1.bias": [dim],
    "attn.qkv.weight": [3 * dim, dim],
    "attn.qkv.bias": [3 * dim],
    "attn.proj.weight": [dim, dim],
    "attn.proj.bias": [dim],
    "norm2.weight": [dim],
    "norm2.bias": [dim],
    "mlp.fc1.weight": [4 * dim, dim],
    "mlp.fc1.bias": [4 * dim],
    "mlp.fc2.weight": [dim, 4 * dim],
    "mlp.fc2.bias": [dim],
  };
  return Object.fromEntries(
    Object.entries(shapes).map(([name, shape], i) => {
      const { data } = numbers(shape, i + 3);
      return [
        name,
        { shape, data: data.map((x) => (name.startsWith("norm") && name.endsWith("weight") ? 1 + x : x / Math.sqrt(dim / 4))) },
      ];
    }),
  );
}

/**
 * What all contenders work on: operands a and b, or x, cotangent and weights of a block, or the images of a network. A convolution's images `a` are
 * [n, h, w, c], its weight `b` is [o, kh, kw, i].
 */
export function values(job: Job): Record<string, Host> {
  if (job.op === "conv") {
    const { batch, side, inputs, outputs, kernel } = job;
    return { a: numbers([batch, side, side, inputs], 1), b: numbers([outputs, kernel, kernel, inputs], 2) };
  }
  if (job.op === "block") {
    const shape = [job.batch, job.tokens, job.dim];
    return { x: numbers(shape, 1), cotangent: numbers(shape, 2), ...blockWeights(job.dim) };
  }
  if (job.op === "network") return { images: numbers([job.batch, job.size, job.size, 3], 1) };
  const { m, k, n, ta, tb } = job;
  const lead = job.batch ? [job.batch] : [];
  return { a: numbers([...lead, ...(ta ? [k, m] : [m, k])], 1), b: numbers([...lead, ...(tb ? [n, k] : [k, n])], 2) };
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
