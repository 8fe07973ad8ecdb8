// CvT, transformers whose queries, keys and values come from convolutions, within windows: the variant that EsViT trains (Li et al. 2021,
// arXiv 2106.09785). Wu et al. 2021, arXiv 2103.15808, is another network, with a class token and without windows. Layers, names and
// initial weights as microsoft/esvit models/cvt_v4_transformer.py; sizes from experiments/imagenet/cvt_v4.
import { biasedAttention, biasedAttentionMap } from "../nn/biased-attention.ts";
import { Conv2d } from "../nn/conv.ts";
import { DropPath } from "../nn/drop.ts";
import { parameter, truncNormal } from "../nn/init.ts";
import { Linear } from "../nn/linear.ts";
import { Buffer, Module } from "../nn/module.ts";
import { BatchNorm, LayerNorm } from "../nn/norm.ts";
import { type Layer, Sequential } from "../nn/sequential.ts";
import { array } from "../tape/op.ts";
import { attention, attentionMap } from "../tape/ops/attention.ts";
import type { Parameter, Tensor } from "../tape/tensor.ts";
import type { Family, Variant } from "./backbone.ts";
import { dropPaths, outputs } from "./blocks.ts";
import { windowIndex } from "./relative-position.ts";
import { cutWindows, joinWindows, padded, padToWindows, shiftMask } from "./windows.ts";

const tiny = { dims: [64, 192, 384, 768], heads: [1, 3, 6, 12], depths: [2, 2, 6, 2] };

export const cvts = {
  "cvt-tiny": tiny,
  "cvt-tiny-w14": { ...tiny, windows: [14, 14, 14, 7] },
  "cvt-s3": { dims: [64, 128, 256, 512], heads: [2, 4, 8, 16], depths: [2, 2, 10, 4] },
} satisfies Record<string, CvTOptions>;

export interface CvTOptions {
  /** Channels, heads and layers of each stage. */
  dims: readonly number[];
  heads: readonly number[];
  depths: readonly number[];
  /** The convolution in front of each stage: 7, 3, 3, 3 of stride 4, 2, 2, 2 with 2, 1, 1, 1 zeros around the map. */
  patchKernels?: readonly number[];
  strides?: readonly number[];
  paddings?: readonly number[];
  /** Side of each stage's windows; 7. Smaller maps have one window of their shorter side. */
  windows?: readonly number[];
  /** Side of the depthwise convolution in front of queries, keys and values; 3. */
  qkvKernels?: readonly number[];
  mlpRatio?: number;
  /** Learned biases for distances within windows. */
  relativePositions?: boolean;
  /** Stages in which windows are masked as if they had been shifted; the source masks every layer and shifts none. */
  shift?: readonly boolean[];
  /** Three 3 x 3 convolutions in place of the first stage's one. */
  resStem?: boolean;
  /** Stochastic depth of the last layer; the first has none and the others lie on a line. */
  dropPath?: number;
  /** Adds `head`, and `forward` gives its logits. */
  classes?: number;
}

const init = truncNormal(0.02);
const eps = 1e-5;

/** Channels at a lower resolution, normed. */
class ConvEmbed extends Module {
  proj: Conv2d;
  norm: LayerNorm;

  constructor(inputs: number, outputs: number, kernel: number, stride: number, padding: number) {
    super();
    this.proj = new Conv2d(inputs, outputs, kernel, { stride, padding, init });
    this.norm = new LayerNorm(outputs, eps);
  }

  /** [b, h, w, inputs] -> [b, h', w', outputs] */
  forward(x: Tensor): Tensor {
    return this.norm.forward(this.proj.forward(x));
  }
}

/** Three convolutions of stride 2, 1 and 2, each with batch norm and ReLU. */
class ResStem extends Module {
  stem: Sequential;

  constructor(outputs: number) {
    super();
    const layers = [2, 1, 2].flatMap((stride, i) => [
      new Conv2d(i ? outputs : 3, outputs, 3, { stride, padding: 1, bias: false, init }),
      new BatchNorm(outputs),
      (x: Tensor) => x.relu(),
    ]);
    this.stem = new Sequential(...layers);
  }

