// Vision transformers. Dosovitskiy et al. 2020, arXiv 2010.11929; widths from DeiT, arXiv 2012.12877, table 1; layers, names and
// initial weights as facebookresearch/dino vision_transformer.py, options for facebookresearch/mae models_vit.py.
import { Attention } from "../nn/attention.ts";
import { Conv2d } from "../nn/conv.ts";
import { DropPath } from "../nn/drop.ts";
import { type Initializer, initialize, normal, parameter, truncNormal, xavierUniform, zeros } from "../nn/init.ts";
import { LayerScale } from "../nn/layer-scale.ts";
import { Linear } from "../nn/linear.ts";
import { Mlp, SwiGlu } from "../nn/mlp.ts";
import { Module } from "../nn/module.ts";
import { BatchNorm, LayerNorm } from "../nn/norm.ts";
import { Sequential } from "../nn/sequential.ts";
import { concat } from "../tape/ops/move.ts";
import type { Shape } from "../tape/shape.ts";
import type { Parameter, Tensor } from "../tape/tensor.ts";
import type { Family, Variant } from "./backbone.ts";
import { dropPaths, outputs } from "./blocks.ts";
import { withMaskToken } from "./mask-token.ts";
import { antialiased, resizePositions, sincosTable } from "./positions.ts";

const mini = { dim: 128, depth: 4, heads: 4 }; // this project's, for minutes on a laptop
const tiny = { dim: 192, depth: 12, heads: 3 };
const small = { dim: 384, depth: 12, heads: 6 };
const base = { dim: 768, depth: 12, heads: 12 };
const large = { dim: 1024, depth: 24, heads: 16 };
const huge = { dim: 1280, depth: 32, heads: 16 };

export const vits = {
  "vit-mini-4": { ...mini, patch: 4 },
  "vit-conv-mini-8": { ...mini, patch: 8, convStem: true },
  "vit-tiny-4": { ...tiny, patch: 4 },
  "vit-tiny-8": { ...tiny, patch: 8 },
  "vit-tiny-14": { ...tiny, patch: 14 },
  "vit-tiny-16": { ...tiny, patch: 16 },
  "vit-small-4": { ...small, patch: 4 },
  "vit-small-8": { ...small, patch: 8 },
  "vit-small-14": { ...small, patch: 14 },
  "vit-small-16": { ...small, patch: 16 },
  "vit-base-4": { ...base, patch: 4 },
  "vit-base-8": { ...base, patch: 8 },
  "vit-base-14": { ...base, patch: 14 },
  "vit-base-16": { ...base, patch: 16 },
  "vit-large-16": { ...large, patch: 16 },
  "vit-huge-14": { ...huge, patch: 14 },
} satisfies Record<string, ViTOptions>;

/** DeiT's with a distillation token beside the class token (arXiv 2012.12877, section 4). */
export const distilledVits = {
  "deit-tiny-distilled-16": { ...tiny, patch: 16, distilled: true },
  "deit-small-distilled-16": { ...small, patch: 16, distilled: true },
  "deit-base-distilled-16": { ...base, patch: 16, distilled: true },
} satisfies Record<string, ViTOptions>;

/** MoCo v3's, which have 12 heads in the small size too and 11 blocks behind a stem of convolutions. */
export const mocoVits = {
  "moco3-vit-small-16": { ...small, heads: 12, patch: 16 },
  "moco3-vit-base-16": { ...base, patch: 16 },
  "moco3-vit-conv-small-16": { ...small, heads: 12, depth: 11, patch: 16, convStem: true },
  "moco3-vit-conv-base-16": { ...base, depth: 11, patch: 16, convStem: true },
} satisfies Record<string, ViTOptions>;

