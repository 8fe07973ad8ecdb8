// Checkpoint files of all formats beside `expected.json`, which says what each holds or that it must be refused, and
// FILE.expected.safetensors with its numbers.
import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { tensorsIn } from "../../src/checkpoint/checkpoint.ts";
import type { Numbers } from "../../src/checkpoint/dtype.ts";
import { CheckpointError } from "../../src/checkpoint/error.ts";
import { NumpyArray, NumpyScalar } from "../../src/checkpoint/numpy.ts";
import { openCheckpoint } from "../../src/checkpoint/open.ts";
import { Constructor, Instance, Tuple, type Value } from "../../src/checkpoint/pickle.ts";
import { floats, readSafetensors } from "../../src/checkpoint/safetensors.ts";
import { TorchTensor } from "../../src/checkpoint/torch.ts";
import { Check, type Golden } from "./golden.ts";

interface Expectation {
  about: string;
  expect: "load" | "refuse" | "either";
  contents?: Expected;
  /** File with the values. */
  expected?: string;
  compare?: "structure" | "module" | "variables";
}

// biome-ignore lint/suspicious/noExplicitAny: JSON of many shapes, described beside the golden files
type Expected = any;

const listIn = (folder: string) => join(folder, "expected.json");

/** Whether a file is one of these goldens, or holds the values of one. */
export const isCheckpointGolden = (path: string): boolean => existsSync(listIn(dirname(path)));

/** Every checkpoint golden in a folder. */
export const checkpointGoldens = async (folder: string): Promise<string[]> =>
  Object.keys(JSON.parse(await readFile(listIn(folder), "utf8"))).map((name) => join(folder, name));

export async function runCheckpointGolden(given: string): Promise<Check> {
  const expectations: Record<string, Expectation> = JSON.parse(await readFile(listIn(dirname(given)), "utf8"));
  const found = Object.entries(expectations).find(([name, { expected }]) => [name, expected].includes(basename(given)));
  if (!found) throw new RangeError(`Cannot run ${given}: expected.json does not list it`);
  const [name, expectation] = found;
  const path = join(dirname(given), name);
  const wanted = expectation.expected ? await readSafetensors(join(dirname(path), expectation.expected)) : undefined;
  const tensors = new Map([...(wanted?.tensors ?? [])].map(([name, entry]) => [name, floats(entry)]));
  const golden: Golden = {
    name: basename(path),
    config: { kind: `checkpoint-${expectation.expect}` },
    metadata: {},
    tensors,
    get: (name) => tensors.get(name) ?? { shape: [], data: new Float32Array() },
    spread: () => 0,
  };
  const check = new Check(golden);
  const before = Object.getOwnPropertyNames(Object.prototype).length;
  if (expectation.expect === "load") await compareFile(path, expectation, wanted?.tensors ?? new Map(), check);
  else check.within(await refusal(path), (await isRightlyRefused(path, expectation)) ? 0 : 1, 0);
  check.within("object prototypes untouched", Object.getOwnPropertyNames(Object.prototype).length - before, 0);
  return check;
}

/** Reads a file and all its tensors; the error, or that there was none. */
async function attempt(path: string): Promise<unknown> {
  try {
    const checkpoint = await openCheckpoint(path);
    try {
      for (const tensor of checkpoint.tensors.values()) await tensor.read();
    } finally {
      await checkpoint.close();
    }
    return undefined;
  } catch (error) {
    return error;
  }
}

const refusal = async (path: string) => {
  const error = await attempt(path);
  return error instanceof Error ? `${error.name}: ${error.message}` : "loaded";
};

async function isRightlyRefused(path: string, { expect }: Expectation): Promise<boolean> {
  const error = await attempt(path);
  if (error === undefined) return expect === "either";
  return error instanceof CheckpointError && error.message.includes(path);
}

async function compareFile(
  path: string,
  { contents, compare }: Expectation,
  wanted: ReadonlyMap<string, { shape: readonly number[]; data: Numbers }>,
  check: Check,
): Promise<void> {
  const checkpoint = await openCheckpoint(path);
  if (compare === "structure") {
    const difference = differenceOf(contents, checkpoint.contents, "");
    check.within(difference ?? "structure", difference ? 1 : 0, 0);
    check.within("tensors in the structure", tensorsIn(checkpoint.contents, path).size - checkpoint.tensors.size, 0);
  }
  for (const [name, { shape, data }] of wanted) {
    const stored = checkpoint.tensors.get(name);
    const got = stored ? await stored.read() : undefined;
    const same = stored && got && sameNumbers(got, data) && sameShape(stored.shape, shape);
    check.within(name, same ? 0 : 1, 0);
  }
  const extra = [...checkpoint.tensors.keys()].filter((name) => !wanted.has(name));
  check.within(extra.length ? `no more than these tensors (${extra[0]})` : "no more than these tensors", extra.length, 0);
  await checkpoint.close();
}

