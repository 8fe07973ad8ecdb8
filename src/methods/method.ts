// What a method is: the parts that it builds, the views that it asks for, its loss, and what it updates after a step.
import type { ViewSpec } from "../data/views.ts";
import type { Backbone } from "../models/backbone.ts";
import type { Module } from "../nn/module.ts";
import type { Schedule } from "../nn/optim/schedule.ts";
import type { Parameter, Tensor } from "../tape/tensor.ts";
import type { OptionTable, OptionValues } from "./options.ts";

/** Modules and state under the names that official checkpoints give them. */
export type Parts = Readonly<Record<string, Module | Parameter>>;

/** Numbers that change from step to step, as scalar tensors: `lr`, `weightDecay`, and those of the method's `schedules`. */
export type Scalars = Readonly<Record<string, Tensor>>;

/** The length of a run, for schedules. */
export interface Horizon {
  /** Not always whole: a run may be told its steps. */
  epochs: number;
  /** Optimiser steps in an epoch; an incomplete last batch is left out. */
  stepsPerEpoch: number;
}

/** What `loss` returns: the scalar to minimise, and scalars to show beside it. `embedding` [n, d] feeds the health metrics. */
export interface Losses {
  loss: Tensor;
  /** Features of the first view before any head, [batch, features]; no gradient flows through it. */
  embedding?: Tensor;
  [metric: string]: Tensor | undefined;
}

/** Makes a fresh, initialised backbone each time it is called. `dropPath`: stochastic depth, where the backbone has it. */
export type MakeBackbone = (options?: { dropPath?: number }) => Backbone;

/** A method with the types of its options and parts. */
export interface TypedMethod<T extends OptionTable, P extends Parts> {
  readonly name: string;
  /** One sentence for `autodidact methods`. */
  readonly summary: string;
  readonly paper: string;
  /** Every option with its published default. `--set key=value` overrides one; `resolveOptions` gives the values. */
  readonly options: T;
  /** Which views of each image a step needs, in the order in which `loss` receives them. `size` is the side of a full view. */
  views(options: OptionValues<T>, size: number): ViewSpec[];
  /** The single view that features are evaluated on, normalised as in training. */
  evaluationView(options: OptionValues<T>, size: number): ViewSpec;
  /** Builds the trained parts. Throws a RangeError if the backbone is of a kind that the method cannot use. */
  build(backbone: MakeBackbone, options: OptionValues<T>): P;
  /** Scalars of its own that change over the run, beside `lr` and `weightDecay`. */
  schedules?(options: OptionValues<T>, horizon: Horizon): Record<string, Schedule>;
  /**
   * One step's loss. views[i] [b, h, w, 3], normalised. Runs inside the trace and inside `withContext({ training: true, key })`;
   * may assign state (a queue, a centre, a momentum encoder that moves before it is used). A batch that is cut into micro-batches
   * is several such steps: its images are told apart within a micro-batch only.
   */
  loss(parts: P, views: readonly Tensor[], scalars: Scalars, options: OptionValues<T>): Losses;
  /** State that follows the weights, after the optimiser's step. */
  update?(parts: P, scalars: Scalars, options: OptionValues<T>): void;
  /**
   * Whether the optimiser skips a parameter in this epoch (from 0), as PyTorch skips one whose gradient is None: no decay, no
   * momentum. Names as `namedParameters(parts)` gives them. The step is traced anew when an answer changes.
   */
  frozen?(name: string, epoch: number, options: OptionValues<T>): boolean;
  /** The part that is evaluated, embedded with and exported. */
  encoder(parts: P): Backbone;
}

/** Any method. */
export interface Method extends TypedMethod<OptionTable, Parts> {}

/** Types a method by its own options and parts. */
export const method = <const T extends OptionTable, P extends Parts>(definition: TypedMethod<T, P>): TypedMethod<T, P> => definition;
