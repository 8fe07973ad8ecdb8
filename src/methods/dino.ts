// DINO. Caron et al. 2021, "Emerging Properties in Self-Supervised Vision Transformers", arXiv 2104.14294, Algorithm 1; the code is
// facebookresearch/dino, main_dino.py and utils.py.
//
//   s = g_s(all views),  t = g_t(the two global views)
//   L = mean over pairs of different views of H(softmax((t - C) / tau_t), softmax(s / tau_s)),   no gradient through t
//   C = m C + (1 - m) mean(t)                  after the loss
//   g_t = l g_t + (1 - l) g_s                  after the optimiser's step

import { dinoViews, evaluationView } from "../data/views.ts";
import type { Backbone } from "../models/backbone.ts";
import { ema } from "../nn/ema.ts";
import { Buffer } from "../nn/module.ts";
import { cosine, perEpoch, ramp } from "../nn/optim/schedule.ts";
import type { Parameter, Tensor } from "../tape/tensor.ts";
import { assign } from "../tape/trace.ts";
import { DinoHead } from "./heads.ts";
import { method } from "./method.ts";
import { MultiCrop } from "./multi-crop.ts";
import { flag, number, scale, whole } from "./options.ts";

/**
 * Each view of the student predicts what the teacher says of the other global views. DINOLoss of main_dino.py.
 * student [views b, k], teacher [2 b, k], center [1, k]
 */
export function dinoLoss(
  student: Tensor,
  teacher: Tensor,
  center: Tensor,
  { studentTemperature, teacherTemperature }: { studentTemperature: number; teacherTemperature: Tensor | number },
): Tensor {
  const images = teacher.shape[0] / 2;
  const targets = teacher.sub(center).div(teacherTemperature).softmax().stopGradient().split(0, 2);
  const predictions = student
    .div(studentTemperature)
    .logSoftmax()
    .split(0, student.shape[0] / images);
  const pairs = targets.flatMap((t, i) => predictions.filter((_, v) => v !== i).map((s) => t.mul(s)));
  const sum = pairs.reduce((a, b) => a.add(b)); // element by element: one pass over all views
  return sum.sum(-1).mean().neg().div(pairs.length);
}

/** C <- m C + (1 - m) mean(t), which keeps any one output from winning everywhere. teacher [n, k], of all workers */
export function moveCenter(center: Parameter, teacher: Tensor, momentum: number): void {
  assign(center, center.mul(momentum).add(teacher.mean(0, true).mul(1 - momentum)));
}

export const dino = method({
  name: "dino",
  summary: "Matches a slow copy of itself from small crops; its attention finds objects",
  paper: "Caron et al. 2021, Emerging Properties in Self-Supervised Vision Transformers, arXiv 2104.14294",
  options: {
    outputs: whole(65536, "Prototypes that the head compares with; fewer for few images"),
    hidden: whole(2048, "Width of the head's inner layers"),
    bottleneck: whole(256, "Length of the vectors that are compared"),
    headLayers: whole(3, "Layers of the head before the prototypes"),
    headNorm: flag(false, "Batch norm in the head"),
    normLastLayer: flag(true, "Prototypes of length 1: steadier; off gains a little with ViT-S"),
    freezeLastLayer: whole(1, "Epochs in which the prototypes do not move", { min: 0 }),
    momentum: number(0.996, "l, how slowly the teacher follows at first; 1 at the end; larger for small batches", { min: 0, max: 1 }),
    studentTemperature: number(0.1, "tau_s", { above: 0 }),
    warmupTeacherTemperature: number(0.04, "tau_t at first; lower it if the loss does not fall", { above: 0 }),
    teacherTemperature: number(0.04, "tau_t after its warm-up; 0.07 gains in long runs", { above: 0 }),
    teacherWarmupEpochs: whole(0, "Epochs from the first to the final tau_t", { min: 0 }),
    centerMomentum: number(0.9, "m, how slowly the centre moves", { min: 0, max: 1 }),
    dropPath: number(0.1, "Stochastic depth of the student's last block", { min: 0, below: 1 }),
    locals: whole(8, "Small views beside the two large ones", { min: 0 }),
    localSize: whole(0, "Side of a small view; 0 takes 3/7 of the large one's, in steps of 16 pixels", { min: 0 }),
    globalScale: scale([0.4, 1], "Share of the image in a large view; 0.14,1 without small views"),
    localScale: scale([0.05, 0.4], "Share of the image in a small view"),
    blur: flag(true, "Blur views, and solarise some; off for CIFAR-10"),
  },

  views: ({ locals, localSize, globalScale, localScale, blur: blurred }, size) => {
    const side = localSize || 16 * Math.max(1, Math.round((size * 96) / 224 / 16));
    return dinoViews(size, { locals, localSize: side, globalScale, localScale, blurred });
  },
  evaluationView: (_, size) => evaluationView(size, { interpolation: "bicubic" }),

  build(backbone, { outputs, hidden, bottleneck, headLayers, headNorm, normLastLayer, dropPath }) {
    const network = (f: Backbone) =>
      new MultiCrop(f, new DinoHead(f.features, outputs, { layers: headLayers, hidden, bottleneck, batchNorm: headNorm, normLastLayer }));
    const student = network(backbone({ dropPath }));
    const teacher = network(backbone()).freeze();
    teacher.load(student.state());
    return { student, teacher, center: new Buffer([1, outputs]) };
  },

  schedules({ momentum, warmupTeacherTemperature, teacherTemperature, teacherWarmupEpochs }, { epochs, stepsPerEpoch }) {
    const warmup = ramp({ from: warmupTeacherTemperature, to: teacherTemperature, steps: teacherWarmupEpochs, reach: "last" });
    return {
      momentum: cosine({ from: momentum, to: 1, steps: epochs * stepsPerEpoch }),
      teacherTemperature: perEpoch(warmup, stepsPerEpoch),
    };
  },

  loss({ student, teacher, center }, views, { teacherTemperature }, { studentTemperature, centerMomentum }) {
    const h = teacher.features(views.slice(0, 2));
    const t = teacher.head.forward(h).stopGradient();
    const loss = dinoLoss(student.forward(views), t, center, { studentTemperature, teacherTemperature });
    const p = t.sub(center).div(teacherTemperature).softmax();
    moveCenter(center, t, centerMomentum);
    return {
      loss,
      entropy: p.mul(p.add(1e-12).log()).sum(-1).mean().neg(), // of one image's targets: 0 or log(outputs) when collapsed
      embedding: h.slice(0, 0, views[0].shape[0]).stopGradient(),
    };
  },

  update({ student, teacher }, { momentum }) {
    ema(teacher, student, momentum);
  },

  frozen: (name, epoch, { freezeLastLayer }) => epoch < freezeLastLayer && name.includes("last_layer"),

  encoder: ({ teacher }) => teacher.backbone,
});
