// What several GPUs do to batch norm, on one machine: each normalises its own part of a batch.

import { randomStream } from "../nn/module.ts";
import type { Layer } from "../nn/sequential.ts";
import { concat } from "../tape/ops/move.ts";
import { uniform } from "../tape/ops/random.ts";
import type { Tensor } from "../tape/tensor.ts";

/** Encodes equal parts of a batch by themselves. */
export function inGroups(encoder: Pick<Layer, "forward">, x: Tensor, groups: number): Tensor {
  if (x.shape[0] % groups || x.shape[0] < 2 * groups) {
    throw new RangeError(
      `Cannot cut a batch of ${x.shape[0]} into ${groups} groups: expected a multiple of ${groups}, of 2 images a group or more; the option "groups" changes it`,
    );
  }
  return concat(
    x.split(0, groups).map((part) => encoder.forward(part)),
    0,
  );
}

/**
 * The same with images drawn into the groups at random, so that a key's batch statistics do not tell which query it belongs to:
 * "shuffling BN", section 3.3.
 */
export function shuffled(encoder: Pick<Layer, "forward">, x: Tensor, groups: number): Tensor {
  if (groups === 1) return inGroups(encoder, x, 1);
  const { key, stream } = randomStream();
  const order = uniform(key, stream, [x.shape[0]]).argsort();
  return inGroups(encoder, x.gather(order), groups).gather(order.argsort());
}
