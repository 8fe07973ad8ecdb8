// What a recipe is: everything that a run needs, where the numbers come from, and what the source reports.
import type { OptimizerSpec } from "../nn/optim/optimizers.ts";

/** The optimiser, its rate and what it leaves alone. */
export type RecipeOptimizer = OptimizerSpec & {
  /** Learning rate, as the source writes it; `scaling` says what it means. */
  lr: number;
  /** "linear": per 256 images of the batch. "sqrt": per square root of the batch. "none": as it is. */
  scaling: "linear" | "sqrt" | "none";
  weightDecay: number;
  /** What gets no weight decay and no trust ratio: nothing, or biases and vectors (the scales and shifts of norms). */
  except: "nothing" | "vectors";
  /** Longest gradient: of each parameter, or of all together. */
  gradientClip?: { readonly norm: number; readonly of: "each" | "all" };
};

/** How rate and weight decay change over the run. */
export interface RecipeSchedule {
  lr: "cosine" | "steps" | "constant";
  /** Epochs of linear warm-up, part of the run's epochs. A shortened run warms up for a quarter of its epochs at most. */
  warmupEpochs?: number;
  /** Rate that the warm-up begins with, not scaled by the batch. */
  start?: number;
  /** Rate that the cosine ends with, not scaled by the batch. */
  end?: number;
  /** The warm-up reaches the rate at its last step, instead of at the step after. */
  reachAtLast?: boolean;
  /** The rate changes between epochs only. */
  perEpoch?: boolean;
  /** "steps": the rate is divided by 10 at these fractions of the run. */
  milestones?: readonly number[];
  /** Weight decay at the end of a cosine; constant without it. */
  weightDecayEnd?: number;
}

/** What a source says that its recipe reached, in per cent. */
export interface Reported {
  /** How features were judged: "linear" probe, "knn", "fine-tune", or "online-linear" probe beside the training. */
  readonly protocol: "linear" | "knn" | "fine-tune" | "online-linear";
  readonly dataset: string;
  readonly top1: number;
}

export interface Recipe {
  readonly method: string;
  readonly summary: string;
  /** A name that `makeBackbone` knows. */
  readonly backbone: string;
  /** Side of a full view in pixels. */
  readonly size: number;
  readonly epochs: number;
  readonly batch: number;
  /** Options of the method that differ from its defaults. */
  readonly options?: Readonly<Record<string, number | boolean | string | readonly number[]>>;
  readonly optimizer: RecipeOptimizer;
  readonly schedule: RecipeSchedule;
  readonly reports?: readonly Reported[];
  /** Repository and file or paper of the numbers; for a recipe of this project, what it starts from. */
  readonly source: string;
  /** False for a recipe of this project: nobody has published its numbers. */
  readonly published: boolean;
}