export interface ViTOptions {
  dim: number;
  depth: number;
  heads: number;
  patch: number;
  /** Side of the images that the position table is made for. */
  size?: number;
  mlpRatio?: number;
  /** Stochastic depth of the last block; the first has none and the others lie on a line. */
  dropPath?: number;
  /** Features: the class token after the last norm, or the mean of the patch tokens, normed by `fc_norm` instead (MAE). */
  pool?: "class" | "mean";
  /** Adds `dist_token` behind the class token; features are the mean of both. */
  distilled?: boolean;
  /** Adds `register_tokens`, so many, behind the class token; they have no positions. Darcet et al. 2023, arXiv 2309.16588. */
  registers?: number;
  /** Adds `mask_token`, which stands for hidden patches (DINOv2). */
  maskToken?: boolean;
  /** Initial value of `ls1.gamma` and `ls2.gamma`, which multiply the branches of a block; without it there are none. */
  layerScale?: number;
  /** Gates the MLPs, whose width is then two thirds, rounded up to a multiple of 8 (DINOv2). */
  swiglu?: boolean;
  /** How positions are resized for other images: by DINO's scale factors (default), or with antialiasing. */
  resize?: "scaled" | "antialiased";
  /** Adds `head`, and `forward` gives its logits. */
  classes?: number;
  /** Cuts images by convolutions that overlap (patch a power of 2). */
  convStem?: boolean;
  /** Initial weights of linear layers (biases begin at zero), and of queries, keys and values where they begin otherwise. */
  init?: Initializer;
  qkvInit?: Initializer;
}

/** Patches on each side of the images that a table of positions is made for. */
export function wholeGrid(size: number, patch: number): number {
  if (size % patch === 0) return size / patch;
  const [below, above] = [Math.floor(size / patch) * patch, Math.ceil(size / patch) * patch];
  throw new RangeError(
    `Cannot cut images of ${size} x ${size} into patches of ${patch}: expected a size such as ${below ? `${below} or ` : ""}${above}`,
  );
}

/** Cuts images into square patches and projects each: a convolution whose stride is its size. */
export class PatchEmbed extends Module {
  proj: Conv2d;
  readonly patch: number;

  constructor(patch: number, dim: number) {
    super();
    this.proj = new Conv2d(3, dim, patch, { stride: patch });
    this.patch = patch;
  }

  /** Patches in height and width of [b, h, w, 3]; a remainder is cut off. */
  grid({ shape: [, h, w] }: Tensor): [number, number] {
    const [rows, columns] = [Math.floor(h / this.patch), Math.floor(w / this.patch)];
    if (rows < 1 || columns < 1)
      throw new RangeError(
        `Cannot cut images of ${h} x ${w} into patches of ${this.patch}: expected at least ${this.patch} x ${this.patch}`,
      );
    return [rows, columns];
  }

  /** [b, h, w, 3] -> [b, rows columns, dim] */
  forward(x: Tensor): Tensor {
    const [rows, columns] = this.grid(x);
    const y = this.proj.forward(x);
    return y.reshape([x.shape[0], rows * columns, y.shape[3]]);
  }
}

/**
 * Cuts images by 3 x 3 convolutions, each of which halves them, and one of 1 x 1: patches that overlap, `patch` pixels apart. Xiao et
 * al. 2021, arXiv 2106.14881; names as facebookresearch/moco-v3, vits.py, ConvStem, which has patches of 16.
 */
export class ConvStem extends Module {
  proj: Sequential;
  readonly patch: number;

  constructor(patch: number, dim: number) {
    super();
    const halvings = Math.log2(patch);
    if (!Number.isInteger(halvings) || halvings < 1) {
      throw new RangeError(`Cannot make a convolutional stem for patches of ${patch}: expected 2, 4, 8 or another power of 2`);
    }
    if (dim % (patch / 2)) throw new RangeError(`Cannot make a convolutional stem of ${dim} channels: expected a multiple of ${patch / 2}`);
    this.patch = patch;
    const widths = [3, ...Array.from({ length: halvings }, (_, i) => (dim * 2 ** (i + 1)) / patch)];
    const halve = (outputs: number, i: number) => [
      new Conv2d(widths[i], outputs, 3, { stride: 2, padding: 1, bias: false }),
      new BatchNorm(outputs),
      (x: Tensor) => x.relu(),
    ];
    this.proj = new Sequential(...widths.slice(1).flatMap(halve), new Conv2d(dim, dim, 1));
  }

  /** Patches in height and width of [b, h, w, 3]; a remainder counts as a patch. */
  grid({ shape: [, h, w] }: Tensor): [number, number] {
    return [Math.ceil(h / this.patch), Math.ceil(w / this.patch)];
  }

