// DINOv2's vision transformers: branches with layer scale, positions for images of 518 x 518, and in the "-reg" networks four
// registers. Oquab et al. 2023, arXiv 2304.07193; Darcet et al. 2023, arXiv 2309.16588; layers, names and initial weights as
// facebookresearch/dinov2 dinov2/models/vision_transformer.py, sizes and ways to resize positions from its hub/backbones.py.
import { initialize, normal } from "../nn/init.ts";
import type { Family, Variant } from "./backbone.ts";
import { sizeOfPositions, ViT, type ViTOptions } from "./vit.ts";

const shared = { patch: 14, size: 518, layerScale: 1e-5, maskToken: true };

const sizes = {
  small: { dim: 384, depth: 12, heads: 6 },
  base: { dim: 768, depth: 12, heads: 12 },
  large: { dim: 1024, depth: 24, heads: 16 },
  giant: { dim: 1536, depth: 40, heads: 24, swiglu: true },
};

/** Every published size, without and with registers: "dinov2-vit-small-14", "dinov2-vit-small-14-reg". */
export const dinov2s: Readonly<Record<string, ViTOptions>> = Object.fromEntries(
  Object.entries(sizes).flatMap(([name, size]): [string, ViTOptions][] => [
    [`dinov2-vit-${name}-14`, { ...size, ...shared }],
    [`dinov2-vit-${name}-14-reg`, { ...size, ...shared, registers: 4, resize: "antialiased" }],
  ]),
);

export class Dinov2ViT extends ViT {
  constructor(options: ViTOptions) {
    super(options);
    initialize(this.cls_token, normal(1e-6));
  }
}

const variant = (options: ViTOptions): Variant => ({
  features: options.dim,
  about: `DINOv2's ViT, ${options.depth} blocks of ${options.dim} with ${options.heads} heads, patch 14${options.swiglu ? ", gated MLPs" : ""}${options.registers ? `, ${options.registers} registers` : ""}`,
  build: ({ size = options.size, dropPath }) => new Dinov2ViT({ ...options, size, dropPath }),
  evaluatedAt: 224,
  sizeOf: (shapeOf) => sizeOfPositions(shapeOf("pos_embed"), options),
});

export const dinov2Family: Family = {
  variants: Object.fromEntries(Object.entries(dinov2s).map(([name, options]) => [name, variant(options)])),
};
