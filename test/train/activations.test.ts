import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { RunEvent } from "../../src/train/events.ts";
import type { RunRequest } from "../../src/train/options.ts";
import { train } from "../../src/train/train.ts";
import { pictures } from "./pictures.ts";

const halved = suite<{ root: string }>("activations in half precision");
halved.before(async (context) => {
  context.root = await mkdtemp(join(tmpdir(), "autodidact-half-"));
});
halved.after(({ root }) => rm(root, { recursive: true }));

/** Losses of some steps, and what their plan needs. */
async function losses(
  run: string,
  request: Omit<RunRequest, "images">,
  threads: number,
): Promise<{ losses: number[]; arenaBytes: number }> {
  const settings = { threads, healthEvery: 0, knnEvery: -1, report: false, build: "plain" as const };
  const found = { losses: [] as number[], arenaBytes: 0 };
  const onEvent = (event: RunEvent) => {
    if (event.type === "step") found.losses.push(event.loss);
    if (event.type === "start") found.arenaBytes = event.arenaBytes;
  };
  await train({ images: "", size: 16, batch: 24, steps: 12, ...request }, { run, settings, source: pictures(16, 16), onEvent });
  return found;
}

// Methods that are calm in their first steps: where a run is chaotic, any rounding grows from step to step.
for (const [request, share] of [
  [{ method: "moco", backbone: "resnet18-cifar-w0.25", set: { queue: "96" } }, 0.9],
  [{ method: "mae", backbone: "vit-tiny-4" }, 0.9], // its largest values are gradients of weights
] as [Omit<RunRequest, "images">, number][]) {
  halved(
    `${request.method}: the loss of 12 steps stays within half a per cent, in less memory, the same on 1 and 2 threads`,
    async ({ root }) => {
      const name = (what: string) => join(root, `${request.method}-${what}`);
      const exact = await losses(name("f32"), request, 2);
      const half = await losses(name("f16"), { ...request, activations: "f16" }, 2);
      const one = await losses(name("one"), { ...request, activations: "f16" }, 1);
      assert.equal(one.losses, half.losses);
      assert.is(half.losses[0], exact.losses[0]); // the forward pass is exact
      assert.ok(
        half.losses.some((loss, i) => loss !== exact.losses[i]),
        "nothing was rounded",
      );
      const gap = Math.max(...half.losses.map((loss, i) => Math.abs(loss / exact.losses[i] - 1)));
      assert.ok(gap < 0.005, `losses differ by ${(100 * gap).toFixed(3)} %: ${exact.losses.at(-1)} and ${half.losses.at(-1)}`);
      assert.ok(half.arenaBytes < share * exact.arenaBytes, `${half.arenaBytes} against ${exact.arenaBytes} bytes`);
    },
  );
}

halved("is refused where a backend keeps no halves", async ({ root }) => {
  const request = { method: "mae", backbone: "vit-tiny-4", images: "", size: 8, batch: 6, steps: 1, activations: "f16" } as const;
  const options = { run: join(root, "refused"), source: pictures(4), settings: { backend: "reference" as const } };
  const message = await train(request, options).then(() => "accepted", String);
  assert.match(message, /Cannot keep activations in half precision on the reference backend: expected the wasm backend/);
});

halved("half precision throughout is refused on the wasm backend, with what there is instead", async ({ root }) => {
  const request = { method: "mae", backbone: "vit-tiny-4", images: "", size: 8, batch: 6, steps: 1, precision: "f16" } as const;
  const options = { run: join(root, "precision"), source: pictures(4), settings: { backend: "wasm", threads: 1 } as const };
  const message = await train(request, options).then(() => "accepted", String);
  assert.match(message, /Cannot train with --precision f16 on the wasm backend: expected a GPU/);
  assert.match(message, /on the wasm backend --activations f16 saves memory/);
});

halved.run();
