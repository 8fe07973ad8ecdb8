// Kinds backbone-*: whole networks in evaluation and training mode.
import type { Backend } from "../../src/backend/backend.ts";
import { PrototypeNet } from "../../src/methods/prototypes.ts";
import { Conv4 } from "../../src/models/conv4.ts";
import { ResNet } from "../../src/models/resnet.ts";
import { SimclrResNet } from "../../src/models/resnet-simclr.ts";
import { MocoViT, ViT } from "../../src/models/vit.ts";
import { type Module, official, withContext } from "../../src/nn/module.ts";
import { concat } from "../../src/tape/ops/move.ts";
import { size } from "../../src/tape/shape.ts";
import type { Tensor } from "../../src/tape/tensor.ts";
import { compile, type Host, item } from "../../src/tape/trace.ts";
import { fill } from "../fill.ts";
import type { Check, Config, DigestLimits, Golden, Runner, Runners } from "./golden.ts";
import { evaluate, fillModule, gradientsOf, nchw, nhwc } from "./models.ts";

export const evalLimit = 2e-5;
export const evalDigest: DigestLimits = { sums: 2e-5, elements: 1e-4, own: 1e-5 };

/** A tensor that is stored in full, or as a digest with its shape. */
export function compare(check: Check, name: string, got: Host, limit: number, digests: DigestLimits): void {
  if (check.golden.tensors.has(name)) check.close(name, got, limit);
  else {
    check.exact(`${name}.shape`, got.shape);
    check.digest(`${name}.digest`, got, digests);
  }
}

/** Whether a file has a tensor, in full or as a digest. */
export const has = (golden: Golden, name: string): boolean => golden.tensors.has(name) || golden.tensors.has(`${name}.digest`);

/** Several values under a name and a number each. */
export const numbered = <T>(name: string, values: readonly T[], first = 0): Record<string, T> =>
  Object.fromEntries(values.map((value, i) => [`${name}${first + i}`, value]));

/** PyTorch's own float32 error of a tensor in this file. */
const ownError = (golden: Golden, name: string): number => JSON.parse(golden.metadata.float32_error ?? "{}")[name] ?? 0;

/** `train.*`: outputs, loss, gradients, running statistics after one step. */
export async function training(
  golden: Golden,
  check: Check,
  backend: Backend,
  model: Module,
  f: (...x: Tensor[]) => Record<string, Tensor>,
  ...x: Host[]
): Promise<void> {
  if (!golden.tensors.has("train.loss")) return; // a file of evaluation mode only
  const shape = golden.tensors.get("train.output")?.shape ?? [...golden.get("train.output.shape").data];
  const drawn = fill("cotangent", shape, "input");
  const cotangent = shape.length === 4 ? nhwc(drawn) : drawn;
  const step = (c: Tensor, ...inputs: Tensor[]) => {
    const values = f(...inputs);
    return { ...values, loss: values.output.mul(c).sum() };
  };
  const { values, gradients } = await gradientsOf(model, step, [cotangent, ...x], backend);
  // ResNets of 50 layers with random weights at batch 2 amplify rounding: their forward pass is held to 1e-2 and their gradients are not compared
  const gradientErrors = golden.get("train.grad_error").data;
  const unstable = gradientErrors.filter((error) => error > 0.02).length > gradientErrors.length / 2;
  const limit = (name: string) => Math.max(unstable ? 1e-2 : 1e-4, 30 * ownError(golden, name));
  const { loss, ...outputs } = values;
  for (const [name, value] of Object.entries(outputs)) {
    if (!has(golden, `train.${name}`)) continue; // evaluation mode alone has it
    const bound = limit(`train.${name}`);
    compare(check, `train.${name}`, nchw(value), bound, { sums: bound, elements: 5 * bound, own: bound });
  }
  const terms = outputs.output.data.reduce((sum, y, i) => sum + Math.abs(y * cotangent.data[i]), 0); // which cancel in the loss
  check.within("train.loss", Math.abs(item(loss) - golden.get("train.loss").data[0]) / terms, limit("train.loss"));
  const parameters: string[] = JSON.parse(golden.metadata.parameters);
  // One ReLU that another summation order flips moves single elements of a gradient behind a batch norm by up to 0.15 of the mean
  // gradient (README-mim) in correct runs; sums hold. Networks without batch norm have no such noise.
  const elements = golden.tensors.has("train.buffers") ? 0.15 : 0.02;
  check.exact("train.grad_error", gradientErrors);
  check.within("train.grad", Math.abs(parameters.length - gradients.size), 0);
  for (const [row, name] of parameters.entries()) {
    const bound = Math.max(1e-3, 10 * gradientErrors[row]);
    if (unstable || gradientErrors[row] > 0.02) continue;
    check.digest("train.grad", gradients.get(name) as Host, { sums: bound, elements: Math.max(elements, 20 * bound), own: bound }, row);
  }
  await buffers(golden, check, backend, model, unstable ? 1e-2 : Math.max(1e-4, 30 * ownError(golden, "train.buffers.max")));
}

