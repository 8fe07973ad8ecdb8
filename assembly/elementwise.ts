// Fused elementwise programs, interpreted in blocks that stay in the first cache: every instruction runs over a whole block
// (up to about 1,024 floats a register) before the next, so that dispatch costs little and memory is read and written once.
//
// A program is a head, the sizes of the rows' axes, and lists of inputs (each followed by its strides along those axes), constants,
// instructions and outputs. Inputs have registers 0 .. inputs - 1, which nothing else writes. A register is a pointer in a table at
// the start of the scratch: into the input or output itself where that is contiguous over the block, into the scratch otherwise.
import { copyBytes } from "./move";
import { ABS, ADD, DIV, EQUAL, EXP, FLOOR, GELU, GELU_DERIVATIVE, GREATER, GREATER_EQUAL, LOG, MAXIMUM, MINIMUM, MUL, NEG, RELU, RSQRT } from "./opcodes";
import { SIGMOID, SQRT, SQUARE, SUB, TANH, WHERE } from "./opcodes";
import { exp4, gelu4, geluDerivative4, log4, share, sigmoid4, tanh4 } from "./simd";

@unmanaged
class Program {
  /** Of all axes but the last together. */
  rows: u32;
  /** The last axis. */
  columns: u32;
  /** Floats of a register. */
  block: u32;
  /** Axes of the rows. */
  axes: u32;
  inputs: u32;
  constants: u32;
  instructions: u32;
  outputs: u32;
}

@unmanaged
class Input {
  address: u32;
  /** From column to column; in bytes, as all strides. */
  stride: u32;
  /** Not 0: contiguous over rows and columns. */
  dense: u32;
}

@unmanaged
class Constant {
  register: u32;
  value: f32;
}

@unmanaged
class Instruction {
  op: i32;
  to: u32;
  a: u32;
  b: u32;
  c: u32;
}

@unmanaged
class Output {
  address: u32;
  register: u32;
  /** Not 0: the register may lie in the output. */
  inPlace: u32;
}

const TABLE: usize = 1024; // bytes of the register table
const SLACK: usize = 64; // bytes behind a register that full vectors may overrun

/** The sizes of the rows' axes. */
// @ts-ignore: decorator
@inline
function axesOf(p: Program): usize {
  return changetype<usize>(p) + offsetof<Program>();
}

/** Bytes from one input to the next. */
// @ts-ignore: decorator
@inline
function inputBytes(p: Program): usize {
  return offsetof<Input>() + (p.axes << 2);
}

// @ts-ignore: decorator
@inline
function inputsOf(p: Program): usize {
  return axesOf(p) + (p.axes << 2);
}
// @ts-ignore: decorator
@inline
function constantsOf(p: Program): usize {
  return inputsOf(p) + p.inputs * inputBytes(p);
}
// @ts-ignore: decorator
@inline
function codeOf(p: Program): usize {
  return constantsOf(p) + p.constants * offsetof<Constant>();
}
// @ts-ignore: decorator
@inline
function outputsOf(p: Program): usize {
  return codeOf(p) + p.instructions * offsetof<Instruction>();
}
// @ts-ignore: decorator
@inline
function endOf(p: Program): usize {
  return outputsOf(p) + p.outputs * offsetof<Output>();
}

/** Where a register lives when it does not point elsewhere. */
// @ts-ignore: decorator
@inline
function home(p: Program, scratch: usize, register: u32): usize {
  return scratch + TABLE + register * ((p.block << 2) + SLACK);
}

// @ts-ignore: decorator
@inline
function pointer(scratch: usize, register: u32): usize {
  return load<u32>(scratch + (register << 2));
}

// @ts-ignore: decorator
@inline
function point(scratch: usize, register: u32, to: usize): void {
  store<u32>(scratch + (register << 2), <u32>to);
}

/** The stride of an input along an axis of the rows. */
// @ts-ignore: decorator
@inline
function along(input: Input, axis: u32): u32 {
  return load<u32>(changetype<usize>(input) + (axis << 2), offsetof<Input>());
}

