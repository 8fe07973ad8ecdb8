// Starts and resumes runs: everything that can be wrong is found before the first step.
import { stat } from "node:fs/promises";
import { join } from "node:path";
import type { Backend } from "../backend/backend.ts";
import { openBackend, titleOf } from "../backend/open.ts";
import { WasmBackend } from "../backend/wasm.ts";
import { type Archive, CheckpointError } from "../checkpoint/safetensors.ts";
import { openImages } from "../data/open.ts";
import type { ImageSource } from "../data/source.ts";
import type { CheckpointFile } from "../evaluate/checkpoints.ts";
import type { RunResult, Watch } from "./events.ts";
import { fittingStep, timeStep } from "./fit.ts";
import { beginFrom } from "./init.ts";
import { buildLearner, restore } from "./learner.ts";
import { Loop } from "./loop.ts";
import { configure, defaultSettings, RequestError, type RunOptions, type RunRequest, type RunSettings } from "./options.ts";
import { Pace, type PaceState } from "./pace.ts";
import { report } from "./report.ts";
import { RunExistsError, RunFolder } from "./run.ts";
import type { Learner } from "./step.ts";
import { versions } from "./versions.ts";

export interface TrainOptions extends Watch {
  /** The run's folder. */
  run: string;
  /** Replace a run that is in that folder. */
  force?: boolean;
  settings?: Partial<RunSettings>;
  /** Images that are already open, in place of those at `request.images`. */
  source?: ImageSource;
}

export type ResumeOptions = Omit<TrainOptions, "run" | "force">;

/** The given settings over others; what is undefined counts as not given. */
const over = (base: RunSettings, given: Partial<RunSettings> = {}): RunSettings => ({
  ...base,
  ...Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined)),
});

/**
 * Trains a method on images from the beginning and keeps everything in a run folder. An interrupted run goes on with `resume`.
 *
 *     await train({ method: "simclr", images: "photos/", epochs: 100 }, { run: "runs/photos" })
 */
export async function train(
  request: RunRequest,
  { run, force, settings: given, source: opened, ...watch }: TrainOptions,
): Promise<RunResult> {
  const begun = performance.now();
  const options = configure(request);
  const settings = over(defaultSettings, given);
  if (!force && (await stat(join(run, "run.json")).catch(() => undefined))) throw new RunExistsError(run, "it holds a run");
  const source = opened ?? (await openImages(options.images));
  checkImages(source, options);
  const learner = buildLearner(options, settings);
  if (options.init !== undefined) watch.onEvent?.({ type: "note", message: await beginFrom(options.init, learner.parts, options) });
  const result = await withBackend(settings, watch, async (backend) => {
    const { step, arenaBytes } = await fittingStep(learner, options, backend);
    const data = { fingerprint: source.fingerprint, images: source.length, classes: source.classes ?? [] };
    const build = backend instanceof WasmBackend ? backend.describe().build : undefined;
    const startedAt = new Date().toISOString();
    const sessions = [{ step: 0, backend: titleOf(backend), at: startedAt }];
    const record = { version: 1, options, settings: { ...settings, build }, data, versions: versions(), startedAt, sessions } as const;
    return holding(await RunFolder.create(run, record, { force }), async (folder) => {
      const pace = await beginPace(options, source, async () => {
        const secondsPerStep = await timeStep(step, learner, options, backend);
        return { secondsPerStep, seconds: (performance.now() - begun) / 1000 };
      });
      return new Loop({ folder, learner, step, arenaBytes, pace, backend, source, watch, done: 0 }).run();
    });
  });
  return withReport(result, settings, source, watch);
}

/**
 * Goes on with a run after its newest checkpoint, to the same bits as if it had never been interrupted. Settings given here hold
 * for this session; those of the run hold otherwise.
 */
export async function resume(run: string, { settings, ...more }: ResumeOptions = {}): Promise<RunResult> {
  const found = await RunFolder.open(run);
  return holding(await found.take(over(found.record.settings, settings)), (folder) => goOn(folder, more));
}

/** Works on a run folder and then gives it free. */
async function holding<T>(folder: RunFolder, work: (folder: RunFolder) => Promise<T>): Promise<T> {
  try {
    return await work(folder);
  } finally {
    await folder.release();
  }
}

