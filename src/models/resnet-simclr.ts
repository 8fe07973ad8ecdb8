// SimCLR's residual networks, with selective kernels in version 2. Chen et al. 2020, arXiv 2002.05709 and arXiv 2006.10029; selective
// kernels: Li et al. 2019, arXiv 1903.06586; layers, names and initial weights as google-research/simclr, tf2/resnet.py. They differ
// from torchvision's in padding (TensorFlow's "same"), in the shortcuts and in the running variance, and see images in [0, 1].
import { Conv2d } from "../nn/conv.ts";
import { constant, initialize, lecunNormal } from "../nn/init.ts";
import type { Module } from "../nn/module.ts";
import { BatchNorm } from "../nn/norm.ts";
import { array } from "../tape/op.ts";
import type { Tensor } from "../tape/tensor.ts";
import type { Family, Variant } from "./backbone.ts";
import { type Outputs, ResidualNet, resnets, run, widthOf } from "./resnet.ts";

export interface SimclrResNetOptions {
  block: "basic" | "bottleneck";
  /** Blocks in each of the four stages. */
  layers: readonly number[];
  /** Multiplies every width, the stem's included. */
  width?: number;
  /** Channels of the bottleneck between two kernels, as a share (0.0625 in version 2); 0 has neither kernels nor the deep stem. */
  selectiveKernels?: number;
  /** 3 x 3 convolution of stride 1 and no pooling. */
  cifarStem?: boolean;
}

const conv = (inputs: number, outputs: number, kernel: number, stride = 1) =>
  new Conv2d(inputs, outputs, kernel, { stride, padding: (kernel - 1) / 2, bias: false, init: lecunNormal });

/** Batch norm as Keras keeps it, with ReLU behind unless it ends a branch. */
class Norm extends BatchNorm {
  readonly relu: boolean;

  constructor(features: number, { relu = true, zero = false } = {}) {
    super(features, { runningVariance: "biased" });
    this.relu = relu;
    if (zero && this.weight) initialize(this.weight, constant(0));
  }

  override forward(x: Tensor): Tensor {
    const y = super.forward(x);
    return this.relu ? y.relu() : y;
  }
}

/** Layers in a row. Their order is the order of construction, by which TensorFlow numbers them. */
type Layers = (Conv2d | Norm)[];

const through = (layers: Layers, x: Tensor) => layers.reduce((y, layer) => layer.forward(y), x);

/** 3 x 3 max pooling of stride 2 with "same" padding: on even sides one row after and none before. x [b, h, w, c], not negative */
export function maxPoolSame(x: Tensor): Tensor {
  const total = x.shape.map((n, axis) => (axis === 1 || axis === 2 ? 1 + (n % 2) : 0));
  const before = total.map((n) => Math.floor(n / 2));
  return x
    .pad(
      before,
      total.map((n, axis) => n - before[axis]),
    ) // zeros, which are never above what comes out of a ReLU
    .maxPool({ kernel: 3, stride: 2 });
}

/** 2 x 2 average pooling with a row and a column after: zeros that count at stride 2, and that do not at stride 1. */
export function avgPoolSame(x: Tensor, stride: number): Tensor {
  const pooled = x.pad([0, 0, 0, 0], [0, 1, 1, 0]).avgPool({ kernel: 2, stride });
  if (stride > 1) return pooled;
  const [, h, w] = x.shape;
  const share = (i: number, n: number) => (i === n - 1 ? 2 : 1);
  const shares = Float32Array.from({ length: h * w }, (_, i) => share(Math.floor(i / w), h) * share(i % w, w));
  return pooled.mul(array(shares, [1, h, w, 1]));
}

/** Two 3 x 3 convolutions side by side, and how much of each every channel takes, by what the image as a whole shows. */
class SelectiveKernels {
  readonly layers: Layers;
  readonly #branches: Layers;
  readonly #squeeze: Layers;