async function buffers(golden: Golden, check: Check, backend: Backend, model: Module, bound: number): Promise<void> {
  if (!golden.tensors.has("train.buffers")) return;
  const named = new Map(model.namedParameters());
  const names: string[] = JSON.parse(golden.metadata.buffers);
  for (const [row, name] of names.entries()) {
    const buffer = named.get(name);
    if (!buffer) throw new RangeError(`Cannot find the buffer "${name}" in the model`);
    check.digest("train.buffers", official(buffer, await backend.read(buffer)), { sums: bound, elements: 10 * bound, own: bound }, row);
  }
}

/** Names and shapes of weights and buffers as the official state dict has them, in its order. */
export function sameState(golden: Golden, check: Check, model: Module): void {
  const want = Object.entries(JSON.parse(golden.metadata.state) as Record<string, number[]>).map(([name, shape]) => `${name} ${shape}`);
  const got = Array.from(model.namedState(), ([name, parameter]) => `${name} ${parameter.officialShape}`);
  const wrong = want.find((line) => !got.includes(line)) ?? got.find((line) => !want.includes(line));
  if (wrong !== undefined) throw new RangeError(`Cannot match the state dict of ${golden.name}: "${wrong}" is on one side only`);
  check.within("state", got.filter((line, i) => line !== want[i]).length, 0);
}

/** The inputs of a file, by name: images as ours. */
export function inputsOf(golden: Golden): Record<string, Host> {
  const specs: Record<string, [number[], "input" | "unit"] | [string, string]> = JSON.parse(golden.metadata.inputs);
  return Object.fromEntries(
    Object.entries(specs).flatMap(([name, [shape, role]]) =>
      typeof shape === "string" ? [] : [[name, nhwc(flattened(fill(name, shape, role as "input" | "unit")))]],
    ),
  );
}

/** An episode of images [b, n, c, h, w] as one batch. */
const flattened = ({ data, shape }: Host): Host => ({ data, shape: [size(shape.slice(0, -3)), ...shape.slice(-3)] });

/** A whole file of one model and the input "input": state, `eval.*` and `train.*` of what `f` names. */
export async function network(
  golden: Golden,
  check: Check,
  backend: Backend,
  model: Module,
  f: (x: Tensor) => Record<string, Tensor>,
): Promise<void> {
  sameState(golden, check, model);
  fillModule(model);
  const { input } = inputsOf(golden);
  const values = await evaluate(f, input, backend);
  for (const [name, value] of Object.entries(values)) compare(check, `eval.${name}`, nchw(value), evalLimit, evalDigest);
  await training(golden, check, backend, model, f, input);
}

const lastOf = <T>(values: readonly T[]): T => values[values.length - 1];

const resnet: Runner = (golden, check, backend) => {
  const { block, layers, num_classes: classes, cifar_stem: cifarStem, replace_stride_with_dilation: dilate }: Config = golden.config;
  const { width, inner, groups }: Config = golden.config;
  const model = new ResNet({ block, layers, classes, cifarStem, replaceStrideWithDilation: dilate, width, inner, groups });
  return network(golden, check, backend, model, (x) => {
    const { stem, stages } = model.outputs(x);
    const maps = stages.map(lastOf);
    const features = lastOf(maps).mean([1, 2]);
    return { stem, ...numbered("layer", maps, 1), features, output: model.head(features) };
  });
};

const simclrResnet: Runner = (golden, check, backend) => {
  const { block, layers, width_multiplier: width, sk_ratio: selectiveKernels, cifar_stem: cifarStem }: Config = golden.config;
  const model = new SimclrResNet({ block, layers, width, selectiveKernels, cifarStem });
  return network(golden, check, backend, model, (x) => {
    const { stem, stages } = model.outputs(x);
    const maps = stages.map(lastOf);
    return { stem, ...numbered("group", maps, 1), output: lastOf(maps).mean([1, 2]) };
  });
};

const conv4: Runner = (golden, check, backend) => {
  const { in_channels: channels, hidden, out }: Config = golden.config;
  const { input }: Record<string, [number[], string]> = JSON.parse(golden.metadata.inputs);
  const model = new Conv4({ channels, hidden, out, size: lastOf(input[0]) });
  const episode = input[0].slice(0, -3);
  return network(golden, check, backend, model, (x) => {
    const maps = model.stages(x);
    return { ...numbered("block", maps), output: model.flatten(lastOf(maps)).reshape([...episode, -1]) };
  });
};

