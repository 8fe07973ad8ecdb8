// What lowering makes of a trace, and what wasm and gpu take: a list of steps over views of buffers. Nothing here computes.
import type { Scope } from "./scope.ts";
import type { Shape } from "./shape.ts";
import type { Attributes, Parameter } from "./tensor.ts";

/** Somewhere that numbers live. Arena buffers get their offset from the plan. */
export interface Buffer {
  readonly id: number;
  /** Numbers in it. */
  readonly size: number;
  readonly kind: "arena" | "parameter" | "input" | "array";
  /** How numbers are stored: as float32 unless this says otherwise. Parameters, inputs and outputs are float32. */
  dtype?: "f16";
  /** kind "arena": where the plan put it, in floats of 32 bits. */
  offset?: number;
  /** kind "parameter". */
  readonly parameter?: Parameter;
  /** kind "input": the trace's input of this number. */
  readonly slot?: number;
  /** kind "array": the numbers, the same in every run. */
  readonly data?: Float32Array;
}

/** A window onto a buffer: element (i, j, ...) is its number offset + i strides[0] + j strides[1] + ... */
export interface View {
  readonly buffer: Buffer;
  readonly offset: number;
  readonly shape: Shape;
  readonly strides: readonly number[];
}

/**
 * One instruction of a fused elementwise step: registers[to] = op(registers[from[0]], ...). Registers 0 .. inputs - 1 hold the
 * inputs; `constant` is the op that puts `value` into a register.
 */
export interface Instruction {
  readonly op: string;
  readonly to: number;
  readonly from: readonly number[];
  readonly value?: number;
}

/** A chain of elementwise ops over one shape. Inputs have strides of 0 where they are stretched. */
export interface Elementwise {
  readonly shape: Shape;
  readonly inputs: readonly View[]; // each with `shape`
  readonly code: readonly Instruction[];
  readonly outputs: readonly { readonly view: View; readonly register: number }[]; // contiguous, each with `shape`
  readonly registers: number;
}

/**
 * One step. `op` is an op's name with the inputs, outputs and attributes of its declaration, or "elementwise" with `body`, or
 * "copy" (input 0, any strides, into output 0). Outputs are contiguous, but parts of larger tensors where a backend can write such. Inputs are contiguous but for `attention` and
 * `attentionGrad` (any row stride; the last axis contiguous), `copy`, and batched `matmul` operands.
 */
export interface Step {
  readonly op: string;
  readonly inputs: readonly View[];
  readonly outputs: readonly View[];
  readonly attrs: Attributes;
  readonly body?: Elementwise;
  /**
   * Of matmul, conv2d, conv2dInputGrad with stride 1 and batchNorm, and what else a backend can: what happens to each finished element before
   * it is stored. Its shape is output 0's as rows, its last axis the same, the rows counted through as few axes as its inputs allow;
   * its input 0 is that output; when `body.outputs` does not store register 0, output 0 itself is never read again.
   */
  readonly epilogue?: Elementwise;
  /** Whether a product may round its operands to half precision; its sums are float32 always. */
  readonly precision?: "f16";
  /** The ops that the step came from, for profiles and error messages. */
  readonly label: string;
  /** Where it was traced, as far as that is one place. */
  readonly scope?: Scope;
}

export interface Program {
  readonly steps: readonly Step[];
  readonly buffers: readonly Buffer[];
  /** Floats of the arena. */
  readonly arena: number;
  /** Read back after a run, in the trace's order. Contiguous. */
  readonly outputs: readonly View[];
}

/** A program before the plan: buffers without offsets. */
export interface Draft {
  steps: Step[];
  buffers: Buffer[];
  outputs: View[];
}
