// A run that begins on the CPU goes on on the GPU and ends on the CPU.
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { readSafetensors, stateIn } from "../../../src/checkpoint/safetensors.ts";
import { newestCheckpoint } from "../../../src/evaluate/checkpoints.ts";
import type { Host } from "../../../src/tape/trace.ts";
import type { RunSettings } from "../../../src/train/options.ts";
import { RunFolder } from "../../../src/train/run.ts";
import { resume, train } from "../../../src/train/train.ts";
import { difference } from "../../support.ts";
import { pictures } from "../../train/pictures.ts";
import { onGpu } from "./support.ts";

const travel = suite("checkpoints travel");

// A transformer: behind batch norm over few small pictures one flipped ReLU moves a weight by a hundredth, on any two backends.
const request = { method: "mae", images: "", backbone: "vit-mini-4", size: 16, batch: 6, steps: 6, seed: 3 };
const decoder = { decoderDim: "32", decoderDepth: "1", decoderHeads: "2" };
const settings: Partial<RunSettings> = { threads: 1, build: "plain", logEvery: 1, healthEvery: 0, knnEvery: -1, report: false };
const source = pictures(8);

/** Stops a run when it has done so many steps. */
function until(steps: number) {
  const stop = new AbortController();
  const onEvent = (event: { type: string; step?: number }) => {
    if (event.type === "step" && event.step === steps) stop.abort();
  };
  return { signal: stop.signal, onEvent };
}

const state = async (run: string) => stateIn(await readSafetensors((await newestCheckpoint(run)).path));

onGpu(travel)("wasm, gpu, wasm: weights and moments of the optimiser are those of wasm alone within 1e-4, and run.json tells", async () => {
  const root = await mkdtemp(join(tmpdir(), "autodidact-travel-"));
  try {
    const [alone, run] = [join(root, "alone"), join(root, "run")];
    await train({ ...request, set: decoder }, { run: alone, source, settings: { ...settings, backend: "wasm" } });
    await train({ ...request, set: decoder }, { run, source, settings: { ...settings, backend: "wasm" }, ...until(2) });
    await resume(run, { source, settings: { backend: "gpu" }, ...until(4) });
    await resume(run, { source, settings: { backend: "wasm" } });
    const { sessions = [] } = (await RunFolder.open(run)).record;
    assert.equal(
      sessions.map(({ step, backend }) => [step, backend.split(",")[0]]),
      [
        [0, "wasm"],
        [2, "gpu"],
        [4, "wasm"],
      ],
    );
    const [expected, got] = [await state(alone), await state(run)];
    assert.equal([...got.keys()], [...expected.keys()]);
    for (const [name, tensor] of expected) {
      if (name.includes("qkv.bias")) continue; // the keys' part has no gradient, and AdamW makes whole steps of its rounding
      const gap = difference(got.get(name) as Host, tensor);
      assert.ok(gap < 1e-4, `${name} differs by ${gap}`);
    }
  } finally {
    await rm(root, { recursive: true });
  }
});

travel.run();
