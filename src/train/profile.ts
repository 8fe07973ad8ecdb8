// Where the time of a training step goes: a few steps are run with all threads meeting after every step of the program, and
// summed up by op and by module. The bits of the run stay what they are.
import { join } from "node:path";
import { writeAtomically } from "../checkpoint/atomic.ts";
import { cost } from "../tape/cost.ts";
import type { Scope } from "../tape/scope.ts";
import type { StepNumbers, TimedProgram } from "./step.ts";

/** A line of a profile: what all steps of one kind cost together, a training step. */
export interface ProfileRow {
  readonly name: string;
  /** Steps of the program. */
  readonly count: number;
  readonly timeMs: number;
  /** Of the time of all rows. */
  readonly share: number;
  readonly flops: number;
  readonly bytes: number;
}

export interface ModuleRow extends ProfileRow {
  /** Parts of `timeMs`. */
  readonly passMs: Readonly<Record<Scope["pass"], number>>;
}

/** Means over the training steps that were timed. */
export interface Profile {
  readonly steps: number;
  /** Of the whole step, and of the wait for its images before that. */
  readonly stepMs: number;
  readonly inputMs: number;
  /** GFLOP/s that the machine reaches at best, if the backend can tell. */
  readonly peak?: number;
  /** Longest first. */
  readonly ops: readonly ProfileRow[];
  readonly modules: readonly ModuleRow[];
}

/** Steps that warm caches up before, and steps that are timed. */
const [WARM, TIMED] = [2, 3];

/** When images were asked for, when they came, when the step was done; as `performance.now()` counts. */
interface Span {
  readonly asked: number;
  readonly begun: number;
  readonly done: number;
  readonly programs: readonly TimedProgram[];
}

export class Profiler {
  readonly #spans: Span[] = [];
  readonly #peak?: number;
  #seen = 0;

  /** `peak`: GFLOP/s that the machine reaches at best. */
  constructor(peak?: number) {
    this.#peak = peak;
  }

  /** Whether the next step should be timed. */
  get wants(): boolean {
    return this.#seen >= WARM && !this.complete;
  }

  get complete(): boolean {
    return this.#spans.length === TIMED;
  }

  /** Counts a step. */
  count(): void {
    this.#seen++;
  }

  async time(asked: number, run: () => Promise<{ numbers: StepNumbers; times: TimedProgram[] }>): Promise<StepNumbers> {
    const begun = performance.now();
    const { numbers, times } = await run();
    this.#spans.push({ asked, begun, done: performance.now(), programs: times });
    return numbers;
  }

  /** Undefined while no step has been timed. */
  profile(): Profile | undefined {
    const steps = this.#spans.length;
    if (!steps) return undefined;
    const mean = (of: (span: Span) => number) => this.#spans.reduce((sum, span) => sum + of(span), 0) / steps;
    return {
      steps,
      stepMs: mean(({ begun, done }) => done - begun),
      inputMs: mean(({ asked, begun }) => begun - asked),
      peak: this.#peak,
      ops: this.#rows(({ op }) => op),
      modules: this.#rows(({ scope }) => scope?.module || `(${scope?.pass ?? "forward"})`),
    };
  }

  #rows(nameOf: (step: TimedProgram["steps"][number]["step"]) => string): ModuleRow[] {
    const rows = new Map<string, ModuleRow>();
    const times = this.#spans.flatMap(({ programs }) => programs.flatMap(({ steps }) => steps));
    const total = times.reduce((sum, { timeMs }) => sum + timeMs, 0);
    const n = this.#spans.length;
    for (const { step, timeMs } of times) {
      const name = nameOf(step);
      const old = rows.get(name) ?? {
        name,
        count: 0,
        timeMs: 0,
        share: 0,
        flops: 0,
        bytes: 0,
        passMs: { forward: 0, backward: 0, update: 0 },
      };
      const { flops, bytes } = cost(step);
      const pass = step.scope?.pass ?? "forward";
      rows.set(name, {
        name,
        count: old.count + 1 / n,
        timeMs: old.timeMs + timeMs / n,
        share: old.share + timeMs / total,
        flops: old.flops + flops / n,
        bytes: old.bytes + bytes / n,
        passMs: { ...old.passMs, [pass]: old.passMs[pass] + timeMs / n },
      });
    }
    return [...rows.values()].sort((a, b) => b.timeMs - a.timeMs);
  }

  /**
   * The timed steps as a trace for chrome://tracing and ui.perfetto.dev: complete events ("X") in microseconds on three rows.
   * Format: docs.google.com/document/d/1CvAClvFfyA5R-PhYUmn5OOQtYMH4h6I0nSsKchNAySU
   */
  trace(): object {
    const start = this.#spans[0]?.asked ?? 0;
    const event = (row: number, name: string, begin: number, end: number, args: object = {}) => ({
      name,
      ph: "X",
      pid: 1,
      tid: row,
      ts: 1000 * (begin - start),
      dur: 1000 * (end - begin),
      args,
    });
    const rows = ["training step", "program", "input"].map((name, i) => ({ name: "thread_name", ph: "M", pid: 1, tid: i, args: { name } }));
    const events = this.#spans.flatMap(({ asked, begun, done, programs }, i) => [
      event(0, `step ${i + 1}`, begun, done),
      event(2, "wait for images", asked, begun),
      ...programs.flatMap(({ begunMs, steps }) =>
        steps.map(({ step, beginMs, timeMs }) => {
          const args = { ...step.scope, shape: step.outputs[0]?.shape, ...cost(step) };
          return event(1, step.label, begunMs + beginMs, begunMs + beginMs + timeMs, args);
        }),
      ),
    ]);
    return { displayTimeUnit: "ms", traceEvents: [...rows, ...events] };
  }

  /** Writes the trace into a run's folder and gives its path. */
  async write(folder: string): Promise<string> {
    const path = join(folder, traceName);
    await writeAtomically(path, [new TextEncoder().encode(JSON.stringify(this.trace()))]);
    return path;
  }
}

export const traceName = "trace.json";
