// Encoders to evaluate and embed with: from a run folder, from one of its checkpoints, or from somebody else's weights.
import { existsSync } from "node:fs";
import { stat } from "node:fs/promises";
import type { Checkpoint } from "../checkpoint/checkpoint.ts";
import { openCheckpoint } from "../checkpoint/open.ts";
import { readSafetensors, stateIn } from "../checkpoint/safetensors.ts";
import { evaluationView, simclrFloatEvaluationView, type ViewSpec } from "../data/views.ts";
import type { Method, Parts } from "../methods/method.ts";
import { methods } from "../methods/methods.ts";
import type { OptionTable, OptionValues } from "../methods/options.ts";
import type { Backbone } from "../models/backbone.ts";
import { makeBackbone, variantNamed } from "../models/backbones.ts";
import { atSize, expectBackbone, readNetwork } from "../models/pretrained.ts";
import { checkpointFile } from "../models/pull.ts";
import { cifarResnets } from "../models/resnet-cifar.ts";
import { withoutNumbers, withSeed } from "../nn/init.ts";
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
  /** Side of the images that it sees, or what makes it of the side that it was trained with; default as in training, 224 for foreign weights. */
  size?: number | ((trained: number) => number);
}

/**
 * Opens an encoder: a run folder (its newest checkpoint), a checkpoint of a run, anybody's file of tensors that holds a known
 * backbone (see `openCheckpoint` and `findBackbone`), or a published checkpoint by its name once it was pulled.
 */
export async function openEncoder(pathOrName: string, options: EncoderOptions = {}): Promise<Encoder> {
  const path = checkpointFile(pathOrName);
  const found = await stat(path).catch(() => undefined);
  if (!found && !existsSync(`${path}.index`)) throw new Error(`Cannot open "${path}": no such run or checkpoint`);
  const file = found?.isDirectory() ? (await newestCheckpoint(path)).path : path;
  const checkpoint = await openCheckpoint(file);
  try {
    return isOurs(checkpoint) ? await openOurs(file, options) : await openForeign(checkpoint, options);
  } finally {
    await checkpoint.close();
  }
}

/** Whether a run wrote it: it says with which options. */
const isOurs = ({ contents }: Checkpoint): boolean => contents instanceof Map && contents.has("options") && contents.has("step");

const sideOf = (asked: EncoderOptions["size"], trained: number): number =>
  typeof asked === "function" ? asked(trained) : (asked ?? trained);

async function openOurs(file: string, { size }: EncoderOptions): Promise<Encoder> {
  const archive = await readSafetensors(file);
  const options: RunOptions = JSON.parse(archive.metadata.options);
  const { method, parts, options: values } = withoutNumbers(() => buildModel(options));
  const names = new Set([...namedParameters(parts)].map(([name]) => name));
  loadState(namedParameters(parts), new Map([...stateIn(archive)].filter(([name]) => names.has(name))));
  const about = `${options.method}, ${options.backbone}, ${archive.metadata.step} steps`;
  const side = sideOf(size, options.size);
  const trained = method.encoder(parts);
  const backbone = side !== options.size && variantNamed(options.backbone).oneSize ? atSize(options.backbone, trained, side) : trained;
  return { backbone, view: method.evaluationView(values, side), about };
}

async function openForeign(checkpoint: Checkpoint, { backbone, size }: EncoderOptions): Promise<Encoder> {
  const found = expectBackbone(checkpoint, { backbone });
  const { evaluatedAt, oneSize } = variantNamed(found.backbone);
  const side = sideOf(size, evaluatedAt ?? found.size ?? usualSize(found.backbone));
  const network = await readNetwork(found, oneSize ? side : undefined);
  const view = found.backbone.startsWith("simclr-") ? simclrFloatEvaluationView(side) : evaluationView(side);
  return { backbone: network, view, about: found.backbone };
}

/** Side of the images that networks are made for whose weights do not tell. */
function usualSize(backbone: string): number {
  if (backbone === "conv4") return 84;
  return Object.hasOwn(cifarResnets, backbone) || /-cifar\b/.test(backbone) ? 32 : 224;
}
