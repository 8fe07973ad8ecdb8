// What the tape needs of a backend: somewhere to keep parameters and a way to run a finished trace.
import type { Parameter } from "../tape/tensor.ts";
import type { Trace } from "../tape/trace.ts";

/** A program that has been lowered, planned and put where it runs. */
export interface Executable {
  /** Bytes of intermediate values that the plan needs at its peak. */
  readonly arenaBytes: number;
  /** Steps of the program after lowering. */
  readonly steps: number;
  /** Runs once. `inputs` in the trace's order; gives the outputs in the trace's order, as copies that stay valid. */
  run(inputs: readonly Float32Array[]): Promise<Float32Array[]>;
  /** Frees the program's memory. */
  dispose(): void;
}

export interface Backend {
  readonly name: string;
  /** Lowers and plans a trace. Throws a RangeError, before anything runs, if it does not fit into memory. */
  load(trace: Trace): Executable;
  /** Numbers of a parameter as the last finished step left them. */
  read(parameter: Parameter): Promise<Float32Array>;
  /** Replaces a parameter's numbers. */
  write(parameter: Parameter, data: Float32Array): Promise<void>;
  /** Stops threads and frees memory. Parameters keep their last values. */
  close(): Promise<void>;
}
