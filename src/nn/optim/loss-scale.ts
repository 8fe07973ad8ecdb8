import { tensor } from "../../tape/op.ts";
import type { Parameter, Tensor } from "../../tape/tensor.ts";
import { assign } from "../../tape/trace.ts";
import { Buffer } from "../module.ts";

type Gradients = readonly (Tensor | undefined)[];

export interface LossScaleOptions {
  initial?: number;
  /** Multiplies the scale after `interval` good steps one after the other. */
  growth?: number;
  interval?: number;
  /** Multiplies the scale after a step whose gradients were not all finite. */
  backoff?: number;
}

/** The largest float32. */
const LARGEST = (2 - 2 ** -23) * 2 ** 127;

/**
 * Keeps gradients above the smallest number of half precision: the loss is multiplied by a scale and the gradients are divided by it,
 * a step whose gradients overflow is left out, and the scale follows what the gradients bear. Micikevicius et al. 2018, arXiv 1710.03740,
 * section 3.2; scale and constants as torch.amp.GradScaler has them (torch/amp/grad_scaler.py).
 */
export class LossScale {
  readonly #scale: Buffer;
  readonly #goodSteps = new Buffer([]);
  readonly #options: Required<LossScaleOptions>;

  constructor({ initial = 2 ** 16, growth = 2, interval = 2000, backoff = 0.5 }: LossScaleOptions = {}) {
    this.#options = { initial, growth, interval, backoff };
    this.#scale = new Buffer([], Float32Array.of(initial));
  }

  /** For checkpoints: the scale, and how many good steps it has seen. */
  namedState(): [string, Parameter][] {
    return [
      ["lossScale.scale", this.#scale],
      ["lossScale.goodSteps", this.#goodSteps],
    ];
  }

  /** The scale of this step; a scalar. */
  get value(): Tensor {
    return this.#scale.value;
  }

  /** The loss to differentiate. */
  scaled(loss: Tensor): Tensor {
    return loss.mul(this.#scale);
  }

  /** The gradients of the loss itself. */
  unscaled(gradients: Gradients): Gradients {
    const inverse = tensor(1).div(this.#scale);
    return gradients.map((g) => g?.mul(inverse));
  }

  /** Traces the scale of the next step. `good`: 1 after a good step, 0 otherwise; a scalar. */
  update(good: Tensor): void {
    const { growth, interval, backoff } = this.#options;
    const count = good.where(this.#goodSteps.add(1), 0);
    const grows = count.greaterEqual(interval);
    const grown = this.#scale.mul(growth);
    const next = grows.mul(finite(grown)).where(grown, this.#scale);
    assign(this.#scale, good.where(next, this.#scale.mul(backoff)));
    assign(this.#goodSteps, grows.where(0, count));
  }
}

/** 1 where a number is neither infinite nor NaN, 0 elsewhere. */
const finite = (x: Tensor): Tensor => tensor(LARGEST).greaterEqual(x.abs());

/** 1 if all gradients of these lengths are finite, 0 otherwise; a scalar. */
export const allFinite = (lengths: Gradients): Tensor =>
  finite(lengths.filter((length) => length !== undefined).reduce((a, b) => a.add(b), tensor(0)));
