// What the tape needs of a backend: somewhere to keep parameters and a way to run a finished trace.
import type { Step } from "../tape/program.ts";
import type { Parameter } from "../tape/tensor.ts";
import type { Trace } from "../tape/trace.ts";

/** A program that has been lowered, planned and put where it runs. */
export interface Executable {
  /** Bytes of intermediate values that the plan needs at its peak. */
  readonly arenaBytes: number;
  /** Whether these lie in a device's own memory, not in the machine's. */
  readonly onDevice?: boolean;
  /** Steps of the program after lowering. */
  readonly steps: number;
  /** Does ahead what the first run would: compiles kernels, takes memory. Rejects with a RangeError where there is too little. */
  prepare?(): Promise<void>;
  /** Runs once. `inputs` in the trace's order; gives the outputs in the trace's order, as copies that stay valid. */
  run(inputs: readonly Float32Array[]): Promise<Float32Array[]>;
  /** Sets a run going and resolves as soon as the inputs have been taken. Runs come one after the other, in the order of the calls. */
  start?(inputs: readonly Float32Array[]): Promise<UnderWay<Float32Array[]>>;
  /** Runs once and tells when each step began and how long it took, with all threads meeting after every step. The bits are those of `run`. */
  runTimed?(inputs: readonly Float32Array[]): Promise<TimedRun>;
  /** Frees the program's memory. */
  dispose(): void;
}

/** A run that has begun: what it gives is still to come. */
export interface UnderWay<T> {
  readonly outputs: Promise<T>;
}

/** How long one step took. */
export interface StepTime {
  readonly step: Step;
  /** Since the first step began. */
  readonly beginMs: number;
  readonly timeMs: number;
}

export interface TimedRun {
  readonly outputs: Float32Array[];
  readonly times: readonly StepTime[];
}

export interface Backend {
  readonly name: string;
  /** Runs that may be under way before one is waited for; missing where a run that has begun is waited for at once. */
  readonly ahead?: number;
  /** Whether programs can store values in half precision. */
  readonly halves?: boolean;
  /** Remarks for people on what could not be had as asked. */
  readonly notes?: readonly string[];
  /** GFLOP/s of the fastest kernel on small operands, all threads together: what a program's speed is measured against. */
  peak?(): number;
  /** Lowers and plans a trace. Throws a RangeError, before anything runs, if it does not fit into memory. */
  load(trace: Trace): Executable;
  /** Numbers of a parameter as the last finished step left them. */
  read(parameter: Parameter): Promise<Float32Array>;
  /** Replaces a parameter's numbers. */
  write(parameter: Parameter, data: Float32Array): Promise<void>;
  /** Stops threads and frees memory. Parameters keep their last values. */
  close(): Promise<void>;
}
