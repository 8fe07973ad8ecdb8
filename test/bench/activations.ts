// What `--activations f16` does to the loss: one run in each precision on the emoji of the demo, step by step.
//
//     npx tsx test/bench/activations.ts [steps]
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { emojiOf } from "../../src/demo/emoji.ts";
import type { RunEvent } from "../../src/train/events.ts";
import { train } from "../../src/train/train.ts";

const steps = Number(process.argv[2] ?? 100);
const every = Math.max(1, Math.round(steps / 10));
const root = await mkdtemp(join(tmpdir(), "autodidact-activations-"));

async function run(activations: "f32" | "f16"): Promise<{ losses: number[]; megabytes: number }> {
  const found = { losses: [] as number[], megabytes: 0 };
  const onEvent = (event: RunEvent) => {
    if (event.type === "step") found.losses.push(event.loss);
    if (event.type === "start") found.megabytes = event.arenaBytes / 1e6;
  };
  const request = { method: "simclr", recipe: "simclr-emoji", images: "emoji", steps, activations };
  const settings = { knnEvery: -1, healthEvery: 0, report: false };
  await train(request, { run: join(root, activations), settings, source: emojiOf("google"), onEvent });
  return found;
}

try {
  const [exact, half] = [await run("f32"), await run("f16")];
  console.log(`intermediate values: ${exact.megabytes.toFixed(0)} MB in f32, ${half.megabytes.toFixed(0)} MB in f16`);
  console.log("\n| steps | loss, f32 | loss, f16 | difference |\n|---|---|---|---|");
  const mean = (losses: number[], end: number) => losses.slice(end - every, end).reduce((a, b) => a + b) / every;
  for (let end = every; end <= steps; end += every) {
    const [a, b] = [mean(exact.losses, end), mean(half.losses, end)];
    console.log(`| ${end - every + 1} to ${end} | ${a.toFixed(4)} | ${b.toFixed(4)} | ${(100 * (b / a - 1)).toFixed(2)} % |`);
  }
} finally {
  await rm(root, { recursive: true });
}
