// The network of MAE. He et al. 2022, arXiv 2111.06377, section 3; names and initial weights as facebookresearch/mae, models_mae.py.
import { sincosTable } from "../models/positions.ts";
import { Block, type ViT, withClassToken } from "../models/vit.ts";
import { Conv2d } from "../nn/conv.ts";
import { initialize, normal, parameter, xavierUniform } from "../nn/init.ts";
import { Linear } from "../nn/linear.ts";
import { Module } from "../nn/module.ts";
import { LayerNorm } from "../nn/norm.ts";
import { concat } from "../tape/ops/move.ts";
import { Parameter, type Tensor } from "../tape/tensor.ts";
import { gatherTokens, type Masking } from "./masking.ts";

export interface DecoderOptions {
  dim: number;
  depth: number;
  heads: number;
  mlpRatio?: number;
}

/** A vision transformer as the encoder, under its own names, and a small one that fills in the pixels of hidden patches. */
export class MaskedAutoencoder extends Module {
  readonly #encoder: ViT;
  decoder_embed: Linear;
  mask_token: Parameter;
  decoder_pos_embed: Parameter;
  decoder_blocks: Block[];
  decoder_norm: LayerNorm;
  decoder_pred: Linear;

  constructor(encoder: ViT, { dim, depth, heads, mlpRatio }: DecoderOptions) {
    super();
    const init = xavierUniform();
    this.#encoder = withFixedPositions(encoder);
    this.decoder_embed = new Linear(encoder.features, dim, { init });
    this.mask_token = parameter([1, 1, dim], normal(0.02));
    this.decoder_pos_embed = new Parameter(encoder.pos_embed.shape.with(2, dim), sincosTable(dim, encoder.grid).data, { trainable: false });
    this.decoder_blocks = Array.from({ length: depth }, () => new Block(dim, heads, { mlpRatio, init }));
    this.decoder_norm = new LayerNorm(dim);
    this.decoder_pred = new Linear(dim, encoder.patch_embed.patch ** 2 * 3, { init });
  }

  get encoder(): ViT {
    return this.#encoder;
  }

  protected override fields(): Iterable<[string, unknown]> {
    return [...Object.entries(this.#encoder), ...Object.entries(this)];
  }

  /** Class token and kept patches after the last norm. x [b, h, w, 3] -> [b, 1 + kept, features] */
  encode(x: Tensor, { kept }: Masking): Tensor {
    const { cls_token, pos_embed, patch_embed, norm } = this.#encoder;
    const patches = patch_embed.forward(x).add(pos_embed.slice(1, 1));
    const tokens = withClassToken(cls_token.add(pos_embed.slice(1, 0, 1)), gatherTokens(patches, kept));
    const latent = this.#encoder.run(tokens);
    return norm ? norm.forward(latent) : latent;
  }

  /** Pixels of every patch. latent [b, 1 + kept, features] -> [b, n, p p 3] */
  decode(latent: Tensor, { restore, hidden }: Masking): Tensor {
    const y = this.decoder_embed.forward(latent);
    const all = concat([y.slice(1, 1), this.mask_token.expand([y.shape[0], hidden, y.shape[2]])], 1);
    const tokens = concat([y.slice(1, 0, 1), gatherTokens(all, restore)], 1).add(this.decoder_pos_embed);
    const decoded = this.decoder_blocks.reduce((z, block) => block.forward(z), tokens);
    return this.decoder_pred.forward(this.decoder_norm.forward(decoded)).slice(1, 1);
  }
}

/** MAE's initial weights: sines and cosines for positions, which do not learn, and Xavier's for every matrix, the patches' as well. */
function withFixedPositions(encoder: ViT): ViT {
  const { proj } = encoder.patch_embed;
  if (!(proj instanceof Conv2d))
    throw new RangeError(
      "Cannot hide patches behind a stem of convolutions, which see past them: expected a plain transformer, such as vit-tiny-16",
    );
  for (const [, weight] of encoder.namedParameters()) if (weight.rank === 2) initialize(weight, xavierUniform());
  initialize(proj.weight, xavierUniform(encoder.features));
  encoder.pos_embed.data.set(sincosTable(encoder.features, encoder.grid).data);
  encoder.pos_embed.trainable = false;
  return encoder;
}