async function goOn(folder: RunFolder, { source: opened, ...watch }: Omit<ResumeOptions, "settings">): Promise<RunResult> {
  const { options, data, settings } = folder.record;
  const source = opened ?? (await openImages(options.images));
  if (source.fingerprint !== data.fingerprint) {
    throw new Error(
      `Cannot resume ${folder.path}: the images at "${options.images}" changed since it began (${data.images} then, ${source.length} now)`,
    );
  }
  const learner = buildLearner(options, settings);
  const last = await restoreNewest(folder, learner);
  const done = last?.file.step ?? 0;
  const result = await withBackend(settings, watch, async (backend) => {
    const { step, arenaBytes } = await fittingStep(learner, options, backend);
    const pace = last
      ? resumedPace(options, source, last.file, last.metadata)
      : await beginPace(options, source, async () => ({ secondsPerStep: await timeStep(step, learner, options, backend), seconds: 0 }));
    await folder.removeUnfinished();
    await folder.cutMetrics(done);
    const at = new Date().toISOString();
    await folder.begin({ step: done, backend: titleOf(backend), at });
    await folder.append({ kind: "resume", step: done, at });
    return new Loop({ folder, learner, step, arenaBytes, pace, backend, source, watch, done, checkpoint: last?.file }).run();
  });
  return withReport(result, settings, source, watch);
}

/** Puts the newest checkpoint's numbers into the learner; the file's own copy is not kept. Undefined when there is none yet. */
async function restoreNewest(
  folder: RunFolder,
  learner: Learner,
): Promise<(Pick<Archive, "metadata"> & { file: CheckpointFile }) | undefined> {
  if (!(await folder.checkpoints()).length) return undefined;
  const { file, archive } = await folder.newest();
  restore(learner, archive, file.path);
  return { file, metadata: archive.metadata };
}

/** Writes the report of a complete run. One that cannot be written costs a warning, not the run. */
async function withReport(
  result: RunResult,
  { report: wanted, threads, gpu, tune, backend }: RunSettings,
  source: ImageSource,
  watch: Watch,
): Promise<RunResult> {
  if (result.stopped || !wanted) return result;
  try {
    return { ...result, report: await report(result.run, { threads, gpu, tune, backend, source }) };
  } catch (error) {
    watch.onEvent?.({ type: "warning", message: `Cannot write the report: ${(error as Error).message}` });
    return result;
  }
}

async function withBackend<T>(
  { backend: name, gpu, threads, build, tune }: RunSettings,
  { onEvent }: Watch,
  f: (backend: Backend) => Promise<T>,
): Promise<T> {
  const backend = await openBackend({ backend: name, gpu, threads, build, tune });
  for (const message of backend.notes ?? []) onEvent?.({ type: "note", message });
  try {
    return await f(backend);
  } finally {
    await backend.close();
  }
}

function checkImages({ length }: ImageSource, { images, batch }: RunOptions): void {
  if (batch > length) {
    throw new RequestError(
      `Cannot take a batch of ${batch} from the ${length} images of "${images}": expected a batch of at most ${length}`,
    );
  }
}

const stepsIn = (options: RunOptions, source: ImageSource): number | undefined => {
  const { length, batch } = options;
  if ("steps" in length) return length.steps;
  return "epochs" in length ? Math.max(1, Math.round(length.epochs * Math.floor(source.length / batch))) : undefined;
};

async function beginPace(
  options: RunOptions,
  source: ImageSource,
  trial: () => Promise<{ secondsPerStep: number; seconds: number }>,
): Promise<Pace> {
  const steps = stepsIn(options, source);
  if (steps !== undefined) return Pace.steps(steps);
  return Pace.minutes((options.length as { minutes: number }).minutes, await trial());
}

function resumedPace(
  options: RunOptions,
  source: ImageSource,
  { step, path }: CheckpointFile,
  metadata: Readonly<Record<string, string>>,
): Pace {
  const steps = stepsIn(options, source);
  if (steps !== undefined) return Pace.steps(steps, step);
  if (!metadata.pace) throw new CheckpointError(`Cannot continue from ${path}: it does not say how far along its schedule the run was`);
  return Pace.resume((options.length as { minutes: number }).minutes, step, JSON.parse(metadata.pace) as PaceState);
}
