// Fused elementwise programs, interpreted in blocks that stay in the first cache: every instruction runs over a whole block
// (up to about 1,024 floats a register) before the next, so that dispatch costs little and memory is read and written once.
//
// A program covers [rows, columns]; rows may be several axes. Its words:
//
//   rows, columns, block (floats of a register), axes (of the rows), inputs, constants, instructions, outputs
//   axes         x { size }
//   inputs       x { address, column stride, rows-run-on (1: contiguous over everything), stride of each axis }   strides in bytes
//   constants    x { register, value }
//   instructions x { op, to, a, b, c }
//   outputs      x { address, register, in place (1: the register may lie in the output) }
//
// Inputs have registers 0 .. inputs - 1, which nothing else writes. A register is a pointer in a table at the start of the
// scratch: into the input or output itself where that is contiguous over the block, into the scratch otherwise.
import { ABS, ADD, DIV, EQUAL, EXP, FLOOR, GELU, GELU_DERIVATIVE, GREATER, GREATER_EQUAL, LOG, MAXIMUM, MINIMUM, MUL, NEG, RELU, RSQRT } from "./opcodes";
import { SIGMOID, SQRT, SQUARE, SUB, TANH, WHERE } from "./opcodes";
import { copyBytes } from "./move";
import { exp4, gelu4, geluDerivative4, log4, share, sigmoid4, tanh4 } from "./simd";

const HEAD: usize = 32; // bytes of the eight counts
const TABLE: usize = 1024; // bytes of the register table
const SLACK: usize = 64; // bytes behind a register that full vectors may overrun

// @ts-ignore: decorator
@inline
function rowsOf(program: usize): u32 {
  return load<u32>(program);
}
// @ts-ignore: decorator
@inline
function columnsOf(program: usize): u32 {
  return load<u32>(program, 4);
}
// @ts-ignore: decorator
@inline
function blockOf(program: usize): u32 {
  return load<u32>(program, 8);
}
// @ts-ignore: decorator
@inline
function axesOf(program: usize): u32 {
  return load<u32>(program, 12);
}
// @ts-ignore: decorator
@inline
function inputsOf(program: usize): u32 {
  return load<u32>(program, 16);
}

/** Bytes of an input's record. */
// @ts-ignore: decorator
@inline
function recordOf(program: usize): usize {
  return 12 + (<usize>axesOf(program) << 2);
}

// @ts-ignore: decorator
@inline
function inputAt(program: usize): usize {
  return program + HEAD + (<usize>axesOf(program) << 2);
}
// @ts-ignore: decorator
@inline
function constantAt(program: usize): usize {
  return inputAt(program) + <usize>inputsOf(program) * recordOf(program);
}
// @ts-ignore: decorator
@inline
function codeAt(program: usize): usize {
  return constantAt(program) + (<usize>load<u32>(program, 20) << 3);
}
// @ts-ignore: decorator
@inline
function outputAt(program: usize): usize {
  return codeAt(program) + <usize>load<u32>(program, 24) * 20;
}

/** Where a register lives when it does not point elsewhere. */
// @ts-ignore: decorator
@inline
function home(program: usize, scratch: usize, register: u32): usize {
  return scratch + TABLE + <usize>register * ((<usize>blockOf(program) << 2) + SLACK);
}

/** Bytes from an input's first row to the given one. */
function rowOffset(program: usize, input: usize, row: u32): usize {
  let axis = axesOf(program);
  if (axis == 1) return <usize>row * load<u32>(input, 12);
  let offset: usize = 0;
  while (axis > 0) {
    axis--;
    const size = load<u32>(program + HEAD + (<usize>axis << 2));
    offset += <usize>(row % size) * load<u32>(input + 12 + (<usize>axis << 2));
    row /= size;
  }
  return offset;
}

/** Whether an input is the same in every row. */
function sameRows(program: usize, input: usize): bool {
  for (let axis: u32 = 0; axis < axesOf(program); axis++) {
    if (load<u32>(input + 12 + (<usize>axis << 2)) != 0) return false;
  }
  return true;
}

/** Copies `count` floats at a distance of `stride` bytes; may write up to three more. */
function loadRow(to: usize, from: usize, count: u32, stride: u32): void {
  const end = to + (<usize>count << 2);
  if (stride == 4) {
    for (; to < end; to += 16, from += 16) v128.store(to, v128.load(from));
  } else if (stride == 0) {
    const value = v128.load32_splat(from);
    for (; to < end; to += 16) v128.store(to, value);
  } else {
    for (; to < end; to += 4, from += stride) store<f32>(to, load<f32>(from));
  }
}

