// Residual networks. He et al. 2016, arXiv 1512.03385; layers, names and initial weights as torchvision/models/resnet.py
// (the stride of a bottleneck is in its 3 x 3 convolution).
import { Conv2d } from "../nn/conv.ts";
import { constant, initialize, kaimingNormal } from "../nn/init.ts";
import { Linear } from "../nn/linear.ts";
import { Module } from "../nn/module.ts";
import { BatchNorm } from "../nn/norm.ts";
import { Sequential } from "../nn/sequential.ts";
import type { Tensor } from "../tape/tensor.ts";

export const resnets = {
  resnet18: { block: "basic", layers: [2, 2, 2, 2], features: 512, paper: "ResNet-18" },
  resnet34: { block: "basic", layers: [3, 4, 6, 3], features: 512, paper: "ResNet-34" },
  resnet50: { block: "bottleneck", layers: [3, 4, 6, 3], features: 2048, paper: "ResNet-50" },
} as const;

export interface ResNetOptions {
  block: "basic" | "bottleneck";
  /** Blocks in each of the four stages. */
  layers: readonly number[];
  /** Multiplies every width, the stem's included. */
  width?: number;
  /** 3 x 3 convolution of stride 1 and no pooling, for small images; otherwise 7 x 7 of stride 2 and max pooling. */
  cifarStem?: boolean;
  /** Blocks begin as the identity: the last norm of each has scale 0. Goyal et al. 2017, arXiv 1706.02677. */
  zeroInitResidual?: boolean;
  /** For stages 2, 3 and 4: keep the resolution and widen the holes of the convolutions instead. */
  replaceStrideWithDilation?: readonly [boolean, boolean, boolean];
  /** Adds `fc`, and `forward` gives its logits. */
  classes?: number;
}

interface Place {
  inputs: number;
  planes: number;
  stride: number;
  dilation: number;
}

const conv = (inputs: number, outputs: number, kernel: number, stride = 1, dilation = 1) =>
  new Conv2d(inputs, outputs, kernel, {
    stride,
    dilation,
    padding: kernel === 1 ? 0 : dilation * ((kernel - 1) / 2),
    bias: false,
    init: kaimingNormal,
  });

/** The projection of the shortcut, where size or channels change. */
function projection({ inputs, stride }: Place, outputs: number): Sequential | undefined {
  if (stride === 1 && inputs === outputs) return undefined;
  return new Sequential(conv(inputs, outputs, 1, stride), new BatchNorm(outputs));
}

class BasicBlock extends Module {
  static readonly expansion = 1;
  conv1: Conv2d;
  bn1: BatchNorm;
  conv2: Conv2d;
  bn2: BatchNorm;
  downsample?: Sequential;

  constructor(place: Place) {
    super();
    const { inputs, planes, stride, dilation } = place;
    if (dilation > 1) throw new RangeError("Cannot dilate a basic block: expected bottleneck blocks, as in ResNet-50");
    this.conv1 = conv(inputs, planes, 3, stride);
    this.bn1 = new BatchNorm(planes);
    this.conv2 = conv(planes, planes, 3);
    this.bn2 = new BatchNorm(planes);
    this.downsample = projection(place, planes);
  }

  get lastNorm(): BatchNorm {
    return this.bn2;
  }

  forward(x: Tensor): Tensor {
    const y = this.bn1.forward(this.conv1.forward(x)).relu();
    const shortcut = this.downsample ? this.downsample.forward(x) : x;
    return this.bn2.forward(this.conv2.forward(y)).add(shortcut).relu();
  }
}

class Bottleneck extends Module {
  static readonly expansion = 4;
  conv1: Conv2d;
  bn1: BatchNorm;
  conv2: Conv2d;
  bn2: BatchNorm;
  conv3: Conv2d;
  bn3: BatchNorm;
  downsample?: Sequential;

  constructor(place: Place) {
    super();
    const { inputs, planes, stride, dilation } = place;
    const outputs = planes * Bottleneck.expansion;
    this.conv1 = conv(inputs, planes, 1);
    this.bn1 = new BatchNorm(planes);
    this.conv2 = conv(planes, planes, 3, stride, dilation);
    this.bn2 = new BatchNorm(planes);
    this.conv3 = conv(planes, outputs, 1);
    this.bn3 = new BatchNorm(outputs);
    this.downsample = projection(place, outputs);
  }

