// What layers, models and heads have in common: named parameters, loading and saving, and the context of a trace.
import { recompute } from "../tape/recompute.ts";
import { withScope } from "../tape/scope.ts";
import { type Shape, sameShape, size } from "../tape/shape.ts";
import { Parameter, type Tensor } from "../tape/tensor.ts";
import type { Host } from "../tape/trace.ts";

/** State that is no weight: running statistics, a queue, a centre. Never trained, and left alone by `ema`. */
export class Buffer extends Parameter {
  constructor(shape: Shape, data: Float32Array = new Float32Array(size(shape))) {
    super(shape, data, { trainable: false });
  }
}

/** Modules and state by name. */
export type Parts = Readonly<Record<string, Module | Parameter | undefined>>;

/** Tensors under their official names and in their official shapes: what a checkpoint holds. */
export type State = ReadonlyMap<string, Host>;

export interface LoadOptions {
  /** Only names that begin with this are read; the rest of the name is the parameter's. */
  prefix?: string;
  /** Refuse names that are missing or left over (default true). */
  strict?: boolean;
}

/** Names that the model has and the checkpoint lacks, and the other way round. */
export interface LoadReport {
  missing: string[];
  unexpected: string[];
}

/**
 * A layer or model: its fields are parameters, modules, or arrays of modules. A field's name is the name in the official
 * checkpoint; nested names are joined by dots and array elements counted ("layer1.0.conv1.weight").
 */
export abstract class Module {
  /** Field names and values in declaration order. */
  protected fields(): Iterable<[string, unknown]> {
    return Object.entries(this);
  }

  /** Every parameter and buffer with its official name, in field order. One that layers share comes once, under its first name. */
  namedParameters(prefix = ""): Generator<[string, Parameter]> {
    return once(this.namedState(prefix));
  }

  /** The same, where a shared parameter comes under each of its names: what an official checkpoint holds. */
  *namedState(prefix = ""): Generator<[string, Parameter]> {
    for (const [name, value] of this.fields()) yield* named(value, prefix + name);
  }

  /** This module and all within it, each before its own parts. */
  *namedModules(name = "", listed = false): Generator<NamedModule> {
    yield { name, module: this, listed };
    for (const [field, value] of this.fields()) yield* modulesIn(value, name ? `${name}.${field}` : field);
  }

  /** Weights and buffers in field order. */
  parameters(): Parameter[] {
    return Array.from(this.namedParameters(), ([, parameter]) => parameter);
  }

  /** Takes every weight out of training. */
  freeze(): this {
    for (const parameter of this.parameters()) parameter.trainable = false;
    return this;
  }

  /** Copies numbers from a checkpoint: all of them, or none and an error. See `loadState`. */
  load(state: State, options: LoadOptions = {}): LoadReport {
    return loadState(this.namedState(), state, options);
  }

  /** Numbers under official names in official shapes. */
  state(prefix = ""): Map<string, Host> {
    return stateOf(this.namedState(prefix));
  }
}

function* named(value: unknown, name: string): Generator<[string, Parameter]> {
  if (value instanceof Parameter) yield [name, value];
  else if (value instanceof Module) yield* value.namedState(`${name}.`);
  else if (Array.isArray(value)) for (const [i, part] of value.entries()) yield* named(part, `${name}.${i}`);
}

/** Leaves out what came before under another name. */
function* once(parameters: Iterable<[string, Parameter]>): Generator<[string, Parameter]> {
  const seen = new Set<Parameter>();
  for (const [name, parameter] of parameters) {
    if (!seen.has(parameter)) yield [name, parameter];
    seen.add(parameter);
  }
}

/** A module by the name of its parameters, and whether it stands in a list of modules, as the blocks of a network do. */
export interface NamedModule {
  readonly name: string;
  readonly module: Module & { forward?(...args: unknown[]): unknown };
  readonly listed: boolean;
}

function* modulesIn(value: unknown, name: string, listed = false): Generator<NamedModule> {
  if (value instanceof Module) yield* value.namedModules(name, listed);
  else if (Array.isArray(value)) for (const [i, part] of value.entries()) yield* modulesIn(part, `${name}.${i}`, true);
}

/**
 * Lets every module say its name while its `forward` is traced, so that a profile can tell where the time goes, and every block
 * forget its inner values where the context asks for it. A block is a module in a list of modules, and has no such list itself.
 */
export function nameModules(parts: Parts): void {
  const seen = new Set<Module>();
  for (const [key, part] of Object.entries(parts)) {
    for (const { name, module, listed } of modulesIn(part, key)) {
      const { forward } = module;
      if (!forward || seen.has(module)) continue; // one that others share has its first name
      seen.add(module);
      const run = (args: unknown[]) => withScope({ module: name }, () => forward.apply(module, args));
      const isBlock = listed && ![...module.namedModules()].some((inner) => inner.listed);
      const value = (...args: unknown[]) => (isBlock && context.recompute ? recompute(() => run(args)) : run(args));
      Object.defineProperty(module, "forward", { value }); // not enumerable: no field
    }
  }
}

/** Parameters of a record of modules and parameters, each name preceded by the record's key; shared ones once. */
export const namedParameters = (parts: Parts): Generator<[string, Parameter]> => once(namedState(parts));

