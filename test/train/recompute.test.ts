import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { WasmBackend } from "../../src/backend/wasm.ts";
import { fittingStep } from "../../src/train/fit.ts";
import { buildLearner } from "../../src/train/learner.ts";
import { configure, type RunRequest } from "../../src/train/options.ts";
import { train } from "../../src/train/train.ts";
import { pictures } from "./pictures.ts";

const recomputing = suite<{ root: string }>("recomputed blocks");
recomputing.before(async (context) => {
  context.root = await mkdtemp(join(tmpdir(), "autodidact-recompute-"));
});
recomputing.after(({ root }) => rm(root, { recursive: true }));

for (const request of [
  { method: "moco", backbone: "resnet18-cifar-w0.25", set: { queue: "24" } },
  { method: "dino", backbone: "vit-tiny-4", set: { outputs: "64", hidden: "32", locals: "1" } }, // drop path, a teacher
] as Omit<RunRequest, "images">[]) {
  recomputing(`${request.method}: a run ends in the same bits`, async ({ root }) => {
    const settings = { threads: 2, healthEvery: 0, knnEvery: -1, report: false, build: "plain" as const };
    const ended = async (recompute: boolean) => {
      const run = join(root, `${request.method}-${recompute}`);
      const options = { run, settings: { ...settings, recompute }, source: pictures(4) };
      return readFile((await train({ images: "", size: 8, batch: 6, steps: 3, ...request }, options)).checkpoint);
    };
    assert.ok((await ended(true)).equals(await ended(false)));
  });
}

/** Planned bytes of intermediate values, with and without. */
const plans: [Omit<RunRequest, "images">, number][] = [
  [{ method: "simclr", backbone: "vit-tiny-16", size: 224, batch: 16 }, 0.25],
  [{ method: "simclr", backbone: "resnet18-cifar", size: 32, batch: 128 }, 0.6],
];
for (const [request, share] of plans) {
  recomputing(
    `${request.backbone}, ${request.size} pixels, batch ${request.batch}: the plan shrinks below ${share} of itself`,
    async () => {
      const backend = await WasmBackend.open({ threads: 1 });
      try {
        const options = configure({ ...request, images: "" });
        const planned = async (recompute: boolean) => {
          const { arenaBytes } = await fittingStep(buildLearner(options, { recompute }), options, backend);
          return arenaBytes;
        };
        const [kept, again] = [await planned(false), await planned(true)];
        assert.ok(again < share * kept, `${(kept / 1e6).toFixed(0)} MB, then ${(again / 1e6).toFixed(0)} MB`);
      } finally {
        await backend.close();
      }
    },
  );
}

recomputing.run();
