// Views of several sizes. Caron et al. 2020 (SwAV), arXiv 2006.09882, section 3.3; facebookresearch/dino, utils.py, MultiCropWrapper.
import type { Backbone } from "../models/backbone.ts";
import { Module } from "../nn/module.ts";
import type { Layer } from "../nn/sequential.ts";
import { concat } from "../tape/ops/move.ts";
import type { Tensor } from "../tape/tensor.ts";

/** Features of views of b images, neighbours of one size together: [views b, features], all images of the first view first. */
export function multiCropFeatures(backbone: Backbone, views: readonly Tensor[]): Tensor {
  const sizes: Tensor[][] = [];
  for (const [i, view] of views.entries()) {
    if (i > 0 && view.shape[2] === views[i - 1].shape[2]) sizes[sizes.length - 1].push(view);
    else sizes.push([view]);
  }
  return concat(
    sizes.map((same) => backbone.forward(concat(same, 0))),
    0,
  );
}

/** A backbone and a head for views of several sizes. */
export class MultiCrop<H extends Layer = Layer> extends Module {
  backbone: Backbone;
  head: H;

  constructor(backbone: Backbone, head: H) {
    super();
    this.backbone = backbone;
    this.head = head;
  }

  /** Views of b images -> [views b, features] */
  features(views: readonly Tensor[]): Tensor {
    return multiCropFeatures(this.backbone, views);
  }

  /** -> [views b, out] */
  forward(views: readonly Tensor[]): Tensor {
    return this.head.forward(this.features(views));
  }
}
