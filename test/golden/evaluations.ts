// Kinds of evaluations: nearest neighbours, and features and gradients of classifiers on frozen or trained transformers.
import { accuracy, type Features, nearest, normalizeRows, votes } from "../../src/evaluate/knn.ts";
import { ViT, vits } from "../../src/models/vit.ts";
import { Linear } from "../../src/nn/linear.ts";
import { smoothLabels } from "../../src/nn/loss.ts";
import { withContext } from "../../src/nn/module.ts";
import { BatchNorm } from "../../src/nn/norm.ts";
import { concat } from "../../src/tape/ops/move.ts";
import { softCrossEntropy } from "../../src/tape/ops/reduce.ts";
import type { Shape } from "../../src/tape/shape.ts";
import type { Tensor } from "../../src/tape/tensor.ts";
import { compile, type Host } from "../../src/tape/trace.ts";
import { fill, uniform } from "../fill.ts";
import type { Golden, Runner, Runners } from "./golden.ts";
import { evaluate, fillModule, gradientsOf, nhwc } from "./models.ts";

const features = (data: Float32Array, dim: number): Features => normalizeRows({ data, count: data.length / dim, dim });

/** a x + b centre[label], rows of a class around its centre. */
function clusters(noise: Host, centres: Host, labels: readonly number[], weight: number): Features {
  const dim = noise.shape[1];
  return features(
    noise.data.map((x, i) => Math.fround(x + Math.fround(weight * centres.data[labels[Math.floor(i / dim)] * dim + (i % dim)]))),
    dim,
  );
}

/** The READMEs allow 1e-4 on the percent scale. */
const percent = (score: { top1: number; top5: number }) => [score.top1, score.top5];

const dinoKnn: Runner = async (golden, check, backend) => {
  const { prefix, train, test, dim, classes, ks, temperatures } = golden.config;
  const labels = Array.from({ length: train }, (_, i) => i % classes);
  const queries = Array.from({ length: test }, (_, i) => (7 * i) % classes);
  const centres = fill(`${prefix}centers`, [classes, dim], "input");
  const bank = clusters(fill(`${prefix}train`, [train, dim], "input"), centres, labels, 0.7);
  const probes = clusters(fill(`${prefix}test`, [test, dim], "input"), centres, queries, 0.7);
  const found = await nearest(probes, bank, { k: Math.max(...ks) }, backend);
  for (const k of ks) {
    for (const tau of temperatures) {
      const score = accuracy(votes(found, labels, classes, { k, tau }), queries, classes, k);
      check.close(`k${k}_T${tau}_top1_top5`, percent(score), 1e-4, 1);
    }
  }
  const [rows, k] = golden.get("neighbours_first_k").shape;
  check.exact(
    "neighbours_first_k",
    Array.from({ length: rows * k }, (_, i) => found.index[Math.floor(i / k) * found.k + (i % k)]),
  );
  const scores = votes(found, labels, classes, { k: ks[0], tau: temperatures[0] });
  check.close("scores_first_k_T", scores.subarray(0, rows * classes), 1e-4);
};

const evaluationKnn: Runner = async (golden, check, backend) => {
  const { prefix, train, test, dim, classes } = golden.config;
  const draw = (name: string, n: number) => Array.from(uniform(prefix + name, n), (u) => Math.floor(u * classes));
  const [labels, queries] = [draw("train_labels", train), draw("test_labels", test)];
  const centres = fill(`${prefix}centers`, [classes, dim], "input");
  const bank = clusters(fill(`${prefix}train`, [train, dim], "input"), centres, labels, 0.6);
  const probes = clusters(fill(`${prefix}test`, [test, dim], "input"), centres, queries, 0.6);
  const results = golden.get("results");
  const rows = Array.from({ length: results.shape[0] }, (_, r) => [...results.data.subarray(4 * r, 4 * r + 4)]);
  const [n, k] = golden.get("neighbours_first_10").shape;
  const found = await nearest(probes, bank, { k: Math.max(k, ...rows.map(([kept]) => kept)) }, backend);
  const got = rows.flatMap(([kept, tau]) => [
    kept,
    tau,
    ...percent(accuracy(votes(found, labels, classes, { k: kept, tau }), queries, classes, kept)),
  ]);
  check.close("results", got, 1e-4, 1);
  const first = (list: ArrayLike<number>) => Array.from({ length: n * k }, (_, i) => list[Math.floor(i / k) * found.k + (i % k)]);
  check.close("similarity_first_10", first(found.similarity), 1e-5);
  check.exact("neighbours_first_10", first(found.index));
};

