// Kinds losses and layer-decay: what fine-tuning recipes need.
import { binaryCrossEntropy, smoothLabels } from "../../src/nn/loss.ts";
import { layerDecay } from "../../src/nn/optim/layer-decay.ts";
import { grad } from "../../src/tape/grad.ts";
import { crossEntropy, softCrossEntropy } from "../../src/tape/ops/reduce.ts";
import { Parameter, type Tensor } from "../../src/tape/tensor.ts";
import { compile, type Host } from "../../src/tape/trace.ts";
import { fill } from "../fill.ts";
import type { Config, Runner, Runners } from "./golden.ts";

const limit = 2e-6;

/** Every loss of the file as a function of logits and labels, the mixing partner being the batch in reverse. */
function lossesOf({ classes, smoothing, lam, bce_target_threshold: threshold }: Config) {
  const mixed = (label: Tensor, eps: number) =>
    smoothLabels(label, classes, eps)
      .mul(lam)
      .add(smoothLabels(label.flip(0), classes, eps).mul(1 - lam));
  const targets = {
    mixup_target: (label: Tensor) => mixed(label, smoothing),
    mixup_target_no_smoothing: (label: Tensor) => mixed(label, 0),
  };
  const smoothed = (x: Tensor, label: Tensor) => softCrossEntropy(x, smoothLabels(label, classes, smoothing));
  const losses: Record<string, (x: Tensor, label: Tensor) => Tensor> = {
    ce: crossEntropy,
    label_smoothing_ce: smoothed,
    soft_target_ce: (x, label) => softCrossEntropy(x, targets.mixup_target(label)),
    bce_dense_labels_smoothing: (x, label) => binaryCrossEntropy(x, smoothLabels(label, classes, smoothing)),
    bce_mixup_target: (x, label) => binaryCrossEntropy(x, targets.mixup_target(label)),
    bce_threshold: (x, label) => binaryCrossEntropy(x, targets.mixup_target(label).greater(threshold)),
    bce_sum_over_classes: (x, label) => binaryCrossEntropy(x, targets.mixup_target_no_smoothing(label)).mul(classes),
    mixed_pair_label_smoothing_ce: (x, label) =>
      smoothed(x, label)
        .mul(lam)
        .add(smoothed(x, label.flip(0)).mul(1 - lam)),
  };
  return { targets, losses };
}

const losses: Runner = async ({ config }, check, backend) => {
  const { prefix, N: n, classes, logits_scale: scale, labels } = config;
  const raw = fill(`${prefix}logits`, [n, classes], "input").data.map((x) => scale * x);
  const label: Host = { data: Float32Array.from(labels as number[]), shape: [n] };
  const { targets, losses: all } = lossesOf(config);
  const logits = new Parameter([n, classes], raw);
  const run = compile((y: Tensor) => {
    const pairs = Object.entries(all).map(([name, f]) => [name, f(logits, y)] as const);
    return {
      targets: Object.fromEntries(Object.entries(targets).map(([name, f]) => [name, f(y)])),
      losses: Object.fromEntries(pairs),
      gradients: Object.fromEntries(pairs.map(([name, loss]) => [name, grad(loss, [logits])[0] as Tensor])),
    };
  }, backend);
  const got = await run(label);
  check.exact("labels", labels);
  for (const [name, value] of Object.entries(got.targets)) check.close(name, value as Host, limit);
  for (const [name, value] of Object.entries(got.losses)) check.close(name, value as Host, limit);
  for (const [name, value] of Object.entries(got.gradients)) check.close(`${name}/grad`, value as Host, limit);
};

interface DecayCase {
  depth?: number;
  depths?: number[];
  ld: number;
  wd: number;
  skip: string[];
  keywords: string[];
  names: string[];
  rank_one: boolean[];
}

const layerDecays: Runner = ({ config }, check) => {
  for (const [tag, c] of Object.entries(config.cases as Record<string, DecayCase>)) {
    const rules = layerDecay({ depths: c.depths ?? (c.depth as number), decay: c.ld, skip: c.skip, containing: c.keywords });
    const found = c.names.map((name, i) => rules(name, new Parameter(c.rank_one[i] ? [1] : [1, 1], new Float32Array(1))));
    check.close(
      `${tag}/lr_scale`,
      found.map(({ lrScale = 1 }) => lrScale),
      limit,
    );
    check.close(
      `${tag}/weight_decay`,
      found.map(({ decay = 1 }) => decay * c.wd),
      limit,
    );
  }
};

export const runners: Runners = { losses, "layer-decay": layerDecays };
