import type { Recipe } from "./recipe.ts";

const adamw = { name: "adamw", betas: [0.9, 0.95], scaling: "linear", weightDecay: 0.05, except: "vectors" } as const;

export const maeRecipes = {
  "mae-small": {
    method: "mae",
    summary: "A few thousand photographs on a laptop",
    backbone: "vit-tiny-8",
    size: 64,
    epochs: 200,
    batch: 128,
    options: { decoderDim: 96, decoderDepth: 2, decoderHeads: 3 },
    optimizer: { ...adamw, lr: 1e-3 }, // 1.5e-4 is meant for batches of 4096, where it gives 2.4e-3
    schedule: { lr: "cosine", warmupEpochs: 10 },
    source: "this project; starts from mae-vitb16-1600",
    published: false,
  },
  "mae-cifar-vit-tiny": {
    method: "mae",
    summary: "Pictures of 32 pixels on a laptop",
    backbone: "vit-tiny-4",
    size: 32,
    epochs: 200,
    batch: 256,
    options: { decoderDim: 96, decoderDepth: 2, decoderHeads: 3 },
    optimizer: { ...adamw, lr: 1e-3 },
    schedule: { lr: "cosine", warmupEpochs: 10 },
    source: "this project; starts from mae-vitb16-1600",
    published: false,
  },
  "mae-cifar-vit-mini": {
    method: "mae",
    summary: "Pictures of 32 pixels in minutes",
    backbone: "vit-mini-4",
    size: 32,
    epochs: 100,
    batch: 128,
    options: { features: "patches", decoderDim: 64, decoderDepth: 1, decoderHeads: 2 },
    optimizer: { ...adamw, lr: 4e-3 },
    schedule: { lr: "cosine", warmupEpochs: 10 },
    source: "this project; starts from mae-vitb16-1600, tuned on training pictures that were held out",
    published: false,
  },
  "mae-vitb16-1600": {
    method: "mae",
    summary: "ImageNet, ViT-B/16, the paper's 1600 epochs",
    backbone: "vit-base-16",
    size: 224,
    epochs: 1600,
    batch: 4096,
    optimizer: { ...adamw, lr: 1.5e-4 },
    schedule: { lr: "cosine", warmupEpochs: 40 },
    reports: [
      { protocol: "linear", dataset: "imagenet-1k", top1: 68 },
      { protocol: "fine-tune", dataset: "imagenet-1k", top1: 83.6 },
    ],
    source: "github.com/facebookresearch/mae, PRETRAIN.md; results from the paper",
    published: true,
  },
} satisfies Record<string, Recipe>;
