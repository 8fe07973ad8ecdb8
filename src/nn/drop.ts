import { dropout, dropPath } from "../tape/ops/random.ts";
import type { Tensor } from "../tape/tensor.ts";
import { isTraining, Module, randomStream } from "./module.ts";

/** Zeroes elements with probability `rate` in training. Srivastava et al. 2014. */
export class Dropout extends Module {
  readonly rate: number;

  constructor(rate: number) {
    super();
    this.rate = rate;
  }

  forward(x: Tensor): Tensor {
    if (this.rate === 0 || !isTraining()) return x;
    const { key, stream } = randomStream();
    return dropout(x, key, stream, this.rate);
  }
}

/** Drops a residual branch for whole samples with probability `rate` in training. Huang et al. 2016, arXiv 1603.09382. */
export class DropPath extends Module {
  readonly rate: number;

  constructor(rate: number) {
    super();
    this.rate = rate;
  }

  /** [b, ...] -> [b, ...] */
  forward(x: Tensor): Tensor {
    if (this.rate === 0 || !isTraining()) return x;
    const { key, stream } = randomStream();
    return dropPath(x, key, stream, this.rate);
  }
}
