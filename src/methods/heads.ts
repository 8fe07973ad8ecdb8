// Heads: small networks behind a backbone that training needs and evaluation drops. Names are those of the official checkpoints.
import type { Backbone } from "../models/backbone.ts";
import { normal, truncNormal } from "../nn/init.ts";
import { Linear, WeightNormLinear } from "../nn/linear.ts";
import { Module } from "../nn/module.ts";
import { BatchNorm } from "../nn/norm.ts";
import { type Layer, Sequential } from "../nn/sequential.ts";
import type { Tensor } from "../tape/tensor.ts";

const relu = (x: Tensor) => x.relu();
const gelu = (x: Tensor) => x.gelu();

/** Linear layers with ReLU between them, PyTorch's initial weights. widths: of the input, every layer, the output. */
export function reluMlp(widths: readonly number[]): Layer {
  const layers = widths.slice(1).map((width, i) => new Linear(widths[i], width));
  return layers.length === 1 ? layers[0] : new Sequential(...layers.flatMap((layer, i) => (i ? [relu, layer] : [layer])));
}

/** A backbone and a head whose parameters stand side by side: "conv1.weight" ... "fc.weight", as in torchvision's classifiers. */
export class WithHead extends Module {
  readonly backbone: Backbone;
  readonly head: Layer;
  readonly name: string;

  constructor(backbone: Backbone, name: string, head: Layer) {
    super();
    this.backbone = backbone;
    this.name = name;
    this.head = head;
  }

  protected override fields(): Iterable<[string, unknown]> {
    return [...Object.entries(this.backbone), [this.name, this.head]];
  }

  /** [b, h, w, 3] -> [b, out] */
  forward(x: Tensor): Tensor {
    return this.head.forward(this.backbone.forward(x));
  }
}

class SimclrLayer extends Module {
  dense: Linear;
  bn: BatchNorm;
  readonly last: boolean;

  constructor(inputs: number, outputs: number, last: boolean) {
    super();
    this.dense = new Linear(inputs, outputs, { bias: false, init: normal(0.01) });
    this.bn = new BatchNorm(outputs, { shift: !last, runningVariance: "biased" });
    this.last = last;
  }

  forward(x: Tensor): Tensor {
    const y = this.bn.forward(this.dense.forward(x));
    return this.last ? y : y.relu();
  }
}

/**
 * SimCLR's projection: layers of the input's width with batch norm and ReLU, the last one narrower, without shift and ReLU.
 * google-research/simclr, tf2/model.py, ProjectionHead; Keras keeps the biased running variance.
 */
export class SimclrHead extends Module {
  readonly layers: readonly SimclrLayer[];

  constructor(width: number, dim: number, layers: number) {
    super();
    this.layers = Array.from({ length: layers }, (_, i) => new SimclrLayer(width, i === layers - 1 ? dim : width, i === layers - 1));
  }

  protected override fields(): Iterable<[string, unknown]> {
    return this.layers.map((layer, i): [string, unknown] => [`nl_${i}`, layer]);
  }

  /** Through the first `count` layers: fine-tuning keeps one in SimCLR v2. [b, width] -> [b, dim] */
  forward(x: Tensor, count = this.layers.length): Tensor {
    return this.layers.slice(0, count).reduce((y, layer) => layer.forward(y), x);
  }
}

export interface DinoHeadOptions {
  layers?: number;
  hidden?: number;
  bottleneck?: number;
  batchNorm?: boolean;
  /** Keeps the prototypes at length 1: steadier, a little worse for large models. */
  normLastLayer?: boolean;
}

/**
 * DINO's projection: an MLP to a bottleneck, which is normalised and compared with `outputs` prototypes.
 * Caron et al. 2021, arXiv 2104.14294, appendix C; facebookresearch/dino, vision_transformer.py, DINOHead.
 */
export class DinoHead extends Module {
  mlp: Layer;
  last_layer: WeightNormLinear;

  constructor(inputs: number, outputs: number, options: DinoHeadOptions = {}) {
    super();
    const { layers = 3, hidden = 2048, bottleneck = 256, batchNorm = false, normLastLayer = true } = options;
    const linear = (from: number, to: number) => new Linear(from, to, { init: truncNormal(0.02) });
    const inner = Array.from({ length: layers - 1 }, (_, i) => [
      linear(i ? hidden : inputs, hidden),
      ...(batchNorm ? [new BatchNorm(hidden)] : []),
      gelu,
    ]);
    this.mlp = layers === 1 ? linear(inputs, bottleneck) : new Sequential(...inner.flat(), linear(hidden, bottleneck));
    this.last_layer = new WeightNormLinear(bottleneck, outputs);
    this.last_layer.weight_g.trainable = !normLastLayer;
  }

  /** [b, in] -> [b, out] */
  forward(x: Tensor): Tensor {
    return this.last_layer.forward(this.mlp.forward(x).normalize());
  }
}
