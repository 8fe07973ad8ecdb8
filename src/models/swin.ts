// Swin transformers: attention within windows that shift from block to block, and four stages, each at half the resolution of the
// one before. Liu et al. 2021, arXiv 2103.14030; layers, names and initial weights as microsoft/esvit models/swin_transformer.py and
// microsoft/SimMIM models/swin_transformer.py, which differ in the norms' epsilon and in whether masks are part of the state.
import { biasedAttention, biasedAttentionMap } from "../nn/biased-attention.ts";
import { DropPath } from "../nn/drop.ts";
import { type Initializer, parameter, truncNormal } from "../nn/init.ts";
import { Linear } from "../nn/linear.ts";
import { Mlp } from "../nn/mlp.ts";
import { Buffer, Module } from "../nn/module.ts";
import { LayerNorm } from "../nn/norm.ts";
import { array } from "../tape/op.ts";
import { concat } from "../tape/ops/move.ts";
import type { Shape } from "../tape/shape.ts";
import type { Parameter, Tensor } from "../tape/tensor.ts";
import type { Family, Variant } from "./backbone.ts";
import { dropPaths } from "./blocks.ts";
import { withMaskToken } from "./mask-token.ts";
import { resizePositions } from "./positions.ts";
import { pairBiases, windowIndex } from "./relative-position.ts";
import { PatchEmbed } from "./vit.ts";
import { cutWindows, joinWindows, padded, padToWindows, shiftMask } from "./windows.ts";

const tiny = { dim: 96, depths: [2, 2, 6, 2], heads: [3, 6, 12, 24] };
const small = { dim: 96, depths: [2, 2, 18, 2], heads: [3, 6, 12, 24] };
const base = { dim: 128, depths: [2, 2, 18, 2], heads: [4, 8, 16, 32] };
const large = { dim: 192, depths: [2, 2, 18, 2], heads: [6, 12, 24, 48] };
const simmim = { eps: 1e-5, storeMasks: true };

export const swins = {
  "swin-tiny": { ...tiny, window: 7 },
  "swin-tiny-w14": { ...tiny, window: 14 },
  "swin-small": { ...small, window: 7 },
  "swin-small-w14": { ...small, window: 14 },
  "swin-base": { ...base, window: 7 },
  "swin-base-w14": { ...base, window: 14 },
  "swin-large": { ...large, window: 7 },
  "swin-tiny-224": { ...tiny, ...simmim, window: 7 },
  "swin-small-224": { ...small, ...simmim, window: 7 },
  "swin-base-192": { ...base, ...simmim, window: 6, size: 192 },
  "swin-base-224": { ...base, ...simmim, window: 7 },
  "swin-large-224": { ...large, ...simmim, window: 7 },
} satisfies Record<string, SwinOptions>;

export interface SwinOptions {
  /** Channels of the first stage; each stage after it has twice as many. */
  dim: number;
  /** Blocks and heads of each stage. */
  depths: readonly number[];
  heads: readonly number[];
  /** Side of a window, in tokens. A stage with smaller maps has one window of its size. */
  window: number;
  /** Side of the images that windows and tables are made for. Images of other sizes are padded to whole windows in every stage. */
  size?: number;
  patch?: number;
  mlpRatio?: number;
  /** Stochastic depth of the last block; the first has none and the others lie on a line. */
  dropPath?: number;
  /** Of every norm. */
  eps?: number;
  /** Adds `absolute_pos_embed`, a learned position for each token. */
  absolutePositions?: boolean;
  /** Adds `mask_token`, which stands for hidden patches (SimMIM). */
  maskToken?: boolean;
  /** Keeps the masks of shifted windows among the state, where SimMIM's checkpoints have them. */
  storeMasks?: boolean;
  /** Adds `head`, and `forward` gives its logits. */
  classes?: number;
  /** Initial weights of linear layers (biases begin at zero) and tables. */
  init?: Initializer;
}

