// Backbones with the numbers of a checkpoint.
import type { Checkpoint } from "../checkpoint/checkpoint.ts";
import { CheckpointError } from "../checkpoint/error.ts";
import { asFloats } from "../checkpoint/stored.ts";
import { withoutNumbers } from "../nn/init.ts";
import { loadState } from "../nn/module.ts";
import { type Backbone, makeBackbone } from "./backbone.ts";
import { type FindOptions, type Found, findBackbone } from "./recognise.ts";

/** The network that a checkpoint is told to hold, whole. Throws a CheckpointError that says what is missing or what its names are. */
export function expectBackbone({ tensors, where }: Checkpoint, options: FindOptions = {}): Found {
  const found = findBackbone(tensors, options);
  if (!found) {
    const [name] = tensors.keys();
    const asked = options.backbone ? `has no ${options.backbone}` : "has no network that is known by its names and shapes";
    throw new CheckpointError(
      `Cannot use ${where}: it ${asked}; ${tensors.size ? `its first tensor is "${name}" of ${tensors.size}` : "it has no tensors"}`,
    );
  }
  const { backbone, prefix, missing, misfits } = found;
  const flaws = [...missing.map((name) => `lacks "${prefix}${name}"`), ...misfits.map((name) => `has another shape of "${prefix}${name}"`)];
  if (!flaws.length) return found;
  const more = flaws.length > 1 ? ` (and ${flaws.length - 1} more)` : "";
  const why = options.backbone ? "" : ", which it resembles most";
  throw new CheckpointError(`Cannot use ${where} as ${backbone}${why}: it ${flaws[0]}${more}`);
}

/** Reads the network that a checkpoint holds, and nothing else of it. */
export async function readBackbone(checkpoint: Checkpoint, options: FindOptions = {}): Promise<{ network: Backbone; found: Found }> {
  const found = expectBackbone(checkpoint, options);
  const network = withoutNumbers(() => makeBackbone(found.backbone, { size: found.size }));
  for (const [name, parameter] of network.namedParameters()) {
    const tensor = found.tensors.get(name);
    if (!tensor) continue;
    const numbers = asFloats(await tensor.read());
    if (parameter.layout === "plain")
      parameter.data = numbers; // nobody else has them: no copy
    else loadState([[name, parameter]], new Map([[name, { data: numbers, shape: tensor.shape }]]));
  }
  return { network, found };
}