  /** [b, h, w, 3] -> [b, rows columns, dim] */
  forward(x: Tensor): Tensor {
    const y = this.proj.forward(x);
    return y.reshape([x.shape[0], -1, y.shape[3]]);
  }
}

export interface BlockOptions {
  /** Width of the inner layer, in widths of the block (default 4). */
  mlpRatio?: number;
  dropPath?: number;
  init?: Initializer;
  /** Of queries, keys and values where they begin otherwise. */
  qkvInit?: Initializer;
  /** As in `ViTOptions`. */
  layerScale?: number;
  swiglu?: boolean;
}

/** x + attention(norm1(x)), then x + mlp(norm2(x)), each branch times its layer scale where there is one. */
export class Block extends Module {
  norm1: LayerNorm;
  attn: Attention;
  ls1?: LayerScale;
  norm2: LayerNorm;
  mlp: Mlp | SwiGlu;
  ls2?: LayerScale;
  readonly drop: DropPath;

  constructor(dim: number, heads: number, options: BlockOptions = {}) {
    super();
    const { mlpRatio = 4, dropPath = 0, init, qkvInit, layerScale, swiglu = false } = options;
    const hidden = Math.floor(dim * mlpRatio);
    this.norm1 = new LayerNorm(dim);
    this.attn = new Attention(dim, heads, { init, qkvInit });
    if (layerScale) this.ls1 = new LayerScale(dim, layerScale);
    this.norm2 = new LayerNorm(dim);
    this.mlp = swiglu ? new SwiGlu(dim, 8 * Math.ceil(Math.floor((2 * hidden) / 3) / 8), { init }) : new Mlp(dim, hidden, { init });
    if (layerScale) this.ls2 = new LayerScale(dim, layerScale);
    this.drop = new DropPath(dropPath);
  }

  /** [b, n, dim] -> [b, n, dim] */
  forward(x: Tensor): Tensor {
    const branch = (y: Tensor, scale?: LayerScale) => this.drop.forward(scale ? scale.forward(y) : y);
    const y = x.add(branch(this.attn.forward(this.norm1.forward(x)), this.ls1));
    return y.add(branch(this.mlp.forward(this.norm2.forward(y)), this.ls2));
  }

  /** [b, n, dim] -> [b, heads, n, n] */
  attention(x: Tensor): Tensor {
    return this.attn.map(this.norm1.forward(x));
  }
}

/** Puts one learned row in front of every sample's tokens. */
export const withClassToken = (token: Tensor, x: Tensor): Tensor => concat([token.expand([x.shape[0], 1, x.shape[2]]), x], 1);

/** The class token's row of attention among tokens, of which `extra` stand in front of the patches. [b, heads, n, n] -> [b, heads, rows, columns] */
export function classAttention(map: Tensor, [rows, columns]: readonly [number, number], extra = 1): Tensor {
  const [b, heads] = map.shape;
  return map.slice(2, 0, 1).slice(3, extra).reshape([b, heads, rows, columns]);
}

export class ViT extends Module {
  cls_token: Parameter;
  pos_embed: Parameter;
  dist_token?: Parameter;
  register_tokens?: Parameter;
  mask_token?: Parameter;
  patch_embed: PatchEmbed | ConvStem;
  blocks: Block[];
  norm?: LayerNorm;
  head?: Linear;
  fc_norm?: LayerNorm;
  readonly features: number;
  /** What `pooled` gives: the class token, or the mean of the patch tokens after the last norm. */
  readout: "class" | "patches" = "class";
  /** Patches on each side of the images that the position table is made for. */
  readonly grid: number;
  /** Tokens in front of the patches. */
  readonly extra: number;
  readonly #resize: ViTOptions["resize"];

