// Numbers that change over a run: learning rate, weight decay, momentum, temperature. Steps count from 0.

/** step -> value. */
export type Schedule = (step: number) => number;

export const constant =
  (value: number): Schedule =>
  () =>
    value;

/** Half a cosine from `from` (t = 0) to `to` (t = 1). */
const cosineBetween = (from: number, to: number, t: number): number => to + ((from - to) / 2) * (1 + Math.cos(Math.PI * t));

export interface CosineOptions {
  from: number;
  to?: number;
  /** Steps of the whole run, warm-up included. */
  steps: number;
  /** Steps of linear warm-up before the cosine begins. */
  warmup?: number;
  /** Where the warm-up begins. */
  start?: number;
  /**
   * When the warm-up reaches `from`: at the step after its last ("after": MoCo v3, MAE, SimCLR, BYOL, Barlow Twins), or at its
   * last ("last": linspace as in DINO, SwAV, BEiT).
   */
  reach?: "after" | "last";
}

/**
 * Linear warm-up, then half a cosine over what is left. The last step does not quite reach `to`. Loshchilov & Hutter 2017, arXiv
 * 1608.03983, without restarts; the forms of main_moco.py (MoCo v3), util/lr_sched.py (MAE), utils.cosine_scheduler (DINO).
 */
export function cosine({ from, to = 0, steps, warmup = 0, start = 0, reach = "after" }: CosineOptions): Schedule {
  return (step) => {
    if (step < warmup) return ramp({ from: start, to: from, steps: warmup, reach })(step);
    return cosineBetween(from, to, Math.min(1, (step - warmup) / Math.max(1, steps - warmup)));
  };
}

/** A straight line over `steps` steps, then constant: DINO's teacher temperature with `reach: "last"`. */
export const ramp =
  ({ from, to, steps, reach = "after" }: { from: number; to: number; steps: number; reach?: "after" | "last" }): Schedule =>
  (step) => {
    const end = reach === "last" ? steps - 1 : steps;
    if (step >= end) return steps === 1 && reach === "last" ? from : to;
    return from + ((to - from) * step) / end;
  };

/** base gamma^k with k the number of milestones reached. */
export const multistep =
  ({ base, milestones, gamma = 0.1 }: { base: number; milestones: readonly number[]; gamma?: number }): Schedule =>
  (step) =>
    base * gamma ** milestones.filter((milestone) => step >= milestone).length;

/** The schedule's value at the epoch's number: changes once an epoch (MoCo v1 and v2, DINO's temperature). */
export const perEpoch =
  (schedule: Schedule, stepsPerEpoch: number): Schedule =>
  (step) =>
    schedule(Math.floor(step / stepsPerEpoch));

/**
 * timm 0.5.4's cosine: the clock of the cosine starts at step 0, not after the warm-up, so the value jumps a little there.
 * SimMIM and DeiT use it.
 */
export const timmCosine =
  ({ from, to = 0, steps, warmup = 0, start = 0 }: CosineOptions): Schedule =>
  (step) => {
    if (step < warmup) return start + ((from - start) * step) / warmup;
    return step < steps ? cosineBetween(from, to, step / steps) : to;
  };

/** A linear warm-up in front of any schedule. */
export const warmedUp =
  (schedule: Schedule, { warmup, start = 0, to }: { warmup: number; start?: number; to: number }): Schedule =>
  (step) =>
    step < warmup ? start + ((to - start) * step) / warmup : schedule(step);

/**
 * The learning rate of a batch: a rate per 256 images scaled linearly (Goyal et al. 2017, arXiv 1706.02677), or SimCLR's
 * square-root rule base sqrt(batch).
 */
export const scaledRate = (base: number, batch: number, rule: "linear" | "sqrt" = "linear"): number =>
  rule === "linear" ? (base * batch) / 256 : base * Math.sqrt(batch);
