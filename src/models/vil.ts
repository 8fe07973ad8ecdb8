// ViL, vision longformers: stages of transformer blocks in which places look at their surroundings and a few global tokens see all.
// Zhang et al. 2021, arXiv 2103.15358, as EsViT trains it; layers, names and initial weights as microsoft/esvit
// models/vision_longformer.py.
import { Conv2d } from "../nn/conv.ts";
import { DropPath } from "../nn/drop.ts";
import { parameter, truncNormal } from "../nn/init.ts";
import { Linear } from "../nn/linear.ts";
import { Mlp } from "../nn/mlp.ts";
import { Module } from "../nn/module.ts";
import { LayerNorm } from "../nn/norm.ts";
import { concat } from "../tape/ops/move.ts";
import type { Parameter, Tensor } from "../tape/tensor.ts";
import type { Family, Variant } from "./backbone.ts";
import { dropPaths } from "./blocks.ts";
import { resizePositions } from "./positions.ts";
import type { ChunkMode, Size, WindowEdge } from "./sliding-chunks.ts";
import { type AttentionOptions, FullAttention, SparseAttention } from "./vil-attention.ts";

/** By the number of blocks in each stage; sizes from microsoft/esvit experiments/imagenet/vil and its README. */
export const vils = {
  "vil-1191": "l1,h1,d48,n1,s1,g1,p4,f7_l2,h3,d96,n1,s1,g1,p2,f7_l3,h3,d192,n9,s0,g1,p2,f7_l4,h6,d384,n1,s0,g0,p2,f7",
  "vil-1281": "l1,h3,d96,n1,s1,g1,p4,f7_l2,h3,d192,n2,s1,g1,p2,f7_l3,h6,d384,n8,s0,g1,p2,f7_l4,h12,d768,n1,s0,g0,p2,f7",
  "vil-2262": "l1,h3,d96,n2,s1,g1,p4,f7,a0_l2,h6,d192,n2,s1,g1,p2,f7,a0_l3,h12,d384,n6,s0,g1,p2,f7,a0_l4,h24,d768,n2,s0,g0,p2,f7,a0",
};

export interface ViLOptions {
  /** Stages as the official strings write them, see `parseArchitecture`. */
  arch: string;
  /** Side of the images that the tables of full stages are made for. */
  size?: number;
  /** Which neighbouring chunks sparse attention looks at. */
  mode?: ChunkMode;
  /** What sparse attention sees at the edges of windows. */
  edge?: WindowEdge;
  /** Global tokens go through the layers of the local ones (default), or through their own. */
  shareWeights?: boolean;
  /** Norms the patches of every stage (default). */
  normEmbed?: boolean;
  /** Features: the mean of the tokens even where there is a global one. */
  avgPool?: boolean;
  /** Stochastic depth of the last block; the first has none and the others lie on a line. */
  dropPath?: number;
  /** Adds `head`, and `forward` gives its logits. */
  classes?: number;
}

/** One stage of an architecture string. */
export interface ViLStage extends Pick<AttentionOptions, "dim" | "heads" | "globals" | "window" | "absolute"> {
  /** Pairs of attention and MLP. */
  blocks: number;
  /** Attention in sliding chunks instead of among all tokens. */
  sparse: boolean;
  patch: number;
}

const defaults = { l: 1, h: 3, d: 192, n: 1, s: 1, g: 1, p: 2, f: 7, a: 1, r: 0 };

/**
 * Reads "l1,h3,d96,n2,s1,g1,p4,f7,a0_l2,...": stages joined by underscores, each a letter and a number a field: l its place,
 * h heads, d channels, n blocks, s sparse (1) or full (0) attention, g global tokens, p patch, f chunk, a absolute positions.
 * After a stage with full attention all are full.
 */
export function parseArchitecture(arch: string): ViLStage[] {
  const refuse = (what: string): never => {
    throw new RangeError(`Cannot make a ViL of "${arch}": expected ${what}`);
  };
  let full = false;
  return arch.split("_").map((text, i) => {
    const fields: Record<string, number> = { ...defaults };
    for (const field of text.split(",")) {
      if (!/^[lhdnsgpfar]\d+$/.test(field)) refuse(`fields such as h3 and d96 from the letters lhdnsgpfar, got "${field}"`);
      fields[field[0]] = Number(field.slice(1));
    }
    const { l, h, d, n, s, g, p, f, a, r } = fields;
    if (l !== i + 1) refuse(`l${i + 1} in the ${i + 1}. stage, got l${l}`);
    if (r) refuse("r0: pooled tokens need a pooling method, and released models have none");
    if (!h || d % h || !n || !p || !f)
      refuse(`channels that the heads divide, and a block, a patch and a chunk of 1 or more, got "${text}"`);
    full ||= s === 0;
    return { heads: h, dim: d, blocks: n, sparse: !full, globals: g, patch: p, window: f, absolute: a !== 0 };
  });
}

