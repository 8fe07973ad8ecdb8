// Kinds of MoCo: several steps on one or more workers, which are parts of one program here.
import type { Backend } from "../../src/backend/backend.ts";
import { infoNce } from "../../src/methods/contrastive.ts";
import { moco } from "../../src/methods/moco.ts";
import { resolveOptions } from "../../src/methods/options.ts";
import { enqueue } from "../../src/methods/queue.ts";
import type { Backbone } from "../../src/models/backbone.ts";
import { ResNet, resnets } from "../../src/models/resnet.ts";
import { ema } from "../../src/nn/ema.ts";
import { Module, namedParameters, official, withContext } from "../../src/nn/module.ts";
import { BatchNorm } from "../../src/nn/norm.ts";
import { Sgd } from "../../src/nn/optim/sgd.ts";
import { grad } from "../../src/tape/grad.ts";
import { concat } from "../../src/tape/ops/move.ts";
import { type Shape, size } from "../../src/tape/shape.ts";
import type { Parameter, Tensor } from "../../src/tape/tensor.ts";
import { compile, type Host } from "../../src/tape/trace.ts";
import { fill } from "../fill.ts";
import type { Check, Golden, Runner, Runners } from "./golden.ts";
import { limitOf } from "./methods-simclr.ts";
import { fillModule, nhwc } from "./models.ts";

/** The small encoder of the step files, without its head. */
export class BnRelu extends Module implements Backbone {
  bn: BatchNorm;
  readonly features: number;

  constructor(features: number) {
    super();
    this.bn = new BatchNorm(features);
    this.features = features;
  }

  forward(x: Tensor): Tensor {
    return this.bn.forward(x).relu();
  }

  map(x: Tensor): Tensor {
    return this.forward(x);
  }

  stages(x: Tensor): Tensor[] {
    return [this.forward(x)];
  }

  intermediateLayers(x: Tensor): Tensor[] {
    return [this.forward(x)];
  }
}

interface Case {
  backbone: () => Backbone;
  /** One input in the official layout. */
  input: Shape;
  training: boolean;
  /** Least tolerances, for deep networks. A value of a later step carries the gradients of the earlier ones. */
  least?: { values: number; gradients: number; states: number };
}

/** A queue's filled columns have length 1. */
export function fillQueue(queue: Parameter, prefix: string): void {
  const { data } = fill(`${prefix}queue`, queue.shape, "input");
  const [dim, length] = queue.shape;
  for (let column = 0; column < length; column++) {
    let square = 0;
    for (let i = 0; i < dim; i++) square += data[i * length + column] ** 2;
    for (let i = 0; i < dim; i++) queue.data[i * length + column] = data[i * length + column] / Math.sqrt(square);
  }
}

/** What one worker holds. */
function worker({ dim, K: queue, T: temperature, m: momentum, mlp, prefix = "" }: Golden["config"], backbone: () => Backbone) {
  const options = { dim, queue, temperature, momentum, head: mlp ? "mlp" : "linear", groups: 1 };
  const parts = moco.build(backbone, resolveOptions(moco.options, options));
  for (const name of ["encoder_q", "encoder_k"] as const) fillModule(parts[name], `${prefix}${name}.`);
  fillQueue(parts.queue, prefix);
  return { parts, optimizer: new Sgd(namedParameters(parts)) };
}

type Worker = ReturnType<typeof worker>;

/**
 * One step of all workers: keys are shuffled among them before they are encoded, every worker's queue takes the keys of all, and the
 * mean of their gradients moves each worker's weights. Batch norm statistics are a worker's own.
 */
function mocoStep(workers: readonly Worker[], { m, T, lr }: Golden["config"], queries: Tensor[], keys: Tensor, order: Tensor) {
  const bs = keys.shape[0] / workers.length;
  const shuffled = keys.gather(order);
  const encoded = workers.map(({ parts: { encoder_q, encoder_k } }, rank) => {
    const q = encoder_q.forward(queries[rank]).normalize();
    ema(encoder_k, encoder_q, m);
    return { q, k: encoder_k.forward(shuffled.slice(0, rank * bs, (rank + 1) * bs)).normalize() };
  });
  const allKeys = concat(
    encoded.map(({ k }) => k),
    0,
  )
    .gather(order.argsort())
    .stopGradient();
  const sides = workers.map(({ parts, optimizer }, rank) => {
    const { loss, logits } = infoNce(encoded[rank].q, allKeys.slice(0, rank * bs, (rank + 1) * bs), parts.queue, T);
    enqueue(parts.queue, parts.queue_ptr, allKeys);
    return { loss, logits, gradients: grad(loss, [queries[rank], ...optimizer.parameters]) as Tensor[] };
  });
  const [first, ...others] = sides;
  const mean = first.gradients.map((g, i) => others.reduce((sum, side) => sum.add(side.gradients[i]), g).div(workers.length)).slice(1);
  for (const { optimizer } of workers) optimizer.update(mean, { lr, weightDecay: 1e-4 });
  return sides;
}

