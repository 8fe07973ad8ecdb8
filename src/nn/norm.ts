import { array } from "../tape/op.ts";
import { batchNorm, layerNorm } from "../tape/ops/normalize.ts";
import { ShapeError } from "../tape/shape.ts";
import type { Parameter, Tensor } from "../tape/tensor.ts";
import { assign } from "../tape/trace.ts";
import { ones, parameter, zeros } from "./init.ts";
import { Buffer, isTraining, Module } from "./module.ts";

export interface BatchNormOptions {
  eps?: number;
  /** Weight of the new batch in the running statistics. */
  momentum?: number;
  /** Learned scale (`weight`) and shift (`bias`); both by default. */
  scale?: boolean;
  shift?: boolean;
  /** PyTorch's running variance divides by n - 1 ("unbiased"), TensorFlow's by n. */
  runningVariance?: "unbiased" | "biased";
}

/**
 * Batch normalisation over all axes but the last, for [b, c] and [b, h, w, c] alike: by the statistics of the batch in
 * training, by the running ones otherwise. Ioffe & Szegedy 2015, arXiv 1502.03167; state as torch.nn.BatchNorm keeps it.
 */
export class BatchNorm extends Module {
  weight?: Parameter;
  bias?: Parameter;
  running_mean: Buffer;
  running_var: Buffer;
  num_batches_tracked: Buffer;
  readonly features: number;
  readonly eps: number;
  readonly momentum: number;
  readonly unbiased: boolean;

  constructor(features: number, options: BatchNormOptions = {}) {
    super();
    if (options.scale ?? true) this.weight = parameter([features], ones);
    if (options.shift ?? true) this.bias = parameter([features], zeros);
    this.running_mean = new Buffer([features]);
    this.running_var = new Buffer([features], new Float32Array(features).fill(1));
    this.num_batches_tracked = new Buffer([]);
    this.features = features;
    this.eps = options.eps ?? 1e-5;
    this.momentum = options.momentum ?? 0.1;
    this.unbiased = (options.runningVariance ?? "unbiased") === "unbiased";
  }

  /** [..., c] -> [..., c] */
  forward(x: Tensor): Tensor {
    return isTraining() ? this.#batch(x) : this.#running(x);
  }

  #batch(x: Tensor): Tensor {
    const n = x.size / this.features;
    if (n < 2) throw new ShapeError("batch-normalise", [x.shape], "a batch of at least 2, since one value has no variance");
    const scale = this.weight ?? array(new Float32Array(this.features).fill(1), [this.features]);
    const shift = this.bias ?? array(new Float32Array(this.features), [this.features]);
    const { y, mean, variance } = batchNorm(x, scale, shift, this.eps);
    this.#track(this.running_mean, mean);
    this.#track(this.running_var, this.unbiased ? variance.mul(n / (n - 1)) : variance);
    assign(this.num_batches_tracked, this.num_batches_tracked.add(1));
    return y;
  }

  #track(running: Buffer, batch: Tensor): void {
    assign(running, running.mul(1 - this.momentum).add(batch.mul(this.momentum)));
  }

  #running(x: Tensor): Tensor {
    const rstd = this.running_var.add(this.eps).rsqrt();
    const scale = this.weight ? rstd.mul(this.weight) : rstd;
    const shift = this.running_mean.mul(scale).neg();
    return x.mul(scale).add(this.bias ? shift.add(this.bias) : shift);
  }
}

/** Layer normalisation over the last axis. Ba et al. 2016, arXiv 1607.06450. */
export class LayerNorm extends Module {
  weight: Parameter;
  bias: Parameter;
  readonly eps: number;

  constructor(features: number, eps = 1e-6) {
    super();
    this.weight = parameter([features], ones);
    this.bias = parameter([features], zeros);
    this.eps = eps;
  }

  /** [..., c] -> [..., c] */
  forward(x: Tensor): Tensor {
    return layerNorm(x, this.weight, this.bias, this.eps);
  }
}
