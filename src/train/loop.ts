// The loop: one step after the other, with what is measured, logged and saved between them. A step's numbers depend on the
// options, the images and the step's own number alone, so a loop may begin anywhere that a checkpoint was written.
import type { Backend } from "../backend/backend.ts";
import { titleOf } from "../backend/open.ts";
import { type Batch, type Loader, openLoader } from "../data/loader.ts";
import type { ImageSource } from "../data/source.ts";
import type { CheckpointFile } from "../evaluate/checkpoints.ts";
import type { Schedule } from "../nn/optim/schedule.ts";
import type { Host } from "../tape/trace.ts";
import type { KnnEvent, RunEvent, RunResult, Watch } from "./events.ts";
import { schedulesOf, snapshot } from "./learner.ts";
import { plannedBytes } from "./memory.ts";
import { Monitor } from "./monitor.ts";
import type { RunOptions, RunSettings } from "./options.ts";
import type { Pace } from "./pace.ts";
import { Profiler } from "./profile.ts";
import type { RunFolder } from "./run.ts";
import { type Learner, notFinite, type StepNumbers, type TrainStep } from "./step.ts";

/** Everything that a loop works with. */
export interface LoopParts {
  readonly folder: RunFolder;
  readonly learner: Learner;
  readonly step: TrainStep;
  /** Planned peak of the step's intermediate values. */
  readonly arenaBytes: number;
  readonly pace: Pace;
  readonly backend: Backend;
  readonly source: ImageSource;
  readonly watch: Watch;
  /** Steps done, and the checkpoint that holds their result. */
  readonly done: number;
  readonly checkpoint?: CheckpointFile;
}

/** A run that cannot go on by itself. */
export class TrainingError extends Error {
  override name = "TrainingError";
  readonly tip: string;

  constructor(message: string, tip: string) {
    super(message);
    this.tip = tip;
  }
}

/** A step that has begun. */
interface Begun {
  readonly step: number;
  readonly scalars: Readonly<Record<string, number>>;
  readonly numbers: Promise<StepNumbers>;
}

/** Steps whose time gives the speed. */
const SPEED_WINDOW = 20;
/** Unreadable pictures that are named; the others are counted. */
const NAMED = 10;

export class Loop {
  readonly #parts: LoopParts;
  readonly #options: RunOptions;
  readonly #settings: RunSettings;
  readonly #monitor: Monitor;
  readonly #stepsPerEpoch: number;
  readonly #schedules: Readonly<Record<string, Schedule>>;
  #step: number;
  #numbers?: StepNumbers; // of the last step that was waited for
  readonly #underWay: Begun[] = []; // steps since then, oldest first
  #knn?: KnnEvent;
  #checkpoint?: CheckpointFile;
  #savedAt = performance.now();
  #seconds: number[] = []; // of the last steps, waiting for images included
  #skipped = 0;
  #profiler?: Profiler;

  constructor(parts: LoopParts) {
    this.#parts = parts;
    this.#options = parts.folder.record.options;
    this.#settings = parts.folder.record.settings;
    this.#stepsPerEpoch = Math.floor(parts.source.length / this.#options.batch);
    const horizon = { epochs: parts.pace.planned / this.#stepsPerEpoch, stepsPerEpoch: this.#stepsPerEpoch };
    this.#schedules = schedulesOf(parts.learner, this.#options, horizon);
    this.#step = parts.done;
    this.#checkpoint = parts.checkpoint;
    this.#monitor = new Monitor(parts);
    if (parts.watch.profile) this.#profiler = new Profiler(parts.backend.peak?.());
  }

  #tell(event: RunEvent): void {
    this.#parts.watch.onEvent?.(event);
  }

