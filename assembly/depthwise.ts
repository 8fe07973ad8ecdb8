// Convolution with a filter a channel, y[pixel, c] = sum over taps of x[pixel stride + tap, c] weight[c, tap], and its gradients.
// No product to speak of: four neighbouring pixels are summed over the taps in registers, so that a weight is loaded once for four and,
// where neighbours lie side by side, a source pixel once for all taps of a row. Arguments are those of conv.ts with one channel in
// each group; weightColumn is the size of a filter.
import { Conv, PHASE, Phase, TAP, Tap } from "./conv";
import { elementwiseTile } from "./elementwise";
import { BLOCK_ROWS, PACKED_A, PACKED_B } from "./gemm";
import { madd, storeTail } from "./simd";
import { takeTile } from "./turns";

/** Pixels that are summed together. */
const SIDE: u32 = 4;

// Scratch: of each row of taps the address of its weights, then those of its source pixels; addresses of four result pixels; weights
// as [tap, c] in the order of the phases; zeros for pixels outside of the image; room for pixels that nobody wants. The last three
// take up to 262,144 floats each, see encode-conv.ts.
const ROWS: usize = PACKED_A;
const OUTS: usize = 16;
const WEIGHTS: usize = 1 << 20;
const ZEROS: usize = 2 << 20;
const DROPPED: usize = 3 << 20;

export function depthwise(args: usize, thread: u32, threads: u32, scratch: usize): void {
  const p = changetype<Conv>(args);
  memory.fill(scratch + ZEROS, 0, p.pixel);
  let before: u32 = 0, t = takeTile(), weights = scratch + WEIGHTS; // tiles of earlier phases; the tile at hand, counted through all phases
  for (let i: u32 = 0; i < p.phases; i++) {
    const phase = changetype<Phase>(<usize>p.firstPhase + <usize>i * PHASE), end = packWeights(p, phase, weights);
    const lines = p.images * phase.rows, step = max<u32>(1, BLOCK_ROWS / phase.columns), tiles = (lines + step - 1) / step;
    for (; t < before + tiles; t = takeTile()) {
      const first = (t - before) * step, last = min(lines, first + step);
      for (let line = first; line < last; line++) sumLine(p, phase, line, weights, scratch);
      if (p.epilogue) elementwiseTile(p.epilogue, first * phase.columns, last * phase.columns, 0, p.groups, scratch + PACKED_B);
    }
    before += tiles;
    weights = end;
  }
}

/** Weights of a phase's taps as [tap, c]; returns their end. */
function packWeights(p: Conv, phase: Phase, to: usize): usize {
  for (let t: u32 = 0; t < phase.taps; t++) {
    let from = <usize>p.weight + changetype<Tap>(<usize>phase.firstTap + <usize>t * TAP).weight;
    for (let c: u32 = 0; c < p.groups; c++, to += 4, from += p.weightColumn) store<f32>(to, load<f32>(from));
  }
  return to;
}

/** How many taps from the first on lie side by side, with their pixels side by side as well. All rows of a phase are alike. */
function tapsOfRow(p: Conv, phase: Phase): u32 {
  const first = changetype<Tap>(phase.firstTap);
  let run: u32 = 1;
  if (p.stride > 1) return run;
  for (; run < phase.taps; run++) {
    const tap = changetype<Tap>(<usize>phase.firstTap + <usize>run * TAP);
    if (tap.y != first.y || tap.x != first.x + <i32>run) break;
  }
  return run;
}

/** A line of a phase's grid, counted through all images. */
function sumLine(p: Conv, phase: Phase, line: u32, weights: usize, scratch: usize): void {
  const image = line / phase.rows, y = line % phase.rows, run = tapsOfRow(p, phase);
  const out = image * p.outHeight + y * p.outStride + phase.top;
  for (let x: u32 = 0; x < phase.columns; x += SIDE) {
    for (let i: u32 = 0; i < SIDE; i++) {
      const at = p.out + (out * p.outWidth + (x + i) * p.outStride + phase.left) * p.outPixel;
      store<u32>(scratch + OUTS + (<usize>i << 2), x + i < phase.columns ? at : <u32>(scratch + DROPPED));
    }
    const end = placeRows(p, phase, image, y * p.stride, x * p.stride, run, weights, scratch);
    sumRows(scratch + ROWS, end, run, p.pixel, scratch + OUTS);
  }
}

/** The rows of taps that lie in the image, with the source pixels under them for four neighbours from (y, x) on; returns their end. */
function placeRows(p: Conv, phase: Phase, image: u32, y: i32, x: i32, run: u32, weights: usize, scratch: usize): usize {
  let to = scratch + ROWS;
  for (let t: u32 = 0; t < phase.taps; t += run) {
    const tap = changetype<Tap>(<usize>phase.firstTap + <usize>t * TAP), sourceY = y + tap.y;
    if (<u32>sourceY >= p.height) continue;
    store<u32>(to, <u32>(weights + <usize>t * p.pixel));
    to += 4;
    const line = p.source + (image * p.height + sourceY) * p.width * p.pixel;
    let column = x + tap.x;
    for (const end = to + (<usize>(run + SIDE - 1) << 2); to < end; to += 4, column += p.stride) {
      store<u32>(to, <u32>column < p.width ? line + column * p.pixel : <u32>(scratch + ZEROS));
    }
  }
  return to;
}

