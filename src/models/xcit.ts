// XCiT, transformers that attend across channels instead of places. El-Nouby et al. 2021, arXiv 2106.09681; layers, names and
// initial weights as facebookresearch/xcit xcit.py.
import { Conv2d } from "../nn/conv.ts";
import { DropPath } from "../nn/drop.ts";
import { constant, ones, parameter, truncNormal } from "../nn/init.ts";
import { Linear } from "../nn/linear.ts";
import { Mlp } from "../nn/mlp.ts";
import { Module } from "../nn/module.ts";
import { BatchNorm, LayerNorm } from "../nn/norm.ts";
import { Sequential } from "../nn/sequential.ts";
import { array } from "../tape/op.ts";
import { attention, attentionMap } from "../tape/ops/attention.ts";
import { concat } from "../tape/ops/move.ts";
import type { Parameter, Tensor } from "../tape/tensor.ts";
import type { Family, Variant } from "./backbone.ts";
import { outputs } from "./blocks.ts";
import { fourierTable } from "./positions.ts";
import { withClassToken } from "./vit.ts";

const sizes = {
  "nano-12": { dim: 128, depth: 12, heads: 4, eta: 1, tokensNorm: false },
  "tiny-12": { dim: 192, depth: 12, heads: 4, eta: 1 },
  "tiny-24": { dim: 192, depth: 24, heads: 4, eta: 1e-5 },
  "small-12": { dim: 384, depth: 12, heads: 8, eta: 1 },
  "small-24": { dim: 384, depth: 24, heads: 8, eta: 1e-5 },
  "medium-24": { dim: 512, depth: 24, heads: 8, eta: 1e-5 },
  "large-24": { dim: 768, depth: 24, heads: 16, eta: 1e-5 },
};

/** Every published size with patches of 16 and of 8: "xcit-small-12-p16". */
export const xcits: Readonly<Record<string, XCiTOptions>> = Object.fromEntries(
  Object.entries(sizes).flatMap(([name, size]) => ([16, 8] as const).map((patch) => [`xcit-${name}-p${patch}`, { ...size, patch }])),
);

export interface XCiTOptions {
  dim: number;
  depth: number;
  heads: number;
  patch: number;
  /** What the scales of residual branches begin at. */
  eta: number;
  /** Class blocks norm all tokens before their MLP (default), or the class token only. */
  tokensNorm?: boolean;
  /** Stochastic depth, the same in every block; class blocks have none. */
  dropPath?: number;
  /** Adds `head`, and `forward` gives its logits. */
  classes?: number;
}

const init = truncNormal(0.02); // of linear layers; convolutions begin as PyTorch's do

/** Halves the image with each convolution until a pixel is a patch, doubling the width each time. */
class ConvPatchEmbed extends Module {
  proj: Sequential;

  constructor(patch: number, dim: number) {
    super();
    if (patch !== 8 && patch !== 16) throw new RangeError(`Cannot make an XCiT with patches of ${patch}: expected 8 or 16`);
    const halvings = Math.log2(patch);
    if (dim % 2 ** (halvings - 1)) throw new RangeError(`Cannot make an XCiT of width ${dim}: expected a multiple of ${patch / 2}`);
    const width = (i: number) => dim / 2 ** (halvings - 1 - i);
    const halve = (i: number) =>
      new Sequential(
        new Conv2d(i ? width(i - 1) : 3, width(i), 3, { stride: 2, padding: 1, bias: false }),
        new BatchNorm(width(i)), // SyncBatchNorm in the source
      );
    const gelu = (x: Tensor) => x.gelu();
    this.proj = new Sequential(...Array.from({ length: halvings }, (_, i) => (i ? [gelu, halve(i)] : [halve(i)])).flat());
  }

  /** [b, h, w, 3] -> [b, rows, columns, dim] */
  forward(x: Tensor): Tensor {
    return this.proj.forward(x);
  }
}

/** 32 Fourier features of the row and 32 of the column, projected. */
class FourierPositions extends Module {
  token_projection: Conv2d;

  constructor(dim: number) {
    super();
    this.token_projection = new Conv2d(64, dim, 1);
  }

  /** -> [1, rows, columns, dim] */
  forward(rows: number, columns: number): Tensor {
    return this.token_projection.forward(array(fourierTable(32, [rows, columns]).data, [1, rows, columns, 64]));
  }
}

/** Cross-covariance attention: softmax(temperature q^T k) over channels, where every channel of q and k has length 1 over the places. */
class CrossCovarianceAttention extends Module {
  temperature: Parameter;
  qkv: Linear;
  proj: Linear;
  readonly heads: number;

  constructor(dim: number, heads: number) {
    super();
    if (dim % heads) throw new RangeError(`Cannot split ${dim} features into ${heads} heads: expected a multiple of ${heads}`);
    this.temperature = parameter([heads, 1, 1], ones);
    this.qkv = new Linear(dim, 3 * dim, { init });
    this.proj = new Linear(dim, dim, { init });
    this.heads = heads;
  }