const init = truncNormal(0.02);

type StageOptions = ViLStage & AttentionOptions;

/** Patches of a map, normed, behind the stage's global tokens. */
class PatchEmbed extends Module {
  cls_token?: Parameter;
  cls_pos_embed?: Parameter;
  x_pos_embed?: Parameter;
  y_pos_embed?: Parameter;
  proj: Conv2d;
  norm_embed?: LayerNorm;
  readonly patch: number;

  constructor(inputs: number, { dim, globals, patch, absolute, side }: StageOptions, normEmbed: boolean) {
    super();
    if (globals) this.cls_token = parameter([1, globals, dim], init);
    if (absolute) {
      this.cls_pos_embed = parameter([1, globals, dim], init, { trainable: globals > 0 }); // may be empty, yet is part of the state
      this.x_pos_embed = parameter([1, side, Math.floor(dim / 2)], init);
      this.y_pos_embed = parameter([1, side, Math.floor(dim / 2)], init);
    }
    this.proj = new Conv2d(inputs, dim, patch, { stride: patch });
    if (normEmbed) this.norm_embed = new LayerNorm(dim);
    this.patch = patch;
  }

  /** [b, h, w, inputs] -> [b, globals + rows columns, dim], and rows and columns; a remainder is cut off. */
  forward(x: Tensor): { tokens: Tensor; size: Size } {
    const [b, h, w] = x.shape;
    if (h < this.patch || w < this.patch)
      throw new RangeError(
        `Cannot cut a map of ${h} x ${w} into patches of ${this.patch}: expected at least ${this.patch} x ${this.patch}`,
      );
    const map = this.proj.forward(x);
    const [, rows, columns, dim] = map.shape;
    const patches = map.reshape([b, rows * columns, dim]);
    const normed = this.norm_embed ? this.norm_embed.forward(patches) : patches;
    const tokens = this.cls_token ? concat([this.cls_token.expand([b, this.cls_token.shape[1], dim]), normed], 1) : normed;
    const positions = this.#positions(tokens.shape[1], [rows, columns]);
    return { tokens: positions ? tokens.add(positions) : tokens, size: [rows, columns] };
  }

  /**
   * Positions of all tokens. The source compares the number of tokens, global ones included, with the number of places: where
   * there is a global token, places are a little resampled even at the size that they are made for, and results depend on it. So
   * do gradients: PyTorch's of a resampling to the same size is that of a copy.
   */
  #positions(tokens: number, [rows, columns]: Size): Tensor | undefined {
    const { cls_pos_embed: first, x_pos_embed: x, y_pos_embed: y } = this;
    if (!first || !x || !y) return undefined;
    const [, side, half] = x.shape;
    const table = concat(
      [x.reshape([1, side, 1, half]), y.reshape([1, 1, side, half])].map((t) => t.expand([1, side, side, half])),
      3,
    );
    const flat = table.reshape([1, side * side, 2 * half]);
    const scale = Math.sqrt(tokens) / side;
    if (rows !== columns)
      throw new RangeError(`Cannot place ${rows} x ${columns} patches: expected a square image, which ViL's positions are made for`);
    const resized = () => resizePositions(flat, [rows, columns], { extra: 0, scales: [scale, scale] });
    const places = rows !== side ? resized() : scale === 1 ? flat : flat.add(resized().sub(flat).stopGradient());
    return first.size ? concat([first, places], 1) : places;
  }
}

/** x + attention(norm(x)) */
class AttentionBlock extends Module {
  norm: LayerNorm;
  attn: FullAttention | SparseAttention;
  readonly drop: DropPath;

  constructor(options: StageOptions, dropPath: number) {
    super();
    this.norm = new LayerNorm(options.dim);
    this.attn = options.sparse ? new SparseAttention(options) : new FullAttention(options);
    this.drop = new DropPath(dropPath);
  }

  forward(x: Tensor, size: Size): Tensor {
    return x.add(this.drop.forward(this.attn.forward(this.norm.forward(x), size)));
  }
}

/** x + mlp(norm(x)) */
class MlpBlock extends Module {
  norm: LayerNorm;
  mlp: Mlp;
  readonly drop: DropPath;

