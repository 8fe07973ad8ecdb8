// BEiT's vision transformer: relative position biases and layer scale. Bao et al. 2021, arXiv 2106.08254; layers, names and initial
// weights as microsoft/SimMIM models/vision_transformer.py and lxtGH/CAE models/modeling_finetune.py.
import { biasedAttention, biasedAttentionMap } from "../nn/biased-attention.ts";
import { DropPath } from "../nn/drop.ts";
import { constant, type Initializer, initialize, parameter, truncNormal, zeros } from "../nn/init.ts";
import { Linear } from "../nn/linear.ts";
import { Mlp } from "../nn/mlp.ts";
import { Buffer, Module } from "../nn/module.ts";
import { LayerNorm } from "../nn/norm.ts";
import { array } from "../tape/op.ts";
import { attention, attentionMap } from "../tape/ops/attention.ts";
import { concat } from "../tape/ops/move.ts";
import type { Shape } from "../tape/shape.ts";
import { Parameter, type Tensor } from "../tape/tensor.ts";
import type { Family, Variant } from "./backbone.ts";
import { dropPaths, outputs } from "./blocks.ts";
import { withMaskToken } from "./mask-token.ts";
import { relativeIndex, resizePositions, sincosTable } from "./positions.ts";
import { pairBiases } from "./relative-position.ts";
import { classAttention, PatchEmbed, wholeGrid, withClassToken } from "./vit.ts";

const tiny = { dim: 192, depth: 12, heads: 3 };
const small = { dim: 384, depth: 12, heads: 6 };
const base = { dim: 768, depth: 12, heads: 12 };
const large = { dim: 1024, depth: 24, heads: 16 };
const simmim = { patch: 16, relative: "shared", layerScale: 0.1 } as const;
const cae = { patch: 16, absolute: "sincos", layerScale: 0.1 } as const;

export const beits = {
  "beit-tiny-16": { ...tiny, ...simmim },
  "beit-small-16": { ...small, ...simmim },
  "beit-base-16": { ...base, ...simmim },
  "beit-large-16": { ...large, ...simmim, layerScale: 1e-5 },
  "cae-small-16": { ...small, ...cae, heads: 12 },
  "cae-base-16": { ...base, ...cae },
  "cae-large-16": { ...large, ...cae, layerScale: 1e-5 },
} satisfies Record<string, BeitOptions>;

export interface BeitOptions {
  dim: number;
  depth: number;
  heads: number;
  patch: number;
  /** Side of the images that tables are made for. With relative positions no other size can be encoded. */
  size?: number;
  mlpRatio?: number;
  /** Stochastic depth of the last block; the first has none and the others lie on a line. */
  dropPath?: number;
  /** A table of relative position biases for all blocks, as in pre-training, or one for each. */
  relative?: "shared" | "per-block";
  /** Absolute positions added to the patches: learned, or fixed sines and cosines (CAE). */
  absolute?: "learned" | "sincos";
  /** Initial value of `gamma_1` and `gamma_2`, which multiply the branches; without it there are none. */
  layerScale?: number;
  /** Features: the class token after the last norm, or the mean of the patch tokens, normed by `fc_norm` instead. */
  pool?: "class" | "mean";
  /** Adds `mask_token`, which stands for hidden patches (SimMIM). */
  maskToken?: boolean;
  /** Adds `head`, and `forward` gives its logits. */
  classes?: number;
  /** Initial weights (biases begin at zero); the default cuts the normal distribution at one deviation, as in pre-training. */
  init?: Initializer;
}

type Sizes = Required<Pick<BeitOptions, "dim" | "heads" | "mlpRatio">> & Pick<BeitOptions, "layerScale"> & { init: Initializer };

const tableFor = (grid: number, heads: number): Parameter => parameter([(2 * grid - 1) ** 2 + 3, heads], zeros);

function indexFor(grid: number): Buffer {
  const { data, shape } = relativeIndex(grid, grid);
  return new Buffer(shape, data);
}

/** Absolute positions: learned, or CAE's fixed ones, row first and zeros for the class token. */
function positionTable(dim: number, grid: number, kind: "learned" | "sincos", init: Initializer): Parameter {
  const shape = [1, 1 + grid ** 2, dim];
  if (kind === "learned") return parameter(shape, init);
  return new Parameter(shape, sincosTable(dim, grid, { first: "row" }).data, { trainable: false });
}

