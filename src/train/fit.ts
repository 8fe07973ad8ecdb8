// Whether a step fits into memory, and how long it takes: asked before the first step, on made-up images.
import { totalmem } from "node:os";
import type { Backend, Executable } from "../backend/backend.ts";
import { GpuBackend } from "../backend/webgpu.ts";
import { Random } from "../tape/philox.ts";
import { ShapeError, size } from "../tape/shape.ts";
import type { Host } from "../tape/trace.ts";
import { namedState, schedulesOf } from "./learner.ts";
import { RequestError, type RunOptions } from "./options.ts";
import { type Learner, TrainStep } from "./step.ts";

/** A plan that the memory cannot hold. */
class MemoryError extends RangeError {
  override name = "MemoryError";
}

const asMemoryError = (error: unknown) =>
  error instanceof RangeError && !(error instanceof ShapeError) ? new MemoryError(error.message) : error;

/** A backend whose refusals to load can be told from a method's or a layer's. */
const telling = (backend: Backend): Backend => ({
  name: backend.name,
  halves: backend.halves,
  load(trace) {
    try {
      return backend.load(trace);
    } catch (error) {
      throw asMemoryError(error);
    }
  },
  read: (parameter) => backend.read(parameter),
  write: (parameter, data) => backend.write(parameter, data),
  close: () => backend.close(),
});

/** Shapes of the views of a micro-batch. */
const shapes = (learner: Learner, { size, batch }: Pick<RunOptions, "size" | "batch">): number[][] =>
  learner.method.views(learner.options, size).map(({ size: side }) => [batch / learner.accumulate, side, side, 3]);

/** A step's images, made of noise: [micro-batch][view]. */
function noise(learner: Learner, options: RunOptions): Host[][] {
  const random = new Random(0, 0);
  const tile = Float32Array.from({ length: 4099 }, () => random.normal());
  const views = shapes(learner, options).map((shape) => ({
    data: Float32Array.from({ length: size(shape) }, (_, i) => tile[i % tile.length]),
    shape,
  }));
  return new Array<Host[]>(learner.accumulate).fill(views);
}

const scalarsAtStart = (learner: Learner, options: RunOptions): Record<string, number> =>
  Object.fromEntries(Object.entries(schedulesOf(learner, options, { epochs: 1, stepsPerEpoch: 1 })).map(([name, s]) => [name, s(0)]));

const gigabytes = (bytes: number) => `${(bytes / 1e9).toFixed(2)} GB`;

/** Loads the program of a step for one batch size. Throws a MemoryError if it cannot be held. */
async function load(step: TrainStep, learner: Learner, options: RunOptions): Promise<Executable[]> {
  const at = { seed: options.seed, step: 0, epoch: 0 };
  const views = shapes(learner, options).map((shape) => ({ data: new Float32Array(), shape })); // a plan needs no numbers
  const executables = await step.prepare(views, scalarsAtStart(learner, options), at);
  for (const executable of executables) {
    await executable.prepare?.().catch((error) => {
      throw asMemoryError(error);
    });
  }
  const values = executables.map(({ arenaBytes, onDevice }) => (onDevice ? 0 : arenaBytes));
  const bytes = process.memoryUsage.rss() + Math.max(...values);
  const machine = Math.min(totalmem(), process.constrainedMemory?.() || Number.POSITIVE_INFINITY);
  if (bytes <= machine) return executables;
  for (const executable of executables) executable.dispose();
  throw new MemoryError(`the plan needs ${gigabytes(bytes)}, the machine has ${gigabytes(machine)}`);
}

/** Throws a RequestError, which says what would do, if a backend has not the half precision that is asked for. */
function checkHalves({ lossScale, activations }: Learner, backend: Backend): void {
  if (backend.halves) return;
  const lacking =
    backend instanceof GpuBackend ? `${backend.adapter.name}, which lacks the feature shader-f16` : `the ${backend.name} backend`;
  if (lossScale) {
    throw new RequestError(
      `Cannot train with --precision f16 on ${lacking}: expected a GPU with it (\`autodidact doctor\` lists GPUs, --gpu chooses one); on the wasm backend --activations f16 saves memory`,
    );
  }
  if (activations === "f16" && backend.name !== "wasm") {
    throw new RequestError(
      `Cannot keep activations in half precision on ${lacking}: expected the wasm backend (--backend wasm) or a GPU with it`,
    );
  }
}

/**
 * The step of a learner, traced, planned and loaded. Throws a RangeError that names a batch that fits if this one does not;
 * errors of shapes and layers come as they are.
 */
export async function fittingStep(
  learner: Learner,
  options: RunOptions,
  backend: Backend,
): Promise<{ step: TrainStep; arenaBytes: number }> {
  checkHalves(learner, backend);
  const step = new TrainStep(learner, telling(backend));
  try {
    const executables = await load(step, learner, options);
    return { step, arenaBytes: Math.max(...executables.map(({ arenaBytes }) => arenaBytes)) };
  } catch (error) {
    if (!(error instanceof MemoryError)) throw error;
    const smaller = await fittingBatch(step, learner, options);
    const less = learner.recompute ? "" : "--recompute takes less memory; ";
    const advice = smaller
      ? `a batch of ${smaller} fits, or --accumulate ${(learner.accumulate * options.batch) / smaller} with this one`
      : "not even the smallest batch fits; smaller images or a smaller backbone would";
    throw new RangeError(`Cannot train with a batch of ${options.batch}: ${error.message}; ${less}${advice}`);
  }
}

/** The largest half, quarter, eighth ... of the batch that fits and that the method and its layers take. */
async function fittingBatch(step: TrainStep, learner: Learner, options: RunOptions): Promise<number | undefined> {
  for (let batch = options.batch / 2; Number.isInteger(batch / learner.accumulate); batch /= 2) {
    try {
      for (const executable of await load(step, learner, { ...options, batch })) executable.dispose();
      return batch;
    } catch (error) {
      if (!(error instanceof MemoryError)) return undefined;
    }
  }
  return undefined;
}

/** A trial runs for this many seconds, but at least and at most so many steps. */
const TRIAL = { seconds: 2, least: 2, most: 20 };

/** Seconds that a step takes, by running some and taking back what they changed. */
export async function timeStep(step: TrainStep, learner: Learner, options: RunOptions, backend: Backend): Promise<number> {
  const state = [...namedState(learner)].map(([, parameter]) => parameter);
  const before = await Promise.all(state.map((parameter) => backend.read(parameter)));
  const [views, scalars, at] = [noise(learner, options), scalarsAtStart(learner, options), { seed: options.seed, step: 0, epoch: 0 }];
  await step.run(views, scalars, at); // warms caches and the engine
  const begun = performance.now();
  const seconds = () => (performance.now() - begun) / 1000;
  let steps = 0;
  while (steps < TRIAL.least || (seconds() < TRIAL.seconds && steps < TRIAL.most)) {
    await step.run(views, scalars, at);
    steps++;
  }
  const took = seconds() / steps;
  for (const [i, parameter] of state.entries()) await backend.write(parameter, before[i]);
  return took;
}