/** Bytes from an input's first row to the given one. */
function rowOffset(p: Program, input: Input, row: u32): usize {
  let axis = p.axes;
  if (axis == 1) return row * along(input, 0);
  let offset: usize = 0;
  while (axis > 0) {
    axis--;
    const size = load<u32>(axesOf(p) + (axis << 2));
    offset += (row % size) * along(input, axis);
    row /= size;
  }
  return offset;
}

/** Whether an input is the same in every row. */
function sameRows(p: Program, input: Input): bool {
  for (let axis: u32 = 0; axis < p.axes; axis++) {
    if (along(input, axis) != 0) return false;
  }
  return true;
}

/** Copies `count` floats at a distance of `stride` bytes; may write up to three more. */
function loadRow(to: usize, from: usize, count: u32, stride: u32): void {
  const end = to + (count << 2);
  if (stride == 4) {
    for (; to < end; to += 16, from += 16) v128.store(to, v128.load(from));
  } else if (stride == 0) {
    const value = v128.load32_splat(from);
    for (; to < end; to += 16) v128.store(to, value);
  } else {
    for (; to < end; to += 4, from += stride) store<f32>(to, load<f32>(from));
  }
}

/** Points every register that instructions write at its home. */
function reset(p: Program, scratch: usize): void {
  for (let at = codeOf(p), end = outputsOf(p); at < end; at += offsetof<Instruction>()) {
    const register = changetype<Instruction>(at).to;
    point(scratch, register, home(p, scratch, register));
  }
}

/** Fills constants and what all blocks of `rows` rows of these columns have in common. */
function prepare(p: Program, rows: u32, column: u32, columns: u32, scratch: usize): void {
  for (let at = constantsOf(p), end = codeOf(p); at < end; at += offsetof<Constant>()) {
    const constant = changetype<Constant>(at), to = home(p, scratch, constant.register);
    point(scratch, constant.register, to);
    loadRow(to, at + offsetof<Constant>("value"), (rows * columns + 15) & ~15, 0);
  }
  let at = inputsOf(p);
  for (let i: u32 = 0; i < p.inputs; i++, at += inputBytes(p)) {
    const input = changetype<Input>(at), from = input.address + column * input.stride;
    if (!isCommon(p, input, rows)) continue;
    let to = home(p, scratch, i);
    point(scratch, i, to);
    if (input.stride == 0) loadRow(to, from, rows * columns, 0);
    else for (let row: u32 = 0; row < rows; row++, to += columns << 2) loadRow(to, from, columns, input.stride);
  }
}

/** Whether `prepare` has loaded an input for all blocks: one number, or one row where blocks have several. */
// @ts-ignore: decorator
@inline
function isCommon(p: Program, input: Input, rows: u32): bool {
  return (input.stride == 0 || rows > 1) && sameRows(p, input);
}

/** Points the registers of the inputs at their numbers for one block. `most`: the rows that `prepare` knew. */
function bind(p: Program, row: u32, rows: u32, column: u32, columns: u32, most: u32, scratch: usize): void {
  let at = inputsOf(p);
  for (let i: u32 = 0; i < p.inputs; i++, at += inputBytes(p)) {
    const input = changetype<Input>(at), from = input.address + column * input.stride;
    if (isCommon(p, input, most)) continue;
    if (input.dense && (rows == 1 || columns == p.columns)) {
      point(scratch, i, from + ((row * p.columns) << 2));
    } else if (rows == 1 && input.stride == 4) {
      point(scratch, i, from + rowOffset(p, input, row));
    } else {
      let to = home(p, scratch, i);
      point(scratch, i, to);
      for (let r: u32 = 0; r < rows; r++, to += columns << 2) loadRow(to, from + rowOffset(p, input, row + r), columns, input.stride);
    }
  }
}

