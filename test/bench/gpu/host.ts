// What a training step costs the host: on Dawn's null device, which takes everything that a GPU would be sent and computes nothing.

import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import type { Executable } from "../../../src/backend/backend.ts";
import { openDevice } from "../../../src/backend/webgpu/device.ts";
import type { GpuExecutable } from "../../../src/backend/webgpu/executable.ts";
import { GpuBackend } from "../../../src/backend/webgpu.ts";
import { makeBackbone } from "../../../src/models/backbone.ts";
import { namedParameters, withContext } from "../../../src/nn/module.ts";
import { AdamW } from "../../../src/nn/optim/adamw.ts";
import { grad } from "../../../src/tape/grad.ts";
import type { Tensor } from "../../../src/tape/tensor.ts";
import { compile } from "../../../src/tape/trace.ts";
import { values } from "../jobs.ts";

export interface HostCost {
  readonly dispatches: number;
  /** Time of this process's threads, the least of all rounds: what else the machine does counts as little as can be. */
  readonly stepMs: number;
}

/** Forward, backward and AdamW of a backbone on one image: dispatches do not depend on the batch, and the null device holds 512 MB. */
async function backboneStep(backend: GpuBackend, backbone: string, size: number) {
  const model = makeBackbone(backbone, { size });
  const optimizer = new AdamW([...namedParameters({ model })]);
  const step = compile(
    (x: Tensor, lr: Tensor, weightDecay: Tensor) =>
      withContext({ training: true }, () => {
        const loss = model.forward(x).square().mean();
        optimizer.update(grad(loss, optimizer.parameters), { lr, weightDecay });
        return loss;
      }),
    backend,
  );
  const { a: image } = values({ op: "conv", name: "", batch: 1, side: size, inputs: 3, outputs: 1, kernel: 1, stride: 1 });
  const executable: Executable = await step.prepare(image, 1e-3, 0.05);
  return { run: () => step(image, 1e-3, 0.05), dispatches: (executable as GpuExecutable).dispatches.length };
}

const ROUNDS = 15;
const STEPS = 20; // a round

/** The cost of a backbone's training step, all of it: arguments, upload, recording, submitting, reading the loss. */
export async function hostCost(backbone: string, size: number): Promise<HostCost> {
  const open = await openDevice({ nothing: true });
  const { run, dispatches } = await backboneStep(new GpuBackend(open), backbone, size);
  let least = Number.POSITIVE_INFINITY;
  for (let round = 0; round < ROUNDS; round++) {
    const before = process.cpuUsage();
    for (let step = 0; step < STEPS; step++) await run();
    const { user, system } = process.cpuUsage(before);
    if (round > 0) least = Math.min(least, (user + system) / 1000 / STEPS); // the first one warms the engine
  }
  await open.close(); // not the backend: that fetches the weights, for which the null device has no room
  return { dispatches, stepMs: least };
}

export interface Growth {
  readonly steps: number;
  /** Of JavaScript's heap after collection, and of the whole process, since a tenth of the steps. */
  readonly heapBytes: number;
  readonly residentBytes: number;
}

/** How much memory `steps` training steps of a small backbone leave behind. */
export async function growth(steps: number): Promise<Growth> {
  const open = await openDevice({ nothing: true });
  const { run } = await backboneStep(new GpuBackend(open), "resnet18-cifar-w0.25", 32);
  for (let step = 0; step < steps / 10; step++) await run();
  const before = memory();
  for (let step = 0; step < (9 * steps) / 10; step++) await run();
  const after = memory();
  await open.close();
  return { steps, heapBytes: after.heap - before.heap, residentBytes: after.resident - before.resident };
}

function memory() {
  setFlagsFromString("--expose-gc");
  const collect: () => void = runInNewContext("gc");
  collect();
  const { heapUsed, arrayBuffers } = process.memoryUsage();
  return { heap: heapUsed + arrayBuffers, resident: process.memoryUsage.rss() };
}
