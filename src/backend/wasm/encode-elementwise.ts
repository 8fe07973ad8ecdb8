// Fused elementwise programs as words for assembly/elementwise.ts, which describes them.
import * as opcode from "../../../assembly/opcodes.ts";
import type { Elementwise, View } from "../../tape/program.ts";
import { size } from "../../tape/shape.ts";
import type { Emitter, Encode, Range } from "./emitter.ts";

/** Bytes of scratch that a program takes at most. */
export const ELEMENTWISE_SCRATCH = 256 * 1024;
const TABLE = 1024; // the register table in front
const SLACK = 64; // behind each register

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

/** Gives every constant a register of its own, which is filled once instead of once a block. */
function separateConstants(body: Elementwise): {
  code: Placed[];
  constants: [register: number, value: number][];
  now: Map<number, number>;
  registers: number;
} {
  const now = new Map<number, number>(); // where a register's present value is, if elsewhere
  const known = new Map<number, number>();
  let registers = body.registers;
  const code: Placed[] = [];
  for (const { op, to, from, value } of body.code) {
    if (op === "constant") {
      const number = Math.fround(value as number);
      const register = known.get(number) ?? registers++;
      known.set(number, register);
      now.set(to, register);
      continue;
    }
    if (!(op in codes)) throw new TypeError(`Cannot run "${op}" on the wasm backend: it has no kernel there`);
    code.push({ op: codes[op], to, from: from.map((r) => now.get(r) ?? r) });
    now.delete(to);
  }
  return { code, constants: [...known].map(([value, register]) => [register, value]), now, registers };
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

/** The words of a program. */
export function writeElementwise(body: Elementwise, out: Emitter): number[] {
  const { code, constants, now, registers } = separateConstants(body);
  const axes = body.shape.length - 1;
  const floats = Math.min(1024, Math.floor((ELEMENTWISE_SCRATCH - TABLE) / registers - SLACK) >> 2) & ~15;
  if (registers * 4 > TABLE) throw new RangeError(`Cannot fuse ${registers} values into one step: expected at most ${TABLE / 4}`);
  const ranges = body.inputs.map((view) => out.range(view));
  const stores = body.outputs
    .map(({ view, register }) => ({ view, register: now.get(register) ?? register }))
    .filter(({ view, register }) => register >= body.inputs.length || out.address(body.inputs[register]) !== out.address(view)); // is there already
  const words = [
    size(body.shape.slice(0, -1)),
    body.shape[axes] ?? 1,
    floats,
    Math.max(0, axes),
    body.inputs.length,
    constants.length,
    code.length,
    stores.length,
  ];
  words.push(...body.shape.slice(0, -1));
  for (const view of body.inputs) {
    const steps = view.strides.map((step) => 4 * step);
    words.push(out.address(view), steps[axes] ?? 4, Number(dense(view)), ...steps.slice(0, -1));
  }
  for (const [register, value] of constants) words.push(register, out.f32(value));
  for (const { op, to, from } of code) words.push(op, to, from[0] ?? 0, from[1] ?? 0, from[2] ?? 0);
  const taken = new Set<number>();
  for (const { view, register } of stores) {
    const inPlace =
      !taken.has(register) &&
      mayLieIn(
        out.range(view),
        register,
        code,
        ranges,
        stores.map((s) => s.register),
      );
    taken.add(register);
    words.push(out.address(view), register, Number(inPlace));
  }
  return words;
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