/** Four pixels of `bytes` each: y = sum over rows, taps of x w. The next tap sees the next neighbour's pixel. */
function sumRows(rows: usize, end: usize, run: u32, bytes: usize, outs: usize): void {
  const y0 = <usize>load<u32>(outs), y1 = <usize>load<u32>(outs, 4), y2 = <usize>load<u32>(outs, 8), y3 = <usize>load<u32>(outs, 12);
  const more = <usize>(run - 1) << 2;
  for (let c: usize = 0; c < bytes; c += 16) {
    let s0 = f32x4.splat(0), s1 = s0, s2 = s0, s3 = s0;
    for (let at = rows; at < end; ) {
      let w = <usize>load<u32>(at) + c, x0 = v128.load(<usize>load<u32>(at, 4) + c), x1 = v128.load(<usize>load<u32>(at, 8) + c);
      let x2 = v128.load(<usize>load<u32>(at, 12) + c), x3 = v128.load(<usize>load<u32>(at, 16) + c);
      at += 20;
      for (const last = at + more; ; at += 4) {
        const w0 = v128.load(w);
        s0 = madd(x0, w0, s0);
        s1 = madd(x1, w0, s1);
        s2 = madd(x2, w0, s2);
        s3 = madd(x3, w0, s3);
        if (at == last) break;
        w += bytes;
        x0 = x1;
        x1 = x2;
        x2 = x3;
        x3 = v128.load(<usize>load<u32>(at) + c);
      }
    }
    if (bytes - c >= 16) {
      v128.store(y0 + c, s0);
      v128.store(y1 + c, s1);
      v128.store(y2 + c, s2);
      v128.store(y3 + c, s3);
    } else {
      storeTail(y0 + c, s0, bytes - c);
      storeTail(y1 + c, s1, bytes - c);
      storeTail(y2 + c, s2, bytes - c);
      storeTail(y3 + c, s3, bytes - c);
    }
  }
}

/** Arguments of the weight's gradient. Steps are in bytes. */
@unmanaged
class WeightGrad {
  x: u32;
  g: u32;
  /** [chunks, c, kernel rows, kernel columns] */
  out: u32;
  images: u32;
  height: u32;
  width: u32;
  channels: u32;
  rows: u32;
  columns: u32;
  stride: i32;
  padding: i32;
  dilation: i32;
  kernelRows: u32;
  kernelColumns: u32;
  /** Parts of the rows of g; sumParts adds them. */
  chunks: u32;
}

export function depthwiseWeightGrad(args: usize, thread: u32, threads: u32, scratch: usize): void {
  const p = changetype<WeightGrad>(args), across = (p.channels + 15) >> 4, lines = p.images * p.rows;
  for (let t = takeTile(); t < across * p.chunks; t = takeTile()) {
    const chunk = t / across, channel = (t % across) << 4, width = min<u32>(16, p.channels - channel);
    weightTile(p, chunk, lines * chunk / p.chunks, lines * (chunk + 1) / p.chunks, channel, width, scratch);
  }
}

// Scratch of the weight's gradient, behind its sums.
const BOUNDS: usize = 1 << 20;

/** Taps of a row that are summed together: a pixel of g is loaded once for them. */
const TOGETHER: u32 = 3;

/** Up to 16 channels of the gradient over lines [begin, end) of g. */
function weightTile(p: WeightGrad, chunk: u32, begin: u32, end: u32, channel: u32, width: u32, scratch: usize): void {
  const sums = scratch + PACKED_A, taps = p.kernelRows * p.kernelColumns, pixel = p.channels << 2;
  const alone = width == 16 ? p.kernelColumns % TOGETHER : p.kernelColumns;
  const bounds = scratch + BOUNDS;
  memory.fill(sums, 0, <usize>taps << 6);
  placeBounds(p, bounds);
  for (let line = begin; line < end; line++) {
    const image = line / p.rows, g = <usize>(p.g + line * p.columns * pixel + (channel << 2));
    for (let row: u32 = 0; row < p.kernelRows; row++) {
      const y = <i32>(line % p.rows) * p.stride - p.padding + <i32>row * p.dilation;
      if (<u32>y >= p.height) continue;
      const x = <usize>(p.x + (image * p.height + y) * p.width * pixel + (channel << 2)), to = sums + (<usize>(row * p.kernelColumns) << 6);
      for (let tap: u32 = 0; tap < alone; tap++) addTap(p, tap, x, g, 0, p.columns, width, bounds, to);
      for (let tap = alone; tap < p.kernelColumns; tap += TOGETHER) addTaps(p, tap, x, g, bounds, to);
    }
  }
  for (let c: u32 = 0; c < width; c++) {
    const to = <usize>p.out + (<usize>((chunk * p.channels + channel + c) * taps) << 2);
    for (let tap: usize = 0; tap < <usize>taps; tap++) store<f32>(to + (tap << 2), load<f32>(sums + (tap << 6) + (<usize>c << 2)));
  }
}