/** Runs one block. Outputs in place need whole groups of 16 floats; others are copied out exactly. */
function block(p: Program, row: u32, rows: u32, column: u32, columns: u32, most: u32, scratch: usize): void {
  bind(p, row, rows, column, columns, most, scratch);
  const count = rows * columns, start = (row * p.columns + column) << 2, whole = columns == p.columns;
  const inPlace = count % 16 == 0 && (rows == 1 || whole), bytes = ((count + 15) & ~15) << 2;
  const code = codeOf(p), outputs = outputsOf(p), end = endOf(p);
  for (let at = outputs; at < end; at += offsetof<Output>()) {
    const output = changetype<Output>(at);
    if (output.inPlace) point(scratch, output.register, inPlace ? output.address + start : home(p, scratch, output.register));
  }
  for (let at = code; at < outputs; at += offsetof<Instruction>()) {
    const i = changetype<Instruction>(at);
    instruction(i.op, pointer(scratch, i.to), pointer(scratch, i.a), pointer(scratch, i.b), pointer(scratch, i.c), bytes);
  }
  for (let at = outputs; at < end; at += offsetof<Output>()) {
    const output = changetype<Output>(at);
    if (inPlace && output.inPlace) continue;
    let from = pointer(scratch, output.register), to: usize = output.address + start;
    if (whole) copyBytes(to, from, count << 2);
    else for (let r: u32 = 0; r < rows; r++, from += columns << 2, to += p.columns << 2) copyBytes(to, from, columns << 2);
  }
}

/** How many rows of `columns` fill a block; full blocks hold a multiple of 16 floats where possible. */
function rowsAtOnce(floats: u32, columns: u32, rows: u32): u32 {
  const most = floats / columns, step: u32 = 16 >> min<u32>(ctz(columns), 4);
  return max(1, min(most > step ? most - (most % step) : most, rows));
}

/** Runs a program over rows [rowBegin, rowEnd) and columns [columnBegin, columnEnd). */
function tile(p: Program, rowBegin: u32, rowEnd: u32, columnBegin: u32, columnEnd: u32, scratch: usize): void {
  reset(p, scratch);
  for (let column = columnBegin; column < columnEnd; column += p.block) {
    const columns = min(columnEnd - column, p.block), most = rowsAtOnce(p.block, columns, rowEnd - rowBegin);
    prepare(p, most, column, columns, scratch);
    for (let row = rowBegin; row < rowEnd; row += most) {
      block(p, row, min(most, rowEnd - row), column, columns, most, scratch);
    }
  }
}

/**
 * Runs the program at an address over part of its rows and columns: a product calls it on each finished tile. Scratch: up to
 * ELEMENTWISE_SCRATCH bytes (encode-elementwise.ts), which may not overlap with what the caller still needs.
 */
export function elementwiseTile(program: usize, rowBegin: u32, rowEnd: u32, columnBegin: u32, columnEnd: u32, scratch: usize): void {
  tile(changetype<Program>(program), rowBegin, rowEnd, columnBegin, columnEnd, scratch);
}

/** A whole program: rows, or pieces of long rows, in one run of blocks for each thread. Arguments: first thread, program. */
export function elementwise(args: usize, thread: u32, threads: u32, scratch: usize): void {
  const p = changetype<Program>(args + 4), owner = (thread + load<u32>(args)) % threads;
  if (p.columns <= p.block) {
    const most = rowsAtOnce(p.block, p.columns, p.rows), blocks = (p.rows + most - 1) / most;
    const begin = share(blocks, owner, threads) * most, end = min(p.rows, share(blocks, owner + 1, threads) * most);
    if (begin < end) tile(p, begin, end, 0, p.columns, scratch);
    return;
  }
  const pieces = (p.columns + p.block - 1) / p.block, end = share(p.rows * pieces, owner + 1, threads);
  let at = share(p.rows * pieces, owner, threads);
  if (at >= end) return;
  reset(p, scratch);
  prepare(p, 1, 0, p.block, scratch);
  for (; at < end; at++) {
    const column = (at % pieces) * p.block;
    block(p, at / pieces, 1, column, min(p.columns - column, p.block), 1, scratch);
  }
}