/** The same, where a shared parameter comes under each of its names. */
export function* namedState(parts: Parts): Generator<[string, Parameter]> {
  for (const [name, part] of Object.entries(parts)) yield* named(part, name);
}

/** Where element (o, i, y, x) of an official weight lies in [o, y, x, i]: f(official, ours) for every element. */
function eachWeight([o, h, w, i]: Shape, f: (official: number, ours: number) => void): void {
  for (let a = 0, ours = 0; a < o; a++) {
    for (let yx = 0; yx < h * w; yx++) {
      for (let c = 0; c < i; c++) f((a * i + c) * h * w + yx, ours++);
    }
  }
}

/** Numbers in a parameter's memory layout (its own, a gradient's, a momentum's) in the order of official checkpoints. */
export function official(parameter: Parameter, data: Float32Array = parameter.data): Host {
  const host = { data: data.slice(), shape: parameter.officialShape };
  if (parameter.layout === "OHWI") eachWeight(parameter.shape, (to, from) => (host.data[to] = data[from]));
  return host;
}

function store(parameter: Parameter, data: Float32Array): void {
  if (parameter.layout === "plain") parameter.data.set(data);
  else eachWeight(parameter.shape, (from, to) => (parameter.data[to] = data[from]));
}

export function stateOf(parameters: Iterable<[string, Parameter]>): Map<string, Host> {
  const state = new Map<string, Host>();
  for (const [name, parameter] of parameters) state.set(name, official(parameter));
  return state;
}

const text = (shape: Shape) => `[${shape.join(", ")}]`;

/** PyTorch writes a scalar with shape [] and other writers as [1]: both are one number. */
const fits = (a: Shape, b: Shape) => sameShape(a, b) || (size(a) === 1 && size(b) === 1 && a.length + b.length === 1);

/**
 * Copies numbers from a checkpoint into parameters. Nothing is written unless everything fits. A missing
 * `num_batches_tracked` is no error: checkpoints older than PyTorch 0.4.1 have none. Nor is a missing name of a shared parameter
 * that comes under another; if it comes under several, the last is taken, as PyTorch does.
 */
export function loadState(
  parameters: Iterable<[string, Parameter]>,
  state: State,
  { prefix = "", strict = true }: LoadOptions = {},
): LoadReport {
  const unexpected = new Set([...state.keys()].filter((name) => name.startsWith(prefix)).map((name) => name.slice(prefix.length)));
  const absent: [string, Parameter][] = [];
  const found = new Map<Parameter, Host>();
  for (const [name, parameter] of parameters) {
    const host = state.get(prefix + name);
    unexpected.delete(name);
    if (!host) {
      if (!name.endsWith("num_batches_tracked")) absent.push([name, parameter]);
    } else if (!fits(host.shape, parameter.officialShape)) {
      throw new RangeError(
        `Cannot load "${prefix}${name}": checkpoint has ${text(host.shape)}, model has ${text(parameter.officialShape)}`,
      );
    } else found.set(parameter, host);
  }
  const missing = absent.filter(([, parameter]) => !found.has(parameter)).map(([name]) => name);
  if (strict && missing.length) throw new RangeError(`Cannot load "${prefix}${missing[0]}": checkpoint has no such tensor${more(missing)}`);
  if (strict && unexpected.size) {
    const names = [...unexpected];
    throw new RangeError(`Cannot load "${prefix}${names[0]}": model has no such parameter${more(names)}`);
  }
  for (const [parameter, host] of found) store(parameter, host.data);
  return { missing, unexpected: [...unexpected] };
}

const more = (names: string[]) => (names.length > 1 ? ` (and ${names.length - 1} more)` : "");

/** What layers ask of the trace that they are part of. */
interface Context {
  /** Batch statistics, dropout and drop path instead of running statistics and none. */
  training: boolean;
  /** Blocks keep nothing for the backward pass but what goes in and comes out. */
  recompute?: boolean;
  /** Seed and step for random layers: [seedLow16, seedHigh16, stepLow16, stepHigh16]. */
  key?: Tensor;
  /** Streams handed out so far, shared with inner contexts. */
  streams: { count: number };
}

let context: Context = { training: false, streams: { count: 0 } };

/**
 * Runs `f` with layers in training or evaluation mode. What is not given is taken from the surrounding context; a new key
 * begins with random stream 0.
 *
 *     withContext({ training: true, key }, () => method.loss(parts, views, scalars, options))
 */
export function withContext<T>(options: { training?: boolean; recompute?: boolean; key?: Tensor }, f: () => T): T {
  const outer = context;
  context = { ...outer, ...(options.key ? { streams: { count: 0 } } : {}), ...options };
  try {
    return f();
  } finally {
    context = outer;
  }
}

/** Whether layers should use batch statistics and noise. */
export const isTraining = (): boolean => context.training;

/** A random stream that nothing else in this trace uses: the key and the stream's number, for `uniform`. */
export function randomStream(): { key: Tensor; stream: number } {
  if (!context.key) throw new TypeError("Cannot draw random numbers here: expected withContext({ key }, ...) around the call");
  return { key: context.key, stream: context.streams.count++ };
}
