// npx tsx test/bench/input.ts FOLDER [SECONDS]
// Pictures a second that data workers turn into views of 224 pixels, nothing else running and nothing cached: decoded each time.
import { availableParallelism } from "node:os";
import { openLoader } from "../../src/data/loader.ts";
import { openImages } from "../../src/data/open.ts";
import type { ImageSource } from "../../src/data/source.ts";
import { dinoViews, evaluationView, maeViews, simclrFloatViews, simclrViews, type ViewSpec } from "../../src/data/views.ts";

const [folder, seconds = "4"] = process.argv.slice(2);
if (!folder) {
  console.error("Usage: npx tsx test/bench/input.ts FOLDER [SECONDS]");
  process.exit(2);
}

const pipelines: Record<string, ViewSpec[]> = {
  "SimCLR, two views of 224": simclrViews(),
  "SimCLR as TensorFlow computes it, two views of 224": simclrFloatViews(),
  "DINO, two views of 224 and eight of 96": dinoViews(),
  "MAE, one view of 224": maeViews(),
  "evaluation, one view of 224": [evaluationView()],
};

/** Pictures a second, and milliseconds of all cores a picture, after the first batches, which pay for the start. */
async function measure(source: ImageSource, views: ViewSpec[], workers: number): Promise<{ rate: number; cpuMs: number }> {
  const batch = Math.min(20, source.length);
  let [step, pictures, begin] = [0, 0, 0];
  let used = process.cpuUsage();
  for await (const { indices } of openLoader(source, { views, batch, workers, cacheMiB: 0 })) {
    if (++step <= 4) [begin, used] = [performance.now(), process.cpuUsage()];
    else pictures += indices.length;
    if (step > 4 && performance.now() - begin > 1000 * Number(seconds)) break;
  }
  const { user, system } = process.cpuUsage(used);
  return { rate: (1000 * pictures) / (performance.now() - begin), cpuMs: (user + system) / 1000 / pictures };
}

const source = await openImages(folder);
const workers = [1, availableParallelism()];
console.log(
  `${source.length} pictures; images/s, and in brackets milliseconds of CPU time an image, with ${workers.join(" and ")} workers`,
);
for (const [name, views] of Object.entries(pipelines)) {
  const cells: string[] = [];
  for (const count of workers) {
    const { rate, cpuMs } = await measure(source, views, count);
    cells.push(`${rate.toFixed(0).padStart(6)} (${cpuMs.toFixed(1)})`);
  }
  console.log(`${name.padEnd(54)}${cells.join("")}`);
}
