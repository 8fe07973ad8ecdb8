// Fused elementwise programs as words for assembly/elementwise.ts, which describes them.
import * as opcode from "../../../assembly/opcodes.ts";
import type { Elementwise, View } from "../../tape/program.ts";
import { size } from "../../tape/shape.ts";
import type { Emitter, Encode, Range } from "./emitter.ts";

/** Bytes of scratch that a program takes at most. */
export const ELEMENTWISE_SCRATCH = 256 * 1024;
const TABLE = 1024; // the register table in front
const SLACK = 64; // behind each register
const BLOCK = 1024; // floats of a register; from 256 to 4,096 the speed is the same within 10 %

const codes: Record<string, number> = {
  neg: opcode.NEG,
  exp: opcode.EXP,
  log: opcode.LOG,
  sqrt: opcode.SQRT,
  rsqrt: opcode.RSQRT,
  square: opcode.SQUARE,
  abs: opcode.ABS,
  floor: opcode.FLOOR,
  tanh: opcode.TANH,
  sigmoid: opcode.SIGMOID,
  relu: opcode.RELU,
  gelu: opcode.GELU,
  geluDerivative: opcode.GELU_DERIVATIVE,
  add: opcode.ADD,
  sub: opcode.SUB,
  mul: opcode.MUL,
  div: opcode.DIV,
  maximum: opcode.MAXIMUM,
  minimum: opcode.MINIMUM,
  greater: opcode.GREATER,
  greaterEqual: opcode.GREATER_EQUAL,
  equal: opcode.EQUAL,
  where: opcode.WHERE,
};

export const elementwiseOps: readonly string[] = Object.keys(codes);

interface Placed {
  op: number;
  to: number;
  from: number[];
}

interface Code {
  readonly code: Placed[];
  /** Bits of constants and their registers. */
  readonly constants: Map<number, number>;
  /** Where a register's last value is. */
  readonly at: (register: number) => number;
  readonly registers: number;
}

/** Gives every constant a register of its own, which is filled once instead of once a block. */
function separateConstants(body: Elementwise, out: Emitter): Code {
  const now = new Map<number, number>(); // where a register's present value is, if elsewhere
  const at = (register: number) => now.get(register) ?? register;
  const constants = new Map<number, number>();
  let registers = body.registers;
  const code: Placed[] = [];
  for (const { op, to, from, value } of body.code) {
    if (op === "constant") {
      const bits = out.f32(value as number);
      const register = constants.get(bits) ?? registers++;
      constants.set(bits, register);
      now.set(to, register);
      continue;
    }
    if (!(op in codes)) throw new TypeError(`Cannot run "${op}" on the wasm backend: it has no kernel there`);
    code.push({ op: codes[op], to, from: from.map(at) });
    now.delete(to);
  }
  return { code, constants, at, registers };
}

const dense = (view: View): boolean => {
  let step = 1;
  return view.shape
    .map((n, i) => ({ n, stride: view.strides[i] }))
    .reverse()
    .every(({ n, stride }) => {
      const fits = n === 1 || stride === step;
      step *= n;
      return fits;
    });
};

/** Whether a register may lie in its output: nothing may read an input in the same memory after the register is first written. */
function mayLieIn(output: Range, register: number, code: readonly Placed[], inputs: readonly Range[], keeps: readonly number[]): boolean {
  const first = code.findIndex(({ to }) => to === register);
  const touched = (i: number) => i < inputs.length && inputs[i].start < output.end && output.start < inputs[i].end;
  return first >= 0 && !code.slice(first).some(({ from }, i) => i > 0 && from.some(touched)) && !keeps.some(touched);
}

/** The words of an input: where it is, its strides, whether it is contiguous. */
function inputWords(view: View, out: Emitter): number[] {
  const steps = view.strides.map((step) => 4 * step);
  return [out.address(view), steps.at(-1) ?? 4, Number(dense(view)), ...steps.slice(0, -1)];
}

/** The words of the outputs that are not where they belong already. */
function outputWords(body: Elementwise, code: readonly Placed[], at: (register: number) => number, out: Emitter): number[][] {
  const inputs = body.inputs.map((view) => out.range(view));
  const stores = body.outputs
    .map(({ view, register }) => ({ view, register: at(register) }))
    .filter(({ view, register }) => register >= inputs.length || out.address(body.inputs[register]) !== out.address(view));
  const kept = stores.map(({ register }) => register);
  return stores.map(({ view, register }, i) => {
    const inPlace = kept.indexOf(register) === i && mayLieIn(out.range(view), register, code, inputs, kept);
    return [out.address(view), register, Number(inPlace)];
  });
}

/** The words of a program. */
export function writeElementwise(body: Elementwise, out: Emitter): number[] {
  const { code, constants, at, registers } = separateConstants(body, out);
  if (registers * 4 > TABLE) throw new RangeError(`Cannot fuse ${registers} values into one step: expected at most ${TABLE / 4}`);
  const block = Math.min(BLOCK, Math.floor((ELEMENTWISE_SCRATCH - TABLE) / registers - SLACK) >> 2) & ~15;
  const rows = body.shape.slice(0, -1);
  const outputs = outputWords(body, code, at, out);
  return [
    ...[size(rows), body.shape.at(-1) ?? 1, block, rows.length, body.inputs.length, constants.size, code.length, outputs.length],
    ...rows,
    ...body.inputs.flatMap((view) => inputWords(view, out)),
    ...[...constants].flatMap(([bits, register]) => [register, bits]),
    ...code.flatMap(({ op, to, from: [a = 0, b = 0, c = 0] }) => [op, to, a, b, c]),
    ...outputs.flat(),
  ];
}

const elementwise: Encode = (step, out) => {
  const body = step.body as Elementwise;
  const small = size(body.shape) <= 4096;
  // Small programs take turns, so that many of them in a row keep all threads busy.
  const first = small ? out.commands : 0;
  const touched = { reads: body.inputs.map((view) => out.range(view)), writes: body.outputs.map(({ view }) => out.range(view)) };
  out.emit(opcode.ELEMENTWISE, touched, [first, ...writeElementwise(body, out)]);
};

export const elementwiseEncoders: Record<string, Encode> = { elementwise };
