// What a training step costs the host: on Dawn's null device, which takes everything that a GPU would be sent and computes nothing.

import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { openDevice } from "../../../src/backend/webgpu/device.ts";
import type { GpuExecutable } from "../../../src/backend/webgpu/executable.ts";
import { GpuBackend } from "../../../src/backend/webgpu.ts";
import { makeBackbone } from "../../../src/models/backbones.ts";
import { namedParameters, withContext } from "../../../src/nn/module.ts";
import { AdamW } from "../../../src/nn/optim/adamw.ts";
import { grad } from "../../../src/tape/grad.ts";
import type { Tensor } from "../../../src/tape/tensor.ts";
import { compile, type Trace } from "../../../src/tape/trace.ts";
import { values } from "../jobs.ts";
import { dinoSmall, openSteps } from "./step.ts";

export interface HostCost {
  readonly dispatches: number;
  /** Time of this process's threads, the least of all rounds: what else the machine does counts as little as can be. */
  readonly stepMs: number;
}

/** Remembers how many dispatches the program has that was loaded last. */
class Counting extends GpuBackend {
  dispatches = 0;

  override load(trace: Trace): GpuExecutable {
    const executable = super.load(trace);
    this.dispatches = executable.dispatches.length;
    return executable;
  }
}

/** Forward, backward and AdamW of a backbone on one image. */
async function backboneStep(backend: GpuBackend, backbone: string, size: number): Promise<() => Promise<unknown>> {
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
  return () => step(image, 1e-3, 0.05);
}

/** The step of a method on one image of 112 pixels, by a recipe, with ViT-T/16: it has the layers of ViT-S/16. */
const methodStep =
  (request: ReturnType<typeof dinoSmall>) =>
  async (backend: GpuBackend): Promise<() => Promise<unknown>> =>
    (await openSteps({ ...request, backbone: "vit-tiny-16", size: 112, batch: 1 }, backend)).run;

/**
 * Steps that are measured. They have all layers of the real ones, but little to compute: dispatches hardly depend on sizes, the null device
 * holds 512 MB, and what does not fit into one of its bindings of 128 MB would take dispatches of its own.
 */
export const hostSteps: Readonly<Record<string, (backend: GpuBackend) => Promise<() => Promise<unknown>>>> = {
  "ViT-S/16, AdamW": (backend) => backboneStep(backend, "vit-small-16", 224),
  "ResNet-50, AdamW": (backend) => backboneStep(backend, "resnet50", 224),
  "DINO, 2 + 8 views, ViT-T/16": methodStep({ ...dinoSmall(1), set: { outputs: "1024", hidden: "256" } }),
  "MAE, ViT-T/16": methodStep({ method: "mae", recipe: "mae-vitb16-1600", steps: 1, set: { decoderDim: "128" } }),
};

const ROUNDS = 15;
const STEPS = 20; // a round

/** The cost of a step, all of it: arguments, upload, recording, submitting, reading results. */
export async function hostCost(prepare: (backend: GpuBackend) => Promise<() => Promise<unknown>>): Promise<HostCost> {
  const open = await openDevice({ nothing: true });
  const backend = new Counting(open);
  const run = await prepare(backend);
  let least = Number.POSITIVE_INFINITY;
  for (let round = 0; round < ROUNDS; round++) {
    const before = process.cpuUsage();
    for (let step = 0; step < STEPS; step++) await run();
    const { user, system } = process.cpuUsage(before);
    if (round > 0) least = Math.min(least, (user + system) / 1000 / STEPS); // the first one warms the engine
  }
  await open.close(); // not the backend: that fetches the weights, for which the null device has no room
  return { dispatches: backend.dispatches, stepMs: least };
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
  const run = await backboneStep(new GpuBackend(open), "resnet18-cifar-w0.25", 32);
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
