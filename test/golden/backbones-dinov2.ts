// Kind dinov2-vit: registers, layer scale, gated MLPs, hidden patches, and positions for another size.
import { Dinov2ViT } from "../../src/models/dinov2.ts";
import { array } from "../../src/tape/op.ts";
import type { Tensor } from "../../src/tape/tensor.ts";
import { fill, uniform } from "../fill.ts";
import { numbered } from "./backbones.ts";
import type { Config, Golden, Runner, Runners } from "./golden.ts";
import { evaluate, fillModule, gradientsOf, nhwc } from "./models.ts";

const modelOf = ({ img_size: size, ffn_layer: ffn, interpolate_antialias: antialias, registers, ...config }: Config) =>
  new Dinov2ViT({
    ...{ size, registers, patch: config.patch, dim: config.dim, depth: config.depth, heads: config.heads },
    layerScale: 1,
    maskToken: true,
    swiglu: ffn.startsWith("swiglu"),
    resize: antialias ? "antialiased" : "scaled",
  });

/** Tokens after the last norm by kind, under the names that the official code gives them. */
function parts(model: Dinov2ViT, tokens: Tensor): Record<string, Tensor> {
  const normed = model.norm?.forward(tokens) as Tensor;
  return {
    x_norm_clstoken: normed.slice(1, 0, 1).reshape([normed.shape[0], model.features]),
    ...(model.extra > 1 && { x_norm_regtokens: normed.slice(1, 1, model.extra) }),
    x_norm_patchtokens: normed.slice(1, model.extra),
  };
}

const text = (golden: Golden, name: string) => new TextDecoder().decode(Uint8Array.from(golden.get(name).data));

const dinov2: Runner = async (golden, check, backend) => {
  const { prefix, batch, img_size: size, other_size: other, patch } = golden.config;
  const model = modelOf(golden.config);
  const state = Array.from(model.namedState(), ([name, { officialShape }]) => `${name} [${officialShape.join(", ")}]`);
  check.within("keys", Number(state.join("\n") !== text(golden, "keys").trimEnd()), 0);
  fillModule(model, prefix);
  const images = (name: string, side: number) => nhwc(fill(prefix + name, [batch, 3, side, side], "input"));
  const rows = size / patch;
  const hidden = Float32Array.from(uniform(`${prefix}mask`, batch * rows * rows), (u) => Number(u < 0.3));
  const masked = (x: Tensor) => parts(model, model.encode(x, array(hidden, [batch, rows, rows])));

  const last = (x: Tensor) =>
    model
      .intermediateLayers(x, 2)
      .map((tokens) => ({ cls: tokens.slice(1, 0, 1).reshape([batch, -1]), patch: tokens.slice(1, model.extra) }));
  const seen = await evaluate((x) => ({ masked: masked(x), layers: last(x) }), images("x", size), backend);
  const larger = await evaluate((x) => ({ pos_embed: model.positions(x), ...parts(model, model.encode(x)) }), images("y", other), backend);
  const compared = { masked: seen.masked, other: larger, ...numbered("layers", seen.layers) };
  for (const [group, values] of Object.entries(compared)) {
    for (const [name, value] of Object.entries(values)) {
      if (golden.tensors.has(`${group}.${name}`)) check.close(`${group}.${name}`, value, 2e-5);
    }
  }
  const cotangent = fill(`${prefix}dy`, seen.masked.x_norm_patchtokens.shape, "input");
  const step = (x: Tensor, dy: Tensor) => {
    const { x_norm_clstoken: token, x_norm_patchtokens: patches } = masked(x);
    return { loss: patches.mul(dy).sum().add(token.sum()) };
  };
  const { gradients } = await gradientsOf(model, step, [images("x", size), cotangent], backend);
  for (const [name, value] of gradients) check.digest(`grad.${name}#digest`, value, { sums: 1e-4, elements: 1e-3, own: 1e-3 });
};

export const runners: Runners = { "dinov2-vit": dinov2 };
