// What optimisers share: which parameters they move, by which rule, and the state that they keep under stable names.
import type { Parameter, Tensor } from "../../tape/tensor.ts";
import { assign } from "../../tape/trace.ts";
import { Buffer } from "../module.ts";

/** How one parameter is treated. */
export interface Rule {
  /** Multiplies the learning rate (layer-wise decay). */
  lrScale?: number;
  /** Which scalar gives the learning rate: "lr" when not said. Names a constant one for parts that do not follow the schedule. */
  lr?: string;
  /** Multiplies the weight decay; 0 leaves it out. */
  decay?: number;
  /** LARS, LAMB: whether the step is scaled by the trust ratio. */
  adapt?: boolean;
}

/** Chooses the rule of a parameter by its name and shape. */
export type Rules = (name: string, parameter: Parameter) => Rule;

/** Every parameter alike. */
export const everything: Rules = () => ({});

/** No weight decay and no trust ratio for vectors: biases, and the scales and shifts of norms. */
export const exceptVectors: Rules = (name, { shape }) => (shape.length <= 1 || name.endsWith(".bias") ? { decay: 0, adapt: false } : {});

/** No weight decay and no trust ratio where a pattern occurs in the name, as TensorFlow's SimCLR excludes. */
export const exceptNames =
  (patterns: readonly string[]): Rules =>
  (name) =>
    patterns.some((pattern) => name.includes(pattern)) ? { decay: 0, adapt: false } : {};

/** Scalars of a step: `lr` and `weightDecay` are needed, a rule may name more. */
export type StepScalars = Readonly<Record<string, Tensor | number>>;

/** One parameter on its way through an optimiser. */
export interface Slot {
  readonly name: string;
  readonly parameter: Parameter;
  readonly rule: Rule;
}

/** The numbers that `step` works with. `weightDecay` is undefined where there is none. */
export interface Rates {
  lr: Tensor | number;
  weightDecay?: Tensor | number;
}

/**
 * Moves parameters against their gradients inside a trace.
 *
 *     const optimizer = new Sgd(namedParameters(parts), { momentum: 0.9 })
 *     optimizer.update(grad(loss, optimizer.parameters), { lr, weightDecay })
 */
export abstract class Optimizer {
  /** Trainable parameters, each once, in the order of the gradients. */
  readonly slots: readonly Slot[];
  readonly #state = new Map<string, Buffer>();

  constructor(parameters: Iterable<[string, Parameter]>, rules: Rules = everything) {
    const seen = new Set<Parameter>();
    this.slots = [...parameters]
      .filter(([, parameter]) => parameter.trainable && !seen.has(parameter) && seen.add(parameter))
      .map(([name, parameter]) => ({ name, parameter, rule: rules(name, parameter) }));
  }

  get parameters(): Parameter[] {
    return this.slots.map(({ parameter }) => parameter);
  }

  /** Momentum and the like, for checkpoints: ["encoder.conv1.weight.momentum", buffer]. */
  namedState(): Iterable<[string, Parameter]> {
    return this.#state;
  }

  /** Buffers of these names for every slot, zeros at first. */
  protected addState(names: readonly string[], shape = (slot: Slot) => slot.parameter.shape): void {
    for (const slot of this.slots) for (const name of names) this.#state.set(`${slot.name}.${name}`, new Buffer(shape(slot)));
  }

  protected state(slot: Slot, name: string): Buffer {
    return this.#state.get(`${slot.name}.${name}`) as Buffer;
  }

  /**
   * Traces one step. Gradients come in the order of `parameters`; where one is undefined, parameter and state keep their
   * values, without decay or momentum, as PyTorch does with a gradient of None.
   */
  update(gradients: readonly (Tensor | undefined)[], scalars: StepScalars): void {
    if (gradients.length !== this.slots.length) {
      throw new RangeError(`Cannot update ${this.slots.length} parameters by ${gradients.length} gradients: expected one each`);
    }
    for (const [i, g] of this.prepare(gradients).entries()) if (g) this.step(this.slots[i], g, this.#rates(this.slots[i].rule, scalars));
  }

  #rates({ lr: source = "lr", lrScale = 1, decay = 1 }: Rule, scalars: StepScalars): Rates {
    const base = scalars[source];
    if (base === undefined)
      throw new TypeError(`Cannot update without "${source}": expected it among the scalars ${Object.keys(scalars).join(", ")}`);
    return { lr: times(base, lrScale), weightDecay: decay && scalars.weightDecay ? times(scalars.weightDecay, decay) : undefined };
  }

  /** What happens to all gradients together before the steps. */
  protected prepare(gradients: readonly (Tensor | undefined)[]): readonly (Tensor | undefined)[] {
    return gradients;
  }

  protected abstract step(slot: Slot, g: Tensor, rates: Rates): void;
}

const times = (x: Tensor | number, y: number): Tensor | number => (y === 1 ? x : typeof x === "number" ? x * y : x.mul(y));

/** g + weightDecay w. */
export const decayed = (g: Tensor, w: Tensor, weightDecay: Tensor | number | undefined): Tensor =>
  weightDecay === undefined ? g : g.add(w.mul(weightDecay));

/** |x|, the length of all elements together; a scalar. */
export const norm = (x: Tensor): Tensor => x.square().sum().sqrt();

/** v <- momentum v + d, and the direction to go: v, or d + momentum v with Nesterov's look-ahead (Sutskever et al. 2013, as PyTorch). */
export function accumulate(velocity: Parameter, d: Tensor, momentum: number, nesterov = false): Tensor {
  const v = velocity.mul(momentum).add(d);
  assign(velocity, v);
  return nesterov ? d.add(v.mul(momentum)) : v;
}

/** w <- w - lr d. */
export function descend(parameter: Parameter, d: Tensor, lr: Tensor | number): void {
  assign(parameter, parameter.sub(d.mul(lr)));
}
