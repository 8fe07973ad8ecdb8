// MAE. He et al. 2022, "Masked Autoencoders Are Scalable Vision Learners", arXiv 2111.06377; the code is facebookresearch/mae,
// models_mae.py.
//
//   patches = embed(x) + positions;   keep a random quarter of them
//   latent = encoder(class token, kept patches)
//   prediction = decoder(latent, mask tokens where patches are hidden)
//   L = mean over hidden patches of (prediction - pixels)^2,   pixels normalised within each patch

import { evaluationView, maeViews } from "../data/views.ts";
import { sincosTable } from "../models/positions.ts";
import { Block, ViT, withClassToken } from "../models/vit.ts";
import { initialize, normal, parameter, xavierUniform } from "../nn/init.ts";
import { Linear } from "../nn/linear.ts";
import { Module, randomStream } from "../nn/module.ts";
import { LayerNorm } from "../nn/norm.ts";
import { concat } from "../tape/ops/move.ts";
import { uniform } from "../tape/ops/random.ts";
import { Parameter, type Tensor } from "../tape/tensor.ts";
import { gatherTokens, type Masking, patchify, randomMasking } from "./masking.ts";
import { method } from "./method.ts";
import { flag, number, whole } from "./options.ts";

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
  for (const [, weight] of encoder.namedParameters()) if (weight.rank === 2) initialize(weight, xavierUniform());
  initialize(encoder.patch_embed.proj.weight, xavierUniform(encoder.features));
  encoder.pos_embed.data.set(sincosTable(encoder.features, encoder.grid).data);
  encoder.pos_embed.trainable = false;
  return encoder;
}

/** What hidden patches are compared with: pixels, or pixels of mean 0 and (unbiased) variance 1 within their patch. [b, n, p p 3] */
export function pixelTargets(x: Tensor, patch: number, normalized: boolean): Tensor {
  const pixels = patchify(x, patch);
  return normalized ? pixels.sub(pixels.mean(-1, true)).div(pixels.variance(-1, { keep: true }).add(1e-6).sqrt()) : pixels;
}

/** Mean squared error over hidden patches. prediction, target [b, n, p p 3] */
export const maskedError = (prediction: Tensor, target: Tensor, { mask, hidden }: Masking): Tensor =>
  prediction
    .sub(target)
    .square()
    .mean(-1)
    .mul(mask)
    .sum()
    .div(mask.shape[0] * hidden);

export const mae = method({
  name: "mae",
  summary: "Fills in the hidden three quarters of each image; fast, for vision transformers, strong when fine-tuned",
  paper: "He et al. 2022, Masked Autoencoders Are Scalable Vision Learners, arXiv 2111.06377",
  options: {
    maskRatio: number(0.75, "Share of the patches that is hidden", { above: 0, below: 1 }),
    normPixels: flag(true, "Compare pixels normalised within each patch"),
    decoderDim: whole(512, "Width of the decoder, a multiple of 4 and of its heads", { min: 4 }),
    decoderDepth: whole(8, "Blocks of the decoder"),
    decoderHeads: whole(16, "Heads of the decoder's attention"),
  },

  views: (_, size) => maeViews(size),
  evaluationView: (_, size) => evaluationView(size, { interpolation: "bicubic" }),

  build(backbone, { decoderDim: dim, decoderDepth: depth, decoderHeads: heads }) {
    const encoder = backbone();
    if (!(encoder instanceof ViT))
      throw new RangeError("Cannot hide patches from this backbone: expected a vision transformer, such as vit-tiny-16");
    return { model: new MaskedAutoencoder(encoder, { dim, depth, heads }) };
  },

  loss({ model }, [x], _, { maskRatio, normPixels }) {
    const { key, stream } = randomStream();
    const masking = randomMasking(uniform(key, stream, [x.shape[0], model.encoder.grid ** 2]), maskRatio);
    const latent = model.encode(x, masking);
    const target = pixelTargets(x, model.encoder.patch_embed.patch, normPixels);
    return {
      loss: maskedError(model.decode(latent, masking), target, masking), // normalised pixels: 1 for a guess of the patch's mean
      embedding: latent.slice(1, 0, 1).reshape([x.shape[0], model.encoder.features]).stopGradient(),
    };
  },

  encoder: ({ model }) => model.encoder,
});
