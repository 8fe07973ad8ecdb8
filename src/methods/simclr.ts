// SimCLR. Chen et al. 2020, "A Simple Framework for Contrastive Learning of Visual Representations", arXiv 2002.05709, Algorithm 1;
// v2: arXiv 2006.10029; the code is google-research/simclr, tf2/{model,objective,data_util}.py.
//
//   h1, h2 = f(x1), f(x2)            two views of each image, one batch
//   z1, z2 = g(h1), g(h2)            projected, of length 1
//   L = sum over both directions of -log( exp(z_i z_j / tau) / sum over k != i of exp(z_i z_k / tau) )

import { evaluationView, simclrFloatEvaluationView, simclrFloatViews, simclrViews } from "../data/views.ts";
import { concat } from "../tape/ops/move.ts";
import { iota } from "../tape/ops/reduce.ts";
import { accuracy, ntXent } from "./contrastive.ts";
import { reluMlp, SimclrHead } from "./heads.ts";
import { method } from "./method.ts";
import { choice, flag, number, scale, whole } from "./options.ts";

export const simclr = method({
  name: "simclr",
  summary: "Tells two views of an image from all other images of the batch; wants large batches",
  paper: "Chen et al. 2020, A Simple Framework for Contrastive Learning of Visual Representations, arXiv 2002.05709",
  options: {
    dim: whole(128, "Length of the vectors that are compared"),
    layers: whole(3, "Layers of the projection head; 2 in the first paper"),
    head: choice("norm", ["norm", "plain"], "Batch norm in the head, or biases alone as in solo-learn"),
    hidden: whole(0, "Width of a plain head's inner layers; 0 takes the backbone's", { min: 0 }),
    temperature: number(0.1, "tau, the softness of the comparison; 0.5 suits batches of small pictures", { above: 0 }),
    directions: choice(
      "sum",
      ["sum", "mean"],
      "Loss of both directions: their sum as in the official code, or their mean as in PyTorch ports",
    ),
    crop: scale([0.08, 1], "Share of the image in a view"),
    strength: number(1, "Strength of the colour changes; 0.5 for CIFAR-10", { min: 0, max: 1 }),
    grey: number(0.2, "Share of views that lose their colours", { min: 0, max: 1 }),
    blur: flag(true, "Blur half of the views; off for CIFAR-10"),
    pipeline: choice(
      "pillow",
      ["pillow", "tensorflow"],
      "Whose image operations: PyTorch ports', or the official float ones without normalisation",
    ),
  },

  views: ({ crop, strength, grey, blur: blurred, pipeline }, size) =>
    (pipeline === "pillow" ? simclrViews : simclrFloatViews)(size, { scale: crop, strength, grey, blurred }),
  evaluationView: ({ pipeline }, size) => (pipeline === "pillow" ? evaluationView : simclrFloatEvaluationView)(size),

  build(backbone, { dim, layers, head, hidden }) {
    const f = backbone();
    const inner = new Array<number>(layers - 1).fill(hidden || f.features);
    return {
      base_model: f,
      head_contrastive: head === "norm" ? new SimclrHead(f.features, dim, layers) : reluMlp([f.features, ...inner, dim]),
    };
  },

  loss({ base_model: f, head_contrastive: g }, [x1, x2], _, { temperature, directions }) {
    const h = f.forward(concat([x1, x2], 0)); // both views in one batch, so that batch norm sees them together
    const [z1, z2] = g.forward(h).normalize(1e-6).split(0, 2);
    const { loss, logits } = ntXent(z1, z2, temperature);
    return {
      loss: directions === "sum" ? loss : loss.div(2),
      accuracy: accuracy(logits, iota(logits.shape[0])), // 1 / batch by chance
      embedding: h.slice(0, 0, x1.shape[0]).stopGradient(),
    };
  },

  encoder: ({ base_model }) => base_model,
});
