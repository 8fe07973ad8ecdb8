// Residual networks. He et al. 2016, arXiv 1512.03385; layers, names and initial weights as torchvision/models/resnet.py
// (the stride of a bottleneck is in its 3 x 3 convolution).
import { Conv2d } from "../nn/conv.ts";
import { constant, initialize, kaimingNormal } from "../nn/init.ts";
import { Linear } from "../nn/linear.ts";
import { Module } from "../nn/module.ts";
import { BatchNorm } from "../nn/norm.ts";
import { Sequential } from "../nn/sequential.ts";
import type { Tensor } from "../tape/tensor.ts";
import type { Family, Variant } from "./backbone.ts";

export const resnets = {
  resnet18: { block: "basic", layers: [2, 2, 2, 2] },
  resnet34: { block: "basic", layers: [3, 4, 6, 3] },
  resnet50: { block: "bottleneck", layers: [3, 4, 6, 3] },
  resnet101: { block: "bottleneck", layers: [3, 4, 23, 3] },
  resnet152: { block: "bottleneck", layers: [3, 8, 36, 3] },
  resnet200: { block: "bottleneck", layers: [3, 24, 36, 3] },
} as const satisfies Record<string, ResNetOptions>;

/** torchvision's with more channels between the 1 x 1 convolutions: Zagoruyko & Komodakis 2016, arXiv 1605.07146; in groups: Xie et al. 2016, arXiv 1611.05431. */
export const innerResnets = {
  "wide-resnet50-2": { ...resnets.resnet50, inner: 2 },
  "wide-resnet101-2": { ...resnets.resnet101, inner: 2 },
  "resnext50-32x4d": { ...resnets.resnet50, inner: 2, groups: 32 },
  "resnext101-32x8d": { ...resnets.resnet101, inner: 4, groups: 32 },
  "resnext101-64x4d": { ...resnets.resnet101, inner: 4, groups: 64 },
} satisfies Record<string, ResNetOptions>;

export interface ResNetOptions {
  block: "basic" | "bottleneck";
  /** Blocks in each of the four stages. */
  layers: readonly number[];
  /** Multiplies every width, the stem's included, as SwAV and SimCLR widen; torchvision's "wide" networks have `inner`. */
  width?: number;
  /** Multiplies the channels between the 1 x 1 convolutions of a bottleneck alone. */
  inner?: number;
  /** Of the 3 x 3 convolution of a bottleneck. */
  groups?: number;
  /** 3 x 3 convolution of stride 1 and no pooling, for small images; otherwise 7 x 7 of stride 2 and max pooling. */
  cifarStem?: boolean;
  /** Blocks begin as the identity: the last norm of each has scale 0. Goyal et al. 2017, arXiv 1706.02677. */
  zeroInitResidual?: boolean;
  /** For stages 2, 3 and 4: keep the resolution and widen the holes of the convolutions instead. */
  replaceStrideWithDilation?: readonly [boolean, boolean, boolean];
  /** Adds `fc`, and `forward` gives its logits. */
  classes?: number;
}

interface Place extends Pick<ResNetOptions, "inner" | "groups"> {
  inputs: number;
  planes: number;
  stride: number;
  dilation: number;
}

