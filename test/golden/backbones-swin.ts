// Kinds backbone-swin-esvit and backbone-swin-simmim: whole networks in evaluation and training mode.
import { Swin, type SwinOptions } from "../../src/models/swin.ts";
import { array } from "../../src/tape/op.ts";
import { concat } from "../../src/tape/ops/move.ts";
import type { Tensor } from "../../src/tape/tensor.ts";
import type { Host } from "../../src/tape/trace.ts";
import { fill } from "../fill.ts";
import { compare, evalDigest, evalLimit, has, inputsOf, numbered, sameState, training } from "./backbones.ts";
import type { Check, Config, Golden, Runner, Runners } from "./golden.ts";
import { evaluate, fillModule, nchw } from "./models.ts";

const swinOptions = (config: Config): SwinOptions => ({
  size: config.img_size,
  patch: config.patch_size,
  dim: config.dim,
  depths: config.depths,
  heads: config.heads,
  window: config.window,
  mlpRatio: config.mlp_ratio,
  classes: config.num_classes,
  absolutePositions: config.absolute_position,
});

/** The filled model, whose names and shapes are the official ones; index tables and masks keep what the constructor gave them. */
function filled(golden: Golden, check: Check, options: Partial<SwinOptions>): Swin {
  const model = new Swin({ ...swinOptions(golden.config), ...options });
  sameState(golden, check, model);
  fillModule(model, "", (name) => name.endsWith("relative_position_index") || name.endsWith("attn_mask"));
  return model;
}

/** [b, h, w, c] -> [b, h w, c], as the official code keeps tokens */
const tokens = (x: Tensor): Tensor => x.reshape([x.shape[0], -1, x.shape[3]]);

/** Compares what the file has of these; it may hold a part of them. */
function compareAll(golden: Golden, check: Check, values: Record<string, Host>): void {
  for (const [name, value] of Object.entries(values)) {
    if (has(golden, `eval.${name}`)) compare(check, `eval.${name}`, value, evalLimit, evalDigest);
  }
}

const esvit: Runner = async (golden, check, backend) => {
  const model = filled(golden, check, {});
  const { input } = inputsOf(golden);
  const parts = (x: Tensor) => {
    const maps = model.stages(x);
    const layers = model.intermediateLayers(x, golden.config.last_blocks).map((layer) => layer.mean(1));
    return {
      patch_embed: tokens(model.patch_embed.forward(x)),
      ...numbered(
        "stage",
        model.layers.map(({ downsample }, i) => tokens(downsample ? downsample.forward(maps[i]) : maps[i])),
      ),
      ...numbered("attention", model.attentions(x)),
      last_attention: model.lastAttention(x),
      regions: tokens(model.map(x)),
      features: model.pooled(x),
      output: model.forward(x),
      last_blocks: concat(layers, 1),
    };
  };
  compareAll(golden, check, await evaluate(parts, input, backend));
  const { data, shape } = model.layers[0].blocks[0].attn.relative_position_index;
  const rows = golden.get("index.relative_position_index").shape[0];
  check.exact("index.relative_position_index", { data: data.subarray(0, rows * shape[1]), shape: [rows, shape[1]] });
  await training(golden, check, backend, model, (x) => ({ output: model.forward(x) }), input);
};

const simmim: Runner = async (golden, check, backend) => {
  const { mask_below: below, patch_size: patch } = golden.config;
  const model = filled(golden, check, { eps: 1e-5, maskToken: true, storeMasks: true });
  const { input } = inputsOf(golden);
  const [b, h, w] = input.shape;
  const noise = fill("mask", [b, h / patch, w / patch], "unit");
  const mask = noise.data.map((u) => Number(u < below));
  const masked = (x: Tensor) => model.map(x, array(mask, noise.shape));
  const { features, ...maps } = await evaluate((x) => ({ features: model.pooled(x), masked: masked(x) }), input, backend);
  compareAll(golden, check, { features, masked: nchw(maps.masked) });
  await training(golden, check, backend, model, (x) => ({ output: masked(x) }), input);
};

export const runners: Runners = { "backbone-swin-esvit": esvit, "backbone-swin-simmim": simmim };