// @ts-ignore: decorator
@inline
function apply(op: i32, a: v128, b: v128): v128 {
  if (op == NEG) return f32x4.neg(a);
  if (op == EXP) return exp4(a);
  if (op == LOG) return log4(a);
  if (op == SQRT) return f32x4.sqrt(a);
  if (op == RSQRT) return f32x4.div(f32x4.splat(1), f32x4.sqrt(a));
  if (op == SQUARE) return f32x4.mul(a, a);
  if (op == ABS) return f32x4.abs(a);
  if (op == FLOOR) return f32x4.floor(a);
  if (op == TANH) return tanh4(a);
  if (op == SIGMOID) return sigmoid4(a);
  if (op == RELU) return f32x4.pmax(a, f32x4.splat(0)); // keeps NaN
  if (op == GELU) return gelu4(a);
  if (op == GELU_DERIVATIVE) return geluDerivative4(a);
  if (op == ADD) return f32x4.add(a, b);
  if (op == SUB) return f32x4.sub(a, b);
  if (op == MUL) return f32x4.mul(a, b);
  if (op == DIV) return f32x4.div(a, b);
  if (op == MAXIMUM) return f32x4.max(a, b);
  if (op == MINIMUM) return f32x4.min(a, b);
  const one = f32x4.splat(1);
  if (op == GREATER) return v128.and(f32x4.gt(a, b), one);
  if (op == GREATER_EQUAL) return v128.and(f32x4.ge(a, b), one);
  return v128.and(f32x4.eq(a, b), one);
}

/** to = op(a) over `bytes`, four vectors at a time. */
// @ts-ignore: decorator
@inline
function each1(op: i32, to: usize, a: usize, bytes: usize): void {
  const none = f32x4.splat(0);
  for (let i: usize = 0; i < bytes; i += 64) {
    const p = apply(op, v128.load(a + i), none), q = apply(op, v128.load(a + i, 16), none);
    const r = apply(op, v128.load(a + i, 32), none), s = apply(op, v128.load(a + i, 48), none);
    v128.store(to + i, p);
    v128.store(to + i, q, 16);
    v128.store(to + i, r, 32);
    v128.store(to + i, s, 48);
  }
}

/** to = op(a, b) over `bytes`, four vectors at a time. */
// @ts-ignore: decorator
@inline
function each2(op: i32, to: usize, a: usize, b: usize, bytes: usize): void {
  for (let i: usize = 0; i < bytes; i += 64) {
    const p = apply(op, v128.load(a + i), v128.load(b + i));
    const q = apply(op, v128.load(a + i, 16), v128.load(b + i, 16));
    const r = apply(op, v128.load(a + i, 32), v128.load(b + i, 32));
    const s = apply(op, v128.load(a + i, 48), v128.load(b + i, 48));
    v128.store(to + i, p);
    v128.store(to + i, q, 16);
    v128.store(to + i, r, 32);
    v128.store(to + i, s, 48);
  }
}

/** to = a where c is not 0, b elsewhere. */
function where(to: usize, c: usize, a: usize, b: usize, bytes: usize): void {
  for (let i: usize = 0; i < bytes; i += 64) {
    const p = pick(c + i, a + i, b + i), q = pick(c + i + 16, a + i + 16, b + i + 16);
    const r = pick(c + i + 32, a + i + 32, b + i + 32), s = pick(c + i + 48, a + i + 48, b + i + 48);
    v128.store(to + i, p);
    v128.store(to + i, q, 16);
    v128.store(to + i, r, 32);
    v128.store(to + i, s, 48);
  }
}

// @ts-ignore: decorator
@inline
function pick(c: usize, a: usize, b: usize): v128 {
  return v128.bitselect(v128.load(a), v128.load(b), f32x4.ne(v128.load(c), f32x4.splat(0)));
}

