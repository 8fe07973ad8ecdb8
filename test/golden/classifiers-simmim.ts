// Kinds simmim-swin-classifier and simmim-vit-classifier: fine-tuning SimMIM's encoders with labels.
import { Beit } from "../../src/models/beit.ts";
import { Swin } from "../../src/models/swin.ts";
import type { Linear } from "../../src/nn/linear.ts";
import { crossEntropy } from "../../src/tape/ops/reduce.ts";
import type { Host } from "../../src/tape/trace.ts";
import { fill } from "../fill.ts";
import type { Config, Golden, Runner, Runners } from "./golden.ts";
import { fillModule, gradientsOf, nhwc } from "./models.ts";

/** The README's limits for transformers, or five times the spread of correct float32 runs where that is more. */
const limitOf = (golden: Golden, name: string, floor = 2e-5) => Math.max(floor, 5 * golden.spread(name));

/** Features, logits, loss and all gradients of one step. */
const classifier =
  (build: (config: Config) => Swin | Beit): Runner =>
  async (golden, check, backend) => {
    const { prefix, inputs, batch, targets } = golden.config;
    const model = build(golden.config);
    fillModule(model, prefix, (name) => name.endsWith("attn_mask") || name.endsWith("relative_position_index"));
    const labels: Host = { data: Float32Array.from(targets as number[]), shape: [batch] };
    const { values, gradients } = await gradientsOf(
      model,
      (x, label) => {
        const features = model.pooled(x);
        const logits = (model.head as Linear).forward(features);
        return { features, logits, loss: crossEntropy(logits, label) };
      },
      [nhwc(fill(`${prefix}img`, inputs.img[0], inputs.img[1])), labels],
      backend,
    );
    for (const [name, value] of Object.entries(values)) check.close(name, value, limitOf(golden, name));
    const elements: Record<string, number> = JSON.parse(golden.metadata.float32_spread_elements ?? "{}");
    for (const [name, gradient] of gradients) {
      const tensor = `grad/${name}`;
      check.digest(tensor, gradient, { sums: limitOf(golden, tensor), elements: Math.max(1e-3, 5 * (elements[tensor] ?? 0)) });
      if (golden.tensors.has(`gradfull/${name}`)) check.close(`gradfull/${name}`, gradient, limitOf(golden, `gradfull/${name}`));
    }
  };

const swin = classifier(
  (c) =>
    new Swin({
      ...{ size: c.img_size, patch: c.patch_size, dim: c.embed_dim, depths: c.depths, heads: c.num_heads, window: c.window_size },
      ...{ mlpRatio: c.mlp_ratio, absolutePositions: c.ape, eps: c.layer_norm_eps, storeMasks: true, classes: c.num_classes },
    }),
);

const relativeOf = (c: Config) => (c.use_shared_rel_pos_bias ? "shared" : c.use_rel_pos_bias ? "per-block" : undefined);

const vit = classifier(
  (c) =>
    new Beit({
      ...{ size: c.img_size, patch: c.patch_size, dim: c.embed_dim, depth: c.depth, heads: c.num_heads, mlpRatio: c.mlp_ratio },
      ...{ relative: relativeOf(c), absolute: c.use_abs_pos_emb ? "learned" : undefined, layerScale: c.init_values ?? undefined },
      ...{ pool: c.use_mean_pooling ? "mean" : "class", classes: c.num_classes },
    }),
);

export const runners: Runners = { "simmim-swin-classifier": swin, "simmim-vit-classifier": vit };