/** Two crops of unlike size: the maps are those of the first alone, embedding and scores of both. */
const swavResnet: Runner = async (golden, check, backend) => {
  const { layers, widen: width, hidden_mlp: hidden, output_dim: dim, prototypes, normalize }: Config = golden.config;
  const backbone = new ResNet({ block: "bottleneck", layers, width });
  const model = new PrototypeNet(backbone, { hidden, dim, prototypes, normalize });
  sameState(golden, check, model);
  fillModule(model);
  const { input, input_small: small } = inputsOf(golden);
  const maps = await evaluate(
    (x) => {
      const { stem, stages } = backbone.outputs(x);
      const layers = stages.map(lastOf);
      return { stem, ...numbered("layer", layers, 1), features: lastOf(layers).mean([1, 2]) };
    },
    input,
    backend,
  );
  for (const [name, value] of Object.entries(maps)) compare(check, `eval.${name}`, nchw(value), evalLimit, evalDigest);
  const crops = (x: Tensor, y: Tensor) => {
    const { embedding, scores } = model.forward([x, y]);
    return { embedding, scores: concat(scores, 1) };
  };
  const evaluation = compile((x: Tensor, y: Tensor) => withContext({ training: false }, () => crops(x, y)), backend);
  for (const [name, value] of Object.entries(await evaluation(input, small))) compare(check, `eval.${name}`, value, evalLimit, evalDigest);
  const step = (x: Tensor, y: Tensor) => {
    const { embedding, scores } = crops(x, y);
    return { embedding, output: scores };
  };
  await training(golden, check, backend, model, step, input, small);
};

/** Options that all ViT kinds share. */
const vitOptions = ({ img_size: size, patch_size: patch, dim, depth, heads, mlp_ratio: mlpRatio, num_classes: classes }: Config) => ({
  size,
  patch,
  dim,
  depth,
  heads,
  mlpRatio,
  classes,
});

const vitDino: Runner = async (golden, check, backend) => {
  const { input_shapes: shapes, last_layers: last } = golden.config;
  const model = new ViT(vitOptions(golden.config));
  sameState(golden, check, model);
  fillModule(model);
  const input = (shape: number[]) => nhwc(fill("input", shape, "input"));
  if (shapes.native) {
    const { features } = await evaluate((x) => ({ features: model.pooled(x) }), input(shapes.native), backend);
    check.close("eval.native.features", features, evalLimit);
  }
  const values = await evaluate(
    (x) => {
      const attention = model.lastAttention(x);
      const [b, heads, n] = attention.shape;
      return {
        tokens: model.tokens(x),
        position: model.positions(x),
        attention,
        cls_attention: attention
          .slice(2, 0, 1)
          .slice(3, 1)
          .reshape([b, heads, n - 1]),
        features: model.pooled(x),
        output: model.pooled(x),
        layers: model.intermediateLayers(x, last),
      };
    },
    input(shapes.eval),
    backend,
  );
  const { layers, ...rest } = values;
  for (const [name, value] of [...Object.entries(rest), ...layers.map((layer: Host, i: number): [string, Host] => [`layer${i}`, layer])]) {
    if (has(golden, `eval.${name}`)) compare(check, `eval.${name}`, value as Host, evalLimit, evalDigest);
  }
  const filled = model.pos_embed.data.slice();
  await backend.write(model.pos_embed, fill("position", model.pos_embed.shape, "input").data);
  const { position } = await evaluate((x) => ({ position: model.positions(x) }), input(shapes.eval), backend);
  if (has(golden, "eval.position_unit")) compare(check, "eval.position_unit", position, evalLimit, evalDigest);
  await backend.write(model.pos_embed, filled);
  await training(golden, check, backend, model, (x) => ({ output: model.pooled(x) }), input(shapes.train)); // the official forward never applies a head
};

const vitMae: Runner = (golden, check, backend) => {
  const { global_pool: mean, distilled } = golden.config;
  const model = new ViT({ ...vitOptions(golden.config), pool: mean ? "mean" : "class", distilled });
  return network(golden, check, backend, model, (x) => ({
    ...featuresAndLogits(model, x),
    ...(distilled && { patches: model.map(x).reshape([x.shape[0], -1, model.features]) }),
  }));
};

const vitMoco: Runner = (golden, check, backend) => {
  const model = new MocoViT({ ...vitOptions(golden.config), convStem: golden.config.conv_stem });
  const trained: string[] = JSON.parse(golden.metadata.parameters);
  if (!trained.includes("patch_embed.proj.weight") && !golden.config.conv_stem) model.patch_embed.freeze(); // its stop_grad_conv1
  check.close("eval.sincos_position", official(model.pos_embed), 1e-6);
  return network(golden, check, backend, model, (x) => featuresAndLogits(model, x));
};

/** Both from one pass, which in training moves running statistics. */
function featuresAndLogits(model: ViT, x: Tensor): { features: Tensor; output: Tensor } {
  const features = model.pooled(x);
  return { features, output: model.head ? model.head.forward(features) : features };
}

export const runners: Runners = {
  "backbone-resnet": resnet,
  "backbone-resnet-simclr": simclrResnet,
  "backbone-resnet-swav": swavResnet,
  "backbone-conv4": conv4,
  "backbone-vit-dino": vitDino,
  "backbone-vit-mae": vitMae,
  "backbone-vit-moco3": vitMoco,
};