/** A tensor that the file holds in full, as twelve numbers, or not at all. */
export function compareIfStored(golden: Golden, check: Check, name: string, value: Host, tolerance = 0): void {
  if (golden.tensors.has(name)) {
    if (name.endsWith("num_batches_tracked") || name.endsWith("queue_ptr")) check.exact(name, value);
    else check.close(name, value, Math.max(tolerance, limitOf(golden, name)));
  }
  if (golden.tensors.has(`${name}#digest`)) {
    const limit = Math.max(tolerance, limitOf(golden, `${name}#digest`));
    check.digest(`${name}#digest`, value, { sums: limit, elements: 10 * limit, own: limit });
  }
}

async function mocoSteps(golden: Golden, check: Check, backend: Backend, { backbone, input, training, least }: Case): Promise<void> {
  const { prefix, bs, steps, workers: count = 1 } = golden.config;
  const workers = Array.from({ length: count }, () => worker(golden.config, backbone));
  const n = bs * count;
  const images = (name: string) => (input.length === 3 ? nhwc : (x: Host) => x)(fill(prefix + name, [n, ...input], "input"));
  const rows = ({ data, shape }: Host, rank: number): Host => {
    const each = (bs * size(shape)) / n;
    return { data: data.slice(rank * each, (rank + 1) * each), shape: [bs, ...shape.slice(1)] };
  };
  const step = compile(
    (queries: Tensor[], keys: Tensor, draws: Tensor) =>
      withContext({ training }, () => mocoStep(workers, golden.config, queries, keys, draws.argsort())),
    backend,
  );
  const label = (rank: number) => (count === 1 ? "" : `rank${rank}/`);
  for (let s = 0; s < steps; s++) {
    const q = images(`im_q${s}`);
    const queries = workers.map((_, rank) => rows(q, rank));
    const sides = await step(queries, images(`im_k${s}`), fill(`${prefix}perm${s}`, [n], "unit"));
    for (const [rank, { loss, logits, gradients }] of sides.entries()) {
      const at = `${label(rank)}step${s}/`;
      compareIfStored(golden, check, `${at}loss`, loss, least?.values);
      compareIfStored(golden, check, `${at}logits`, logits, least?.values);
      compareIfStored(golden, check, `${at}grad/im_q`, gradients[0]);
      for (const [i, { name, parameter }] of workers[rank].optimizer.slots.entries()) {
        compareIfStored(golden, check, `${at}grad/${name}`, official(parameter, gradients[i + 1].data), least?.gradients);
      }
    }
  }
  for (const [rank, { parts }] of workers.entries()) {
    for (const [name, parameter] of namedParameters(parts)) {
      compareIfStored(golden, check, `${label(rank)}after/${name}`, official(parameter, await backend.read(parameter)), least?.states);
    }
  }
}

const small: Runner = (golden, check, backend) => {
  const name = [...golden.tensors.keys()].find((key) => key.endsWith("after/encoder_q.bn.weight")) ?? "after/encoder_q.bn.weight";
  const [width] = golden.get(name).shape;
  return mocoSteps(golden, check, backend, { backbone: () => new BnRelu(width), input: [width], training: true });
};

const resnet: Runner = (golden, check, backend) => {
  const { arch, size: side, mode } = golden.config;
  const { block, layers } = resnets[arch as keyof typeof resnets];
  return mocoSteps(golden, check, backend, {
    backbone: () => new ResNet({ block, layers }),
    input: [3, side, side],
    training: mode === "train",
    // README-contrastive: 1e-3 for whole ResNets in training mode; one ReLU that flips moves gradients of a ResNet-50 by 5e-3
    least: { values: mode === "train" ? 1e-3 : 1e-4, gradients: block === "bottleneck" ? 5e-3 : 1e-3, states: 1e-3 },
  });
};

export const runners: Runners = { "moco-step": small, "moco-resnet": resnet };
