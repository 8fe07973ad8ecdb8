// MAE. He et al. 2022, "Masked Autoencoders Are Scalable Vision Learners", arXiv 2111.06377; the code is facebookresearch/mae,
// models_mae.py.
//
//   patches = embed(x) + positions;   keep a random quarter of them
//   latent = encoder(class token, kept patches)
//   prediction = decoder(latent, mask tokens where patches are hidden)
//   L = mean over hidden patches of (prediction - pixels)^2,   pixels normalised within each patch

import { evaluationView, maeViews } from "../data/views.ts";
import { ViT } from "../models/vit.ts";
import { randomStream } from "../nn/module.ts";
import { uniform } from "../tape/ops/random.ts";
import type { Tensor } from "../tape/tensor.ts";
import { MaskedAutoencoder } from "./autoencoder.ts";
import { type Masking, patchify, randomMasking } from "./masking.ts";
import { method } from "./method.ts";
import { choice, flag, number, whole } from "./options.ts";

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
    features: choice(
      "class",
      ["class", "patches"],
      "What stands for an image when it is trained: the class token, or the mean of its patches",
    ),
    decoderDim: whole(512, "Width of the decoder, a multiple of 4 and of its heads", { min: 4 }),
    decoderDepth: whole(8, "Blocks of the decoder"),
    decoderHeads: whole(16, "Heads of the decoder's attention"),
  },

  views: (_, size) => maeViews(size),
  evaluationView: (_, size) => evaluationView(size, { interpolation: "bicubic" }),

  build(backbone, { features, decoderDim: dim, decoderDepth: depth, decoderHeads: heads }) {
    const encoder = backbone();
    if (!(encoder instanceof ViT) || encoder.extra > 1 || encoder.mask_token)
      throw new RangeError(
        "Cannot hide patches from this backbone: expected a vision transformer with no token but the class token, such as vit-tiny-16",
      );
    encoder.readout = features;
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