/** Instance discrimination's protocol: the first labels cover every class; the plain nearest neighbour beside the vote. */
const knnWeighted: Runner = async (golden, check, backend) => {
  const { prefix, n, q, dim, C: classes, K: k, sigma: tau } = golden.config;
  const draw = (name: string, count: number) => Array.from(uniform(prefix + name, count), (u) => Math.floor(classes * Math.fround(u)));
  const labels = draw("labels", n).map((label, i) => (i < classes ? i : label));
  const queries = draw("qlabels", q);
  check.exact("labels", labels);
  check.exact("query_labels", queries);
  const bank = features(fill(`${prefix}memory`, [n, dim], "input").data, dim);
  const found = await nearest(features(fill(`${prefix}queries`, [q, dim], "input").data, dim), bank, { k }, backend);
  const scores = votes(found, labels, classes, { k, tau });
  check.close("class_scores", scores, Math.max(1e-5, 10 * golden.spread("class_scores")));
  const best = queries.map((_, i) =>
    scores.subarray(i * classes, (i + 1) * classes).reduce((top, v, c, row) => (v > row[top] ? c : top), 0),
  );
  check.exact("prediction", best);
  const scale = golden.get("top1").data[0] > 1 ? 1 : 100; // stored as a share or in per cent
  check.close("top1", accuracy(scores, queries, classes, k).top1 / scale, 1e-6, 1);
  const hits = queries.filter((label, i) => labels[found.index[i * k]] === label).length;
  check.close("nn_top1", (100 * hits) / q / scale, 1e-6, 1);
};

/** Class tokens of the last n blocks side by side; with `average`, class token and mean patch token of the last interleaved. */
function linearFeatures(model: ViT, x: Tensor, n: number, average: boolean): Tensor {
  const layers = model.intermediateLayers(x, n);
  const [b, , dim] = layers[0].shape;
  const tokens = concat(
    layers.map((layer) => layer.slice(1, 0, 1).reshape([b, dim])),
    1,
  );
  if (!average) return tokens;
  const mean = (layers.at(-1) as Tensor).slice(1, 1).mean(1);
  return concat([tokens.reshape([b, dim, 1]), mean.reshape([b, dim, 1])], 2).reshape([b, 2 * dim]);
}

const dinoFeatures: Runner = async (golden, check, backend) => {
  const { prefix, arch, patch, size, batch, classes } = golden.config;
  const model = new ViT({ ...vits[`${arch.replace("_", "-")}-${patch}` as keyof typeof vits], size: golden.config.img_size ?? 224 });
  fillModule(model, prefix);
  const x = nhwc(fill(`${prefix}x`, [batch, 3, size, size], "input"));
  const cases = [...golden.tensors.keys()].flatMap((name) => /^features\.n(\d+)_avg([01])$/.exec(name) ?? []).filter((_, i) => i % 3 === 0);
  const got = await evaluate(
    (t) => {
      const parts = cases.map((name) => {
        const [, n, average] = /n(\d+)_avg([01])/.exec(name) as RegExpExecArray;
        const y = linearFeatures(model, t, Number(n), average === "1");
        const head = new Linear(y.shape[1], classes);
        fillModule(head, `${prefix}lin${n}${average}.linear.`);
        return { name, features: y, logits: head.forward(y) };
      });
      return {
        features: parts.map((part) => part.features),
        logits: parts.map((part) => part.logits),
        knn_feature: model.pooled(t).normalize(),
        attention: model.lastAttention(t),
      };
    },
    x,
    backend,
  );
  for (const [i, name] of cases.entries()) {
    check.close(name, got.features[i], 1e-4);
    check.close(name.replace("features", "logits"), got.logits[i], 1e-4);
  }
  check.close("knn_feature", got.knn_feature, 1e-4);
  check.digest("attention_last#digest", got.attention, { sums: 1e-4, elements: 1e-3 });
};

