// What a run tells whoever watches it: the progress line of the command, a page, a test. Plain data, in the order of happening.
import type { Health } from "./health.ts";
import type { Profile } from "./profile.ts";

/** One finished step. */
export interface StepEvent {
  readonly type: "step";
  /** Steps finished so far; the first event says 1. */
  readonly step: number;
  /** Steps of the whole run; of a run in minutes, as estimated now. */
  readonly steps: number;
  /** Epochs finished so far, with fraction. */
  readonly epoch: number;
  readonly epochs: number;
  readonly loss: number;
  readonly lr: number;
  /** What the method shows beside its loss. */
  readonly metrics: Readonly<Record<string, number>>;
  /** Over the last steps, waiting for data included. */
  readonly imagesPerSecond: number;
  readonly secondsLeft: number;
  /** Resident memory of the process. */
  readonly memoryBytes: number;
  /** Whether this step's line went into `metrics.jsonl`: what a pipe should print. */
  readonly logged: boolean;
}

export interface StartEvent {
  readonly type: "start";
  /** The run folder. */
  readonly run: string;
  readonly resumedAt: number;
  readonly steps: number;
  readonly epochs: number;
  readonly images: number;
  readonly batch: number;
  /** Numbers that training changes, the momentum encoder's included. */
  readonly parameters: number;
  /** What computes, as in "wasm, 2 threads". */
  readonly backend: string;
  /** Planned peak of intermediate values. */
  readonly arenaBytes: number;
  /** Planned peak of the process's resident memory: all that it holds before the first step, and what it will take on the way. */
  readonly memoryBytes: number;
}

export interface HealthEvent extends Health {
  readonly type: "health";
  readonly step: number;
  /** Says what looks wrong, if something does. */
  readonly warning?: string;
}

export interface KnnEvent {
  readonly type: "knn";
  readonly step: number;
  readonly epoch: number;
  /** Per cent. */
  readonly top1: number;
  readonly top5: number;
  /** The same score of the bare pixels, against which every result is read. */
  readonly pixelsTop1: number;
}

export interface CheckpointEvent {
  readonly type: "checkpoint";
  readonly step: number;
  readonly path: string;
}

/** Where the time of a step goes, once enough steps have been timed. */
export interface ProfileEvent extends Profile {
  readonly type: "profile";
  /** The same in time, for chrome://tracing and ui.perfetto.dev. */
  readonly trace: string;
}

/** Something that the user should know and that does not stop the run. */
export interface NoteEvent {
  readonly type: "note" | "warning";
  readonly message: string;
}

export type RunEvent = StartEvent | StepEvent | HealthEvent | KnnEvent | CheckpointEvent | ProfileEvent | NoteEvent;

/** How the caller of a run follows it and stops it. */
export interface Watch {
  onEvent?(event: RunEvent): void;
  /** When it fires, the step at hand is finished, a checkpoint written, and the run returns with `stopped: true`. */
  signal?: AbortSignal;
  /** Time some steps op by op and tell by a ProfileEvent. */
  profile?: boolean;
}

export interface RunResult {
  readonly run: string;
  /** The checkpoint that the run ended with. */
  readonly checkpoint: string;
  readonly step: number;
  readonly steps: number;
  readonly loss: number;
  /** True when `signal` ended the run before its last step. */
  readonly stopped: boolean;
  /** The page that was written at the end. */
  readonly report?: string;
  readonly knn?: { readonly top1: number; readonly top5: number; readonly pixelsTop1: number };
}
