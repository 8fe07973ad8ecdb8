// One row of training.ts: times a step and prints JSON.
import { openBackend } from "../../src/backend/open.ts";
import { fittingStep } from "../../src/train/fit.ts";
import { buildLearner, schedulesOf } from "../../src/train/learner.ts";
import { configure } from "../../src/train/options.ts";
import { peakBytes } from "../peak.ts";
import { values } from "./jobs.ts";
import { spreadOf, timesOf } from "./measure.ts";
import type { StepResult, TrainingJob } from "./training.ts";

const products = /^(matmul|conv2d|attention)/;
const { request, threads, seconds } = JSON.parse(process.argv[2]) as Pick<TrainingJob, "request"> & { threads: number; seconds: number };
const options = configure({ ...request, images: "noise" });
const learner = buildLearner(options);
const before = process.memoryUsage().rss;
const backend = await openBackend({ backend: "wasm", threads });
const { step, arenaBytes } = await fittingStep(learner, options, backend);
const views = learner.method.views(learner.options, options.size).map(({ size: side }) => {
  return values({ op: "conv", name: "", batch: options.batch, side, inputs: 3, outputs: 1, kernel: 1, stride: 1 }).a;
});
const schedules = Object.entries(schedulesOf(learner, options, { epochs: 1, stepsPerEpoch: 1 }));
const scalars = Object.fromEntries(schedules.map(([name, schedule]) => [name, schedule(0)]));
const at = { seed: 0, step: 0, epoch: 0 };
const run = () => step.run([views], scalars, at);
await run(); // warms up
const stepMs = spreadOf(await timesOf(run, 1000 * seconds));
const { times } = await step.runTimed([views], scalars, at);
const ops = times.flatMap(({ steps }) => steps.map(({ step: { op }, timeMs }) => ({ timeMs, product: products.test(op) })));
const [productMs, allMs] = [ops.filter(({ product }) => product), ops].map((list) => list.reduce((sum, { timeMs }) => sum + timeMs, 0));
const productShare = productMs / allMs;
const peak = peakBytes();
const result: StepResult = { stepMs, productShare, plannedBytes: arenaBytes, residentBytes: peak - before, peakBytes: peak };
console.log(JSON.stringify(result));
await backend.close();
