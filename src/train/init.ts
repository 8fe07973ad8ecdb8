// Beginning a run with the weights of a checkpoint.

import { stat } from "node:fs/promises";
import type { Checkpoint } from "../checkpoint/checkpoint.ts";
import { CheckpointError } from "../checkpoint/error.ts";
import { openCheckpoint } from "../checkpoint/open.ts";
import { readHosts } from "../checkpoint/stored.ts";
import { newestCheckpoint } from "../evaluate/checkpoints.ts";
import { expectBackbone, readNetwork } from "../models/pretrained.ts";
import { checkpointFile } from "../models/pull.ts";
import { findBackbone, flaws } from "../models/recognise.ts";
import { loadState, namedState, type Parts } from "../nn/module.ts";
import { sameShape } from "../tape/shape.ts";
import type { Parameter } from "../tape/tensor.ts";
import type { RunOptions } from "./options.ts";

type Named = [string, Parameter];

/**
 * Puts the weights of `options.init` into what a run trains. A checkpoint with all of the run's own tensors gives them all, heads and
 * teachers too. Any other gives its backbone to every network of that kind in the run, so a teacher begins as its student; heads stay
 * fresh. Tables of positions are resized. Gives a sentence that says what was taken; throws a CheckpointError where nothing fits.
 */
export async function beginFrom(init: string, parts: Parts, options: Pick<RunOptions, "backbone" | "size">): Promise<string> {
  const given = checkpointFile(init);
  const isFolder = (await stat(given).catch(() => undefined))?.isDirectory();
  const checkpoint = await openCheckpoint(isFolder ? (await newestCheckpoint(given)).path : given);
  try {
    const own = [...namedState(parts)];
    if (own.every(([name, parameter]) => fits(checkpoint, name, parameter))) {
      const names = new Set(own.map(([name]) => name));
      const state = await readHosts([...checkpoint.tensors].filter(([name]) => names.has(name)));
      loadState(own, state);
      return `began with all ${own.length} tensors of ${checkpoint.where}`;
    }
    return await beginWithBackbone(checkpoint, own, options);
  } finally {
    await checkpoint.close();
  }
}

const fits = ({ tensors }: Checkpoint, name: string, { officialShape }: Parameter): boolean => {
  const tensor = tensors.get(name);
  return tensor !== undefined && sameShape(tensor.shape, officialShape);
};

async function beginWithBackbone(checkpoint: Checkpoint, own: readonly Named[], { backbone, size }: Pick<RunOptions, "backbone" | "size">) {
  const asked = findBackbone(checkpoint.tensors, { backbone });
  const other = asked && !flaws(asked) ? undefined : findBackbone(checkpoint.tensors);
  if (other && (!asked || !flaws(other))) {
    throw new CheckpointError(
      `Cannot begin with ${checkpoint.where}: it holds a ${other.backbone}, the run trains a ${backbone}; --backbone ${other.backbone} would fit`,
    );
  }
  const found = expectBackbone(checkpoint, { backbone });
  const state = (await readNetwork(found, size)).state();
  const names = [...state.keys()];
  const places = placesOf(names, own);
  if (!places.length) throw new CheckpointError(`Cannot begin with ${checkpoint.where}: nothing in the run is a ${backbone} by its names`);
  const parameters = new Map(own);
  for (const place of places) {
    loadState(
      names.map((name): Named => [name, parameters.get(place + name) as Parameter]),
      state,
      { strict: false },
    );
  }
  return `began with the ${backbone} of ${checkpoint.where} in ${places.map((place) => place.replace(/\.$/, "")).join(" and ")}`;
}

/** What stands in front of a network's names in a run, as often as the run has such a network. */
function placesOf(names: readonly string[], own: readonly Named[]): string[] {
  const known = new Set(own.map(([name]) => name));
  const [first] = names;
  const places = own.flatMap(([name]) => (name.endsWith(first) ? [name.slice(0, -first.length)] : []));
  return places.filter((place) => (place === "" || place.endsWith(".")) && names.every((name) => known.has(place + name)));
}
