import { tensor } from "../../tape/op.ts";
import type { Parameter, Tensor } from "../../tape/tensor.ts";
import { Adam, type AdamOptions } from "./adamw.ts";
import { globalNorm } from "./clip.ts";
import { decayed, descend, norm, type Rates, type Rules, type Slot } from "./optimizer.ts";

export interface LambOptions extends AdamOptions {
  /** Gradients are divided by max(1, global norm / maxGradNorm) before the moments. */
  maxGradNorm?: number;
  /** Scale parameters without weight decay, too. */
  alwaysAdapt?: boolean;
  /** Trust ratios of at most 1. */
  trustClip?: boolean;
}

/** LAMB: Adam's direction scaled by |w| / |direction|. You et al. 2020, arXiv 1904.00962; as timm 0.5.4, timm/optim/lamb.py. */
export class Lamb extends Adam {
  readonly #options: LambOptions;

  constructor(parameters: Iterable<[string, Parameter]>, options: LambOptions = {}, rules?: Rules) {
    super(parameters, { eps: 1e-6, ...options }, rules);
    this.#options = { maxGradNorm: 1, ...options };
  }

  protected override prepare(gradients: readonly (Tensor | undefined)[]): readonly (Tensor | undefined)[] {
    const { maxGradNorm } = this.#options;
    if (!maxGradNorm || gradients.every((g) => g === undefined)) return gradients;
    const divisor = globalNorm(gradients).div(maxGradNorm).maximum(1);
    return gradients.map((g) => g?.div(divisor));
  }

  protected override step(slot: Slot, g: Tensor, { lr, weightDecay }: Rates): void {
    const d = decayed(this.direction(slot, g), slot.parameter, weightDecay);
    const adapt = weightDecay !== undefined || this.#options.alwaysAdapt;
    descend(slot.parameter, adapt ? d.mul(this.#trust(slot.parameter, d)) : d, lr);
  }

  #trust(w: Tensor, d: Tensor): Tensor {
    const [a, b] = [norm(w), norm(d)];
    const ratio = a.mul(b).greater(0).where(a.div(b), tensor(1));
    return this.#options.trustClip ? ratio.minimum(1) : ratio;
  }
}
