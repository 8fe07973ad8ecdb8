// Whole training steps of the methods on the GPU beside wasm, which the goldens hold to the official code.
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { Backend } from "../../../src/backend/backend.ts";
import { WasmBackend } from "../../../src/backend/wasm.ts";
import { GpuBackend } from "../../../src/backend/webgpu.ts";
import { dino } from "../../../src/methods/dino.ts";
import { mae } from "../../../src/methods/mae.ts";
import type { Parts } from "../../../src/methods/method.ts";
import { moco } from "../../../src/methods/moco.ts";
import { simclr } from "../../../src/methods/simclr.ts";
import { namedParameters } from "../../../src/nn/module.ts";
import type { Host } from "../../../src/tape/trace.ts";
import { lesson, pictures, tinyViT } from "../../methods/support.ts";
import { difference } from "../../support.ts";
import { onGpu, skipped } from "./support.ts";

const STEPS = 10;
const adamw = { name: "adamw" } as const;
const pair = [pictures("a", 6, 12), pictures("b", 6, 12)];
const crops = [...pair, pictures("c", 6, 8), pictures("d", 6, 8)];

/** Losses of ten steps on a backend, and all weights and statistics after them. */
type Run = (backend: Backend) => Promise<{ losses: number[]; weights: [string, Host][] }>;

async function ended(backend: Backend, parts: Parts, losses: Promise<number[]>): ReturnType<Run> {
  const done = await losses;
  const weights: [string, Host][] = [];
  for (const [name, p] of namedParameters(parts)) weights.push([name, { data: await backend.read(p), shape: p.shape }]);
  return { losses: done, weights };
}

const runs: Record<string, Run> = {
  async simclr(backend) {
    const { parts, losses } = lesson(simclr, { dim: 8, layers: 2, temperature: 0.5 }, backend);
    return ended(backend, parts, losses(pair, STEPS));
  },
  async moco(backend) {
    const { parts, losses } = lesson(moco, { dim: 8, queue: 24, temperature: 0.2, groups: 1 }, backend, { scalars: { momentum: 0.9 } });
    return ended(backend, parts, losses(pair, STEPS));
  },
  async dino(backend) {
    const options = { outputs: 16, hidden: 12, bottleneck: 6, locals: 2, freezeLastLayer: 1, dropPath: 0.1 };
    const scalars = { momentum: 0.9, teacherTemperature: 0.04, lr: 0.001 };
    const { parts, losses } = lesson(dino, options, backend, { backbone: () => tinyViT(0.1), scalars, optimizer: adamw });
    return ended(backend, parts, losses(crops, STEPS));
  },
  async mae(backend) {
    const options = { decoderDim: 8, decoderDepth: 1, decoderHeads: 2 };
    const { parts, losses } = lesson(mae, options, backend, { backbone: () => tinyViT(), scalars: { lr: 0.001 }, optimizer: adamw });
    return ended(backend, parts, losses([pictures("a", 7, 12)], STEPS));
  },
};

const training = suite("gpu training");
const check = onGpu(training);
let gpu: GpuBackend;
let wasm: WasmBackend;

training.before(async () => {
  if (skipped) return;
  gpu = await GpuBackend.open({ software: true });
  wasm = await WasmBackend.open({ threads: 1, build: "plain" });
});
training.after(async () => {
  if (skipped) return;
  await gpu.close();
  await wasm.close();
});

for (const [name, run] of Object.entries(runs)) {
  check(`${name}: the first loss is wasm's within 1e-5, all weights are after ${STEPS} steps within 1e-4`, async () => {
    const [expected, got] = [await run(wasm), await run(gpu)];
    const gap = Math.abs(got.losses[0] / expected.losses[0] - 1);
    assert.ok(gap < 1e-5, `loss ${got.losses[0]} instead of ${expected.losses[0]}`);
    for (const [i, [parameter, host]] of got.weights.entries()) {
      if (parameter.endsWith("qkv.bias")) continue; // the keys' part has no gradient but rounding, which AdamW makes as long as any other
      const apart = difference(host, expected.weights[i][1]);
      assert.ok(apart < 1e-4, `${parameter} differs by ${apart}`);
    }
  });
}

training.run();