/** For each tap of a row: the first pixel of a line of g whose source pixel is not left of the image, the end of those not right of it. */
function placeBounds(p: WeightGrad, to: usize): void {
  let shift = p.padding;
  for (let tap: u32 = 0; tap < p.kernelColumns; tap++, to += 8, shift -= p.dilation) {
    const room = <i32>p.width + shift;
    store<i32>(to, shift > 0 ? (shift + p.stride - 1) / p.stride : 0);
    store<i32>(to, room > 0 ? min<i32>(p.columns, (room + p.stride - 1) / p.stride) : 0, 4);
  }
}

/** Where pixel `column` of a line of g lies under a tap, in the line `x` of the source. */
// @ts-ignore: decorator
@inline
function under(p: WeightGrad, tap: u32, x: usize, column: i32): usize {
  return x + (column * p.stride + <i32>tap * p.dilation - p.padding) * (p.channels << 2);
}

/** Adds pixels [begin, end) of a line of g to the sums of one tap, as far as there are source pixels. */
function addTap(p: WeightGrad, tap: u32, x: usize, g: usize, begin: i32, end: i32, width: u32, bounds: usize, sums: usize): void {
  const own = bounds + (<usize>tap << 3), first = max(begin, load<i32>(own)), last = min(end, load<i32>(own, 4)), pixel = p.channels << 2;
  if (first >= last) return;
  addLine(under(p, tap, x, first), p.stride * pixel, g + first * pixel, pixel, last - first, width, sums + (<usize>tap << 6));
}

/** A line of g for three taps: where all have source pixels together, at its ends each by itself. */
function addTaps(p: WeightGrad, tap: u32, x: usize, g: usize, bounds: usize, sums: usize): void {
  const own = bounds + (<usize>tap << 3), first = load<i32>(own), last = max(first, load<i32>(own, 20)), pixel = p.channels << 2;
  for (let i = tap; i < tap + TOGETHER; i++) {
    addTap(p, i, x, g, 0, first, 16, bounds, sums);
    addTap(p, i, x, g, last, p.columns, 16, bounds, sums);
  }
  if (first == last) return;
  const from = under(p, tap, x, first), start = g + first * pixel, to = sums + (<usize>tap << 6);
  addThree(from, p.stride * pixel, p.dilation * pixel, start, pixel, last - first, to);
  addThree(from + 32, p.stride * pixel, p.dilation * pixel, start + 32, pixel, last - first, to + 32);
}

/** Eight channels of three taps: sums[tap] += sum over `count` pixels of x g, taps `tapStep` apart in x and 64 bytes in sums. */
function addThree(x: usize, xStep: usize, tapStep: usize, g: usize, gStep: usize, count: u32, sums: usize): void {
  let a0 = v128.load(sums), a1 = v128.load(sums, 16), b0 = v128.load(sums, 64), b1 = v128.load(sums, 80);
  let c0 = v128.load(sums, 128), c1 = v128.load(sums, 144);
  let second = x + tapStep, third = second + tapStep;
  for (; count; count--, x += xStep, second += xStep, third += xStep, g += gStep) {
    const g0 = v128.load(g), g1 = v128.load(g, 16);
    a0 = madd(v128.load(x), g0, a0);
    a1 = madd(v128.load(x, 16), g1, a1);
    b0 = madd(v128.load(second), g0, b0);
    b1 = madd(v128.load(second, 16), g1, b1);
    c0 = madd(v128.load(third), g0, c0);
    c1 = madd(v128.load(third, 16), g1, c1);
  }
  v128.store(sums, a0);
  v128.store(sums, a1, 16);
  v128.store(sums, b0, 64);
  v128.store(sums, b1, 80);
  v128.store(sums, c0, 128);
  v128.store(sums, c1, 144);
}

/** sums[width] += sum over `count` pixels of x g */
function addLine(x: usize, xStep: usize, g: usize, gStep: usize, count: u32, width: u32, sums: usize): void {
  if (width < 16) {
    for (; count; count--, x += xStep, g += gStep) {
      for (let c: usize = 0; c < <usize>width << 2; c += 4) store<f32>(sums + c, load<f32>(sums + c) + load<f32>(x + c) * load<f32>(g + c));
    }
    return;
  }
  let s0 = v128.load(sums), s1 = v128.load(sums, 16), s2 = v128.load(sums, 32), s3 = v128.load(sums, 48);
  for (; count; count--, x += xStep, g += gStep) {
    s0 = madd(v128.load(x), v128.load(g), s0);
    s1 = madd(v128.load(x, 16), v128.load(g, 16), s1);
    s2 = madd(v128.load(x, 32), v128.load(g, 32), s2);
    s3 = madd(v128.load(x, 48), v128.load(g, 48), s3);
  }
  v128.store(sums, s0);
  v128.store(sums, s1, 16);
  v128.store(sums, s2, 32);
  v128.store(sums, s3, 48);
}