  constructor(options: ViTOptions) {
    super();
    const { dim, depth, heads, patch, size = 224, mlpRatio = 4, dropPath = 0, pool = "class", distilled, classes } = options;
    const { convStem = false, init = truncNormal(0.02), qkvInit, registers = 0, maskToken, layerScale, swiglu, resize } = options;
    this.grid = wholeGrid(size, patch);
    this.features = dim;
    this.#resize = resize;
    const placed = distilled ? 2 : 1;
    this.extra = placed + registers;
    this.cls_token = parameter([1, 1, dim], truncNormal(0.02));
    this.pos_embed = parameter([1, placed + this.grid ** 2, dim], truncNormal(0.02));
    if (distilled) this.dist_token = parameter([1, 1, dim], truncNormal(0.02));
    if (registers) this.register_tokens = parameter([1, registers, dim], normal(1e-6));
    if (maskToken) this.mask_token = parameter([1, dim], zeros);
    this.patch_embed = convStem ? new ConvStem(patch, dim) : new PatchEmbed(patch, dim);
    const block = { mlpRatio, init, qkvInit, layerScale, swiglu };
    this.blocks = dropPaths(dropPath, depth).map((rate) => new Block(dim, heads, { ...block, dropPath: rate }));
    if (pool === "class") this.norm = new LayerNorm(dim);
    else this.fc_norm = new LayerNorm(dim);
    if (classes) this.head = new Linear(dim, classes, { init });
  }

  /**
   * The position table for images like x: as it is at the size that it was made for, otherwise bicubic. DINO passes scale
   * factors with 0.1 patches added, which moves the sampling points; results depend on it. Registers have no positions.
   * x [b, h, w, 3] -> [1, 1 (2 if distilled) + rows columns, dim]
   */
  positions(x: Tensor): Tensor {
    const [rows, columns] = this.patch_embed.grid(x);
    if (rows * columns === this.grid ** 2 && x.shape[1] === x.shape[2]) return this.pos_embed;
    const extra = this.#placed;
    if (this.#resize === "antialiased") return resizePositions(this.pos_embed, [rows, columns], { extra, axis: antialiased });
    const scales = [(rows + 0.1) / this.grid, (columns + 0.1) / this.grid] as const;
    return resizePositions(this.pos_embed, [rows, columns], { extra, scales });
  }

  /** Tokens in front of the patches that have positions and make the features. */
  get #placed(): number {
    return this.dist_token ? 2 : 1;
  }