/** Fills constants and what all blocks of `rows` rows of these columns have in common. */
function prepare(program: usize, rows: u32, column: u32, columns: u32, scratch: usize): void {
  const count = rows * columns;
  let at = constantAt(program);
  for (const end = codeAt(program); at < end; at += 8) {
    const register = load<u32>(at), to = home(program, scratch, register);
    loadRow(to, at + 4, (count + 15) & ~15, 0);
    store<u32>(scratch + (<usize>register << 2), <u32>to);
  }
  let input = inputAt(program);
  for (let i: u32 = 0, n = inputsOf(program); i < n; i++, input += recordOf(program)) {
    const stride = load<u32>(input, 4);
    if (!sameRows(program, input) || (stride != 0 && rows == 1)) continue;
    const from = <usize>load<u32>(input) + column * stride;
    let to = home(program, scratch, i);
    store<u32>(scratch + (<usize>i << 2), <u32>to);
    if (stride == 0) loadRow(to, from, count, 0);
    else for (let row: u32 = 0; row < rows; row++, to += <usize>columns << 2) loadRow(to, from, columns, stride);
  }
}

/** Points the registers of the inputs at their numbers for one block. `most`: the rows that `prepare` knew. */
function bind(program: usize, row: u32, rows: u32, column: u32, columns: u32, most: u32, scratch: usize): void {
  const whole = columns == columnsOf(program);
  let input = inputAt(program);
  for (let i: u32 = 0, n = inputsOf(program); i < n; i++, input += recordOf(program)) {
    const stride = load<u32>(input, 4);
    if (sameRows(program, input) && (stride == 0 || most > 1)) continue;
    const base = <usize>load<u32>(input) + column * stride;
    let to = home(program, scratch, i);
    let pointer = to;
    if (load<u32>(input, 8) && (rows == 1 || whole)) pointer = base + ((<usize>row * columnsOf(program)) << 2);
    else if (rows == 1 && stride == 4) pointer = base + rowOffset(program, input, row);
    else {
      for (let r: u32 = 0; r < rows; r++, to += <usize>columns << 2) loadRow(to, base + rowOffset(program, input, row + r), columns, stride);
    }
    store<u32>(scratch + (<usize>i << 2), <u32>pointer);
  }
}

/** Runs one block. Outputs in place need whole groups of 16 floats; others are copied out exactly. */
function block(program: usize, row: u32, rows: u32, column: u32, columns: u32, most: u32, scratch: usize): void {
  const count = rows * columns, total = columnsOf(program);
  bind(program, row, rows, column, columns, most, scratch);
  const code = codeAt(program), outputs = outputAt(program), end = outputs + <usize>load<u32>(program, 28) * 12;
  const start = (<usize>row * total + column) << 2;
  const inPlace = count % 16 == 0 && (rows == 1 || columns == total);
  for (let at = outputs; at < end; at += 12) {
    if (!load<u32>(at, 8)) continue;
    const register = load<u32>(at, 4);
    store<u32>(scratch + (<usize>register << 2), <u32>(inPlace ? <usize>load<u32>(at) + start : home(program, scratch, register)));
  }
  for (let at = code; at < outputs; at += 20) {
    instruction(
      load<u32>(at),
      load<u32>(scratch + (<usize>load<u32>(at, 4) << 2)),
      load<u32>(scratch + (<usize>load<u32>(at, 8) << 2)),
      load<u32>(scratch + (<usize>load<u32>(at, 12) << 2)),
      load<u32>(scratch + (<usize>load<u32>(at, 16) << 2)),
      <usize>((count + 15) & ~15) << 2,
    );
  }
  for (let at = outputs; at < end; at += 12) {
    if (inPlace && load<u32>(at, 8)) continue;
    let from: usize = load<u32>(scratch + (<usize>load<u32>(at, 4) << 2));
    let to = <usize>load<u32>(at) + start;
    if (columns == total) copyBytes(to, from, <usize>count << 2);
    else for (let r: u32 = 0; r < rows; r++, from += <usize>columns << 2, to += <usize>total << 2) copyBytes(to, from, <usize>columns << 2);
  }
}

/** Points every register at its home. */
function reset(program: usize, scratch: usize): void {
  for (let at = codeAt(program), end = outputAt(program); at < end; at += 20) {
    const register = load<u32>(at, 4);
    store<u32>(scratch + (<usize>register << 2), <u32>home(program, scratch, register));
  }
}