function scale({ data }: Parameter, factor: number): void {
  for (let i = 0; i < data.length; i++) data[i] *= factor;
}

/** One table of relative position biases for all blocks: patches on a square grid, and pairs with the class token. */
class RelativePositionBias extends Module {
  relative_position_bias_table: Parameter;
  relative_position_index: Buffer;

  constructor(grid: number, heads: number) {
    super();
    this.relative_position_bias_table = tableFor(grid, heads);
    this.relative_position_index = indexFor(grid);
  }

  /** -> [1, heads, n, n] for the class token and all patches */
  forward(): Tensor {
    return pairBiases(this.relative_position_bias_table, this.relative_position_index);
  }
}

/** Self-attention whose keys have no bias of their own, and whose scores may have one for every pair of tokens. */
class BeitAttention extends Module {
  q_bias: Parameter;
  v_bias: Parameter;
  relative_position_bias_table?: Parameter;
  relative_position_index?: Buffer;
  qkv: Linear;
  proj: Linear;
  readonly heads: number;

  /** `grid`: patches on a side, if the layer has a table of its own. */
  constructor({ dim, heads, init }: Sizes, grid?: number) {
    super();
    if (dim % heads) throw new RangeError(`Cannot split ${dim} features into ${heads} heads: expected a multiple of ${heads}`);
    this.q_bias = parameter([dim], zeros);
    this.v_bias = parameter([dim], zeros);
    if (grid) {
      this.relative_position_bias_table = tableFor(grid, heads);
      this.relative_position_index = indexFor(grid);
    }
    this.qkv = new Linear(dim, 3 * dim, { bias: false, init });
    this.proj = new Linear(dim, dim, { init });
    this.heads = heads;
  }

  /** x [b, n, dim], shared biases [1, heads, n, n] -> [b, n, dim] */
  forward(x: Tensor, shared?: Tensor): Tensor {
    const [q, k, v] = this.#project(x);
    const bias = this.#bias(shared);
    const options = this.#options(q);
    return this.proj.forward(bias ? biasedAttention(q, k, v, { ...options, bias }) : attention(q, k, v, options));
  }

  /** x [b, n, dim], shared biases [1, heads, n, n] -> [b, heads, n, n] */
  map(x: Tensor, shared?: Tensor): Tensor {
    const [q, k] = this.#project(x);
    const bias = this.#bias(shared);
    const options = this.#options(q);
    return bias ? biasedAttentionMap(q, k, { ...options, bias }) : attentionMap(q, k, options);
  }

  #project(x: Tensor): Tensor[] {
    const dim = this.q_bias.size;
    const none = array(new Float32Array(dim), [dim]);
    return this.qkv
      .forward(x)
      .add(concat([this.q_bias, none, this.v_bias], 0))
      .split(2, 3);
  }

  #bias(shared?: Tensor): Tensor | undefined {
    const { relative_position_bias_table: table, relative_position_index: index } = this;
    const own = table && index && pairBiases(table, index);
    return own && shared ? own.add(shared) : (own ?? shared);
  }

  #options({ shape: [, , dim] }: Tensor): { heads: number; scale: number } {
    return { heads: this.heads, scale: (dim / this.heads) ** -0.5 };
  }
}

/** x + gamma_1 attention(norm1(x)), then x + gamma_2 mlp(norm2(x)). */
class BeitBlock extends Module {
  gamma_1?: Parameter;
  gamma_2?: Parameter;
  norm1: LayerNorm;
  attn: BeitAttention;
  norm2: LayerNorm;
  mlp: Mlp;
  readonly drop: DropPath;

  constructor(sizes: Sizes, dropPath: number, grid?: number) {
    super();
    const { dim, mlpRatio, layerScale, init } = sizes;
    if (layerScale) {
      this.gamma_1 = parameter([dim], constant(layerScale));
      this.gamma_2 = parameter([dim], constant(layerScale));
    }
    this.norm1 = new LayerNorm(dim);
    this.attn = new BeitAttention(sizes, grid);
    this.norm2 = new LayerNorm(dim);
    this.mlp = new Mlp(dim, Math.floor(dim * mlpRatio), { init });
    this.drop = new DropPath(dropPath);
  }