  /**
   * Patch embeddings behind the class token, positions added, registers between. Where `mask` [b, rows, columns] is 1, the mask token
   * stands for the patch. x [b, h, w, 3] -> [b, extra + rows columns, dim]
   */
  tokens(x: Tensor, mask?: Tensor): Tensor {
    const patches = this.patch_embed.forward(x);
    const shown = mask ? withMaskToken(this.mask_token, patches, mask) : patches;
    const behind = this.dist_token ? withClassToken(this.dist_token, shown) : shown;
    const tokens = withClassToken(this.cls_token, behind).add(this.positions(x));
    const { register_tokens: registers } = this;
    if (!registers) return tokens;
    const [, n, dim] = registers.shape;
    return concat([tokens.slice(1, 0, this.#placed), registers.expand([x.shape[0], n, dim]), tokens.slice(1, this.#placed)], 1);
  }

  /** Tokens after the last block and before the last norm; `mask` as `tokens` takes it. */
  encode(x: Tensor, mask?: Tensor): Tensor {
    return this.run(this.tokens(x, mask));
  }

  /** All blocks over any tokens, such as the visible ones of MAE. [b, n, dim] -> [b, n, dim] */
  run(tokens: Tensor): Tensor {
    return this.blocks.reduce((y, block) => block.forward(y), tokens);
  }

  #finalNorm(tokens: Tensor): Tensor {
    return this.norm ? this.norm.forward(tokens) : tokens;
  }

  /** [b, h, w, 3] -> [b, features], or logits with `head` */
  forward(x: Tensor): Tensor {
    const features = this.pooled(x);
    return this.head ? this.head.forward(features) : features;
  }

  /** [b, h, w, 3] -> [b, features] */
  pooled(x: Tensor): Tensor {
    if (this.readout === "patches") return this.map(x).mean([1, 2]);
    const tokens = this.encode(x);
    if (this.fc_norm) return this.fc_norm.forward(tokens.slice(1, this.extra).mean(1));
    const normed = this.#finalNorm(tokens.slice(1, 0, this.#placed));
    return this.#placed === 1 ? normed.reshape([x.shape[0], this.features]) : normed.mean(1);
  }

  /** Patch tokens after the last norm by place. [b, h, w, 3] -> [b, rows, columns, dim] */
  map(x: Tensor): Tensor {
    const [rows, columns] = this.patch_embed.grid(x);
    return this.#finalNorm(this.encode(x)).slice(1, this.extra).reshape([x.shape[0], rows, columns, this.features]);
  }

  /** The map alone: the resolution never changes. */
  stages(x: Tensor): Tensor[] {
    return [this.map(x)];
  }

  /** Outputs of the last n blocks, each normed, the earliest first: n of [b, extra + rows columns, dim] */
  intermediateLayers(x: Tensor, n: number): Tensor[] {
    return outputs(this.blocks, this.tokens(x))
      .slice(-n)
      .map((tokens) => this.#finalNorm(tokens));
  }

  /** Attention among all tokens in the last block: [b, heads, extra + rows columns, extra + rows columns] */
  lastAttention(x: Tensor): Tensor {
    const before = this.blocks.slice(0, -1).reduce((y, block) => block.forward(y), this.tokens(x));
    return this.blocks[this.blocks.length - 1].attention(before);
  }

  /** Where the class token looks in the last block: [b, heads, rows, columns] */
  attention(x: Tensor): Tensor {
    return classAttention(this.lastAttention(x), this.patch_embed.grid(x), this.extra);
  }
}

/**
 * MoCo v3's: positions are sines and cosines and stay so, and matrices begin as Xavier's, those of queries, keys and values each for
 * itself. Chen et al. 2021, arXiv 2104.02057; facebookresearch/moco-v3, vits.py. `patch_embed.freeze()` is its `stop_grad_conv1`.
 */
export class MocoViT extends ViT {
  constructor(options: ViTOptions) {
    super({ init: xavierUniform(), qkvInit: xavierUniform(options.dim), ...options });
    initialize(this.cls_token, normal(1e-6));
    this.pos_embed.data.set(sincosTable(options.dim, this.grid, { first: "row" }).data);
    this.pos_embed.trainable = false;
    const { proj } = this.patch_embed;
    if (!(proj instanceof Conv2d)) return;
    initialize(proj.weight, xavierUniform(options.dim));
    if (proj.bias) initialize(proj.bias, zeros);
  }
}

/** Side of the images that a table of positions was made for; its first `extra` rows are those of no patch. */
export function sizeOfPositions(table: Shape | undefined, { patch, distilled }: ViTOptions): number | undefined {
  const grid = table?.length === 3 ? Math.sqrt(table[1] - (distilled ? 2 : 1)) : Number.NaN;
  return Number.isInteger(grid) && grid > 0 ? patch * grid : undefined;
}

const variantOf =
  (Kind: new (options: ViTOptions) => ViT, about: string) =>
  (options: ViTOptions): Variant => ({
    features: options.dim,
    about: `${about}, ${options.depth} blocks of ${options.dim} with ${options.heads} heads, ${options.convStem ? "stem of convolutions" : `patch ${options.patch}`}${options.distilled ? ", distillation token" : ""}`,
    build: (asked) => new Kind({ ...options, ...asked }),
    sizeOf: (shapeOf) => sizeOfPositions(shapeOf("pos_embed"), options),
  });

const variants: Readonly<Record<string, ViTOptions>> = { ...vits, ...distilledVits };

/** "vit-base-16-mean": features are the mean of the patch tokens, normed (MAE's fine-tuned networks). */
function parse(name: string): Variant | undefined {
  const base = name.endsWith("-mean") ? name.slice(0, -"-mean".length) : "";
  if (!Object.hasOwn(vits, base)) return undefined;
  return variantOf(ViT, "ViT with mean pooling")({ ...variants[base], pool: "mean" });
}

const listed = (options: Readonly<Record<string, ViTOptions>>, of: (options: ViTOptions) => Variant): Record<string, Variant> =>
  Object.fromEntries(Object.entries(options).map(([name, one]) => [name, of(one)]));

/** Each ViT also takes a pooling: "vit-base-16-mean". */
export const vitFamily: Family = {
  variants: { ...listed(variants, variantOf(ViT, "ViT")), ...listed(mocoVits, variantOf(MocoViT, "MoCo v3's ViT")) },
  parse,
};
