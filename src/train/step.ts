// One training step as one program: loss, gradients, optimiser, what follows the weights. It knows no method, backbone or device.
import type { Backend, Executable, StepTime, UnderWay } from "../backend/backend.ts";
import type { Losses, Method, Parts } from "../methods/method.ts";
import type { OptionTable, OptionValues } from "../methods/options.ts";
import { namedParameters, withContext } from "../nn/module.ts";
import { Accumulator } from "../nn/optim/accumulate.ts";
import { clipEach, clipGlobal } from "../nn/optim/clip.ts";
import { allFinite, type LossScale } from "../nn/optim/loss-scale.ts";
import { norm, type Optimizer } from "../nn/optim/optimizer.ts";
import { grad } from "../tape/grad.ts";
import { withScope } from "../tape/scope.ts";
import type { Parameter, Tensor } from "../tape/tensor.ts";
import { type Activations, assignOnlyIf, type CompiledFunction, compile, type Host, item } from "../tape/trace.ts";

/** What is trained, and how a gradient becomes a change. */
export interface Learner {
  readonly method: Method;
  /** The method's options. */
  readonly options: OptionValues<OptionTable>;
  readonly parts: Parts;
  readonly optimizer: Optimizer;
  /** Longest gradient: of each parameter, or of all together. */
  readonly clip?: { readonly norm: number; readonly of: "each" | "all" };
  /** Micro-batches a step. */
  readonly accumulate: number;
  /** Compute the blocks of the network again in the backward pass instead of keeping their values. */
  readonly recompute?: boolean;
  /** In which precision large values wait for the backward pass. */
  readonly activations?: Activations;
  /** Half precision: values of modules are stored in it, and the loss is scaled so that gradients keep to its range. */
  readonly lossScale?: LossScale;
}

/** Where in the run a step stands. */
export interface Position {
  readonly seed: number;
  /** Steps done before this one. */
  readonly step: number;
  /** Epochs begun before this one. */
  readonly epoch: number;
}

/** Numbers of a finished step, means over its micro-batches. */
export interface StepNumbers {
  readonly loss: number;
  /** What the method shows beside its loss, the length of the whole gradient and, in half precision, the scale of the loss. */
  readonly metrics: Readonly<Record<string, number>>;
  /** Length of each parameter's gradient before clipping, in the order of the network; frozen ones are left out. */
  readonly gradients: ReadonlyMap<string, number>;
  /** Gradients overflowed in half precision: there are none, the state is as before, and the next step scales the loss by less. */
  readonly skipped?: boolean;
}

interface Traced {
  readonly shown: Record<string, Tensor | undefined>;
  readonly norms: (Tensor | undefined)[];
  /** 0 if the step changed nothing. */
  readonly finite?: Tensor;
}
type Step = CompiledFunction<[views: Tensor[], scalars: Record<string, Tensor>, key: Tensor], Traced>;
type Arguments = Parameters<Step>;

/** A program's run in time. */
export interface TimedProgram {
  /** As `performance.now()` counts. */
  readonly begunMs: number;
  readonly steps: readonly StepTime[];
}

/** Compiles the step of a learner and runs it. */
export class TrainStep {
  readonly #learner: Learner;
  readonly #backend: Backend;
  readonly #accumulator?: Accumulator;
  readonly #gather: Step;
  #update?: { readonly frozen: string; readonly step: Step; readonly executables: Set<Executable> };

  constructor(learner: Learner, backend: Backend) {
    this.#learner = learner;
    this.#backend = backend;
    const named = learner.optimizer.slots.map(({ name, parameter }): [string, Parameter] => [name, parameter]);
    if (learner.accumulate > 1) this.#accumulator = new Accumulator(named, learner.accumulate);
    this.#gather = this.#compile((views, scalars) => this.#traceGather(views, scalars));
  }