  /** x [b, n, dim], shared biases [1, heads, n, n] -> [b, n, dim] */
  forward(x: Tensor, shared?: Tensor): Tensor {
    const branch = (y: Tensor, gamma?: Parameter) => this.drop.forward(gamma ? y.mul(gamma) : y);
    const y = x.add(branch(this.attn.forward(this.norm1.forward(x), shared), this.gamma_1));
    return y.add(branch(this.mlp.forward(this.norm2.forward(y)), this.gamma_2));
  }

  /** x [b, n, dim], shared biases [1, heads, n, n] -> [b, heads, n, n] */
  attention(x: Tensor, shared?: Tensor): Tensor {
    return this.attn.map(this.norm1.forward(x), shared);
  }
}

export class Beit extends Module {
  cls_token: Parameter;
  pos_embed?: Parameter;
  mask_token?: Parameter;
  patch_embed: PatchEmbed;
  rel_pos_bias?: RelativePositionBias;
  blocks: BeitBlock[];
  norm?: LayerNorm;
  fc_norm?: LayerNorm;
  head?: Linear;
  readonly features: number;
  /** Patches on each side of the images that the tables are made for. */
  readonly grid: number;

  constructor(options: BeitOptions) {
    super();
    const { dim, depth, heads, patch, size = 224, mlpRatio = 4, dropPath = 0, relative, absolute, layerScale, pool = "class" } = options;
    const { maskToken, classes, init = truncNormal(0.02, 0.02) } = options;
    this.grid = wholeGrid(size, patch);
    this.features = dim;
    this.cls_token = parameter([1, 1, dim], init);
    if (absolute) this.pos_embed = positionTable(dim, this.grid, absolute, init);
    if (maskToken) this.mask_token = parameter([1, 1, dim], init);
    this.patch_embed = new PatchEmbed(patch, dim);
    initialize(this.patch_embed.proj.weight, init);
    if (this.patch_embed.proj.bias) initialize(this.patch_embed.proj.bias, zeros);
    if (relative === "shared") this.rel_pos_bias = new RelativePositionBias(this.grid, heads);
    const own = relative === "per-block" ? this.grid : undefined;
    this.blocks = dropPaths(dropPath, depth).map((rate) => new BeitBlock({ dim, heads, mlpRatio, layerScale, init }, rate, own));
    for (const [i, { attn, mlp }] of this.blocks.entries()) {
      for (const { weight } of [attn.proj, mlp.fc2]) scale(weight, 1 / Math.sqrt(2 * (i + 1)));
    }
    if (pool === "class") this.norm = new LayerNorm(dim);
    else this.fc_norm = new LayerNorm(dim);
    if (!classes) return;
    this.head = new Linear(dim, classes, { init });
    scale(this.head.weight, 0.001);
  }

  /**
   * Patches behind the class token, with positions. Where `mask` [b, rows, columns] is 1, the mask token stands for the patch.
   * x [b, h, w, 3] -> [b, 1 + rows columns, dim]
   */
  tokens(x: Tensor, mask?: Tensor): Tensor {
    const patches = this.patch_embed.forward(x);
    const shown = mask ? withMaskToken(this.mask_token, patches, mask) : patches;
    const tokens = withClassToken(this.cls_token, shown);
    return this.pos_embed ? tokens.add(this.#positions(this.pos_embed, x)) : tokens;
  }

  #positions(table: Parameter, x: Tensor): Tensor {
    const size = this.patch_embed.grid(x);
    return size.every((n) => n === this.grid) ? table : resizePositions(table, size);
  }

