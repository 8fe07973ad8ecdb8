// MoCo. He et al. 2020, "Momentum Contrast for Unsupervised Visual Representation Learning", arXiv 1911.05722, Algorithm 1; v2: Chen
// et al. 2020, arXiv 2003.04297; the code is facebookresearch/moco, moco/builder.py.
//
//   q = f_q(x_q)                               queries; the encoder that is trained
//   f_k = m f_k + (1 - m) f_q                  before the keys are made
//   k = f_k(x_k)                               keys, no gradient; the batch shuffled among groups with statistics of their own
//   L = -log( exp(q k / tau) / (exp(q k / tau) + sum over the queue of exp(q k- / tau)) )
//   queue = [queue, k] without its oldest      after the loss

import { evaluationView, mocoV1Views, mocoV2Views } from "../data/views.ts";
import { ema } from "../nn/ema.ts";
import { Buffer } from "../nn/module.ts";
import { constant, cosine } from "../nn/optim/schedule.ts";
import { concat } from "../tape/ops/move.ts";
import { accuracy, infoNce } from "./contrastive.ts";
import { inGroups, shuffled } from "./groups.ts";
import { reluMlp, WithHead } from "./heads.ts";
import { method } from "./method.ts";
import { choice, flag, number, whole } from "./options.ts";
import { enqueue, randomQueue } from "./queue.ts";

export const moco = method({
  name: "moco",
  summary: "Tells two views of an image from a long queue of earlier images; works with small batches",
  paper: "He et al. 2020, Momentum Contrast for Unsupervised Visual Representation Learning, arXiv 1911.05722; v2: arXiv 2003.04297",
  options: {
    dim: whole(128, "Length of the vectors that are compared"),
    queue: whole(65536, "Keys that are remembered; a multiple of the batch"),
    temperature: number(0.2, "tau, the softness of the comparison; 0.07 in v1", { above: 0 }),
    momentum: number(0.999, "m, how slowly the key encoder follows", { min: 0, max: 1 }),
    momentumEnd: number(0, "Where a cosine takes the momentum; 0 keeps it constant", { min: 0, max: 1 }),
    head: choice("mlp", ["mlp", "linear"], "Two layers as in v2, or one as in v1"),
    hidden: whole(0, "Width of the inner layer; 0 takes the backbone's", { min: 0 }),
    augment: choice("v2", ["v2", "v1"], "Whose views: v2 adds blur and tames the colours"),
    groups: whole(8, "Parts of a batch with batch norm statistics of their own, as many as the official runs had GPUs"),
    symmetric: flag(false, "Each view is a query and a key once, with a queue for each (solo-learn's MoCo v2+)"),
  },

  views: ({ augment }, size) => (augment === "v1" ? mocoV1Views : mocoV2Views)(size),
  evaluationView: (_, size) => evaluationView(size),

  build(backbone, { dim, queue, head, hidden, symmetric }) {
    const encoder = () => {
      const f = backbone();
      return new WithHead(f, "fc", reluMlp(head === "mlp" ? [f.features, hidden || f.features, dim] : [f.features, dim]));
    };
    const encoder_q = encoder();
    const encoder_k = encoder().freeze();
    encoder_k.load(encoder_q.state());
    return {
      encoder_q,
      encoder_k,
      queue: randomQueue(symmetric ? [2, dim, queue] : [dim, queue]),
      queue_ptr: new Buffer([1]),
    };
  },

  schedules({ momentum, momentumEnd }, { epochs, stepsPerEpoch }) {
    return { momentum: momentumEnd ? cosine({ from: momentum, to: momentumEnd, steps: epochs * stepsPerEpoch }) : constant(momentum) };
  },

  loss({ encoder_q, encoder_k, queue, queue_ptr }, [x1, x2], { momentum }, { temperature, groups, symmetric }) {
    const images = symmetric ? [x1, x2] : [x1];
    const h = images.map((x) => inGroups(encoder_q.backbone, x, groups));
    ema(encoder_k, encoder_q, momentum);
    const keys = (symmetric ? [x2, x1] : [x2]).map((x) => shuffled(encoder_k, x, groups).normalize().stopGradient());
    const past = symmetric ? queue.split(0, 2).map((part) => part.reshape(queue.shape.slice(1))) : [queue];
    const sides = h.map((features, i) => infoNce(encoder_q.head.forward(features).normalize(), keys[i], past[i], temperature));
    const stacked = keys.map((k) => k.reshape([1, ...k.shape]));
    enqueue(queue, queue_ptr, symmetric ? concat(stacked, 0) : keys[0]);
    const losses = sides.map(({ loss }) => loss);
    return {
      loss: losses.reduce((a, b) => a.add(b)).div(losses.length),
      accuracy: accuracy(sides[0].logits, 0), // 1 / (queue + 1) by chance
      embedding: h[0].stopGradient(),
    };
  },

  encoder: ({ encoder_q }) => encoder_q.backbone,
});
