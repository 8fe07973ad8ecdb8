// Ten steps of each method at tiny size, on any backend.
import type { Backend } from "../../../src/backend/backend.ts";
import { dino } from "../../../src/methods/dino.ts";
import { mae } from "../../../src/methods/mae.ts";
import type { Parts } from "../../../src/methods/method.ts";
import { moco } from "../../../src/methods/moco.ts";
import { simclr } from "../../../src/methods/simclr.ts";
import { namedParameters } from "../../../src/nn/module.ts";
import type { Host, Precision } from "../../../src/tape/trace.ts";
import { lesson, pictures, tinyViT } from "../../methods/support.ts";

export const STEPS = 10;
const adamw = { name: "adamw" } as const;
const pair = [pictures("a", 6, 12), pictures("b", 6, 12)];
const crops = [...pair, pictures("c", 6, 8), pictures("d", 6, 8)];

/** Losses of the steps, and all weights and statistics after them. */
interface Lesson {
  losses: number[];
  weights: [string, Host][];
}

type Run = (backend: Backend, precision?: Precision) => Promise<Lesson>;

async function ended(backend: Backend, parts: Parts, losses: Promise<number[]>): ReturnType<Run> {
  const done = await losses;
  const weights: [string, Host][] = [];
  for (const [name, p] of namedParameters(parts)) weights.push([name, { data: await backend.read(p), shape: p.shape }]);
  return { losses: done, weights };
}

export const runs: Record<string, Run> = {
  async simclr(backend, precision) {
    // At a rate of 0.1 a change of 2e-4 in the pictures changes the tenth loss by 1e-2 in float32 too.
    const scalars = { lr: 0.02 };
    const { parts, losses } = lesson(simclr, { dim: 8, layers: 2, temperature: 0.5 }, backend, { precision, scalars });
    return ended(backend, parts, losses(pair, STEPS));
  },
  async moco(backend, precision) {
    const { parts, losses } = lesson(moco, { dim: 8, queue: 24, temperature: 0.2, groups: 1 }, backend, {
      precision,
      scalars: { momentum: 0.9 },
    });
    return ended(backend, parts, losses(pair, STEPS));
  },
  async dino(backend, precision) {
    const options = { outputs: 16, hidden: 12, bottleneck: 6, locals: 2, freezeLastLayer: 1, dropPath: 0.1 };
    const scalars = { momentum: 0.9, teacherTemperature: 0.04, lr: 0.001 };
    const { parts, losses } = lesson(dino, options, backend, { backbone: () => tinyViT(0.1), scalars, optimizer: adamw, precision });
    return ended(backend, parts, losses(crops, STEPS));
  },
  async mae(backend, precision) {
    const options = { decoderDim: 8, decoderDepth: 1, decoderHeads: 2 };
    const { parts, losses } = lesson(mae, options, backend, {
      backbone: () => tinyViT(),
      scalars: { lr: 0.001 },
      optimizer: adamw,
      precision,
    });
    return ended(backend, parts, losses([pictures("a", 7, 12)], STEPS));
  },
};

/** The largest relative difference between losses of the same step. */
export const lossGap = (got: Lesson, expected: Lesson): number =>
  Math.max(...got.losses.map((loss, i) => Math.abs(loss / expected.losses[i] - 1)));
