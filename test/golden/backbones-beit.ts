// Kinds backbone-vit-beit and backbone-vit-simmim: whole networks in evaluation and training mode.
import { Beit, type BeitOptions } from "../../src/models/beit.ts";
import { array } from "../../src/tape/op.ts";
import type { Tensor } from "../../src/tape/tensor.ts";
import { fill } from "../fill.ts";
import { compare, evalDigest, evalLimit, inputsOf, sameState, training } from "./backbones.ts";
import type { Check, Config, Golden, Runner, Runners } from "./golden.ts";
import { evaluate, fillModule, nchw } from "./models.ts";

const beitOptions = (config: Config): BeitOptions => ({
  size: config.img_size,
  patch: config.patch_size,
  dim: config.dim,
  depth: config.depth,
  heads: config.heads,
  mlpRatio: config.mlp_ratio,
  absolute: config.absolute_position ? "learned" : undefined,
  relative: config.relative_position?.replace("_", "-"),
  layerScale: config.layer_scale ? 0.1 : undefined,
  pool: config.mean_pooling ? "mean" : "class",
  classes: config.num_classes,
});

/** The filled model, whose names and shapes are the official ones; index tables keep what the constructor gave them. */
function filled(golden: Golden, check: Check, options: Partial<BeitOptions>): Beit {
  const model = new Beit({ ...beitOptions(golden.config), ...options });
  sameState(golden, check, model);
  fillModule(model, "", (name) => name.endsWith("relative_position_index"));
  return model;
}

const beit: Runner = async (golden, check, backend) => {
  const model = filled(golden, check, {});
  const { input } = inputsOf(golden);
  const forward = (x: Tensor) => ({ output: model.forward(x) });
  const { output } = await evaluate(forward, input, backend);
  compare(check, "eval.output", output, evalLimit, evalDigest);
  await training(golden, check, backend, model, forward, input);
};

const simmim: Runner = async (golden, check, backend) => {
  const { mask_below: below, patch_size: patch } = golden.config;
  const model = filled(golden, check, { maskToken: true });
  const { input } = inputsOf(golden);
  const [b, h, w] = input.shape;
  const noise = fill("mask", [b, h / patch, w / patch], "unit");
  const mask = noise.data.map((u) => Number(u < below));
  const forward = (x: Tensor) => ({ output: model.map(x, array(mask, noise.shape)) });
  const { output } = await evaluate(forward, input, backend);
  compare(check, "eval.output", nchw(output), evalLimit, evalDigest);
  await training(golden, check, backend, model, forward, input);
};

export const runners: Runners = { "backbone-vit-beit": beit, "backbone-vit-simmim": simmim };