  /** [b, h, w, 3] -> [b, h / 4, w / 4, outputs] */
  forward(x: Tensor): Tensor {
    return this.stem.forward(x);
  }
}

/** A depthwise convolution, batch norm and a pointwise convolution. */
class SeparableConv extends Module {
  dw: Conv2d;
  bn: BatchNorm;
  pw: Conv2d;

  constructor(inputs: number, outputs: number, kernel: number) {
    super();
    this.dw = new Conv2d(inputs, inputs, kernel, { padding: Math.floor(kernel / 2), groups: inputs, bias: false, init });
    this.bn = new BatchNorm(inputs);
    this.pw = new Conv2d(inputs, outputs, 1, { init });
  }

  forward(x: Tensor): Tensor {
    return this.pw.forward(this.bn.forward(this.dw.forward(x)));
  }
}

interface StageOptions {
  dim: number;
  heads: number;
  window: number;
  qkvKernel: number;
  mlpRatio: number;
  relativePositions: boolean;
  shift: boolean;
  /** Stochastic depth of each layer. */
  dropPaths: readonly number[];
}

/** Attention within windows. Scores are divided by the root of all channels, not of one head's. */
class ConvAttention extends Module {
  rel_pos_bias_table?: Parameter;
  rel_pos_idx?: Buffer;
  qkv: SeparableConv;
  proj_out: Conv2d;
  readonly heads: number;
  readonly window: number;
  readonly shift: boolean;

  constructor({ dim, heads, window, qkvKernel, relativePositions, shift }: StageOptions) {
    super();
    if (dim % heads) throw new RangeError(`Cannot split ${dim} features into ${heads} heads: expected a multiple of ${heads}`);
    if (relativePositions) {
      const { data, shape } = windowIndex(window);
      this.rel_pos_bias_table = parameter([(2 * window - 1) ** 2, heads], init);
      this.rel_pos_idx = new Buffer(shape, data);
    }
    this.qkv = new SeparableConv(dim, 3 * dim, qkvKernel);
    this.proj_out = new Conv2d(dim, dim, 1, { init });
    this.heads = heads;
    this.window = window;
    this.shift = shift;
  }

  /** [b, h, w, dim] -> [b, h, w, dim] */
  forward(x: Tensor): Tensor {
    const [, h, w] = x.shape;
    const { q, k, v, side, options, bias } = this.#windows(x);
    const attended = bias ? biasedAttention(q, k, v, { ...options, bias }) : attention(q, k, v, options);
    return this.proj_out.forward(joinWindows(attended, side, [h, w]));
  }

  /** [b, h, w, dim] -> [b windows, heads, n, n], an image's windows row by row */
  map(x: Tensor): Tensor {
    const { q, k, options, bias } = this.#windows(x);
    return bias ? biasedAttentionMap(q, k, { ...options, bias }) : attentionMap(q, k, options);
  }

  /** Queries, keys and values by window. Zeros that pad the map to whole windows take part in the convolution and its statistics. */
  #windows(x: Tensor) {
    const [, h, w, dim] = x.shape;
    const side = Math.min(this.window, h, w);
    const [q, k, v] = cutWindows(this.qkv.forward(padToWindows(x, side)), side).split(2, 3);
    return { q, k, v, side, options: { heads: this.heads, scale: dim ** -0.5 }, bias: this.#bias(h, w) };
  }