  constructor(inputs: number, outputs: number, stride: number, ratio: number) {
    const hidden = Math.max(Math.floor(outputs * ratio), 32);
    this.#branches = [conv(inputs, 2 * outputs, 3, stride), new Norm(2 * outputs)];
    this.#squeeze = [conv(outputs, hidden, 1), new Norm(hidden), conv(hidden, 2 * outputs, 1)];
    this.layers = [...this.#branches, ...this.#squeeze];
  }

  /** [b, h, w, in] -> [b, h', w', out] */
  forward(x: Tensor): Tensor {
    const [one, other] = through(this.#branches, x).split(3, 2);
    const [a, b] = through(this.#squeeze, one.add(other).mean([1, 2], true)).split(3, 2);
    const lead = a.sub(b); // its sigmoid is the softmax of two
    return one.mul(lead.sigmoid()).add(other.mul(lead.neg().sigmoid()));
  }
}

class Block {
  readonly layers: Layers;
  readonly #shortcut: Layers;
  readonly #branch: (Conv2d | Norm | SelectiveKernels)[];
  /** Of the pooling in front of the shortcut's convolution; 0 is none. */
  readonly #pool: number;

  constructor(inputs: number, planes: number, { block, selectiveKernels = 0 }: SimclrResNetOptions, stride: number, first: boolean) {
    const outputs = planes * expansion[block];
    const deep = selectiveKernels > 0;
    this.#pool = deep ? stride : 0;
    this.#shortcut = first ? [conv(inputs, outputs, 1, deep ? 1 : stride), new Norm(outputs, { relu: false })] : [];
    this.#branch =
      block === "basic"
        ? [conv(inputs, planes, 3, stride), new Norm(planes), conv(planes, planes, 3)]
        : [
            conv(inputs, planes, 1),
            new Norm(planes),
            ...(deep
              ? [new SelectiveKernels(planes, planes, stride, selectiveKernels)]
              : [conv(planes, planes, 3, stride), new Norm(planes)]),
            conv(planes, outputs, 1),
          ];
    this.#branch.push(new Norm(outputs, { relu: false, zero: true }));
    this.layers = [...this.#shortcut, ...this.#branch.flatMap((part) => (part instanceof SelectiveKernels ? part.layers : [part]))];
  }

  /** [b, h, w, in] -> [b, h', w', out] */
  forward(x: Tensor): Tensor {
    const projected = this.#shortcut.length > 0 && this.#pool > 0 ? avgPoolSame(x, this.#pool) : x;
    const shortcut = through(this.#shortcut, projected);
    return this.#branch
      .reduce((y, part) => part.forward(y), x)
      .add(shortcut)
      .relu();
  }
}

const expansion = { basic: 1, bottleneck: 4 };

export class SimclrResNet extends ResidualNet {
  readonly features: number;
  readonly #stem: Layers;
  readonly #pooled: boolean;
  readonly #stages: Block[][];

  constructor(options: SimclrResNetOptions) {
    super();
    const { block, layers, width = 1, selectiveKernels = 0, cifarStem = false } = options;
    const base = 64 * width;
    this.#pooled = !cifarStem;
    if (cifarStem) this.#stem = [conv(3, base, 3), new Norm(base)];
    else if (selectiveKernels === 0) this.#stem = [conv(3, base, 7, 2), new Norm(base)];
    else {
      const half = base / 2;
      this.#stem = [conv(3, half, 3, 2), new Norm(half), conv(half, half, 3), new Norm(half), conv(half, base, 3), new Norm(base)];
    }
    let inputs = base;
    this.#stages = layers.map((count, i) =>
      Array.from({ length: count }, (_, k) => {
        const planes = base * 2 ** i;
        const made = new Block(inputs, planes, options, k === 0 && i > 0 ? 2 : 1, k === 0);
        inputs = planes * expansion[block];
        return made;
      }),
    );
    this.features = inputs;
  }

  /** "conv2d", "conv2d_1" ... and "batch_normalization", "batch_normalization_1" ... in the order of construction. */
  protected override fields(): Iterable<[string, unknown]> {
    const counts = { conv2d: 0, batch_normalization: 0 };
    const layers = [...this.#stem, ...this.#stages.flat().flatMap((block) => block.layers)];
    return layers.map((layer): [string, Module] => {
      const kind = layer instanceof Conv2d ? "conv2d" : "batch_normalization";
      const number = counts[kind]++;
      return [number ? `${kind}_${number}` : kind, layer];
    });
  }

  override outputs(x: Tensor): Outputs {
    const first = through(this.#stem, x);
    return run(this.#stages, this.#pooled ? maxPoolSame(first) : first);
  }

  /** [b, h, w, 3] -> [b, features] */
  forward(x: Tensor): Tensor {
    return this.map(x).mean([1, 2]);
  }
}

function variant(name: keyof typeof resnets, selective: boolean, cifarStem: boolean, width: number): Variant {
  const { block, layers } = resnets[name];
  const notes = [
    ...(selective ? ["selective kernels"] : []),
    ...(cifarStem ? ["3 x 3 stem without pooling"] : []),
    ...(width === 1 ? [] : [`${width} times the channels`]),
    "images in [0, 1]",
  ];
  return {
    features: 512 * width * expansion[block],
    about: `SimCLR's ResNet-${name.slice("resnet".length)}; ${notes.join("; ")}`,
    build: () => new SimclrResNet({ block, layers, width, cifarStem, selectiveKernels: selective ? 0.0625 : 0 }),
  };
}

function parse(name: string): Variant | string | undefined {
  const [, base, selective, cifar, digits] = /^(?:simclr-)?(.*?)(-sk)?(-cifar)?(?:-w(\d+(?:\.\d+)?))?$/.exec(name) as RegExpExecArray;
  if (!name.startsWith("simclr-") || !Object.hasOwn(resnets, base)) return undefined;
  const width = widthOf(name, digits);
  return typeof width === "string" ? width : variant(base as keyof typeof resnets, !!selective, !!cifar, width);
}

/** Each name also takes a stem and a width: "simclr-resnet50-w2", "simclr-resnet152-sk-w3", "simclr-resnet18-cifar". */
export const simclrResNetFamily: Family = {
  variants: Object.fromEntries(
    (Object.keys(resnets) as (keyof typeof resnets)[]).flatMap((name) => [
      [`simclr-${name}`, variant(name, false, false, 1)],
      ...(resnets[name].block === "bottleneck" ? [[`simclr-${name}-sk`, variant(name, true, false, 1)]] : []),
    ]),
  ),
  parse,
};