  #compile(trace: (views: Tensor[], scalars: Record<string, Tensor>) => Traced): Step {
    const { recompute, activations, lossScale } = this.#learner;
    return compile((views, scalars, key) => withContext({ training: true, recompute, key }, () => trace(views, scalars)), this.#backend, {
      activations,
      precision: lossScale ? "f16" : "f32",
    });
  }

  /** Everything but the views that a step of this position takes. */
  #arguments(views: Host[], scalars: Readonly<Record<string, number>>, { seed, step }: Position, micro: number): Arguments {
    const draw = step * this.#learner.accumulate + micro;
    return [views, scalars, { data: Float32Array.of(seed & 0xffff, seed >>> 16, draw & 0xffff, draw >>> 16), shape: [4] }];
  }

  /** Traces, lowers and plans without running. Throws a RangeError if the plan does not fit into memory. */
  async prepare(views: Host[], scalars: Readonly<Record<string, number>>, at: Position): Promise<Executable[]> {
    const args = this.#arguments(views, scalars, at, 0);
    const update = await this.#updating(at.epoch);
    const executables = [await update.step.prepare(...args)];
    update.executables.add(executables[0]);
    if (this.#accumulator) executables.push(await this.#gather.prepare(...args));
    return executables;
  }

  /** Runs one step on as many micro-batches as the learner accumulates: views[micro][view] is [b, h, w, 3]. */
  async run(batches: Host[][], scalars: Readonly<Record<string, number>>, at: Position): Promise<StepNumbers> {
    return (await this.start(batches, scalars, at)).outputs;
  }

  /** As `run`, but resolves as soon as the batches have been taken, if the backend can run ahead. */
  start(batches: Host[][], scalars: Readonly<Record<string, number>>, at: Position): Promise<UnderWay<StepNumbers>> {
    return this.#start(batches, scalars, at, (step, args) => step.start(...args));
  }

  /** As `run`, and tells how long each step of each program took, a list a micro-batch. */
  async runTimed(
    batches: Host[][],
    scalars: Readonly<Record<string, number>>,
    at: Position,
  ): Promise<{ numbers: StepNumbers; times: TimedProgram[] }> {
    const times: TimedProgram[] = [];
    const { outputs } = await this.#start(batches, scalars, at, async (step, args) => {
      const begunMs = performance.now();
      const timed = await step.timed(...args);
      times.push({ begunMs, steps: timed.times });
      return { outputs: Promise.resolve(timed.value) };
    });
    return { numbers: await outputs, times };
  }

  async #start(
    batches: Host[][],
    scalars: Readonly<Record<string, number>>,
    at: Position,
    call: (step: Step, args: Arguments) => ReturnType<Step["start"]>,
  ): Promise<UnderWay<StepNumbers>> {
    const { accumulate } = this.#learner;
    if (batches.length !== accumulate) throw new RangeError(`Cannot step on ${batches.length} micro-batches: expected ${accumulate}`);
    const results: ReturnType<Step>[] = [];
    for (const [micro, views] of batches.entries()) {
      const args = this.#arguments(views, scalars, at, micro);
      const last = micro === accumulate - 1;
      if (!last) {
        results.push((await call(this.#gather, args)).outputs);
        continue;
      }
      const update = await this.#updating(at.epoch);
      update.executables.add(await update.step.prepare(...args));
      results.push((await call(update.step, args)).outputs);
    }
    const numbers = Promise.all(results).then((all) => this.#numbers(all, at.epoch));
    numbers.catch(() => {}); // whoever waits for it hears of it
    return { outputs: numbers };
  }

  #numbers(results: Awaited<ReturnType<Step>>[], epoch: number): StepNumbers {
    const mean = (name: string) => results.reduce((sum, { shown }) => sum + item(shown[name] as Host) / results.length, 0);
    const { loss, ...metrics } = Object.fromEntries(
      Object.entries(results[0].shown).flatMap(([name, value]) => (value ? [[name, mean(name)]] : [])),
    );
    const trained = this.#trained(epoch);
    const { norms, finite } = results.at(-1) as Awaited<ReturnType<Step>>;
    if (finite && item(finite) === 0) return { loss, metrics, gradients: new Map(), skipped: true };
    const gradients = new Map<string, number>();
    for (const [i, { name }] of this.#learner.optimizer.slots.entries()) {
      const length = norms[i];
      if (trained[i] && length) gradients.set(name, item(length));
    }
    return { loss, metrics: { ...metrics, gradientNorm: Math.hypot(...gradients.values()) }, gradients };
  }

  #trained(epoch: number): boolean[] {
    const { method, options, optimizer } = this.#learner;
    return optimizer.slots.map(({ name }) => !method.frozen?.(name, epoch, options));
  }

  /** The program that ends a step, traced anew when the set of frozen parameters changes. */
  async #updating(epoch: number) {
    const trained = this.#trained(epoch);
    const frozen = JSON.stringify(trained);
    if (this.#update?.frozen === frozen) return this.#update;
    for (const executable of this.#update?.executables ?? []) executable.dispose();
    const step = this.#compile((views, scalars) => this.#traceUpdate(views, scalars, trained));
    this.#update = { frozen, step, executables: new Set() };
    return this.#update;
  }

  #loss(views: readonly Tensor[], scalars: Record<string, Tensor>) {
    const { method, parts, options, optimizer, lossScale } = this.#learner;
    const { embedding, ...numbers } = method.loss(parts, views, scalars, options);
    const shown: Losses = { ...numbers, ...(embedding && { embeddingStd: spread(embedding) }) };
    if (!lossScale) return { shown, gradients: grad(shown.loss, optimizer.parameters) };
    const gradients = grad(lossScale.scaled(shown.loss), optimizer.parameters);
    const unscaled = withScope({ module: "", pass: "update" }, () => lossScale.unscaled(gradients));
    return { shown: { ...shown, lossScale: lossScale.value }, gradients: unscaled };
  }

  #traceGather(views: readonly Tensor[], scalars: Record<string, Tensor>) {
    const { shown, gradients } = this.#loss(views, scalars);
    this.#accumulator?.add(gradients);
    return { shown, norms: [] };
  }

  #traceUpdate(views: readonly Tensor[], scalars: Record<string, Tensor>, trained: readonly boolean[]) {
    const { method, parts, options, optimizer, clip, lossScale } = this.#learner;
    const { shown, gradients } = this.#loss(views, scalars);
    return withScope({ module: "", pass: "update" }, () => {
      const whole = this.#accumulator?.take(gradients) ?? gradients;
      const norms = whole.map((g, i) => (g && trained[i] ? norm(g) : undefined));
      const clipped = !clip ? whole : clip.of === "each" ? clipEach(whole, clip.norm) : clipGlobal(whole, clip.norm);
      optimizer.update(
        clipped.map((g, i) => (trained[i] ? g : undefined)),
        scalars,
      );
      method.update?.(parts, scalars, options);
      if (!lossScale) return { shown, norms };
      const finite = allFinite(norms);
      for (const state of [namedParameters(parts), optimizer.namedState()])
        assignOnlyIf(
          finite,
          Array.from(state, ([, parameter]) => parameter),
        );
      lossScale.update(finite);
      return { shown, norms, finite };
    });
  }
}

