// What `--activations f16` does to the loss: a run in each precision on the emoji of the demo, step by step, for several seeds.
//
//     npx tsx test/bench/activations.ts [steps] [seeds]
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { emojiOf } from "../../src/demo/emoji.ts";
import type { RunEvent } from "../../src/train/events.ts";
import { train } from "../../src/train/train.ts";

const steps = Number(process.argv[2] ?? 100);
const seeds = Number(process.argv[3] ?? 3);
const every = Math.max(1, Math.round(steps / 10));
const root = await mkdtemp(join(tmpdir(), "autodidact-activations-"));

async function run(activations: "f32" | "f16", seed: number): Promise<{ losses: number[]; megabytes: number }> {
  const found = { losses: [] as number[], megabytes: 0 };
  const onEvent = (event: RunEvent) => {
    if (event.type === "step") found.losses.push(event.loss);
    if (event.type === "start") found.megabytes = event.arenaBytes / 1e6;
  };
  const request = { method: "simclr", recipe: "simclr-emoji", images: "emoji", steps, activations, seed };
  const settings = { knnEvery: -1, healthEvery: 0, report: false };
  await train(request, { run: join(root, `${activations}-${seed}`), settings, source: emojiOf("google"), onEvent });
  return found;
}

const mean = (losses: readonly number[], end: number) => losses.slice(end - every, end).reduce((a, b) => a + b) / every;

try {
  for (let seed = 0; seed < seeds; seed++) {
    const [exact, half] = [await run("f32", seed), await run("f16", seed)];
    if (seed === 0) console.log(`intermediate values: ${exact.megabytes.toFixed(0)} MB in f32, ${half.megabytes.toFixed(0)} MB in f16`);
    console.log(`\nseed ${seed}\n\n| steps | loss, f32 | loss, f16 | difference |\n|---|---|---|---|`);
    for (let end = every; end <= steps; end += every) {
      const [a, b] = [mean(exact.losses, end), mean(half.losses, end)];
      console.log(`| ${end - every + 1} to ${end} | ${a.toFixed(4)} | ${b.toFixed(4)} | ${(100 * (b / a - 1)).toFixed(2)} % |`);
    }
  }
} finally {
  await rm(root, { recursive: true });
}