  /** What is added to the scores of windows in maps of h x w: [1 or windows of an image, heads or 1, n, n] */
  #bias(h: number, w: number): Tensor | undefined {
    const { window, heads, rel_pos_bias_table: table, rel_pos_idx: index } = this;
    if (!table && !this.shift) return undefined;
    if (Math.min(h, w) < window)
      throw new RangeError(
        `Cannot look through windows of ${window} with position biases or masks at a map of ${h} x ${w}: expected at least ${window} x ${window}`,
      );
    const n = window * window;
    const biases = table && index && table.gather(index).permute([2, 0, 1]).reshape([1, heads, n, n]);
    if (!this.shift) return biases;
    const { data, shape } = shiftMask(padded(h, window), padded(w, window), window, Math.floor(window / 2));
    const mask = array(data, shape).reshape([-1, 1, n, n]);
    return biases ? biases.add(mask) : mask.expand([shape[0], heads, n, n]);
  }
}

/** A norm in front of what it is for. */
class PreNorm<T extends Layer> extends Module {
  norm: LayerNorm;
  fn: T;

  constructor(dim: number, fn: T) {
    super();
    this.norm = new LayerNorm(dim, eps);
    this.fn = fn;
  }

  forward(x: Tensor): Tensor {
    return this.fn.forward(this.norm.forward(x));
  }
}

/** Hendrycks and Gimpel 2016, arXiv 1606.08415: the sigmoid approximation of GELU. */
const quickGelu = (x: Tensor) => x.mul(x.mul(1.702).sigmoid());

/** Two pointwise convolutions. */
class FeedForward extends Module {
  net: Sequential;

  constructor(dim: number, hidden: number) {
    super();
    this.net = new Sequential(new Conv2d(dim, hidden, 1, { init }), quickGelu, new Conv2d(hidden, dim, 1, { init }));
  }

  forward(x: Tensor): Tensor {
    return this.net.forward(x);
  }
}

/** x + attention(norm(x)), then x + feed-forward(norm(x)). */
class CvTLayer extends Module {
  readonly attend: PreNorm<ConvAttention>;
  readonly feed: PreNorm<FeedForward>;
  readonly drop: DropPath;

  constructor(options: StageOptions, dropPath: number) {
    super();
    const { dim, mlpRatio } = options;
    this.attend = new PreNorm(dim, new ConvAttention(options));
    this.feed = new PreNorm(dim, new FeedForward(dim, Math.floor(dim * mlpRatio)));
    this.drop = new DropPath(dropPath);
  }

  protected override fields(): Iterable<[string, unknown]> {
    return [
      ["0", this.attend],
      ["1", this.feed],
    ];
  }

  /** [b, h, w, dim] -> [b, h, w, dim] */
  forward(x: Tensor): Tensor {
    const y = x.add(this.drop.forward(this.attend.forward(x)));
    return y.add(this.drop.forward(this.feed.forward(y)));
  }

  /** [b, h, w, dim] -> [b windows, heads, n, n] */
  attention(x: Tensor): Tensor {
    return this.attend.fn.map(this.attend.norm.forward(x));
  }
}

/** The layers of a stage. */
class Transformer extends Module {
  layers: CvTLayer[];

  constructor(options: StageOptions) {
    super();
    this.layers = options.dropPaths.map((rate) => new CvTLayer(options, rate));
  }
}

type Stage = [ConvEmbed | ResStem, Transformer];

const last = <T>(list: readonly T[]): T => list[list.length - 1];

export class CvT extends Module {
  readonly stageLayers: readonly Stage[];
  norm: LayerNorm;
  head?: Linear;
  readonly features: number;

  constructor(options: CvTOptions) {
    super();
    const { dims, depths, classes, dropPath = 0 } = options;
    const rates = dropPaths(
      dropPath,
      depths.reduce((a, b) => a + b, 0),
    );
    this.stageLayers = dims.map((_, i) => makeStage(options, i, rates.splice(0, depths[i])));
    this.features = last(dims);
    this.norm = new LayerNorm(this.features, eps);
    if (classes) this.head = new Linear(this.features, classes, { init });
  }

  protected override fields(): Iterable<[string, unknown]> {
    const stages = this.stageLayers.map((stage, i): [string, unknown] => [`stage${i}`, stage]);
    return [...stages, ["norm", this.norm], ["head", this.head]];
  }

