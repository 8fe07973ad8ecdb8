// Backbones with the numbers of a checkpoint.
import type { Checkpoint } from "../checkpoint/checkpoint.ts";
import { CheckpointError } from "../checkpoint/error.ts";
import { asFloats, readHosts } from "../checkpoint/stored.ts";
import { withoutNumbers } from "../nn/init.ts";
import { loadState, type State } from "../nn/module.ts";
import type { Backbone } from "./backbone.ts";
import { makeBackbone, variantNamed } from "./backbones.ts";
import { fitTables } from "./fit-tables.ts";
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
  const flaws = [
    ...missing.map((name) => `lacks "${prefix}${name}"`),
    ...misfits.map(({ name, shape, wanted }) => `has "${prefix}${name}" of [${shape.join(", ")}] instead of [${wanted.join(", ")}]`),
  ];
  if (!flaws.length) return found;
  const more = flaws.length > 1 ? ` (and ${flaws.length - 1} more)` : "";
  const why = options.backbone ? "" : ", which it resembles most";
  throw new CheckpointError(`Cannot use ${where} as ${backbone}${why}: it ${flaws[0]}${more}`);
}

/** Reads the network that a checkpoint holds, and nothing else of it. */
export async function readBackbone(checkpoint: Checkpoint, options: FindOptions = {}): Promise<{ network: Backbone; found: Found }> {
  const found = expectBackbone(checkpoint, options);
  return { network: await readNetwork(found), found };
}

/** Reads a network that was found, with its tables made for images of side `size`; without it as they are. */
export async function readNetwork(found: Found, size?: number): Promise<Backbone> {
  const { backbone, tensors } = found;
  const network = withoutNumbers(() => makeBackbone(backbone, { size: size ?? found.size }));
  if (found.resized.length || (size !== undefined && size !== found.size)) return withTables(network, backbone, await readHosts(tensors));
  for (const [name, parameter] of network.namedParameters()) {
    const tensor = tensors.get(name);
    if (!tensor) continue;
    const numbers = asFloats(await tensor.read());
    if (parameter.layout === "plain")
      parameter.data = numbers; // nobody else has them: no copy
    else loadState([[name, parameter]], new Map([[name, { data: numbers, shape: tensor.shape }]]));
  }
  return network;
}

/** The same network with tables for images of another side. Its tables may be those of a network with more parts, such as a mask token. */
export const atSize = (backbone: string, network: Backbone, size: number): Backbone =>
  withTables(
    withoutNumbers(() => makeBackbone(backbone, { size })),
    backbone,
    network.state(),
  );

function withTables(network: Backbone, backbone: string, state: State): Backbone {
  network.load(fitTables(network, state, variantNamed(backbone).resize), { strict: false });
  return network;
}