  /** [b, n, dim] -> [b, n, dim] */
  forward(x: Tensor): Tensor {
    const [b, n, dim] = x.shape;
    const channels = (t: Tensor) => t.reshape([b, n, this.heads, dim / this.heads]).permute([0, 2, 3, 1]); // [b, heads, d, n]
    const [q, k, v] = this.qkv.forward(x).split(2, 3).map(channels);
    const weights = q.normalize().matmul(k.normalize().t()).mul(this.temperature).softmax(); // [b, heads, d, d]
    return this.proj.forward(weights.matmul(v).permute([0, 3, 1, 2]).reshape([b, n, dim]));
  }
}

/** Lets neighbours talk, which attention across channels does not: two depthwise 3 x 3 convolutions. */
class LocalPatchInteraction extends Module {
  conv1: Conv2d;
  bn: BatchNorm;
  conv2: Conv2d;

  constructor(dim: number) {
    super();
    const depthwise = () => new Conv2d(dim, dim, 3, { padding: 1, groups: dim });
    this.conv1 = depthwise();
    this.bn = new BatchNorm(dim);
    this.conv2 = depthwise();
  }

  /** [b, rows, columns, dim] -> [b, rows, columns, dim] */
  forward(x: Tensor): Tensor {
    return this.conv2.forward(this.bn.forward(this.conv1.forward(x).gelu()));
  }
}

/** Attention across channels, then among neighbours, then an MLP, each behind a norm and before a learned scale. */
class XCABlock extends Module {
  gamma1: Parameter;
  gamma2: Parameter;
  gamma3: Parameter;
  norm1: LayerNorm;
  attn: CrossCovarianceAttention;
  norm2: LayerNorm;
  mlp: Mlp;
  norm3: LayerNorm;
  local_mp: LocalPatchInteraction;
  readonly drop: DropPath;

  constructor({ dim, heads, eta, dropPath = 0 }: XCiTOptions) {
    super();
    [this.gamma1, this.gamma2, this.gamma3] = [1, 2, 3].map(() => parameter([dim], constant(eta)));
    this.norm1 = new LayerNorm(dim);
    this.attn = new CrossCovarianceAttention(dim, heads);
    this.norm2 = new LayerNorm(dim);
    this.mlp = new Mlp(dim, 4 * dim, { init });
    this.norm3 = new LayerNorm(dim);
    this.local_mp = new LocalPatchInteraction(dim);
    this.drop = new DropPath(dropPath);
  }

  /** [b, rows, columns, dim] -> [b, rows, columns, dim] */
  forward(x: Tensor): Tensor {
    const [b, rows, columns, dim] = x.shape;
    const attend = (t: Tensor) => this.attn.forward(t.reshape([b, rows * columns, dim])).reshape(x.shape);
    const y = x.add(this.drop.forward(attend(this.norm1.forward(x)).mul(this.gamma1)));
    const z = y.add(this.drop.forward(this.local_mp.forward(this.norm3.forward(y)).mul(this.gamma3)));
    return z.add(this.drop.forward(this.mlp.forward(this.norm2.forward(z)).mul(this.gamma2)));
  }
}

/** Attention in which only the class token asks. Touvron et al. 2021 (CaiT), arXiv 2103.17239. */
class ClassAttention extends Module {
  qkv: Linear;
  proj: Linear;
  readonly heads: number;

  constructor(dim: number, heads: number) {
    super();
    this.qkv = new Linear(dim, 3 * dim, { init });
    this.proj = new Linear(dim, dim, { init });
    this.heads = heads;
  }

  #asked(x: Tensor): { q: Tensor; k: Tensor; v: Tensor; options: { heads: number; scale: number } } {
    const [q, k, v] = this.qkv.forward(x).split(2, 3);
    return { q: q.slice(1, 0, 1), k, v, options: { heads: this.heads, scale: (x.shape[2] / this.heads) ** -0.5 } };
  }

  /** [b, 1 + n, dim] -> the class token's [b, 1, dim] */
  forward(x: Tensor): Tensor {
    const { q, k, v, options } = this.#asked(x);
    return this.proj.forward(attention(q, k, v, options));
  }

  /** [b, 1 + n, dim] -> [b, heads, 1, 1 + n] */
  map(x: Tensor): Tensor {
    const { q, k, options } = this.#asked(x);
    return attentionMap(q, k, options);
  }
}

/** Gathers the patches in the class token. Patch tokens pass by, normed and doubled as in the source. */
class ClassAttentionBlock extends Module {
  gamma1: Parameter;
  gamma2: Parameter;
  norm1: LayerNorm;
  attn: ClassAttention;
  norm2: LayerNorm;
  mlp: Mlp;
  readonly tokensNorm: boolean;

  constructor({ dim, heads, eta, tokensNorm = true }: XCiTOptions) {
    super();
    [this.gamma1, this.gamma2] = [1, 2].map(() => parameter([dim], constant(eta)));
    this.norm1 = new LayerNorm(dim);
    this.attn = new ClassAttention(dim, heads);
    this.norm2 = new LayerNorm(dim);
    this.mlp = new Mlp(dim, 4 * dim, { init });
    this.tokensNorm = tokensNorm;
  }