/** The larger of the READMEs' limit and five times torch's own spread. */
const limitOf = (golden: Golden, name: string, floor = 2e-5) => Math.max(floor, 5 * golden.spread(name));

const maeClassifier: Runner = async (golden, check, backend) => {
  const {
    prefix,
    img_size: size,
    patch_size: patch,
    num_classes: classes,
    embed_dim: dim,
    depth,
    num_heads: heads,
    mlp_ratio: mlpRatio,
  } = golden.config;
  const { global_pool: pool, label_smoothing: smoothing, batch, targets, inputs } = golden.config;
  const model = new ViT({ dim, depth, heads, patch, size, mlpRatio, pool: pool ? "mean" : "class", classes });
  fillModule(model, prefix);
  check.exact("target", targets);
  const image = nhwc(fill(`${prefix}img`, inputs.img[0], "input"));
  const labels: Host = { data: Float32Array.from(targets as number[]), shape: [batch] };
  const step = await gradientsOf(
    model,
    (x, label) => {
      const pooled = model.pooled(x);
      const logits = (model.head as Linear).forward(pooled);
      const soft = smoothLabels(label, classes, smoothing);
      return { features: pooled, logits, loss: softCrossEntropy(logits, soft) };
    },
    [image, labels],
    backend,
  );
  for (const name of ["features", "logits", "loss"]) check.close(name, step.values[name], limitOf(golden, name));
  const elements: Record<string, number> = JSON.parse(golden.metadata.float32_spread_elements ?? "{}");
  for (const [name, gradient] of step.gradients) {
    const tensor = `grad/${name}`;
    check.digest(tensor, gradient, { sums: limitOf(golden, tensor), elements: Math.max(1e-3, 5 * (elements[tensor] ?? 0)) });
    if (golden.tensors.has(`gradfull/${name}`)) check.close(`gradfull/${name}`, gradient, limitOf(golden, `gradfull/${name}`));
  }
  await probe(golden, check, model, backend);
};

/** MAE's linear probe: batch norm without scale and shift, then the classifier. */
const probe = async (golden: Golden, check: Parameters<Runner>[1], model: ViT, backend: Parameters<Runner>[2]): Promise<void> => {
  const { prefix, probe: p, inputs } = golden.config;
  const shape: Shape = inputs.probe_features[0];
  const raw = fill(`${prefix}probe_features`, shape, "input");
  const x: Host = { shape, data: raw.data.map((v) => p.feature_scale * v + p.feature_shift) };
  const norm = new BatchNorm(shape[1], { eps: p.bn_eps, momentum: p.bn_momentum, scale: false, shift: false });
  const run = (training: boolean) =>
    compile((t: Tensor) => withContext({ training }, () => (model.head as Linear).forward(norm.forward(t))), backend)(x);
  check.close("probe_logits_train", await run(true), limitOf(golden, "probe_logits_train"));
  check.close("probe_running_mean", await backend.read(norm.running_mean), limitOf(golden, "probe_running_mean"));
  check.close("probe_running_var", await backend.read(norm.running_var), limitOf(golden, "probe_running_var"));
  check.close("probe_logits_eval", await run(false), limitOf(golden, "probe_logits_eval"));
};

export const runners: Runners = {
  "dino-knn": dinoKnn,
  "evaluation-knn": evaluationKnn,
  "knn-weighted": knnWeighted,
  "dino-eval-features": dinoFeatures,
  "mae-classifier": maeClassifier,
};
