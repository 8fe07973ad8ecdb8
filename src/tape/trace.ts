// compile(): runs a function once over symbolic tensors for each set of input shapes, and from then on runs the program
// that the trace left behind.
import type { Backend, Executable, StepTime, UnderWay } from "../backend/backend.ts";
import { apply1 } from "./op.ts";
import { type Shape, ShapeError, sameShape, size } from "./shape.ts";
import { Parameter, Tensor } from "./tensor.ts";
import "./ops/all.ts";

/** Numbers on the host, row-major. */
export interface Host {
  readonly data: Float32Array;
  readonly shape: Shape;
}

/** The number in a host array of one element. */
export function item(x: Host): number {
  if (x.data.length !== 1) throw new RangeError(`Cannot read ${JSON.stringify(x.shape)} as one number: expected one element`);
  return x.data[0];
}

/** What a caller passes where the traced function takes tensors: a number for a scalar, a host array otherwise. */
export type Argument<T> = T extends Tensor ? Host | number : { [K in keyof T]: Argument<T[K]> };
/** What a caller gets where the traced function returns tensors. */
export type Value<T> = T extends Tensor ? Host : T extends undefined ? undefined : { [K in keyof T]: Value<T[K]> };

/** A finished trace: what goes in, what is read back, and the value that each assigned parameter has at the end. */
export interface Trace {
  readonly inputs: readonly Tensor[];
  readonly outputs: readonly Tensor[];
  readonly assigned: ReadonlyMap<Parameter, Tensor>;
  readonly activations?: Activations;
  readonly precision?: Precision;
}

/** How a program stores what modules compute: in half precision where that may be, on backends that do (`precision.ts`). */
export type Precision = "f32" | "f16";

/** In which precision large values wait for the backward pass; all that is computed is float32. */
export type Activations = "f32" | "f16";

interface Context {
  readonly leaves: Map<Parameter, Tensor>;
  readonly assigned: Map<Parameter, Tensor>;
}

let context: Context | undefined;

function current(): Context {
  if (!context) throw new TypeError("Cannot use a parameter here: expected to be inside compile()");
  return context;
}

/** The value that a parameter had when the step began. */
export function leaf(parameter: Parameter): Tensor {
  const { leaves } = current();
  const known = leaves.get(parameter);
  if (known) return known;
  const tensor = apply1("parameter", [], { parameter });
  leaves.set(parameter, tensor);
  return tensor;
}

Parameter.read = (parameter) => current().assigned.get(parameter) ?? leaf(parameter);

/** Gives a parameter a new value: later operations of the step read it, and it is stored when the step ends. */
export function assign(parameter: Parameter, value: Tensor): void {
  if (!sameShape(parameter.shape, value.shape)) throw new ShapeError("assign", [value.shape, parameter.shape], "equal shapes");
  current().assigned.set(parameter, value.value);
}

/** Takes back what the trace has assigned to these parameters so far, unless `condition`, a scalar, is not 0. */
export function assignOnlyIf(condition: Tensor, parameters: Iterable<Parameter>): void {
  const { assigned } = current();
  for (const parameter of parameters) {
    const value = assigned.get(parameter);
    if (value) assigned.set(parameter, condition.where(value, leaf(parameter)));
  }
}

const isHost = (x: unknown): x is Host | number =>
  typeof x === "number" || (typeof x === "object" && x !== null && (x as Host).data instanceof Float32Array);

/** Replaces the leaves of a structure of arrays and records. */
function mapLeaves<L>(x: unknown, isLeaf: (x: unknown) => x is L, f: (x: L) => unknown): unknown {
  if (isLeaf(x)) return f(x);
  if (Array.isArray(x)) return x.map((part) => mapLeaves(part, isLeaf, f));
  if (x === undefined || x === null) return x;
  if (typeof x === "object") return Object.fromEntries(Object.entries(x).map(([name, part]) => [name, mapLeaves(part, isLeaf, f)]));
  throw new TypeError(
    `Cannot pass a ${typeof x} through a compiled function: expected numbers, host arrays or tensors, or lists and records of them`,
  );
}

const shapeOf = (x: Host | number): Shape => (typeof x === "number" ? [] : x.shape);

interface Compiled {
  executable: Executable;
  /** The form of the traced function's result, whose tensors are filled from the outputs in order; it does not keep the tape. */
  result: unknown;
  outputs: Shape[];
}

/** How a trace is to be lowered. */
export type Lowered = Pick<Trace, "activations" | "precision">;

