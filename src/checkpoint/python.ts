// What names of Python's standard library in pickles stand for.
import { ArgumentError, Constructor, Instance, Tuple, type Value } from "./pickle.ts";

const items = (value: Value | undefined): Value[] => {
  if (value === undefined) return [];
  if (Array.isArray(value)) return value;
  if (value instanceof Set) return [...value];
  throw new ArgumentError("expected a list");
};

function dict(value: Value | undefined): Map<Value, Value> {
  if (value instanceof Map) return new Map(value);
  const pairs = items(value);
  if (!pairs.every((pair) => Array.isArray(pair) && pair.length === 2)) throw new ArgumentError("expected pairs of key and value");
  return new Map(pairs as [Value, Value][]);
}

/** Text whose characters are bytes: what Python 2 wrote and protocol 2 falls back to. */
export function bytesOf(value: Value | undefined): Uint8Array {
  if (value instanceof Uint8Array) return value;
  if (typeof value === "string" && !/[^\0-\xff]/.test(value)) return new Uint8Array(Buffer.from(value, "latin1"));
  throw new ArgumentError("expected bytes");
}

const only = (value: Value | undefined, type: "string" | "number"): Value => {
  if (typeof value === type) return value as Value;
  throw new ArgumentError(`expected a ${type}`);
};

const containers: Readonly<Record<string, (args: Value[]) => Value>> = {
  set: ([list]) => new Set(items(list)),
  frozenset: ([list]) => new Set(items(list)),
  list: ([list]) => [...items(list)],
  tuple: ([list]) => Tuple.from(items(list)),
  dict: ([pairs]) => dict(pairs),
  int: ([x]) => only(x ?? 0, "number"),
  float: ([x]) => only(x ?? 0, "number"),
  complex: (args) => new Instance("complex", [...args]),
  bytearray: ([bytes, encoding]) => bytesOf(encoding === undefined || encoding === "latin-1" || encoding === "latin1" ? bytes : null),
};

function encode([text, encoding]: Value[]): Value {
  if (encoding !== "latin1" && encoding !== "latin-1") throw new ArgumentError("expected latin1");
  return bytesOf(text);
}

const path = (args: Value[]): Value => args.map((part) => only(part, "string")).join("/");

const known: readonly Constructor[] = [
  ...["builtins", "__builtin__"].flatMap((module) =>
    Object.entries(containers).map(([name, call]) => new Constructor(`${module}.${name}`, call)),
  ),
  new Constructor("collections.OrderedDict", ([pairs]) => dict(pairs)),
  new Constructor("collections.defaultdict", () => new Map()), // its items follow; the factory is not needed
  new Constructor("collections.Counter", ([pairs]) => dict(pairs)),
  new Constructor("_codecs.encode", encode),
  new Constructor("pathlib.PosixPath", path),
  new Constructor("pathlib.PurePosixPath", path),
  new Constructor("pathlib.WindowsPath", path),
  new Constructor("argparse.Namespace", undefined, true),
  new Constructor("yacs.config.CfgNode", undefined, true),
];

/** By `module.name`. */
export const pythonNames: ReadonlyMap<string, Constructor> = new Map(known.map((made) => [made.name, made]));