  get #stopping(): boolean {
    return this.#parts.watch.signal?.aborted ?? false;
  }

  /** Runs to the end of the schedule, or to the end of the step in which the signal comes. */
  async run(): Promise<RunResult> {
    const { learner, source, pace } = this.#parts;
    const { batch, seed, size } = this.#options;
    await this.#monitor.open();
    if (pace.finished) this.#begin();
    else {
      const start = { epoch: Math.floor(this.#step / this.#stepsPerEpoch), step: this.#step % this.#stepsPerEpoch };
      const before = process.memoryUsage.rss();
      const loader = openLoader(source, { views: learner.method.views(learner.options, size), batch, seed, start });
      try {
        await loader.ready();
        // Scores during training read pictures with a loader of their own.
        this.#begin(loader, this.#settings.knnEvery > 0 ? process.memoryUsage.rss() - before : 0);
        await this.#steps(loader);
      } finally {
        await loader.close();
      }
    }
    await this.#showProfile(); // of a run that ended before it was complete
    if (this.#checkpoint?.step !== this.#step) await this.#save();
    if (pace.finished) this.#knn = (await this.#monitor.finish(this.#step, this.#stepsPerEpoch)) ?? this.#knn;
    return this.#result();
  }

  /** Says what is about to happen, when everything but the step's own values is in memory. */
  #begin(loader?: Loader, monitorBytes = 0): void {
    const { folder, learner, pace, backend, source, arenaBytes, done } = this.#parts;
    const steps = pace.expectedSteps;
    this.#tell({
      type: "start",
      run: folder.path,
      resumedAt: done,
      steps,
      epochs: steps / this.#stepsPerEpoch,
      images: source.length,
      batch: this.#options.batch,
      parameters: learner.optimizer.parameters.reduce((sum, { size }) => sum + size, 0),
      backend: titleOf(backend),
      arenaBytes,
      memoryBytes: plannedBytes({ learner, backend, arenaBytes, loader, monitorBytes }),
    });
  }

  async #steps(loader: Loader): Promise<void> {
    const { pace, folder } = this.#parts;
    let clock = performance.now();
    this.#savedAt = clock;
    while (!pace.finished && !this.#stopping) {
      const begun = performance.now();
      const batch = (await loader.next()) as Batch; // shuffled loaders have no end
      this.#report(batch);
      const scalars = this.#scalars(pace.position);
      await this.#beginStep(batch, scalars, begun);
      if (this.#profiler?.complete) await this.#showProfile();
      const saving = performance.now() - this.#savedAt >= 1000 * this.#settings.checkpointSeconds;
      const ahead = saving || this.#due ? 0 : (this.#parts.backend.ahead ?? 0);
      await this.#underWay.at(-1 - ahead)?.numbers;
      const now = performance.now();
      this.#seconds = [...this.#seconds, (now - begun) / 1000].slice(-SPEED_WINDOW);
      const rate = pace.advance((now - clock) / 1000);
      clock = now;
      await this.#endSteps(ahead);
      if (rate !== undefined) await folder.append({ kind: "pace", step: this.#step, rate });
      this.#knn = (await this.#monitor.measure(this.#step, this.#stepsPerEpoch)) ?? this.#knn;
      if (saving) await this.#save();
    }
    await this.#endSteps();
  }

  /** Whether something happens after this step that all numbers so far are needed for. */
  get #due(): boolean {
    const { health, knn } = this.#monitor.due(this.#step, this.#stepsPerEpoch);
    return health || knn || this.#step === 1 || this.#step % this.#settings.logEvery === 0;
  }

  #scalars(position: number): Record<string, number> {
    return Object.fromEntries(Object.entries(this.#schedules).map(([name, schedule]) => [name, schedule(position)]));
  }

  /** Sets a step going. Where the backend can run ahead, its numbers come later. */
  async #beginStep(batch: Batch, scalars: Readonly<Record<string, number>>, asked: number): Promise<void> {
    const { step, learner } = this.#parts;
    const at = { seed: this.#options.seed, step: this.#step, epoch: batch.epoch };
    const views = cut(batch.views, learner.accumulate);
    let numbers: Promise<StepNumbers>;
    if (this.#profiler?.wants) {
      await this.#underWay.at(-1)?.numbers;
      numbers = Promise.resolve(await this.#profiler.time(asked, () => step.runTimed(views, scalars, at)));
    } else numbers = (await step.start(views, scalars, at)).outputs;
    this.#profiler?.count();
    this.#underWay.push({ step: ++this.#step, scalars, numbers });
  }

  /** Waits for the numbers of steps, checks and tells them, oldest first, until at most `left` steps are under way. */
  async #endSteps(left = 0): Promise<void> {
    while (this.#underWay.length > left) {
      const { step, scalars, numbers } = this.#underWay.shift() as Begun;
      const before = this.#numbers;
      this.#numbers = await numbers;
      const wrong = notFinite(this.#numbers, before, step);
      if (wrong) this.#giveUp(wrong);
      await this.#log(step, scalars);
    }
  }

  #giveUp(reason: string): never {
    const kept = this.#checkpoint ? `the last good checkpoint is ${this.#checkpoint.path}` : "no checkpoint was written before";
    throw new TrainingError(
      `${reason}; ${kept}`,
      "a lower learning rate (--lr) or more warm-up (--set schedule.warmupEpochs=N) often helps",
    );
  }

  /** Tells what the profiler found, once. */
  async #showProfile(): Promise<void> {
    const profile = this.#profiler?.profile();
    if (!profile) return;
    const trace = (await this.#profiler?.write(this.#parts.folder.path)) as string;
    this.#profiler = undefined;
    this.#tell({ type: "profile", ...profile, trace });
  }

  /** Names the first unreadable pictures and counts the others. */
  #report({ skipped }: Batch): void {
    for (const { message } of skipped) {
      this.#skipped++;
      if (this.#skipped <= NAMED) this.#tell({ type: "warning", message: `Skipped ${message}` });
      if (this.#skipped === NAMED + 1) this.#tell({ type: "warning", message: "Further unreadable images are skipped without a word" });
    }
  }

  async #log(step: number, scalars: Readonly<Record<string, number>>): Promise<void> {
    const { pace, folder } = this.#parts;
    const { loss, metrics } = this.#numbers as StepNumbers;
    const steps = pace.expectedSteps;
    const secondsPerStep = this.#seconds.reduce((a, b) => a + b) / this.#seconds.length;
    const last = pace.finished && step === this.#step;
    const logged = step === 1 || step % this.#settings.logEvery === 0 || last;
    const epoch = step / this.#stepsPerEpoch;
    const speed = { imagesPerSecond: this.#options.batch / secondsPerStep, memoryBytes: process.memoryUsage.rss() };
    if (logged) await folder.append({ kind: "step", step, epoch, loss, ...scalars, ...metrics, ...speed });
    const left = { secondsLeft: (steps - step) * secondsPerStep };
    const epochs = steps / this.#stepsPerEpoch;
    this.#tell({ type: "step", step, steps, epoch, epochs, loss, lr: scalars.lr, metrics, ...speed, ...left, logged });
  }

  async #save(): Promise<void> {
    const { folder, learner, backend, pace } = this.#parts;
    const tensors = await snapshot(learner, backend);
    const { options } = folder.record;
    const metadata = {
      step: String(this.#step),
      options: JSON.stringify(options),
      ...("minutes" in options.length && { pace: JSON.stringify(pace.state) }),
    };
    this.#checkpoint = await folder.save(this.#step, tensors, metadata, this.#settings.keep);
    this.#savedAt = performance.now();
    this.#tell({ type: "checkpoint", ...this.#checkpoint });
  }

  #result(): RunResult {
    const { folder, pace } = this.#parts;
    const knn = this.#knn && { top1: this.#knn.top1, top5: this.#knn.top5, pixelsTop1: this.#knn.pixelsTop1 };
    return {
      run: folder.path,
      checkpoint: this.#checkpoint?.path as string,
      step: this.#step,
      steps: pace.expectedSteps,
      loss: this.#numbers?.loss ?? Number.NaN,
      stopped: !pace.finished,
      knn,
    };
  }
}

/** Cuts each view into parts of equal size along the batch: [part][view]. */
function cut(views: readonly Host[], parts: number): Host[][] {
  return Array.from({ length: parts }, (_, part) =>
    views.map(({ data, shape: [n, ...rest] }) => {
      const numbers = data.length / parts;
      return { data: data.subarray(part * numbers, (part + 1) * numbers), shape: [n / parts, ...rest] };
    }),
  );
}