  constructor(dim: number, dropPath: number) {
    super();
    this.norm = new LayerNorm(dim);
    this.mlp = new Mlp(dim, 4 * dim, { init });
    this.drop = new DropPath(dropPath);
  }

  forward(x: Tensor): Tensor {
    return x.add(this.drop.forward(this.mlp.forward(this.norm.forward(x))));
  }
}

/** Patches at a lower resolution, then blocks. */
class Stage {
  readonly patches: PatchEmbed;
  readonly blocks: readonly (readonly [AttentionBlock, MlpBlock])[];
  readonly globals: number;

  constructor(inputs: number, options: StageOptions, normEmbed: boolean, rates: readonly number[]) {
    this.patches = new PatchEmbed(inputs, options, normEmbed);
    this.blocks = rates.map((rate) => [new AttentionBlock(options, rate), new MlpBlock(options.dim, rate)]);
    this.globals = options.globals;
  }

  /** In the order in which official names count them. */
  get modules(): Module[] {
    return [this.patches, ...this.blocks.flat()];
  }

  /** A map -> the tokens that enter the first block and those that leave each, and the rows and columns of their places. */
  run(x: Tensor): { size: Size; tokens: Tensor[] } {
    const { tokens: first, size } = this.patches.forward(x);
    const tokens = [first];
    for (const [attend, feed] of this.blocks) tokens.push(feed.forward(attend.forward(tokens[tokens.length - 1], size)));
    return { size, tokens };
  }
}

/** What a stage gives: tokens before the first and after each block, global ones first, and the rows and columns of the others. */
interface StageOutputs {
  stage: Stage;
  size: Size;
  tokens: Tensor[];
}

/** The places of a stage's tokens as a map. [b, globals + rows columns, c] -> [b, rows, columns, c] */
const placesOf = (tokens: Tensor, globals: number, [rows, columns]: Size): Tensor =>
  tokens.slice(1, globals).reshape([tokens.shape[0], rows, columns, tokens.shape[2]]);

const last = <T>(list: readonly T[]): T => list[list.length - 1];

export class ViL extends Module {
  readonly layers: readonly Stage[];
  norm: LayerNorm;
  head?: Linear;
  readonly features: number;
  readonly avgPool: boolean;

  constructor({ arch, size = 224, classes, avgPool = false, normEmbed = true, dropPath = 0, ...options }: ViLOptions) {
    super();
    const { mode = "all", edge = "chunk", shareWeights = true } = options;
    if (edge === "exact" && mode !== "all")
      throw new RangeError(`Cannot slide windows exactly over some of the neighbouring chunks: expected mode "all", got "${mode}"`);
    const stages = parseArchitecture(arch);
    const rates = dropPaths(
      dropPath,
      stages.reduce((sum, { blocks }) => sum + blocks, 0),
    );
    const least = stages.reduce((product, { patch }) => product * patch, 1);
    if (size < least) throw new RangeError(`Cannot make a ViL for images of ${size} x ${size}: expected at least ${least} x ${least}`);
    let side = size;
    this.layers = stages.map((stage, i) => {
      side = Math.floor(side / stage.patch);
      const inputs = i ? stages[i - 1].dim : 3;
      return new Stage(inputs, { ...stage, side, mode, edge, shareWeights }, normEmbed, rates.splice(0, stage.blocks));
    });
    this.features = last(stages).dim;
    this.norm = new LayerNorm(this.features);
    if (classes) this.head = new Linear(this.features, classes, { init });
    this.avgPool = avgPool;
  }

  protected override fields(): Iterable<[string, unknown]> {
    const layers = this.layers.map((stage, i): [string, unknown] => [`layer${i + 1}`, stage.modules]);
    return [...layers, ["norm", this.norm], ["head", this.head]];
  }

  /** [b, h, w, 3] -> what every stage gives; the tokens of the last are not normed yet */
  outputs(x: Tensor): StageOutputs[] {
    let map = x;
    return this.layers.map((stage) => {
      const { size, tokens } = stage.run(map);
      map = placesOf(last(tokens), stage.globals, size);
      return { stage, size, tokens };
    });
  }

  /** Tokens of the last stage after the last norm, global ones first. [b, h, w, 3] -> [b, tokens, features] */
  tokens(x: Tensor): Tensor {
    return this.norm.forward(last(last(this.outputs(x)).tokens));
  }

  /** What EsViT matches regions by: all normed tokens, without the first where that one stands for the image. -> [b, regions, features] */
  regions(x: Tensor): Tensor {
    return this.tokens(x).slice(1, last(this.layers).globals && !this.avgPool ? 1 : 0);
  }