/** Moves everything by `steps` against an axis, around its end; negative steps move back. */
function roll(x: Tensor, axis: number, steps: number): Tensor {
  return steps === 0 ? x : concat([x.slice(axis, steps), x.slice(axis, 0, steps)], axis);
}

/** Attention within each window, with a learned bias for every distance between two tokens. */
class WindowAttention extends Module {
  relative_position_bias_table: Parameter;
  relative_position_index: Buffer;
  qkv: Linear;
  proj: Linear;
  readonly heads: number;

  constructor(dim: number, heads: number, window: number, init: Initializer) {
    super();
    if (dim % heads) throw new RangeError(`Cannot split ${dim} features into ${heads} heads: expected a multiple of ${heads}`);
    const { data, shape } = windowIndex(window);
    this.relative_position_bias_table = parameter([(2 * window - 1) ** 2, heads], init);
    this.relative_position_index = new Buffer(shape, data);
    this.qkv = new Linear(dim, 3 * dim, { init });
    this.proj = new Linear(dim, dim, { init });
    this.heads = heads;
  }

  /** x [windows, n, dim], mask [windows of an image, n, n] -> [windows, n, dim] */
  forward(x: Tensor, mask?: Tensor): Tensor {
    const [q, k, v] = this.qkv.forward(x).split(2, 3);
    return this.proj.forward(biasedAttention(q, k, v, this.#options(q, mask)));
  }

  /** x [windows, n, dim], mask [windows of an image, n, n] -> [windows, heads, n, n] */
  map(x: Tensor, mask?: Tensor): Tensor {
    const [q, k] = this.qkv.forward(x).split(2, 3);
    return biasedAttentionMap(q, k, this.#options(q, mask));
  }

  #options({ shape: [, n, dim] }: Tensor, mask?: Tensor) {
    const bias = pairBiases(this.relative_position_bias_table, this.relative_position_index);
    return { heads: this.heads, scale: (dim / this.heads) ** -0.5, bias: mask ? bias.add(mask.reshape([-1, 1, n, n])) : bias };
  }
}

interface BlockOptions {
  dim: number;
  heads: number;
  window: number;
  shift: number;
  mlpRatio: number;
  dropPath: number;
  eps: number;
  init: Initializer;
  /** Tokens on each side of the maps whose mask becomes part of the state. */
  maskFor?: number;
}

/** x + attention(norm1(x)) within windows, then x + mlp(norm2(x)). */
export class SwinBlock extends Module {
  /** As in SimMIM's checkpoints. `forward` makes the mask for the maps that come. */
  attn_mask?: Buffer;
  norm1: LayerNorm;
  attn: WindowAttention;
  norm2: LayerNorm;
  mlp: Mlp;
  readonly window: number;
  readonly shift: number;
  readonly drop: DropPath;

  constructor({ dim, heads, window, shift, mlpRatio, dropPath, eps, init, maskFor }: BlockOptions) {
    super();
    if (shift && maskFor) {
      const { data, shape } = shiftMask(padded(maskFor, window), padded(maskFor, window), window, shift);
      this.attn_mask = new Buffer(shape, data);
    }
    this.norm1 = new LayerNorm(dim, eps);
    this.attn = new WindowAttention(dim, heads, window, init);
    this.norm2 = new LayerNorm(dim, eps);
    this.mlp = new Mlp(dim, Math.floor(dim * mlpRatio), { init });
    this.window = window;
    this.shift = shift;
    this.drop = new DropPath(dropPath);
  }

  /** x [b, h, w, dim], mask as `shiftMask` makes it -> [b, h, w, dim] */
  forward(x: Tensor, mask?: Tensor): Tensor {
    const attended = this.attn.forward(this.#windows(x), this.shift ? mask : undefined);
    const y = x.add(this.drop.forward(this.#map(attended, x)));
    return y.add(this.drop.forward(this.mlp.forward(this.norm2.forward(y))));
  }

  /** x [b, h, w, dim] -> [b windows, heads, n, n], the windows of an image row by row */
  attention(x: Tensor, mask?: Tensor): Tensor {
    return this.attn.map(this.#windows(x), this.shift ? mask : undefined);
  }

  /** Normed tokens by window, zeros where the map had to grow. [b, h, w, dim] -> [b windows, n, dim] */
  #windows(x: Tensor): Tensor {
    const whole = padToWindows(this.norm1.forward(x), this.window);
    return cutWindows(roll(roll(whole, 1, this.shift), 2, this.shift), this.window);
  }

  /** Puts windows back where they lie in maps like x. [b windows, n, dim] -> [b, h, w, dim] */
  #map(windows: Tensor, { shape: [, h, w] }: Tensor): Tensor {
    const whole = joinWindows(windows, this.window, [padded(h, this.window), padded(w, this.window)]);
    return roll(roll(whole, 1, -this.shift), 2, -this.shift)
      .slice(1, 0, h)
      .slice(2, 0, w);
  }
}

/** Joins each 2 x 2 tokens and halves their channels together: half the resolution, twice the channels. */
class PatchMerging extends Module {
  reduction: Linear;
  norm: LayerNorm;

  constructor(dim: number, eps: number, init: Initializer) {
    super();
    this.reduction = new Linear(4 * dim, 2 * dim, { bias: false, init });
    this.norm = new LayerNorm(4 * dim, eps);
  }

  /** [b, h, w, c] -> [b, ceil(h / 2), ceil(w / 2), 2 c]; a missing row or column is zeros. */
  forward(x: Tensor): Tensor {
    const [b, h, w, c] = x.shape;
    const [rows, columns] = [Math.ceil(h / 2), Math.ceil(w / 2)];
    const fours = x
      .pad([0, 0, 0, 0], [0, h % 2, w % 2, 0])
      .reshape([b, rows, 2, columns, 2, c])
      .permute([0, 1, 3, 4, 2, 5]) // (0, 0), (1, 0), (0, 1), (1, 1): rows first
      .reshape([b, rows, columns, 4 * c]);
    return this.reduction.forward(this.norm.forward(fours));
  }
}

/** One block with the map that it read and the one that it gave. */
interface Passage {
  block: SwinBlock;
  mask?: Tensor;
  input: Tensor;
  output: Tensor;
}

const lastOutput = (passages: readonly Passage[]): Tensor => passages[passages.length - 1].output;

/** Blocks at one resolution. */
class Stage extends Module {
  blocks: SwinBlock[];
  downsample?: PatchMerging;

  constructor(blocks: SwinBlock[], downsample?: PatchMerging) {
    super();
    this.blocks = blocks;
    this.downsample = downsample;
  }

  /** [b, h, w, c] -> what every block does with it */
  passages(x: Tensor): Passage[] {
    const [, h, w] = x.shape;
    const shifted = this.blocks.find(({ shift }) => shift);
    const hidden = shifted && shiftMask(padded(h, shifted.window), padded(w, shifted.window), shifted.window, shifted.shift);
    const mask = hidden && array(hidden.data, hidden.shape);
    let input = x;
    return this.blocks.map((block) => {
      const passage = { block, mask, input, output: block.forward(input, mask) };
      input = passage.output;
      return passage;
    });
  }
}

/** Stage `i` of a model whose first stage has grid x grid tokens. */
function makeStage(options: SwinOptions, i: number, grid: number): Stage {
  const { dim, depths, heads, mlpRatio = 4, dropPath = 0, eps = 1e-6, storeMasks, init = truncNormal(0.02) } = options;
  const width = dim * 2 ** i;
  const side = Math.max(1, Math.floor(grid / 2 ** i));
  const single = side <= options.window; // one window holds the map, and there is nowhere to shift
  const window = single ? side : options.window;
  const before = sum(depths.slice(0, i));
  const blocks = Array.from({ length: depths[i] }, (_, k) => {
    const shift = single || k % 2 === 0 ? 0 : Math.floor(window / 2);
    const rate = dropPaths(dropPath, sum(depths))[before + k];
    return new SwinBlock({
      ...{ dim: width, heads: heads[i], window, shift, mlpRatio, dropPath: rate, eps, init },
      maskFor: storeMasks ? side : undefined,
    });
  });
  return new Stage(blocks, i < depths.length - 1 ? new PatchMerging(width, eps, init) : undefined);
}

const sum = (numbers: readonly number[]) => numbers.reduce((a, b) => a + b, 0);

/** Patches as tokens, normed. */
class NormedPatchEmbed extends PatchEmbed {
  norm: LayerNorm;

  constructor(patch: number, dim: number, eps: number) {
    super(patch, dim);
    this.norm = new LayerNorm(dim, eps);
  }

  /** [b, h, w, 3] -> [b, rows, columns, dim] */
  override forward(x: Tensor): Tensor {
    const tokens = this.norm.forward(super.forward(x));
    return tokens.reshape([x.shape[0], ...this.grid(x), tokens.shape[2]]);
  }
}

export class Swin extends Module {
  absolute_pos_embed?: Parameter;
  mask_token?: Parameter;
  patch_embed: NormedPatchEmbed;
  layers: Stage[];
  norm: LayerNorm;
  head?: Linear;
  readonly features: number;
  /** Tokens on each side of the first stage's maps, for images of the size that the model is made for. */
  readonly grid: number;

  constructor(options: SwinOptions) {
    super();
    const { dim, depths, size = 224, patch = 4, eps = 1e-6, classes, init = truncNormal(0.02) } = options;
    this.grid = Math.floor(size / patch);
    if (this.grid < 1)
      throw new RangeError(`Cannot cut images of ${size} x ${size} into patches of ${patch}: expected at least ${patch} x ${patch}`);
    if (options.absolutePositions) this.absolute_pos_embed = parameter([1, this.grid ** 2, dim], init);
    if (options.maskToken) this.mask_token = parameter([1, 1, dim], init);
    this.patch_embed = new NormedPatchEmbed(patch, dim, eps);
    this.layers = depths.map((_, i) => makeStage(options, i, this.grid));
    this.features = dim * 2 ** (depths.length - 1);
    this.norm = new LayerNorm(this.features, eps);
    if (classes) this.head = new Linear(this.features, classes, { init });
  }

  /**
   * Patches with positions. Where `mask` [b, rows, columns] is 1, the mask token stands for the patch.
   * x [b, h, w, 3] -> [b, rows, columns, dim]
   */
  tokens(x: Tensor, mask?: Tensor): Tensor {
    const patches = this.patch_embed.forward(x);
    const [, rows, columns, dim] = patches.shape;
    const shown = mask ? withMaskToken(this.mask_token, patches, mask) : patches;
    if (!this.absolute_pos_embed) return shown;
    const asMade = rows === this.grid && columns === this.grid;
    const positions = asMade ? this.absolute_pos_embed : resizePositions(this.absolute_pos_embed, [rows, columns], { extra: 0 });
    return shown.add(positions.reshape([1, rows, columns, dim]));
  }

  /** All blocks by stage, over the tokens of images. */
  #passages(tokens: Tensor): Passage[][] {
    let x = tokens;
    return this.layers.map((stage) => {
      const passages = stage.passages(x);
      x = stage.downsample ? stage.downsample.forward(lastOutput(passages)) : lastOutput(passages);
      return passages;
    });
  }

  /** Maps of the stages, before their tokens are merged: [b, h / 4, w / 4, dim], [b, h / 8, w / 8, 2 dim] and so on */
  stages(x: Tensor): Tensor[] {
    return this.#passages(this.tokens(x)).map(lastOutput);
  }

  /** Features by place after the last norm. x [b, h, w, 3], mask [b, rows, columns] on the patches -> [b, h', w', features] */
  map(x: Tensor, mask?: Tensor): Tensor {
    return this.norm.forward(lastOutput(this.#passages(this.tokens(x, mask)).flat()));
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

  /**
   * Tokens after the last n blocks, counted over all stages, the earliest first; those of the last stage after the last norm. The
   * means over their tokens, joined, are EsViT's forward_return_n_last_blocks. [b, h, w, 3] -> n of [b, tokens, that stage's channels]
   */
  intermediateLayers(x: Tensor, n: number): Tensor[] {
    const stages = this.#passages(this.tokens(x));
    const maps = stages.flatMap((passages, i) =>
      passages.map(({ output }) => (i === stages.length - 1 ? this.norm.forward(output) : output)),
    );
    return maps.slice(-n).map((map) => map.reshape([x.shape[0], -1, map.shape[3]]));
  }

  /** Attention within the windows of every block: [b windows, heads, n, n] each, an image's windows row by row */
  attentions(x: Tensor): Tensor[] {
    return this.#passages(this.tokens(x))
      .flat()
      .map(({ block, input, mask }) => block.attention(input, mask));
  }

  /** Attention within the windows of the last block: [b windows, heads, n, n] */
  lastAttention(x: Tensor): Tensor {
    return this.attentions(x).at(-1) as Tensor;
  }
}

const sourceOf = ({ eps }: SwinOptions) => (eps === 1e-5 ? "its authors and SimMIM" : "EsViT");

/**
 * Side of the images that a checkpoint was made for. Its stored masks tell, or its positions, or the first stage whose window had to
 * be smaller; otherwise the smallest size that needs no smaller window.
 */
function sizeOf({ depths, window, patch = 4 }: SwinOptions, shapeOf: (name: string) => Shape | undefined): number {
  const masks = shapeOf("layers.0.blocks.1.attn_mask");
  if (masks) return patch * Math.sqrt(masks[0] * masks[1]); // windows x tokens of a window
  const positions = shapeOf("absolute_pos_embed");
  if (positions) return patch * Math.sqrt(positions[1]);
  const rows = (i: number) => shapeOf(`layers.${i}.blocks.0.attn.relative_position_bias_table`)?.[0] ?? Number.NaN;
  const sides = depths.map((_, i) => (Math.sqrt(rows(i)) + 1) / 2);
  const smaller = sides.findIndex((side) => side < window);
  const stage = smaller < 0 ? sides.length - 1 : smaller;
  return patch * 2 ** stage * sides[stage];
}

/** Sizes that shapes of another network may give are no sizes. */
const whole = (size: number): number | undefined => (Number.isInteger(size) ? size : undefined);

const variant = (options: SwinOptions): Variant => ({
  features: options.dim * 2 ** (options.depths.length - 1),
  about: `Swin of ${sourceOf(options)}, ${options.depths.join(", ")} blocks from ${options.dim} channels on, window ${options.window}`,
  build: ({ size, dropPath }) => new Swin({ ...options, size: size ?? options.size, dropPath }),
  sizeOf: (shapeOf) => whole(sizeOf(options, shapeOf)),
  resize: options.eps === 1e-5 ? "geometric" : "bicubic",
});

const variants: Readonly<Record<string, SwinOptions>> = swins;

/** "swin-base-224-w12": windows of another side. */
function parse(name: string): Variant | string | undefined {
  const [, base, digits] = /^(.*)-w(\d+)$/.exec(name) ?? [];
  if (base === undefined || !Object.hasOwn(variants, base)) return undefined;
  const window = Number(digits);
  return window > 1 ? variant({ ...variants[base], window }) : `Cannot make "${name}": expected windows of 2 x 2 tokens or more`;
}

/** Each name also takes a window: "swin-base-224-w12". */
export const swinFamily: Family = {
  variants: Object.fromEntries(Object.entries(variants).map(([name, options]) => [name, variant(options)])),
  parse,
};