  /** [b, 1 + n, dim] -> [b, 1 + n, dim] */
  forward(x: Tensor): Tensor {
    const withClass = (token: Tensor, tokens: Tensor) => concat([token, tokens.slice(1, 1)], 1);
    const normed = this.norm1.forward(x);
    const attended = x.add(withClass(this.attn.forward(normed), normed).mul(this.gamma1));
    const y = this.tokensNorm ? this.norm2.forward(attended) : withClass(this.norm2.forward(attended.slice(1, 0, 1)), attended);
    return y.add(withClass(this.mlp.forward(y.slice(1, 0, 1)).mul(this.gamma2), y));
  }

  /** [b, 1 + n, dim] -> [b, heads, 1, 1 + n] */
  attention(x: Tensor): Tensor {
    return this.attn.map(this.norm1.forward(x));
  }
}

export class XCiT extends Module {
  cls_token: Parameter;
  patch_embed: ConvPatchEmbed;
  blocks: XCABlock[];
  cls_attn_blocks: ClassAttentionBlock[];
  norm: LayerNorm;
  head?: Linear;
  pos_embeder: FourierPositions;
  readonly features: number;

  constructor(options: XCiTOptions) {
    super();
    const { dim, depth, patch, classes } = options;
    this.features = dim;
    this.cls_token = parameter([1, 1, dim], init);
    this.patch_embed = new ConvPatchEmbed(patch, dim);
    this.blocks = Array.from({ length: depth }, () => new XCABlock(options));
    this.cls_attn_blocks = Array.from({ length: 2 }, () => new ClassAttentionBlock(options));
    this.norm = new LayerNorm(dim);
    if (classes) this.head = new Linear(dim, classes, { init });
    this.pos_embeder = new FourierPositions(dim);
  }

  /** Patches with their positions added. [b, h, w, 3] -> [b, rows, columns, dim] */
  patches(x: Tensor): Tensor {
    const y = this.patch_embed.forward(x);
    return y.add(this.pos_embeder.forward(y.shape[1], y.shape[2]));
  }

  /** After every block across channels. [b, h, w, 3] -> depth of [b, rows, columns, dim] */
  blockMaps(x: Tensor): Tensor[] {
    return outputs(this.blocks, this.patches(x));
  }

  /** After every class block, for the last of `blockMaps`. [b, rows, columns, dim] -> 2 of [b, 1 + rows columns, dim] */
  classTokens(map: Tensor): Tensor[] {
    const [b, rows, columns, dim] = map.shape;
    return outputs(this.cls_attn_blocks, withClassToken(this.cls_token, map.reshape([b, rows * columns, dim])));
  }

  /** Patches after the last block across channels. [b, h, w, 3] -> [b, rows, columns, dim] */
  encode(x: Tensor): Tensor {
    return this.blocks.reduce((y, block) => block.forward(y), this.patches(x));
  }

  /** The class token after the last norm. [b, h, w, 3] -> [b, features] */
  pooled(x: Tensor): Tensor {
    const [, tokens] = this.classTokens(this.encode(x));
    return this.norm.forward(tokens.slice(1, 0, 1)).reshape([x.shape[0], this.features]);
  }

  /** [b, h, w, 3] -> [b, features], or logits with `head` */
  forward(x: Tensor): Tensor {
    const features = this.pooled(x);
    return this.head ? this.head.forward(features) : features;
  }

  /** Patch tokens after the last norm by place. [b, h, w, 3] -> [b, rows, columns, dim] */
  map(x: Tensor): Tensor {
    const before = this.encode(x);
    const [, tokens] = this.classTokens(before);
    return this.norm.forward(tokens.slice(1, 1)).reshape(before.shape);
  }

  /** The map alone: the resolution never changes. */
  stages(x: Tensor): Tensor[] {
    return [this.map(x)];
  }

  /** Patches after each of the last n blocks across channels, each after the last norm: n of [b, rows columns, dim] */
  intermediateLayers(x: Tensor, n: number): Tensor[] {
    const maps = this.blockMaps(x).slice(-n);
    return maps.map((map) => this.norm.forward(map).reshape([map.shape[0], -1, this.features]));
  }

  /** Where the class token looks in the last block: [b, heads, rows, columns] */
  attention(x: Tensor): Tensor {
    const map = this.encode(x);
    const [b, rows, columns] = map.shape;
    const weights = this.cls_attn_blocks[1].attention(this.classTokens(map)[0]);
    return weights.slice(3, 1).reshape([b, weights.shape[1], rows, columns]);
  }
}

const variant = (options: XCiTOptions): Variant => ({
  features: options.dim,
  about: `XCiT, ${options.depth} blocks of ${options.dim} with ${options.heads} heads, patch ${options.patch}`,
  build: ({ dropPath }) => new XCiT({ ...options, dropPath }),
});

export const xcitFamily: Family = {
  variants: Object.fromEntries(Object.entries(xcits).map(([name, options]) => [name, variant(options)])),
};