  /** One vector for a stage's tokens: the first global one, or the mean where there is none. [b, tokens, c] -> [b, c] */
  #pool(tokens: Tensor, globals: number): Tensor {
    const [b, , c] = tokens.shape;
    return globals && !this.avgPool ? tokens.slice(1, 0, 1).reshape([b, c]) : tokens.mean(1);
  }

  /** [b, h, w, 3] -> [b, features] */
  pooled(x: Tensor): Tensor {
    return this.#pool(this.tokens(x), last(this.layers).globals);
  }

  /** [b, h, w, 3] -> [b, features], or logits with `head` */
  forward(x: Tensor): Tensor {
    const features = this.pooled(x);
    return this.head ? this.head.forward(features) : features;
  }

  /** Features by place after the last norm. [b, h, w, 3] -> [b, h', w', features] */
  map(x: Tensor): Tensor {
    return this.norm.forward(last(this.stages(x)));
  }

  /** Maps of the stages, without global tokens and before the last norm: [b, h / 4, w / 4, c] and so on */
  stages(x: Tensor): Tensor[] {
    return this.outputs(x).map(({ stage, size, tokens }) => placesOf(last(tokens), stage.globals, size));
  }

  /** Tokens after each of the last n blocks with their number of global ones, counted over all stages; the last stage's are normed. */
  #lastTokens(x: Tensor, n: number): { tokens: Tensor; globals: number }[] {
    const blocks = this.outputs(x).flatMap(({ stage: { globals }, tokens }, i) =>
      tokens.slice(1).map((t) => ({ tokens: i === this.layers.length - 1 ? this.norm.forward(t) : t, globals })),
    );
    return blocks.slice(-n);
  }

  /** Tokens after each of the last n blocks, global ones first; those of the last stage after the last norm. -> n of [b, tokens, c] */
  intermediateLayers(x: Tensor, n: number): Tensor[] {
    return this.#lastTokens(x, n).map(({ tokens }) => tokens);
  }

  /** One vector for each of them, as EsViT's linear probe joins them (forward_return_n_last_blocks). -> n of [b, c] */
  lastBlocks(x: Tensor, n: number): Tensor[] {
    return this.#lastTokens(x, n).map(({ tokens, globals }) => this.#pool(tokens, globals));
  }

  /** Attention in the last block: [b, heads, tokens, tokens]; in a sparse stage by chunk */
  lastAttention(x: Tensor): Tensor {
    const { stage, size, tokens } = last(this.outputs(x));
    const [{ attn, norm }] = last(stage.blocks);
    return attn.map(norm.forward(tokens[tokens.length - 2]), size);
  }

  /** Where the first global token looks in the last block that has one: [b, heads, h', w'] */
  attention(x: Tensor): Tensor {
    const found = this.outputs(x).findLast(({ stage }) => stage.globals);
    if (!found) throw new TypeError("Cannot show where the class token looks: this ViL has none (g0 in every stage)");
    const { stage, size, tokens } = found;
    const [{ attn, norm }] = last(stage.blocks);
    const map = attn
      .globalMap(norm.forward(tokens[tokens.length - 2]))
      .slice(2, 0, 1)
      .slice(3, stage.globals);
    return map.reshape([map.shape[0], map.shape[1], ...size]);
  }
}

const variant = (arch: string): Variant => {
  const stages = parseArchitecture(arch);
  const list = (field: "blocks" | "dim") => stages.map((stage) => stage[field]).join(", ");
  return {
    features: last(stages).dim,
    about: `EsViT's ViL, ${list("blocks")} blocks of ${list("dim")}, chunks of ${stages[0].window}`,
    build: ({ size, dropPath }) => new ViL({ arch, size, dropPath }),
    sizeOf(shapeOf) {
      const places = shapeOf("layer1.0.x_pos_embed");
      if (places) return stages[0].patch * places[1];
      const full = stages.findIndex(({ sparse, absolute }) => !sparse && !absolute);
      const rows = shapeOf(`layer${full + 1}.1.attn.local_relative_position_bias_table`)?.[0];
      const shrink = stages.slice(0, full + 1).reduce((product, { patch }) => product * patch, 1);
      return rows === undefined ? undefined : (shrink * (Math.sqrt(rows) + 1)) / 2;
    },
  };
};

export const vilFamily: Family = { variants: Object.fromEntries(Object.entries(vils).map(([name, arch]) => [name, variant(arch)])) };