  get lastNorm(): BatchNorm {
    return this.bn3;
  }

  forward(x: Tensor): Tensor {
    const y = this.bn1.forward(this.conv1.forward(x)).relu();
    const z = this.bn2.forward(this.conv2.forward(y)).relu();
    const shortcut = this.downsample ? this.downsample.forward(x) : x;
    return this.bn3.forward(this.conv3.forward(z)).add(shortcut).relu();
  }
}

type Block = BasicBlock | Bottleneck;
const blocks = { basic: BasicBlock, bottleneck: Bottleneck };

/** Maps of the stages, for checks and dense features: [b, h, w, c] each. */
export interface Stages {
  stem: Tensor;
  layer1: Tensor;
  layer2: Tensor;
  layer3: Tensor;
  layer4: Tensor;
}

export class ResNet extends Module {
  conv1: Conv2d;
  bn1: BatchNorm;
  layer1: Block[];
  layer2: Block[];
  layer3: Block[];
  layer4: Block[];
  fc?: Linear;
  readonly features: number;
  readonly #cifarStem: boolean;

  constructor({
    block,
    layers,
    width = 1,
    cifarStem = false,
    zeroInitResidual = false,
    replaceStrideWithDilation,
    classes,
  }: ResNetOptions) {
    super();
    const Kind = blocks[block];
    const base = 64 * width;
    this.conv1 = cifarStem ? conv(3, base, 3) : conv(3, base, 7, 2);
    this.bn1 = new BatchNorm(base);
    let inputs = base;
    let dilation = 1;
    const stage = (i: number): Block[] => {
      const planes = base * 2 ** i;
      const dilated = i > 0 && (replaceStrideWithDilation?.[i - 1] ?? false);
      const before = dilation;
      if (dilated) dilation *= 2;
      return Array.from({ length: layers[i] }, (_, k) => {
        const first = k === 0; // keeps the dilation of the stage before
        const made = new Kind({ inputs, planes, stride: first && i > 0 && !dilated ? 2 : 1, dilation: first ? before : dilation });
        inputs = planes * Kind.expansion;
        return made;
      });
    };
    [this.layer1, this.layer2, this.layer3, this.layer4] = [stage(0), stage(1), stage(2), stage(3)];
    this.features = inputs;
    if (classes) this.fc = new Linear(inputs, classes);
    this.#cifarStem = cifarStem;
    if (zeroInitResidual) this.zeroInitResidual();
  }

  /** Makes every block the identity until trained. */
  zeroInitResidual(): void {
    for (const { lastNorm } of [this.layer1, this.layer2, this.layer3, this.layer4].flat()) {
      if (lastNorm.weight) initialize(lastNorm.weight, constant(0));
    }
  }

  /** [b, h, w, 3] -> every stage's output. */
  stages(x: Tensor): Stages {
    const first = this.bn1.forward(this.conv1.forward(x)).relu();
    const stem = this.#cifarStem ? first : first.maxPool({ kernel: 3, stride: 2, padding: 1 });
    const run = (stage: Block[], y: Tensor) => stage.reduce((z, block) => block.forward(z), y);
    const layer1 = run(this.layer1, stem);
    const layer2 = run(this.layer2, layer1);
    const layer3 = run(this.layer3, layer2);
    return { stem, layer1, layer2, layer3, layer4: run(this.layer4, layer3) };
  }

  /** [b, h, w, 3] -> [b, h / 32, w / 32, features] (h / 8 with the CIFAR stem) */
  map(x: Tensor): Tensor {
    return this.stages(x).layer4;
  }

  /** [b, h, w, 3] -> [b, features], or logits with `fc` */
  forward(x: Tensor): Tensor {
    return this.head(this.map(x).mean([1, 2]));
  }

  /** Logits of pooled features; the features themselves without `fc`. */
  head(features: Tensor): Tensor {
    return this.fc ? this.fc.forward(features) : features;
  }
}