/** Equal to the bit, whole numbers as such. */
const sameNumbers = (a: Numbers, b: Numbers): boolean =>
  a.length === b.length &&
  (a as Float32Array).every((x, i) => Object.is(x, b[i]) || (typeof x !== typeof b[i] && Number(x) === Number(b[i])));

/** A scalar is stored as [1]. */
const sameShape = (a: readonly number[], b: readonly number[]): boolean =>
  (a.length === 0 && b.length === 1 && b[0] === 1) || (a.length === b.length && a.every((n, i) => n === b[i]));

/** Where a value differs from its description in `expected.json`, or undefined. */
function differenceOf(want: Expected, got: Value, at: string): string | undefined {
  const wrong = (what: string) => `${at || "the whole"}: ${what}`;
  if (want === null || typeof want !== "object") {
    const same = typeof got === "bigint" ? Number(got) === want : got === want;
    return same ? undefined : wrong(`${got} instead of ${want}`);
  }
  const [kind] = Object.keys(want);
  const inner = want[kind];
  const all = (pairs: Iterable<readonly [Expected, Value, string]>): string | undefined => {
    for (const [a, b, key] of pairs) {
      const difference = differenceOf(a, b, `${at}/${key}`);
      if (difference) return difference;
    }
    return undefined;
  };
  const expectKeys = (map: Map<Value, Value>, keys: Expected[]) =>
    map.size === keys.length && keys.every((key) => map.has(key)) ? undefined : wrong(`keys ${[...map.keys()]} instead of ${keys}`);
  switch (kind) {
    case "tensor":
      return got instanceof TorchTensor && describeTensor(got) === JSON.stringify(inner) ? undefined : wrong("another tensor");
    case "ndarray":
      return got instanceof NumpyArray && JSON.stringify({ dtype: got.dtype, shape: got.shape }) === JSON.stringify(inner)
        ? undefined
        : wrong("another array");
    case "numpy_scalar":
      return got instanceof NumpyScalar && got.dtype === inner.dtype && got.value === inner.value ? undefined : wrong("another number");
    case "dict":
      if (!(got instanceof Map)) return wrong("no dictionary");
      return (
        expectKeys(
          got,
          inner.map(([key]: [Value]) => key),
        ) ?? all(inner.map(([key, value]: [Value, Expected]) => [value, got.get(key), key]))
      );
    case "ordered_dict":
      if (!(got instanceof Map)) return wrong("no dictionary");
      return expectKeys(got, Object.keys(inner)) ?? all(Object.entries(inner).map(([key, value]) => [value, got.get(key) as Value, key]));
    case "list":
    case "tuple":
    case "torch.Size": {
      const isTuple = got instanceof Tuple;
      if (!Array.isArray(got) || isTuple !== (kind !== "list") || got.length !== inner.length)
        return wrong(`no ${kind} of ${inner.length}`);
      return all(inner.map((value: Expected, i: number) => [value, got[i], i]));
    }
    case "set":
      return got instanceof Set && JSON.stringify([...got].sort()) === JSON.stringify(inner) ? undefined : wrong("another set");
    case "dtype":
      return got instanceof Constructor && got.name === `torch.${inner}` ? undefined : wrong("another dtype");
    case "device":
      return got instanceof Instance && got.class === "torch.device" && got.args[0] === inner ? undefined : wrong("another device");
    case "bytes":
      return got instanceof Uint8Array && Buffer.from(got).toString("hex") === inner ? undefined : wrong("other bytes");
    case "object": {
      if (!(got instanceof Instance) || got.class !== inner) return wrong(`no ${inner}`);
      const held = want.items ? got.items : got.attributes;
      const described = want.items ?? want.attributes;
      if (!(held instanceof Map)) return wrong("no record");
      return (
        expectKeys(held, Object.keys(described)) ?? all(Object.keys(described).map((key) => [described[key], held.get(key) as Value, key]))
      );
    }
    default:
      return wrong(`expected.json has an unknown kind "${kind}"`);
  }
}

const describeTensor = ({ dtype, shape, strides, offset }: TorchTensor): string =>
  JSON.stringify({ dtype, shape, stride: strides, offset });