  /** The biases that all blocks share, and a check that tables fit the images. */
  #shared(x: Tensor): Tensor | undefined {
    const [rows, columns] = this.patch_embed.grid(x);
    const relative = this.rel_pos_bias ?? this.blocks[0].attn.relative_position_bias_table;
    if (relative && (rows !== this.grid || columns !== this.grid)) {
      const side = this.grid * this.patch_embed.patch;
      const [, h, w] = x.shape;
      throw new RangeError(
        `Cannot place the patches of ${h} x ${w} images with relative positions for ${side} x ${side}: expected ${side} x ${side}, or a backbone built for another size`,
      );
    }
    return this.rel_pos_bias?.forward();
  }

  /** Tokens in front of the first block and after each. */
  #trail(x: Tensor, mask?: Tensor): Tensor[] {
    const shared = this.#shared(x);
    const tokens = this.tokens(x, mask);
    return [
      tokens,
      ...outputs(
        this.blocks.map((block) => ({ forward: (y: Tensor) => block.forward(y, shared) })),
        tokens,
      ),
    ];
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
    const tokens = this.#trail(x).at(-1) as Tensor;
    if (this.fc_norm) return this.fc_norm.forward(tokens.slice(1, 1).mean(1));
    return this.#finalNorm(tokens.slice(1, 0, 1)).reshape([x.shape[0], this.features]);
  }

  /** Patch tokens after the last norm by place. x [b, h, w, 3], mask [b, rows, columns] -> [b, rows, columns, dim] */
  map(x: Tensor, mask?: Tensor): Tensor {
    const [rows, columns] = this.patch_embed.grid(x);
    const tokens = this.#trail(x, mask).at(-1) as Tensor;
    return this.#finalNorm(tokens.slice(1, 1)).reshape([x.shape[0], rows, columns, this.features]);
  }

  /** A plain transformer is one stage. */
  stages(x: Tensor): Tensor[] {
    return [this.map(x)];
  }

  /** All blocks over any tokens, such as the visible ones of CAE; without relative positions. [b, n, dim] -> [b, n, dim] */
  run(tokens: Tensor): Tensor {
    return this.blocks.reduce((y, block) => block.forward(y), tokens);
  }

  /** Outputs of the last n blocks, each normed, the earliest first: n of [b, 1 + rows columns, dim] */
  intermediateLayers(x: Tensor, n: number): Tensor[] {
    return this.#trail(x)
      .slice(1)
      .slice(-n)
      .map((tokens) => this.#finalNorm(tokens));
  }

  /** Attention among all tokens in the last block: [b, heads, 1 + rows columns, 1 + rows columns] */
  lastAttention(x: Tensor): Tensor {
    return this.blocks[this.blocks.length - 1].attention(this.#trail(x).at(-2) as Tensor, this.#shared(x));
  }

  /** Where the class token looks in the last block: [b, heads, rows, columns] */
  attention(x: Tensor): Tensor {
    return classAttention(this.lastAttention(x), this.patch_embed.grid(x));
  }
}

/** Side of the images that a checkpoint's tables were made for. */
function sizeOf(patch: number, shapeOf: (name: string) => Shape | undefined): number | undefined {
  const positions = shapeOf("pos_embed");
  const table = shapeOf("rel_pos_bias.relative_position_bias_table") ?? shapeOf("blocks.0.attn.relative_position_bias_table");
  const grid = positions ? Math.sqrt(positions[1] - 1) : table ? (Math.sqrt(table[0] - 3) + 1) / 2 : Number.NaN;
  return Number.isInteger(grid) ? patch * grid : undefined;
}

const placesOf = ({ relative, absolute }: BeitOptions) =>
  relative ? `${relative} relative positions (SimMIM)` : absolute ? "fixed sines and cosines as positions (CAE)" : "no positions";

const variant = (options: BeitOptions): Variant => ({
  features: options.dim,
  about: `BEiT's ViT, ${options.depth} blocks of ${options.dim} with ${options.heads} heads, patch ${options.patch}, ${placesOf(options)}`,
  build: (asked) => new Beit({ ...options, ...asked }),
  sizeOf: (shapeOf) => sizeOf(options.patch, shapeOf),
  oneSize: options.relative !== undefined,
});

const variants: Readonly<Record<string, BeitOptions>> = beits;

/** "beit-base-16-blocks-mean": a table of biases for each block, and features that are the mean of the patch tokens, normed. */
function parse(name: string): Variant | undefined {
  const [, base, blocks, mean] = /^(.*?)(-blocks)?(-mean)?$/.exec(name) as RegExpExecArray;
  if (!Object.hasOwn(variants, base)) return undefined;
  const options = variants[base];
  if (blocks && !options.relative) return undefined;
  return variant({ ...options, relative: blocks ? "per-block" : options.relative, pool: mean ? "mean" : "class" });
}

/** Each also takes its tables and its pooling as BEiT's fine-tuned networks have them: "beit-base-16-blocks-mean". */
export const beitFamily: Family = {
  variants: Object.fromEntries(Object.entries(variants).map(([name, options]) => [name, variant(options)])),
  parse,
};
