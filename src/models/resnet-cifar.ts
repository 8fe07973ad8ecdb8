// The residual networks for images of 32 x 32 of He et al. 2016, arXiv 1512.03385, section 4.2: three stages of 16, 32 and 64 channels
// and shortcuts without parameters (option A). Names as github.com/akamaster/pytorch_resnet_cifar10, whose weights are supervised.
import { Conv2d } from "../nn/conv.ts";
import { kaimingNormal } from "../nn/init.ts";
import { Linear } from "../nn/linear.ts";
import { Module } from "../nn/module.ts";
import { BatchNorm } from "../nn/norm.ts";
import type { Tensor } from "../tape/tensor.ts";
import type { Family, Variant } from "./backbone.ts";
import { type Outputs, ResidualNet, run } from "./resnet.ts";

/** Blocks in each of the three stages: 6 n + 2 layers. */
export const cifarResnets = { resnet20: 3, resnet32: 5, resnet44: 7, resnet56: 9, resnet110: 18 } as const;

const conv = (inputs: number, outputs: number, stride = 1) =>
  new Conv2d(inputs, outputs, 3, { stride, padding: 1, bias: false, init: kaimingNormal });

class Block extends Module {
  conv1: Conv2d;
  bn1: BatchNorm;
  conv2: Conv2d;
  bn2: BatchNorm;
  readonly stride: number;
  /** Channels that the shortcut lacks. */
  readonly more: number;

  constructor(inputs: number, outputs: number, stride: number) {
    super();
    this.conv1 = conv(inputs, outputs, stride);
    this.bn1 = new BatchNorm(outputs);
    this.conv2 = conv(outputs, outputs);
    this.bn2 = new BatchNorm(outputs);
    this.stride = stride;
    this.more = outputs - inputs;
  }

  /** Every second pixel of every second row, with as many channels of zeros on both sides. */
  #shortcut(x: Tensor): Tensor {
    if (this.stride === 1) return x;
    const sides = [0, 0, 0, this.more / 2];
    return x.avgPool({ kernel: 1, stride: this.stride }).pad(sides, sides);
  }

  forward(x: Tensor): Tensor {
    const y = this.bn1.forward(this.conv1.forward(x)).relu();
    return this.bn2.forward(this.conv2.forward(y)).add(this.#shortcut(x)).relu();
  }
}

const stage = (inputs: number, outputs: number, blocks: number): Block[] =>
  Array.from({ length: blocks }, (_, i) => new Block(i ? outputs : inputs, outputs, i === 0 && inputs !== outputs ? 2 : 1));

export class CifarResNet extends ResidualNet {
  conv1: Conv2d;
  bn1: BatchNorm;
  layer1: Block[];
  layer2: Block[];
  layer3: Block[];
  linear?: Linear;
  readonly features = 64;

  constructor({ blocks, classes }: { blocks: number; classes?: number }) {
    super();
    this.conv1 = conv(3, 16);
    this.bn1 = new BatchNorm(16);
    this.layer1 = stage(16, 16, blocks);
    this.layer2 = stage(16, 32, blocks);
    this.layer3 = stage(32, 64, blocks);
    if (classes) this.linear = new Linear(64, classes);
  }

  override outputs(x: Tensor): Outputs {
    return run([this.layer1, this.layer2, this.layer3], this.bn1.forward(this.conv1.forward(x)).relu());
  }

  /** [b, h, w, 3] -> [b, 64], or logits with `linear` */
  forward(x: Tensor): Tensor {
    const features = this.map(x).mean([1, 2]);
    return this.linear ? this.linear.forward(features) : features;
  }
}

const variant = (name: string, blocks: number): Variant => ({
  features: 64,
  about: `ResNet-${name.slice("resnet".length)} of 16 to 64 channels, for images of 32`,
  build: () => new CifarResNet({ blocks }),
});

export const cifarResnetFamily: Family = {
  variants: Object.fromEntries(Object.entries(cifarResnets).map(([name, blocks]) => [name, variant(name, blocks)])),
};
