// What a method is: the parts that it builds, the views that it asks for, its loss, and what it updates after a step.
import type { ViewSpec } from "../data/views.ts";
import type { Backbone } from "../models/backbone.ts";
import type { Module } from "../nn/module.ts";
import type { Schedule } from "../nn/optim/schedule.ts";
import type { Parameter, Tensor } from "../tape/tensor.ts";

/** Modules and state under the names that official checkpoints give them. */
export type Parts = Record<string, Module | Parameter>;

/** Numbers that change from step to step, as scalar tensors: `lr`, `weightDecay`, `momentum`, `temperature`, ... */
export type Scalars = Readonly<Record<string, Tensor>>;

/** The length of a run, for schedules. */
export interface Horizon {
  epochs: number;
  stepsPerEpoch: number;
  batch: number;
}

/** What `loss` returns: the scalar to minimise, and scalars to show beside it. `embedding` [n, d] feeds the health metrics. */
export interface Losses {
  loss: Tensor;
  embedding?: Tensor;
  [metric: string]: Tensor | undefined;
}

export interface Method<O extends object = object, P extends Parts = Parts> {
  readonly name: string;
  /** One sentence for `autodidact methods`. */
  readonly summary: string;
  readonly paper: string;
  /** Every option with its published default. `--set key=value` overrides one. */
  readonly options: O;
  /** Which views of each image a step needs, in the order in which `loss` receives them. `size` is the side of a full view. */
  views(options: O, size: number): ViewSpec[];
  /** Builds the trained parts. `backbone()` makes a fresh, initialised backbone each time it is called. */
  build(backbone: () => Backbone, options: O): P;
  /** Scalars of its own that change over the run, beside `lr` and `weightDecay`. */
  schedules?(options: O, horizon: Horizon): Record<string, Schedule>;
  /** One step's loss. views[i] [b, h, w, 3], normalised. Runs inside the trace; may assign state (a queue, a momentum encoder). */
  loss(parts: P, views: readonly Tensor[], scalars: Scalars, options: O): Losses;
  /** State that follows the weights, after the optimiser's step. */
  update?(parts: P, scalars: Scalars, options: O): void;
  /** Parameters that are skipped by the optimiser in this epoch, by name. The step is traced anew when the answer changes. */
  frozen?(name: string, epoch: number, options: O): boolean;
  /** The part that is evaluated, embedded with and exported. */
  encoder(parts: P): Backbone;
}

/** Types a method by its own options and parts. */
export const method = <O extends object, P extends Parts>(definition: Method<O, P>): Method<O, P> => definition;
