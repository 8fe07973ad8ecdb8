// Four convolutions, the backbone of few-shot learning. Snell et al. 2017, arXiv 1703.05175; layers and names as
// indy-lab/ProtoTransfer, omni-mini/prototransfer/models.py (CNN_4Layer); initial weights are PyTorch's.
import { Conv2d } from "../nn/conv.ts";
import { Module } from "../nn/module.ts";
import { BatchNorm } from "../nn/norm.ts";
import { Sequential } from "../nn/sequential.ts";
import type { Tensor } from "../tape/tensor.ts";
import type { Family } from "./backbone.ts";

export interface Conv4Options {
  /** Of the images. */
  channels?: number;
  /** Of the first three blocks, and of the last. */
  hidden?: number;
  out?: number;
  /** Side of the images, which sets the length of the features; 84 for mini-ImageNet, 28 for Omniglot. */
  size?: number;
}

const block = (inputs: number, outputs: number) =>
  new Sequential(
    new Conv2d(inputs, outputs, 3, { padding: 1 }),
    new BatchNorm(outputs),
    (x) => x.relu(),
    (x) => x.maxPool({ kernel: 2 }),
  );

export class Conv4 extends Module {
  encoder: Sequential[];
  readonly features: number;

  constructor({ channels = 3, hidden = 64, out = 64, size = 84 }: Conv4Options = {}) {
    super();
    if (size < 16) throw new RangeError(`Cannot make conv4 for images of ${size} x ${size}: expected at least 16 x 16, halved four times`);
    const widths = [channels, hidden, hidden, hidden, out];
    this.encoder = widths.slice(1).map((width, i) => block(widths[i], width));
    this.features = out * Math.floor(size / 16) ** 2;
  }

  /** The map of each block. [b, h, w, channels] -> [b, h / 2, w / 2, hidden] to [b, h / 16, w / 16, out] */
  stages(x: Tensor): Tensor[] {
    let y = x;
    return this.encoder.map((layer) => {
      y = layer.forward(y);
      return y;
    });
  }

  /** [b, h, w, channels] -> [b, h / 16, w / 16, out] */
  map(x: Tensor): Tensor {
    return this.stages(x)[3];
  }

  /** Outputs of the last n blocks as rows of pixels, the earliest first: n of [b, h w, c] */
  intermediateLayers(x: Tensor, n: number): Tensor[] {
    return this.stages(x)
      .slice(-n)
      .map((map) => map.reshape([map.shape[0], -1, map.shape[3]]));
  }

  /** All places of a map, by channel. [b, h, w, c] -> [b, c h w] */
  flatten(map: Tensor): Tensor {
    return map.permute([0, 3, 1, 2]).reshape([map.shape[0], -1]);
  }

  /** [b, size, size, channels] -> [b, features] */
  forward(x: Tensor): Tensor {
    return this.flatten(this.map(x));
  }
}

export const conv4Family: Family = {
  variants: {
    conv4: {
      features: 1600,
      about: "4 convolutions of 64, for images of 84; other sizes have other features",
      build: ({ size }) => new Conv4({ size }),
    },
  },
};