/** Standard deviation of normalised rows over the batch, mean over dimensions, times sqrt(d): 1 when spread out, 0 when collapsed. */
const spread = (embedding: Tensor): Tensor =>
  embedding.normalize().variance(0, { correction: 0 }).sqrt().mean().mul(Math.sqrt(embedding.shape[1])).stopGradient();

/** Why a step's numbers end the run, or undefined if they are finite. `before` are those of the step before. */
export function notFinite(now: StepNumbers, before: StepNumbers | undefined, step: number): string | undefined {
  const value = (x: number) => (Number.isNaN(x) ? "NaN" : "infinite");
  if (!Number.isFinite(now.loss)) {
    const longest = [...(before?.gradients ?? [])].reduce((a, b) => (b[1] > a[1] ? b : a), ["", 0] as [string, number]);
    const where = longest[0] && `; the longest gradient of the step before was that of "${longest[0]}", ${longest[1].toPrecision(3)}`;
    return `The loss became ${value(now.loss)} at step ${step}${where}`;
  }
  const { lossScale } = now.metrics;
  if (now.skipped && lossScale < 1) {
    return `Gradients became infinite in half precision at step ${step}, although the loss was scaled by only ${lossScale}`;
  }
  for (const [name, length] of now.gradients) {
    if (!Number.isFinite(length))
      return `The gradient of "${name}" became ${value(length)} at step ${step}, at a loss of ${now.loss.toPrecision(4)}`;
  }
  return undefined;
}
