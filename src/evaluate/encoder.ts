// Encoders to evaluate and embed with: from a run folder, from one of its checkpoints, or from somebody else's weights.
import { stat } from "node:fs/promises";
import { findPrefix } from "../checkpoint/names.ts";
import { CheckpointError, readSafetensors, stateIn } from "../checkpoint/safetensors.ts";
import { evaluationView, type ViewSpec } from "../data/views.ts";
import type { Method, Parts } from "../methods/method.ts";
import { methods } from "../methods/methods.ts";
import type { OptionTable, OptionValues } from "../methods/options.ts";
import { type Backbone, makeBackbone } from "../models/backbone.ts";
import { withSeed } from "../nn/init.ts";
import { loadState, namedParameters } from "../nn/module.ts";
import type { RunOptions } from "../train/options.ts";
import { newestCheckpoint } from "./checkpoints.ts";

/** What is trained, with fresh weights. */
export interface Model {
  readonly method: Method;
  readonly options: OptionValues<OptionTable>;
  readonly parts: Parts;
}

type ModelOptions = Pick<RunOptions, "method" | "options" | "backbone" | "size" | "seed">;

/** Builds the parts of a run; the same options give the same weights. */
export function buildModel({ method: name, options, backbone, size, seed }: ModelOptions): Model {
  const method: Method | undefined = Object.hasOwn(methods, name) ? methods[name] : undefined;
  if (!method) throw new RangeError(`Cannot build "${name}": no such method`);
  const values = options as OptionValues<OptionTable>;
  const parts = withSeed(seed, () => method.build(({ dropPath } = {}) => makeBackbone(backbone, { size, dropPath }), values));
  return { method, options: values, parts };
}

/** A network to take features from, and how it wants to see images. */
export interface Encoder {
  readonly backbone: Backbone;
  readonly view: ViewSpec;
  /** For people: what it is and where it came from. */
  readonly about: string;
}

export interface EncoderOptions {
  /** Of weights that do not say what they are for: a name that `makeBackbone` knows. */
  backbone?: string;
  /** Side of the images that it sees; default as in training, 224 for foreign weights. */
  size?: number;
}

/**
 * Opens an encoder: a run folder (its newest checkpoint), a checkpoint of a run, or a safetensors file with the weights of a
 * backbone under their official names, behind any of the usual prefixes.
 */
export async function openEncoder(path: string, { backbone, size }: EncoderOptions = {}): Promise<Encoder> {
  const found = await stat(path).catch(() => undefined);
  if (!found) throw new Error(`Cannot open "${path}": no such run or checkpoint`);
  const file = found.isDirectory() ? (await newestCheckpoint(path)).path : path;
  const archive = await readSafetensors(file);
  const state = stateIn(archive);
  if (archive.metadata.options) {
    const options: RunOptions = JSON.parse(archive.metadata.options);
    const { method, parts, options: values } = buildModel(options);
    const names = new Set([...namedParameters(parts)].map(([name]) => name));
    loadState(namedParameters(parts), new Map([...state].filter(([name]) => names.has(name))));
    const about = `${options.method}, ${options.backbone}, ${archive.metadata.step} steps`;
    return { backbone: method.encoder(parts), view: method.evaluationView(values, size ?? options.size), about };
  }
  if (!backbone) throw new CheckpointError(`Cannot tell what "${file}" was trained with: expected the name of its backbone beside it`);
  const network = makeBackbone(backbone, { size });
  const prefix = findPrefix(
    Array.from(network.namedParameters(), ([name]) => name),
    state,
  );
  network.load(state, { prefix: prefix ?? "", strict: prefix === undefined });
  return { backbone: network, view: evaluationView(size), about: backbone };
}