// A function for each instruction: in one with all of their loops the optimiser would fold the loops into one that asks for the
// instruction at every vector.
function neg(to: usize, a: usize, bytes: usize): void {
  each1(NEG, to, a, bytes);
}
function exp(to: usize, a: usize, bytes: usize): void {
  each1(EXP, to, a, bytes);
}
function log(to: usize, a: usize, bytes: usize): void {
  each1(LOG, to, a, bytes);
}
function sqrt(to: usize, a: usize, bytes: usize): void {
  each1(SQRT, to, a, bytes);
}
function rsqrt(to: usize, a: usize, bytes: usize): void {
  each1(RSQRT, to, a, bytes);
}
function square(to: usize, a: usize, bytes: usize): void {
  each1(SQUARE, to, a, bytes);
}
function abs(to: usize, a: usize, bytes: usize): void {
  each1(ABS, to, a, bytes);
}
function floor(to: usize, a: usize, bytes: usize): void {
  each1(FLOOR, to, a, bytes);
}
function tanh(to: usize, a: usize, bytes: usize): void {
  each1(TANH, to, a, bytes);
}
function sigmoid(to: usize, a: usize, bytes: usize): void {
  each1(SIGMOID, to, a, bytes);
}
function relu(to: usize, a: usize, bytes: usize): void {
  each1(RELU, to, a, bytes);
}
function gelu(to: usize, a: usize, bytes: usize): void {
  each1(GELU, to, a, bytes);
}
function geluDerivative(to: usize, a: usize, bytes: usize): void {
  each1(GELU_DERIVATIVE, to, a, bytes);
}
function add(to: usize, a: usize, b: usize, bytes: usize): void {
  each2(ADD, to, a, b, bytes);
}
function sub(to: usize, a: usize, b: usize, bytes: usize): void {
  each2(SUB, to, a, b, bytes);
}
function mul(to: usize, a: usize, b: usize, bytes: usize): void {
  each2(MUL, to, a, b, bytes);
}
function div(to: usize, a: usize, b: usize, bytes: usize): void {
  each2(DIV, to, a, b, bytes);
}
function maximum(to: usize, a: usize, b: usize, bytes: usize): void {
  each2(MAXIMUM, to, a, b, bytes);
}
function minimum(to: usize, a: usize, b: usize, bytes: usize): void {
  each2(MINIMUM, to, a, b, bytes);
}
function greater(to: usize, a: usize, b: usize, bytes: usize): void {
  each2(GREATER, to, a, b, bytes);
}
function greaterEqual(to: usize, a: usize, b: usize, bytes: usize): void {
  each2(GREATER_EQUAL, to, a, b, bytes);
}
function equal(to: usize, a: usize, b: usize, bytes: usize): void {
  each2(EQUAL, to, a, b, bytes);
}

function instruction(op: i32, to: usize, a: usize, b: usize, c: usize, bytes: usize): void {
  switch (op) {
    case NEG: return neg(to, a, bytes);
    case EXP: return exp(to, a, bytes);
    case LOG: return log(to, a, bytes);
    case SQRT: return sqrt(to, a, bytes);
    case RSQRT: return rsqrt(to, a, bytes);
    case SQUARE: return square(to, a, bytes);
    case ABS: return abs(to, a, bytes);
    case FLOOR: return floor(to, a, bytes);
    case TANH: return tanh(to, a, bytes);
    case SIGMOID: return sigmoid(to, a, bytes);
    case RELU: return relu(to, a, bytes);
    case GELU: return gelu(to, a, bytes);
    case GELU_DERIVATIVE: return geluDerivative(to, a, bytes);
    case ADD: return add(to, a, b, bytes);
    case SUB: return sub(to, a, b, bytes);
    case MUL: return mul(to, a, b, bytes);
    case DIV: return div(to, a, b, bytes);
    case MAXIMUM: return maximum(to, a, b, bytes);
    case MINIMUM: return minimum(to, a, b, bytes);
    case GREATER: return greater(to, a, b, bytes);
    case GREATER_EQUAL: return greaterEqual(to, a, b, bytes);
    case EQUAL: return equal(to, a, b, bytes);
    case WHERE: return where(to, a, b, c, bytes);
    default: unreachable();
  }
}
