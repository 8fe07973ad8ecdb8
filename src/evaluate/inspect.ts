// What a checkpoint holds, told from its names and shapes; no tensor is read.
import { stat } from "node:fs/promises";
import type { Checkpoint } from "../checkpoint/checkpoint.ts";
import { methodOf } from "../checkpoint/names.ts";
import { NumpyScalar } from "../checkpoint/numpy.ts";
import { openCheckpoint } from "../checkpoint/open.ts";
import { Instance, type Value } from "../checkpoint/pickle.ts";
import { type FindOptions, findBackbone } from "../models/recognise.ts";
import { type Shape, size } from "../tape/shape.ts";
import { newestCheckpoint } from "./checkpoints.ts";

export interface InspectedTensor {
  readonly name: string;
  readonly dtype: string;
  readonly shape: Shape;
}

/** The network in a checkpoint that an evaluation would take. */
export interface InspectedNetwork {
  readonly backbone: string;
  /** Side of the images that its tables were made for, where that shows. */
  readonly size?: number;
  /** What stands in front of its names. */
  readonly prefix: string;
  /** Whose names were changed into ours, where any were. */
  readonly scheme?: string;
  readonly tensors: number;
  /** Numbers in them, running statistics included. */
  readonly numbers: number;
  /** What the backbone has and the file lacks, or has in another shape. */
  readonly missing: readonly string[];
  readonly misfits: readonly string[];
  /** What the file has behind the prefix beside the backbone: heads, mostly. */
  readonly extra: readonly string[];
}

export interface Inspection {
  readonly file: string;
  readonly format: string;
  readonly bytes: number;
  /** What wrote it, where its names tell. */
  readonly method?: string;
  readonly network?: InspectedNetwork;
  /** Plain values in it: epochs, arguments, metadata. */
  readonly values: Readonly<Record<string, string | number | boolean>>;
  readonly tensors: readonly InspectedTensor[];
}

/** Looks into a checkpoint of any format, or the newest of a run. Throws a CheckpointError where it cannot be read. */
export async function inspect(path: string, options: FindOptions = {}): Promise<Inspection> {
  const found = await stat(path).catch(() => undefined);
  const file = found?.isDirectory() ? (await newestCheckpoint(path)).path : path;
  const checkpoint = await openCheckpoint(file);
  try {
    const { size: bytes } = await stat(checkpoint.where);
    return { file: checkpoint.where, format: checkpoint.format, bytes, ...describe(checkpoint, options) };
  } finally {
    await checkpoint.close();
  }
}

function describe({ tensors, contents }: Checkpoint, options: FindOptions): Pick<Inspection, "method" | "network" | "values" | "tensors"> {
  const ours = optionsIn(contents);
  const found = findBackbone(tensors, { backbone: options.backbone ?? ours?.backbone });
  const network = found && {
    backbone: found.backbone,
    size: found.size,
    prefix: found.prefix,
    scheme: found.scheme,
    tensors: found.tensors.size,
    numbers: [...found.tensors.values()].reduce((sum, { shape }) => sum + size(shape), 0),
    missing: found.missing,
    misfits: found.misfits.map(({ name }) => name),
    extra: found.extra,
  };
  return {
    method: ours?.method ?? methodOf(tensors.keys()),
    network,
    values: Object.fromEntries(plainValues(contents)),
    tensors: [...tensors].map(([name, { dtype, shape }]) => ({ name, dtype, shape })),
  };
}

/** What a checkpoint of this program says about itself. */
function optionsIn(contents: Value): { method?: string; backbone?: string } | undefined {
  const text = contents instanceof Map ? contents.get("options") : undefined;
  if (typeof text !== "string") return undefined;
  try {
    const { method, backbone } = JSON.parse(text);
    return { method, backbone };
  } catch {
    return undefined;
  }
}

/** More arguments than any training script has. */
const mostValues = 200;

/** Numbers, truths and short texts at the top and in the dictionaries and records there. */
function plainValues(contents: Value): [string, string | number | boolean][] {
  const values: [string, string | number | boolean][] = [];
  const take = (value: Value, name: string, depth: number): void => {
    if (values.length >= mostValues) return;
    if (typeof value === "number" || typeof value === "boolean") values.push([name, value]);
    else if (typeof value === "bigint") values.push([name, String(value)]);
    else if (value instanceof NumpyScalar) values.push([name, value.value]);
    else if (typeof value === "string" && value.length <= 200) values.push([name, value]);
    else if (depth < 2) {
      for (const [key, inner] of fieldsOf(value)) if (typeof key === "string") take(inner, name ? `${name}.${key}` : key, depth + 1);
    }
  };
  take(contents, "", 0);
  return values;
}

function fieldsOf(value: Value): Iterable<[Value, Value]> {
  if (value instanceof Map) return value;
  if (!(value instanceof Instance)) return [];
  return value.attributes instanceof Map ? [...value.items, ...value.attributes] : value.items;
}
