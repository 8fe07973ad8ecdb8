// The network of SwAV and DeepCluster-v2. Caron et al. 2020, arXiv 2006.09882; names as facebookresearch/swav, src/resnet50.py.
import type { Backbone } from "../models/backbone.ts";
import { Linear } from "../nn/linear.ts";
import { Module } from "../nn/module.ts";
import { BatchNorm } from "../nn/norm.ts";
import { type Layer, Sequential } from "../nn/sequential.ts";
import type { Tensor } from "../tape/tensor.ts";
import { multiCropFeatures } from "./multi-crop.ts";

export interface PrototypeOptions {
  /** Width between the two layers of the projection; 0 has one layer. */
  hidden: number;
  /** Length of the vectors that are compared with prototypes; 0 has no projection. */
  dim: number;
  /** Prototypes, or those of each of several heads. */
  prototypes: number | readonly number[];
  /** Compares unit vectors (default). */
  normalize?: boolean;
}

/** Several sets of prototypes beside each other, "prototypes0", "prototypes1" ... */
class MultiPrototypes extends Module {
  readonly #heads: readonly Linear[];

  constructor(dim: number, counts: readonly number[]) {
    super();
    this.#heads = counts.map((count) => new Linear(dim, count, { bias: false }));
  }

  protected override fields(): Iterable<[string, unknown]> {
    return this.#heads.map((head, i): [string, unknown] => [`prototypes${i}`, head]);
  }

  forward(x: Tensor): Tensor[] {
    return this.#heads.map((head) => head.forward(x));
  }
}

/** A backbone whose features are projected and compared with prototypes; all parameters stand side by side. */
export class PrototypeNet extends Module {
  readonly backbone: Backbone;
  readonly projection?: Layer;
  readonly prototypes: Linear | MultiPrototypes;
  readonly #normalize: boolean;

  constructor(backbone: Backbone, { hidden, dim, prototypes, normalize = true }: PrototypeOptions) {
    super();
    this.backbone = backbone;
    const { features } = backbone;
    if (dim && hidden)
      this.projection = new Sequential(new Linear(features, hidden), new BatchNorm(hidden), (x) => x.relu(), new Linear(hidden, dim));
    else if (dim) this.projection = new Linear(features, dim);
    const length = dim || features;
    this.prototypes =
      typeof prototypes === "number" ? new Linear(length, prototypes, { bias: false }) : new MultiPrototypes(length, prototypes);
    this.#normalize = normalize;
  }

  protected override fields(): Iterable<[string, unknown]> {
    return [...Object.entries(this.backbone), ["projection_head", this.projection], ["prototypes", this.prototypes]];
  }

  /** Features -> what is compared with the prototypes. [n, features] -> [n, dim] */
  embed(features: Tensor): Tensor {
    const z = this.projection ? this.projection.forward(features) : features;
    return this.#normalize ? z.normalize() : z;
  }

  /** Views of b images, neighbours of one size together -> [views b, dim], and the scores of each head, [views b, prototypes] */
  forward(views: readonly Tensor[]): { embedding: Tensor; scores: Tensor[] } {
    const embedding = this.embed(multiCropFeatures(this.backbone, views));
    const scores = this.prototypes.forward(embedding);
    return { embedding, scores: Array.isArray(scores) ? scores : [scores] };
  }
}
