import type { Parameter, Tensor } from "../../tape/tensor.ts";
import { accumulate, decayed, descend, Optimizer, type Rates, type Rules, type Slot } from "./optimizer.ts";

export interface SgdOptions {
  momentum?: number;
  nesterov?: boolean;
}

/** Stochastic gradient descent as torch.optim.SGD: d = g + weightDecay w; v = momentum v + d; w -= lr v. */
export class Sgd extends Optimizer {
  readonly #options: Required<SgdOptions>;

  constructor(parameters: Iterable<[string, Parameter]>, { momentum = 0.9, nesterov = false }: SgdOptions = {}, rules?: Rules) {
    super(parameters, rules);
    this.#options = { momentum, nesterov };
    if (momentum) this.addState(["momentum"]);
  }

  protected override step(slot: Slot, g: Tensor, { lr, weightDecay }: Rates): void {
    const { momentum, nesterov } = this.#options;
    const d = decayed(g, slot.parameter, weightDecay);
    descend(slot.parameter, momentum ? accumulate(this.state(slot, "momentum"), d, momentum, nesterov) : d, lr);
  }
}
