import { tensor } from "../../tape/op.ts";
import type { Parameter, Tensor } from "../../tape/tensor.ts";
import { assign } from "../../tape/trace.ts";
import { decayed, descend, Optimizer, type Rates, type Rules, type Slot } from "./optimizer.ts";

export interface AdamOptions {
  betas?: readonly [number, number];
  eps?: number;
}

/**
 * Running means of the gradient and of its square. Kingma & Ba 2015, arXiv 1412.6980. The bias correction 1 - beta^t is kept
 * as the running mean of ones, which float32 can hold, and belongs to each parameter, since some sit out steps.
 */
export abstract class Adam extends Optimizer {
  readonly #betas: readonly [number, number];
  readonly #eps: number;

  constructor(parameters: Iterable<[string, Parameter]>, { betas = [0.9, 0.999], eps = 1e-8 }: AdamOptions = {}, rules?: Rules) {
    super(parameters, rules);
    this.#betas = betas;
    this.#eps = eps;
    this.addState(["mean", "square"]);
    this.addState(["meanWeight", "squareWeight"], () => []);
  }

  #average(slot: Slot, name: string, x: Tensor | number, beta: number): Tensor {
    const running = this.state(slot, name);
    const value = running.mul(beta).add(typeof x === "number" ? x * (1 - beta) : x.mul(1 - beta));
    assign(running, value);
    return value;
  }

  /** m / (sqrt(v) + eps), both corrected for their start at zero; the corrections are one number each, so elements are divided once. */
  protected direction(slot: Slot, g: Tensor): Tensor {
    const [beta1, beta2] = this.#betas;
    const mean = this.#average(slot, "mean", g, beta1);
    const square = this.#average(slot, "square", g.square(), beta2);
    const meanScale = tensor(1).div(this.#average(slot, "meanWeight", 1, beta1));
    const rootScale = this.#average(slot, "squareWeight", 1, beta2).rsqrt();
    return mean.mul(meanScale).div(square.sqrt().mul(rootScale).add(this.#eps));
  }
}

/** Adam with weight decay beside the gradient, as torch.optim.AdamW. Loshchilov & Hutter 2019, arXiv 1711.05101. */
export class AdamW extends Adam {
  protected override step(slot: Slot, g: Tensor, { lr, weightDecay }: Rates): void {
    descend(slot.parameter, decayed(this.direction(slot, g), slot.parameter, weightDecay), lr);
  }
}

/** Adam with weight decay inside the gradient, as torch.optim.Adam. */
export class AdamL2 extends Adam {
  protected override step(slot: Slot, g: Tensor, { lr, weightDecay }: Rates): void {
    descend(slot.parameter, this.direction(slot, decayed(g, slot.parameter, weightDecay)), lr);
  }
}