const conv = (inputs: number, outputs: number, kernel: number, stride = 1, dilation = 1, groups = 1) =>
  new Conv2d(inputs, outputs, kernel, {
    stride,
    dilation,
    groups,
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
    const { inputs, planes, stride, dilation, inner = 1, groups } = place;
    const outputs = planes * Bottleneck.expansion;
    const between = planes * inner;
    this.conv1 = conv(inputs, between, 1);
    this.bn1 = new BatchNorm(between);
    this.conv2 = conv(between, between, 3, stride, dilation, groups);
    this.bn2 = new BatchNorm(between);
    this.conv3 = conv(between, outputs, 1);
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

/** What the parts of a ResNet give: [b, h, w, c] each. */
export interface Outputs {
  stem: Tensor;
  /** Of every block, by stage. */
  stages: Tensor[][];
}

/** What follows for any network of residual blocks from the maps that they give. */
export abstract class ResidualNet extends Module {
  /** [b, h, w, 3] -> the maps of the stem and of every block. */
  abstract outputs(x: Tensor): Outputs;

  /** [b, h, w, 3] -> the last map of each stage, the finest first: [b, h / 4, w / 4, ...] to [b, h / 32, w / 32, features] */
  stages(x: Tensor): Tensor[] {
    return this.outputs(x).stages.map((maps) => maps[maps.length - 1]);
  }

  /** [b, h, w, 3] -> [b, h / 32, w / 32, features] (h / 8 with the CIFAR stem) */
  map(x: Tensor): Tensor {
    return this.stages(x).at(-1) as Tensor;
  }

  /** Outputs of the last n blocks as rows of pixels, the earliest first: n of [b, h w, c] */
  intermediateLayers(x: Tensor, n: number): Tensor[] {
    const maps = this.outputs(x).stages.flat().slice(-n);
    return maps.map((map) => map.reshape([map.shape[0], -1, map.shape[3]]));
  }
}

/** The map of the stem, and of each block in stages that feed each other. */
export function run(stages: readonly (readonly { forward(x: Tensor): Tensor }[])[], stem: Tensor): Outputs {
  let y = stem;
  const step = (block: { forward(x: Tensor): Tensor }) => {
    y = block.forward(y);
    return y;
  };
  return { stem, stages: stages.map((blocks) => blocks.map(step)) };
}

export class ResNet extends ResidualNet {
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
    inner,
    groups,
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
        const stride = first && i > 0 && !dilated ? 2 : 1;
        const made = new Kind({ inputs, planes, inner, groups, stride, dilation: first ? before : dilation });
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

  get #blocks(): Block[][] {
    return [this.layer1, this.layer2, this.layer3, this.layer4];
  }

  /** Makes every block the identity until trained. */
  zeroInitResidual(): void {
    for (const { lastNorm } of this.#blocks.flat()) if (lastNorm.weight) initialize(lastNorm.weight, constant(0));
  }

  override outputs(x: Tensor): Outputs {
    const first = this.bn1.forward(this.conv1.forward(x)).relu();
    const stem = this.#cifarStem ? first : first.maxPool({ kernel: 3, stride: 2, padding: 1 });
    return run(this.#blocks, stem);
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

/** What may follow a ResNet's name: "resnet50-cifar-w0.25", "resnet50-w2-stride8". */
interface Suffixes {
  cifarStem: boolean;
  width: number;
  /** Of the last map against the image; 32 unless later stages are dilated. */
  stride: 8 | 16 | 32;
}

const dilations = { 8: [false, true, true], 16: [false, false, true], 32: [false, false, false] } as const;

function variant(name: keyof typeof resnets, { cifarStem, width, stride }: Suffixes): Variant {
  const { block, layers } = resnets[name];
  const notes = [
    cifarStem ? "3 x 3 stem without pooling, for images of 32 to 96" : "ImageNet stem",
    ...(width === 1 ? [] : [`${width} times the channels`]),
    ...(stride === 32 ? [] : [`dilated to a stride of ${stride}`]),
  ];
  return {
    features: 512 * width * blocks[block].expansion,
    about: `ResNet-${name.slice("resnet".length)}; ${notes.join("; ")}`,
    build: () => new ResNet({ block, layers, cifarStem, width, replaceStrideWithDilation: dilations[stride] }),
  };
}

function innerVariant(name: string, options: ResNetOptions): Variant {
  const { block, inner = 1, groups } = options;
  const kind = groups ? `ResNeXt-${name.slice("resnext".length)}; ${groups} groups` : `Wide ResNet-${name.slice("wide-resnet".length)}`;
  const about = `${kind}; ${inner} times the channels within blocks`;
  return { features: 512 * blocks[block].expansion, about, build: () => new ResNet(options) };
}

/** Width of a name's suffix, or why it will not do. */
export function widthOf(name: string, digits: string | undefined): number | string {
  const width = digits === undefined ? 1 : Number(digits);
  const whole = width >= 0.25 && (64 * width) % 4 === 0;
  return whole ? width : `Cannot make "${name}": expected a width of 0.25 or more that gives whole channels, such as 0.25, 0.5, 2, 4`;
}

function parse(name: string): Variant | string | undefined {
  const [, base, cifar, digits, stride] = /^(.*?)(-cifar)?(?:-w(\d+(?:\.\d+)?))?(?:-stride(\d+))?$/.exec(name) as RegExpExecArray;
  if (!Object.hasOwn(resnets, base)) return undefined;
  const width = widthOf(name, digits);
  if (typeof width === "string") return width;
  if (stride === undefined) return variant(base as keyof typeof resnets, { cifarStem: !!cifar, width, stride: 32 });
  if (cifar || resnets[base as keyof typeof resnets].block === "basic" || (stride !== "8" && stride !== "16"))
    return `Cannot make "${name}": expected -stride8 or -stride16 after a network of bottleneck blocks, such as resnet50-stride8`;
  return variant(base as keyof typeof resnets, { cifarStem: false, width, stride: stride === "8" ? 8 : 16 });
}

/** Each name also takes a width and a stride: "resnet50-w2", "resnet18-cifar-w0.25", "resnet50-stride8". */
export const resnetFamily: Family = {
  variants: Object.fromEntries([
    ...(Object.keys(resnets) as (keyof typeof resnets)[]).flatMap((name) => [
      [name, variant(name, { cifarStem: false, width: 1, stride: 32 })],
      [`${name}-cifar`, variant(name, { cifarStem: true, width: 1, stride: 32 })],
    ]),
    ...Object.entries(innerResnets).map(([name, options]) => [name, innerVariant(name, options)]),
  ]),
  parse,
};
