import type { Recipe } from "./recipe.ts";

const imagenet = {
  method: "moco",
  backbone: "resnet50",
  size: 224,
  batch: 256,
  // weight decay on norms and biases as well; 0.015 for a batch of 128, says the README
  optimizer: { name: "sgd", momentum: 0.9, lr: 0.03, scaling: "linear", weightDecay: 1e-4, except: "nothing" },
  published: true,
} as const;

export const mocoRecipes = {
  "moco-small": {
    method: "moco",
    summary: "A few thousand photographs on a laptop",
    backbone: "resnet18-w0.5",
    size: 96,
    epochs: 100,
    batch: 128,
    options: { queue: 1024, momentum: 0.99, groups: 2 }, // the queue holds fewer images than an epoch, and the keys keep up in a short run
    optimizer: { name: "sgd", momentum: 0.9, lr: 0.06, scaling: "linear", weightDecay: 5e-4, except: "vectors" },
    schedule: { lr: "cosine", warmupEpochs: 5 },
    source: "this project; starts from moco-v2-r50-200",
    published: false,
  },
  "moco-cifar-r18-quarter": {
    method: "moco",
    summary: "Pictures of 32 pixels on a laptop",
    backbone: "resnet18-cifar-w0.25",
    size: 32,
    epochs: 100,
    batch: 256,
    options: { queue: 4096, momentum: 0.99, groups: 2 },
    optimizer: { name: "sgd", momentum: 0.9, lr: 0.06, scaling: "linear", weightDecay: 5e-4, except: "vectors" },
    schedule: { lr: "cosine", warmupEpochs: 5 },
    source: "this project; starts from moco-v2-r50-200",
    published: false,
  },
  "moco-cifar-solo": {
    method: "moco",
    summary: "CIFAR-10 or CIFAR-100 as solo-learn trains MoCo v2+",
    backbone: "resnet18-cifar",
    size: 32,
    epochs: 1000,
    batch: 256,
    options: { dim: 256, hidden: 2048, queue: 32768, momentum: 0.99, momentumEnd: 0.999, groups: 1, symmetric: true },
    optimizer: { name: "sgd", momentum: 0.9, lr: 0.3, scaling: "linear", weightDecay: 1e-4, except: "nothing" },
    schedule: { lr: "cosine", warmupEpochs: 10, start: 3e-5, reachAtLast: true },
    reports: [
      { protocol: "online-linear", dataset: "cifar-10", top1: 92.94 },
      { protocol: "online-linear", dataset: "cifar-100", top1: 69.89 },
    ],
    source:
      "github.com/vturrisi/solo-learn, scripts/pretrain/cifar/mocov2plus.yaml; its stem pads by 2 and its jitter changes saturation by 0.2, not 0.4",
    published: true,
  },
  "moco-v1-r50-200": {
    ...imagenet,
    summary: "ImageNet, the first paper, 200 epochs",
    epochs: 200,
    options: { head: "linear", temperature: 0.07, augment: "v1" },
    schedule: { lr: "steps", milestones: [0.6, 0.8], perEpoch: true }, // epochs 120 and 160
    reports: [{ protocol: "linear", dataset: "imagenet-1k", top1: 60.6 }],
    source: "github.com/facebookresearch/moco, README, MoCo v1",
  },
  "moco-v2-r50-200": {
    ...imagenet,
    summary: "ImageNet, the second paper, 200 epochs",
    epochs: 200,
    schedule: { lr: "cosine", perEpoch: true },
    reports: [{ protocol: "linear", dataset: "imagenet-1k", top1: 67.7 }],
    source: "github.com/facebookresearch/moco, README, MoCo v2, 200 epochs",
  },
  "moco-v2-r50-800": {
    ...imagenet,
    summary: "ImageNet, the second paper, 800 epochs",
    epochs: 800,
    schedule: { lr: "cosine", perEpoch: true },
    reports: [{ protocol: "linear", dataset: "imagenet-1k", top1: 71.1 }],
    source: "github.com/facebookresearch/moco, README, MoCo v2, 800 epochs",
  },
} satisfies Record<string, Recipe>;
