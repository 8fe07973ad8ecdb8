import type { Recipe } from "./recipe.ts";

/** AdamW as main_dino.py sets it; gradients are clipped one by one. */
const adamw = {
  name: "adamw",
  lr: 5e-4,
  scaling: "linear",
  weightDecay: 0.04,
  except: "vectors",
  gradientClip: { norm: 3, of: "each" },
} as const;
const schedule = { lr: "cosine", warmupEpochs: 10, end: 1e-6, reachAtLast: true, weightDecayEnd: 0.4 } as const;

/** Two small views, and large ones that show less: a picture of 32 pixels is soon looked at. */
const smallCrops = { locals: 2, localSize: 16, globalScale: [0.3, 1], localScale: [0.1, 0.4] } as const;

export const dinoRecipes = {
  "dino-small": {
    method: "dino",
    summary: "A few thousand photographs on a laptop",
    backbone: "vit-tiny-16",
    size: 96,
    epochs: 100,
    batch: 64,
    // a teacher that gets somewhere within a few thousand steps, fewer prototypes and views for fewer images
    options: { outputs: 4096, hidden: 512, bottleneck: 128, locals: 4, momentum: 0.99, dropPath: 0 },
    optimizer: { ...adamw, lr: 1e-3 },
    schedule,
    source: "this project; starts from dino-vits16-100",
    published: false,
  },
  "dino-cifar-vit-tiny": {
    method: "dino",
    summary: "Pictures of 32 pixels on a laptop",
    backbone: "vit-tiny-4",
    size: 32,
    epochs: 100,
    batch: 128,
    options: { outputs: 4096, hidden: 512, bottleneck: 128, locals: 4, localSize: 16, momentum: 0.99, dropPath: 0 },
    optimizer: { ...adamw, lr: 1e-3 },
    schedule: { ...schedule, weightDecayEnd: 0.04 },
    source: "this project; starts from dino-vits16-100",
    published: false,
  },
  "dino-cifar-vit-mini": {
    method: "dino",
    summary: "Pictures of 32 pixels in half an hour",
    backbone: "vit-conv-mini-8-mean",
    size: 32,
    epochs: 60,
    batch: 64,
    options: { outputs: 1024, hidden: 256, bottleneck: 64, momentum: 0.99, dropPath: 0, blur: false, ...smallCrops },
    optimizer: { ...adamw, lr: 4e-3 },
    schedule: { lr: "cosine", warmupEpochs: 4 },
    source: "this project; starts from dino-vits16-100, tuned on training pictures that were held out",
    published: false,
  },
  "dino-vits16-100": {
    method: "dino",
    summary: "ImageNet, ViT-S/16, the README's 100 epochs on one machine",
    backbone: "vit-small-16",
    size: 224,
    epochs: 100,
    batch: 512,
    optimizer: adamw,
    schedule,
    reports: [
      { protocol: "knn", dataset: "imagenet-1k", top1: 69.3 },
      { protocol: "linear", dataset: "imagenet-1k", top1: 74 },
    ],
    source: "github.com/facebookresearch/dino, README, vanilla DINO training",
    published: true,
  },
  "dino-vits16-300": {
    method: "dino",
    summary: "ImageNet, ViT-S/16, 300 epochs with a warmer teacher",
    backbone: "vit-small-16",
    size: 224,
    epochs: 300,
    batch: 1024,
    options: { teacherTemperature: 0.07, teacherWarmupEpochs: 30, normLastLayer: false },
    optimizer: adamw,
    schedule,
    reports: [
      { protocol: "knn", dataset: "imagenet-1k", top1: 73.3 },
      { protocol: "linear", dataset: "imagenet-1k", top1: 76 },
    ],
    source: "github.com/facebookresearch/dino, README, boosting DINO performance",
    published: true,
  },
  "dino-r50-100": {
    method: "dino",
    summary: "ImageNet, ResNet-50, the README's 100 epochs",
    backbone: "resnet50",
    size: 224,
    epochs: 100,
    batch: 512,
    options: { globalScale: [0.14, 1], localScale: [0.05, 0.14] },
    optimizer: { ...adamw, name: "sgd", momentum: 0.9, lr: 0.03, weightDecay: 1e-4 },
    schedule: { ...schedule, weightDecayEnd: 1e-4 },
    source: "github.com/facebookresearch/dino, README, ResNet-50 and other convnets; no result is given for it",
    published: true,
  },
} satisfies Record<string, Recipe>;