function build(f: (...args: never[]) => unknown, args: unknown[], backend: Backend, how: Lowered): Compiled {
  if (how.precision === "f16" && !backend.halves) {
    throw new TypeError(`Cannot store values in half precision on the ${backend.name} backend: expected a GPU with the feature shader-f16`);
  }
  if (context) throw new TypeError("Cannot compile inside compile(): call the inner function directly");
  context = { leaves: new Map(), assigned: new Map() };
  try {
    const inputs: Tensor[] = [];
    const symbolic = mapLeaves(args, isHost, (x) => {
      const input = apply1("input", [], { shape: shapeOf(x), slot: inputs.length });
      inputs.push(input);
      return input;
    });
    const result = f(...(symbolic as never[]));
    const outputs: Tensor[] = [];
    const form = mapLeaves(
      result,
      (x) => x instanceof Tensor,
      (t) => {
        outputs.push(t.value);
        return new Tensor(undefined, 0, t.shape);
      },
    );
    const executable = backend.load({ inputs, outputs, assigned: context.assigned, ...how });
    return { executable, result: form, outputs: outputs.map((t) => t.shape) };
  } finally {
    context = undefined;
  }
}

/** A compiled function. */
export interface CompiledFunction<A extends unknown[], R> {
  (...args: { [K in keyof A]: Argument<A[K]> }): Promise<Value<R>>;
  /** Traces and loads for arguments of these shapes without running; gives the program's memory and counts. */
  prepare(...args: { [K in keyof A]: Argument<A[K]> }): Promise<Executable>;
  /** Sets a run going and resolves as soon as its arguments have been taken, where the backend can; else it is over by then. */
  start(...args: { [K in keyof A]: Argument<A[K]> }): Promise<UnderWay<Value<R>>>;
  /** Runs as a call does, and tells how long each step of the program took. Throws a TypeError if the backend cannot tell. */
  timed(...args: { [K in keyof A]: Argument<A[K]> }): Promise<{ value: Value<R>; times: readonly StepTime[] }>;
}

/**
 * Makes a program of a function over tensors. The function runs once for each set of argument shapes, to be traced;
 * after that only the program runs. Parameters that it assigns keep their new values.
 *
 *     const step = compile((x: Tensor, lr: Tensor) => { ...; return { loss } }, backend)
 *     const { loss } = await step({ data, shape: [32, 784] }, 0.1)
 */
export function compile<A extends unknown[], R>(
  f: (...args: A) => R,
  backend: Backend | Promise<Backend>,
  how: Lowered = {},
): CompiledFunction<A, R> {
  const cache = new Map<string, Compiled>();
  const prepare = async (args: unknown[]) => {
    const loaded = await backend;
    const key = JSON.stringify(mapLeaves(args, isHost, shapeOf));
    const known = cache.get(key);
    if (known) return known;
    const compiled = build(f as (...args: never[]) => unknown, args, loaded, how);
    cache.set(key, compiled);
    return compiled;
  };
  const inputsOf = (args: unknown[]): Float32Array[] => {
    const inputs: Float32Array[] = [];
    mapLeaves(args, isHost, (x) => inputs.push(checked(x)));
    return inputs;
  };
  const call = async (...args: unknown[]) => {
    const compiled = await prepare(args);
    return filled(compiled, await compiled.executable.run(inputsOf(args)));
  };
  const start = async (...args: unknown[]) => {
    const compiled = await prepare(args);
    const { executable } = compiled;
    const inputs = inputsOf(args);
    const { outputs } = executable.start ? await executable.start(inputs) : { outputs: Promise.resolve(await executable.run(inputs)) };
    const value = outputs.then((values) => filled(compiled, values));
    value.catch(() => {}); // whoever waits for it hears of it
    return { outputs: value };
  };
  const timed = async (...args: unknown[]) => {
    const compiled = await prepare(args);
    const { executable } = compiled;
    if (!executable.runTimed) throw new TypeError(`Cannot time a program on the ${(await backend).name} backend: it keeps no times`);
    const { outputs, times } = await executable.runTimed(inputsOf(args));
    return { value: filled(compiled, outputs), times };
  };
  return Object.assign(call, { start, timed, prepare: async (...args: unknown[]) => (await prepare(args)).executable }) as CompiledFunction<
    A,
    R
  >;
}

/** The traced function's result with numbers in place of tensors. */
function filled({ result, outputs }: Compiled, values: readonly Float32Array[]): unknown {
  let at = 0;
  return mapLeaves(
    result,
    (x) => x instanceof Tensor,
    () => ({ data: values[at], shape: outputs[at++] }),
  );
}

function checked(x: Host | number): Float32Array {
  if (typeof x === "number") return Float32Array.of(x);
  if (x.data.length !== size(x.shape))
    throw new RangeError(`Cannot pass ${x.data.length} numbers as ${JSON.stringify(x.shape)}: expected ${size(x.shape)}`);
  return x.data;
}