  /** Every layer's output by stage: [b, h / 4, w / 4, c] for the first, half the sides for each after it. */
  layerMaps(x: Tensor): Tensor[][] {
    let y = x;
    return this.stageLayers.map(([embed, transformer]) => {
      const maps = outputs(transformer.layers, embed.forward(y));
      y = last(maps);
      return maps;
    });
  }

  /** Maps of the stages: [b, h / 4, w / 4, c], [b, h / 8, w / 8, c'] and so on */
  stages(x: Tensor): Tensor[] {
    return this.layerMaps(x).map(last);
  }

  /** Features by place after the last norm. [b, h, w, 3] -> [b, h', w', features] */
  map(x: Tensor): Tensor {
    return this.norm.forward(last(this.stages(x)));
  }

  /** [b, h, w, 3] -> [b, features] */
  pooled(x: Tensor): Tensor {
    return this.map(x).mean([1, 2]);
  }

  /** [b, h, w, 3] -> [b, features], or logits with `head` */
  forward(x: Tensor): Tensor {
    const features = this.pooled(x);
    return this.head ? this.head.forward(features) : features;
  }

  /** The outputs of the last n layers, counted over all stages, the earliest first; those of the last stage normed. */
  #lastMaps(x: Tensor, n: number): Tensor[] {
    const stages = this.layerMaps(x);
    return stages.flatMap((maps, i) => (i === stages.length - 1 ? maps.map((map) => this.norm.forward(map)) : maps)).slice(-n);
  }

  /** Places in rows after each of the last n layers; those of the last stage after the last norm. -> n of [b, h' w', c] */
  intermediateLayers(x: Tensor, n: number): Tensor[] {
    return this.#lastMaps(x, n).map((map) => map.reshape([map.shape[0], -1, map.shape[3]]));
  }

  /** Their means over the places, as EsViT's linear probe joins them (forward_return_n_last_blocks). -> n of [b, c] */
  lastBlocks(x: Tensor, n: number): Tensor[] {
    return this.#lastMaps(x, n).map((map) => map.mean([1, 2]));
  }

  /** Attention within the windows of the last layer: [b windows, heads, n, n], an image's windows row by row */
  lastAttention(x: Tensor): Tensor {
    const run = (y: Tensor, [embed, { layers }]: Stage) => layers.reduce((z, layer) => layer.forward(z), embed.forward(y));
    const before = this.stageLayers.slice(0, -1).reduce(run, x);
    const [embed, { layers }] = last(this.stageLayers);
    const input = layers.slice(0, -1).reduce((y, layer) => layer.forward(y), embed.forward(before));
    return last(layers).attention(input);
  }
}

/** Stage `i`, with the stochastic depth of each of its layers. */
function makeStage(options: CvTOptions, i: number, rates: number[]): Stage {
  const { dims, heads, patchKernels = [7, 3, 3, 3], strides = [4, 2, 2, 2], paddings = [2, 1, 1, 1] } = options;
  const inputs = i ? dims[i - 1] : 3;
  const embed = i || !options.resStem ? new ConvEmbed(inputs, dims[i], patchKernels[i], strides[i], paddings[i]) : new ResStem(dims[0]);
  const transformer = new Transformer({
    dim: dims[i],
    heads: heads[i],
    window: options.windows?.[i] ?? 7,
    qkvKernel: options.qkvKernels?.[i] ?? 3,
    mlpRatio: options.mlpRatio ?? 4,
    relativePositions: options.relativePositions ?? false,
    shift: options.shift?.[i] ?? false,
    dropPaths: rates,
  });
  return [embed, transformer];
}

const variant = (options: CvTOptions): Variant => ({
  features: last(options.dims),
  about: `EsViT's CvT, ${options.depths.join(", ")} layers of ${options.dims.join(", ")}, windows of ${options.windows?.[0] ?? 7}`,
  build: ({ dropPath }) => new CvT({ ...options, dropPath }),
});

export const cvtFamily: Family = { variants: Object.fromEntries(Object.entries(cvts).map(([name, options]) => [name, variant(options)])) };
