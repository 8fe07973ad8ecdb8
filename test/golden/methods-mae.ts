// Kind of MAE: the masked autoencoder with a given noise, its losses and all gradients.
import { MaskedAutoencoder } from "../../src/methods/autoencoder.ts";
import { maskedError, pixelTargets } from "../../src/methods/mae.ts";
import { randomMasking } from "../../src/methods/masking.ts";
import { ViT } from "../../src/models/vit.ts";
import { official } from "../../src/nn/module.ts";
import { grad } from "../../src/tape/grad.ts";
import type { Tensor } from "../../src/tape/tensor.ts";
import { compile, type Host } from "../../src/tape/trace.ts";
import { fill } from "../fill.ts";
import type { Check, Golden, Runner, Runners } from "./golden.ts";
import { fillModule, nhwc } from "./models.ts";

/** The README's limits for transformers, or five times the spread of correct float32 runs where that is more. */
const limitOf = (golden: Golden, name: string, least = 2e-5) => Math.max(least, 5 * golden.spread(name));

function digest(golden: Golden, check: Check, name: string, value: Host): void {
  const spreads: Record<string, number> = JSON.parse(golden.metadata.float32_spread_elements ?? "{}");
  check.digest(name, value, { sums: limitOf(golden, name), elements: Math.max(1e-3, 5 * (spreads[name] ?? 0)) });
}

const mae: Runner = async (golden, check, backend) => {
  const { prefix, inputs, keep, img_size: size, patch_size: patch, mask_ratio: ratio, norm_pix_loss: normalized, ...c } = golden.config;
  const encoder = new ViT({ size, patch, dim: c.embed_dim, depth: c.depth, heads: c.num_heads, mlpRatio: c.mlp_ratio });
  const decoder = { dim: c.decoder_embed_dim, depth: c.decoder_depth, heads: c.decoder_num_heads, mlpRatio: c.mlp_ratio };
  const model = new MaskedAutoencoder(encoder, decoder);
  fillModule(model, prefix, (name) => keep.includes(name));
  const weights = [...model.namedParameters()].filter(([, parameter]) => parameter.trainable);
  const step = compile((image: Tensor, noise: Tensor) => {
    const masking = randomMasking(noise, ratio);
    const latent = model.encode(image, masking);
    const pred = model.decode(latent, masking);
    const [on, off] = [true, false].map((norm) => maskedError(pred, pixelTargets(image, patch, norm), masking));
    const gradients = grad(
      normalized ? on : off,
      weights.map(([, parameter]) => parameter),
    ) as Tensor[];
    const losses = { loss: normalized ? on : off, loss_norm_pix_on: on, loss_norm_pix_off: off };
    const exact = { mask: masking.mask, ids_restore: masking.restore };
    return { losses, exact, values: { latent, pred, target_norm_pix: pixelTargets(image, patch, true) }, gradients };
  }, backend);
  const { losses, exact, values, gradients } = await step(nhwc(fill(`${prefix}img`, ...shapeAndRole(inputs.img))), noiseOf(golden));
  for (const [name, value] of Object.entries(losses)) check.close(name, value, limitOf(golden, name, 2e-6));
  for (const [name, value] of Object.entries(exact)) check.exact(name, value);
  for (const [name, value] of Object.entries(values)) {
    if (golden.tensors.has(name)) check.close(name, value, limitOf(golden, name));
    else digest(golden, check, `${name}@digest`, value);
  }
  for (const [i, [name, parameter]] of weights.entries()) {
    const value = official(parameter, gradients[i].data);
    digest(golden, check, `grad/${name}`, value);
    if (golden.tensors.has(`gradfull/${name}`)) check.close(`gradfull/${name}`, value, limitOf(golden, `gradfull/${name}`));
  }
};

const shapeAndRole = ([shape, role]: [number[], "input" | "unit"]) => [shape, role] as const;
const noiseOf = ({ config: { prefix, inputs } }: Golden): Host => fill(`${prefix}noise`, ...shapeAndRole(inputs.noise));

export const runners: Runners = { mae };
