// A file of tensors, whatever its format.
import { CheckpointError } from "./error.ts";
import { NumpyArray } from "./numpy.ts";
import { Instance, type Value } from "./pickle.ts";
import type { StoredTensor } from "./stored.ts";
import { TorchTensor } from "./torch.ts";

export interface Checkpoint {
  readonly where: string;
  /** For people: "PyTorch (zip)". */
  readonly format: string;
  /**
   * Every tensor by name. Dictionaries inside each other join their keys by "/": a training file of MoCo has
   * "state_dict/module.encoder_q.conv1.weight".
   */
  readonly tensors: ReadonlyMap<string, StoredTensor>;
  /** Everything in the file as it is nested there, tensors too; of formats that only hold tensors, their metadata. */
  readonly contents: Value;
  close(): Promise<void>;
}

/** Deeper than any checkpoint, and shallow enough for the stack. */
const deepest = 100;
/** More names than any checkpoint has; lists that hold each other many times would have more. */
const mostNames = 1_000_000;

/** Every tensor in a value, by the path of keys that leads to it. */
export function tensorsIn(contents: Value, where: string): Map<string, StoredTensor> {
  const tensors = new Map<string, StoredTensor>();
  const empty = new Set<Value>(); // containers that are known to hold no tensor
  let visits = 0;
  const walk = (value: Value, name: string, depth: number): boolean => {
    if (value instanceof TorchTensor || (value instanceof NumpyArray && value.hasNumbers)) {
      if (tensors.has(name)) throw new CheckpointError(`Cannot read ${where}: two tensors are called "${name}"`);
      tensors.set(name, value);
      return true;
    }
    if (typeof value !== "object" || value === null || empty.has(value)) return false;
    if (depth > deepest) throw new CheckpointError(`Cannot read ${where}: values lie more than ${deepest} deep in each other`);
    if (++visits > mostNames) throw new CheckpointError(`Cannot read ${where}: it has more than ${mostNames} names`);
    let found = false;
    for (const [key, inner] of children(value)) found = walk(inner, key === "" ? name : join(name, key), depth + 1) || found;
    if (!found) empty.add(value);
    return found;
  };
  walk(contents, "", 0);
  return tensors;
}

const join = (path: string, key: string) => (path ? `${path}/${key}` : key);

const isKey = (key: Value): key is string | number | bigint =>
  typeof key === "string" || typeof key === "number" || typeof key === "bigint";

function* children(value: Value): Generator<[string, Value]> {
  if (value instanceof Map) yield* entries(value);
  else if (Array.isArray(value)) for (let i = 0; i < value.length; i++) yield [String(i), value[i]];
  else if (value instanceof Instance) {
    const state = moduleState(value);
    if (state) yield ["", state];
    else {
      yield* entries(value.items);
      if (value.attributes !== null) yield ["", value.attributes];
    }
  }
}

function* entries(map: Map<Value, Value>): Generator<[string, Value]> {
  for (const [key, inner] of map) if (isKey(key) && key !== "") yield [String(key), inner];
}

const mapAt = (map: Map<Value, Value>, key: string): Map<Value, Value> => {
  const inner = map.get(key);
  return inner instanceof Map ? inner : new Map();
};

/** The state dict of a pickled `torch.nn.Module`: its parameters and buffers, then those of its children behind their names. */
function moduleState(module: Instance, depth = 0): Map<Value, Value> | undefined {
  const state = module.attributes;
  if (!(state instanceof Map) || !(state.get("_modules") instanceof Map) || depth > deepest) return undefined;
  const found = new Map<Value, Value>();
  for (const part of ["_parameters", "_buffers"]) {
    for (const [key, value] of mapAt(state, part)) if (value instanceof TorchTensor) found.set(key, value);
  }
  for (const [key, child] of mapAt(state, "_modules")) {
    const inner = child instanceof Instance ? moduleState(child, depth + 1) : undefined;
    for (const [name, value] of inner ?? []) found.set(`${key}.${name}`, value);
    if (found.size > mostNames) return undefined;
  }
  return found;
}