/**
 * Runs a program over rows [rowBegin, rowEnd) and columns [columnBegin, columnEnd). For epilogues: a product calls it on each
 * finished tile. Scratch: ELEMENTWISE_SCRATCH bytes (encode-elementwise.ts), which may not overlap with what the caller still needs.
 */
export function elementwiseTile(program: usize, rowBegin: u32, rowEnd: u32, columnBegin: u32, columnEnd: u32, scratch: usize): void {
  const floats = blockOf(program);
  reset(program, scratch);
  for (let column = columnBegin; column < columnEnd; column += floats) {
    const columns = min(columnEnd - column, floats);
    const most = rowsAtOnce(floats, columns, rowEnd - rowBegin);
    prepare(program, most, column, columns, scratch);
    for (let row = rowBegin; row < rowEnd; row += most) {
      block(program, row, min(most, rowEnd - row), column, columns, most, scratch);
    }
  }
}

/** How many rows of `columns` fill a block; full blocks hold a multiple of 16 floats where possible. */
function rowsAtOnce(floats: u32, columns: u32, rows: u32): u32 {
  const most = floats / columns;
  const step: u32 = 16 >> min<u32>(ctz(columns), 4);
  return max(1, min(most > step ? most - (most % step) : most, rows));
}

/** The whole program: rows, or pieces of long rows, in one run of blocks for each thread. args: program, first thread. */
export function elementwise(args: usize, thread: u32, threads: u32, scratch: usize): void {
  const program = args + 4;
  const rows = rowsOf(program), columns = columnsOf(program), floats = blockOf(program);
  const owner = (thread + load<u32>(args)) % threads;
  if (columns <= floats) {
    const most = rowsAtOnce(floats, columns, rows);
    const blocks = (rows + most - 1) / most;
    const begin = share(blocks, owner, threads) * most, end = min(rows, share(blocks, owner + 1, threads) * most);
    if (begin < end) elementwiseTile(program, begin, end, 0, columns, scratch);
    return;
  }
  const pieces = (columns + floats - 1) / floats;
  const end = share(rows * pieces, owner + 1, threads);
  let at = share(rows * pieces, owner, threads);
  if (at >= end) return;
  reset(program, scratch);
  prepare(program, 1, 0, floats, scratch);
  for (; at < end; at++) {
    const column = (at % pieces) * floats;
    block(program, at / pieces, 1, column, min(columns - column, floats), 1, scratch);
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
  for (let i: usize = 0; i < bytes; i += 16) v128.store(to + i, apply(op, v128.load(a + i), f32x4.splat(0)));
}

/** to = op(a, b) over `bytes`. */
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
  for (let i: usize = 0; i < bytes; i += 16) {
    v128.store(to + i, v128.bitselect(v128.load(a + i), v128.load(b + i), f32x4.ne(v128.load(c + i), f32x4.splat(0))));
  }
}

function instruction(op: i32, to: usize, a: usize, b: usize, c: usize, bytes: usize): void {
  switch (op) {
    case NEG: return each1(NEG, to, a, bytes);
    case EXP: return each1(EXP, to, a, bytes);
    case LOG: return each1(LOG, to, a, bytes);
    case SQRT: return each1(SQRT, to, a, bytes);
    case RSQRT: return each1(RSQRT, to, a, bytes);
    case SQUARE: return each1(SQUARE, to, a, bytes);
    case ABS: return each1(ABS, to, a, bytes);
    case FLOOR: return each1(FLOOR, to, a, bytes);
    case TANH: return each1(TANH, to, a, bytes);
    case SIGMOID: return each1(SIGMOID, to, a, bytes);
    case RELU: return each1(RELU, to, a, bytes);
    case GELU: return each1(GELU, to, a, bytes);
    case GELU_DERIVATIVE: return each1(GELU_DERIVATIVE, to, a, bytes);
    case ADD: return each2(ADD, to, a, b, bytes);
    case SUB: return each2(SUB, to, a, b, bytes);
    case MUL: return each2(MUL, to, a, b, bytes);
    case DIV: return each2(DIV, to, a, b, bytes);
    case MAXIMUM: return each2(MAXIMUM, to, a, b, bytes);
    case MINIMUM: return each2(MINIMUM, to, a, b, bytes);
    case GREATER: return each2(GREATER, to, a, b, bytes);
    case GREATER_EQUAL: return each2(GREATER_EQUAL, to, a, b, bytes);
    case EQUAL: return each2(EQUAL, to, a, b, bytes);
    case WHERE: return where(to, a, b, c, bytes);
    default: unreachable();
  }
}
