// What tests of methods share: a tiny backbone, and training on one batch by the step that runs use.
import type { Backend } from "../../src/backend/backend.ts";
import type { Method, Parts, TypedMethod } from "../../src/methods/method.ts";
import { type OptionTable, resolveOptions } from "../../src/methods/options.ts";
import type { Backbone } from "../../src/models/backbone.ts";
import { ViT } from "../../src/models/vit.ts";
import { Conv2d } from "../../src/nn/conv.ts";
import { withSeed } from "../../src/nn/init.ts";
import { Module, namedParameters, nameModules } from "../../src/nn/module.ts";
import { BatchNorm } from "../../src/nn/norm.ts";
import { LossScale } from "../../src/nn/optim/loss-scale.ts";
import { makeOptimizer, type OptimizerSpec } from "../../src/nn/optim/optimizers.ts";
import type { Tensor } from "../../src/tape/tensor.ts";
import type { Host, Precision } from "../../src/tape/trace.ts";
import { type Learner, TrainStep } from "../../src/train/step.ts";
import { fill } from "../fill.ts";

/** One convolution with batch norm. */
export class TinyNet extends Module implements Backbone {
  conv: Conv2d;
  bn: BatchNorm;
  readonly features = 12;

  constructor() {
    super();
    this.conv = new Conv2d(3, this.features, 3, { stride: 2, bias: false });
    this.bn = new BatchNorm(this.features);
  }

  map(x: Tensor): Tensor {
    return this.bn.forward(this.conv.forward(x)).relu();
  }

  stages(x: Tensor): Tensor[] {
    return [this.map(x)];
  }

  intermediateLayers(x: Tensor): Tensor[] {
    return [this.map(x).reshape([x.shape[0], -1, this.features])];
  }

  forward(x: Tensor): Tensor {
    return this.map(x).mean([1, 2]);
  }
}

export const tinyViT = (dropPath = 0): ViT => new ViT({ dim: 16, depth: 2, heads: 2, patch: 4, size: 12, dropPath });

/** Pictures of a side: the same name and image always give the same picture, and views of one image look alike. */
export function pictures(name: string, count: number, side: number): Host {
  const each = side * side * 3;
  const data = new Float32Array(count * each);
  for (let image = 0; image < count; image++) {
    const color = fill(`color${image}`, [3], "input").data;
    const noise = fill(`${name}${image}`, [each], "input").data;
    for (let i = 0; i < each; i++) data[image * each + i] = color[i % 3] + 0.5 * noise[i];
  }
  return { data, shape: [count, side, side, 3] };
}

export interface Lesson {
  backbone?: (options?: { dropPath?: number }) => Backbone;
  scalars?: Record<string, number>;
  optimizer?: OptimizerSpec;
  precision?: Precision;
}

/** A method with its parts and the means to train them on given views. */
export function lesson<T extends OptionTable, P extends Parts>(
  method: TypedMethod<T, P>,
  changes: Record<string, number | boolean | string>,
  backend: Backend,
  { backbone = () => new TinyNet(), scalars = {}, optimizer: spec = { name: "sgd" }, precision }: Lesson = {},
) {
  const options = resolveOptions(method.options, changes);
  const parts = withSeed(3, () => method.build(backbone, options));
  const optimizer = makeOptimizer(spec, namedParameters(parts));
  const learner: Learner = {
    method: method as Method,
    options: options as Learner["options"],
    parts,
    optimizer,
    accumulate: 1,
    lossScale: precision === "f16" ? new LossScale() : undefined,
  };
  if (precision === "f16") nameModules(parts);
  const step = new TrainStep(learner, backend);
  const all = { lr: 0.1, weightDecay: 0, ...scalars };
  const train = (views: Host[], at: number, epoch = 0) => step.run([views], all, { seed: 5, step: at, epoch });
  return {
    parts,
    options,
    train,
    /** Losses of several steps on the same views. A step that was left out is done again with half the scale, which 16 times bring to 1. */
    async losses(views: Host[], steps: number): Promise<number[]> {
      const losses: number[] = [];
      for (let s = 0; s < steps; s++) {
        let numbers = await train(views, s, s);
        for (let halves = 0; numbers.skipped && halves < 16; halves++) numbers = await train(views, s, s);
        losses.push(numbers.loss);
      }
      return losses;
    },
  };
}
