import { tensor } from "../../tape/op.ts";
import type { Parameter, Tensor } from "../../tape/tensor.ts";
import { assign } from "../../tape/trace.ts";
import { Buffer } from "../module.ts";

type Gradients = readonly (Tensor | undefined)[];

/**
 * Adds up gradients of several small batches, so that one step sees their mean: `add` in the first steps - 1 programs,
 * `take` in the one that updates.
 */
export class Accumulator {
  readonly #sums: readonly [string, Buffer][];
  readonly #steps: number;

  constructor(parameters: Iterable<[string, Parameter]>, steps: number) {
    this.#sums = Array.from(parameters, ([name, { shape }]) => [`${name}.accumulated`, new Buffer(shape)]);
    this.#steps = steps;
  }

  namedState(): Iterable<[string, Parameter]> {
    return this.#sums;
  }

  /** Traces sum <- sum + g / steps. */
  add(gradients: Gradients): void {
    gradients.forEach((g, i) => g && assign(this.#sums[i][1], this.#sums[i][1].add(g.mul(1 / this.#steps))));
  }

  /** The mean with this last batch; traces sum <- 0. */
  take(gradients: Gradients): Gradients {
    return gradients.map((g, i) => {
      const sum = this.#sums[i][1];
      const mean = g && sum.add(g.mul(1 / this.#steps));
      if (g) assign(sum, tensor(0).expand(sum.shape)); // not a multiple of itself: it may be infinite
      return mean;
    });
  }
}
