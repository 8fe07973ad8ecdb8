// Steps that begin while others are under way against steps that are waited for one by one.
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { readSafetensors, stateIn } from "../../../src/checkpoint/safetensors.ts";
import { newestCheckpoint } from "../../../src/evaluate/checkpoints.ts";
import type { RunEvent } from "../../../src/train/events.ts";
import { train } from "../../../src/train/train.ts";
import { pictures } from "../../train/pictures.ts";
import { onGpu } from "./support.ts";

const ahead = suite("gpu runs ahead");
const check = onGpu(ahead);

const request = { method: "mae", images: "", backbone: "vit-mini-4", size: 16, batch: 6, steps: 7, seed: 3 };
const decoder = { decoderDim: "32", decoderDepth: "1", decoderHeads: "2" };
const settings = { backend: "gpu", threads: 1, build: "plain", healthEvery: 0, knnEvery: -1, report: false } as const;
const source = pictures(8);

/** Steps and losses in the order of their events, and how the run ended: its weights, or its error. */
async function followed(logEvery: number, lr?: string) {
  const root = await mkdtemp(join(tmpdir(), "autodidact-ahead-"));
  const losses: [number, number][] = [];
  const onEvent = (event: RunEvent) => {
    if (event.type === "step") losses.push([event.step, event.loss]);
  };
  try {
    const run = join(root, "run");
    const set = { ...decoder, ...(lr && { "optimizer.lr": lr }) };
    const error = await train({ ...request, set }, { run, source, settings: { ...settings, logEvery }, onEvent }).then(
      () => undefined,
      ({ message }: Error) => message.replaceAll(root, ""),
    );
    const weights = error ? [] : [...stateIn(await readSafetensors((await newestCheckpoint(run)).path))];
    return { losses, error, weights };
  } finally {
    await rm(root, { recursive: true, force: true });
  }
}

check("losses and weights are the same bits, whether each step is waited for or not", async () => {
  const [each, some] = [await followed(1), await followed(5)];
  assert.is(each.error, undefined);
  assert.is(each.losses.length, 7);
  assert.equal(some, each);
});

check("a loss that is not finite ends the run with the step's own number", async () => {
  const [each, some] = [await followed(1, "1e30"), await followed(50, "1e30")];
  assert.match(each.error ?? "", /at step \d+/);
  assert.equal(some, each);
});

ahead.run();
