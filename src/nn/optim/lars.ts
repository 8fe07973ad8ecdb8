// Layer-wise adaptive rate scaling. You et al. 2017, arXiv 1708.03888. Published code disagrees on the details, and results
// depend on them: `lars` names the forms, each a choice of the options below.
import { tensor } from "../../tape/op.ts";
import type { Parameter, Tensor } from "../../tape/tensor.ts";
import { accumulate, decayed, descend, norm, Optimizer, type Rates, type Rules, type Slot } from "./optimizer.ts";

export interface LarsOptions {
  momentum?: number;
  nesterov?: boolean;
  /** eta: trust ratio = eta |w| / length of the step. */
  trust?: number;
  eps?: number;
  /** Length of the step: |g + weightDecay w| ("joint") or |g| + weightDecay |w| ("separate"). */
  length?: "joint" | "separate";
  /** At most 1 for ratio / lr, so that the step is never longer than that of SGD ("separate" only). */
  clip?: boolean;
  /** timm 0.5.4 leaves weight decay out of the step and counts it in the length only. */
  decayOutside?: boolean;
  /** Whether velocity sums d ("outside"), lr ratio d ("inside"), or is itself what the ratio scales ("before"). */
  rate?: "outside" | "inside" | "before";
}

/** The forms in use, after the code that they come from. Which parameters are left alone is the rules' affair. */
export const lars = {
  /** facebookresearch/moco-v3 moco/optimizer.py, barlowtwins, vicreg, directclr; dino utils.py; mae util/lars.py; DeepMind's BYOL. */
  facebook: {},
  /** zdaxie/PixPro contrast/lars.py. */
  pixpro: { eps: 1e-8 },
  /** google-research/simclr tf2/lars_optimizer.py, "classic momentum". */
  tensorflow: { rate: "inside" },
  /** The same file with classic_momentum off. */
  tensorflowPopular: { rate: "before" },
  /** vturrisi/solo-learn solo/utils/lars.py; with rules that adapt everything it is NVIDIA/apex's LARC, which SwAV uses. */
  solo: { length: "separate", eps: 1e-8 },
  /** timm 0.5.4 timm/optim/lars.py. */
  timm: { length: "separate", eps: 1e-8, decayOutside: true },
} satisfies Record<string, LarsOptions>;

export class Lars extends Optimizer {
  readonly #options: Required<LarsOptions>;

  constructor(parameters: Iterable<[string, Parameter]>, options: LarsOptions = {}, rules?: Rules) {
    super(parameters, rules);
    const defaults = { momentum: 0.9, nesterov: false, trust: 0.001, eps: 0, clip: false, decayOutside: false } as const;
    this.#options = { ...defaults, length: "joint", rate: "outside", ...options };
    this.addState(["momentum"]);
  }

  protected override step(slot: Slot, g: Tensor, { lr, weightDecay }: Rates): void {
    const { momentum, nesterov, length, rate } = this.#options;
    const { parameter: w, rule } = slot;
    const velocity = this.state(slot, "momentum");
    const adapt = rule.adapt ?? true;
    if (rate === "before") {
      const v = accumulate(velocity, decayed(g, w, weightDecay), momentum, nesterov);
      descend(w, adapt ? v.mul(this.#ratio(w, norm(v))) : v, lr);
    } else if (rate === "inside") {
      const d = decayed(g, w, weightDecay);
      const scaled = (adapt ? d.mul(this.#ratio(w, norm(d))) : d).mul(lr);
      descend(w, accumulate(velocity, scaled, momentum, nesterov), 1);
    } else {
      const d = !adapt
        ? decayed(g, w, weightDecay)
        : length === "joint"
          ? this.#joint(g, w, weightDecay)
          : this.#separate(g, w, weightDecay, lr);
      descend(w, accumulate(velocity, d, momentum, nesterov), lr);
    }
  }

  /** eta |w| / length; 1 where either is zero. */
  #ratio(w: Tensor, length: Tensor): Tensor {
    const size = norm(w);
    return size
      .mul(length)
      .greater(0)
      .where(size.mul(this.#options.trust).div(length.add(this.#options.eps)), tensor(1));
  }

  #joint(g: Tensor, w: Tensor, weightDecay: Rates["weightDecay"]): Tensor {
    const d = decayed(g, w, weightDecay);
    return d.mul(this.#ratio(w, norm(d)));
  }

  /** A parameter or gradient of zero length takes the plain step, without decay. */
  #separate(g: Tensor, w: Tensor, weightDecay: Rates["weightDecay"], lr: Rates["lr"]): Tensor {
    const { trust, eps, clip, decayOutside } = this.#options;
    const [size, slope] = [norm(w), norm(g)];
    const ratio = size.mul(trust).div(decayed(slope, size, weightDecay).add(eps));
    const limited = clip ? ratio.div(lr).minimum(1) : ratio;
    return size
      .mul(slope)
      .greater(0)
      .where((decayOutside ? g : decayed(g, w, weightDecay)).mul(limited), g);
  }
}
