// Convolution with a filter a channel, y[pixel, c] = sum over taps of x[pixel stride + tap, c] weight[c, tap], and its gradients.
// No product to speak of: 16 channels at a time are summed over the taps in registers. Arguments are those of conv.ts with one
// channel in each group; weightColumn is the size of a filter.
import { Conv, isInside, PHASE, Phase, placePixels, TAP, Tap, under } from "./conv";
import { elementwiseTile } from "./elementwise";
import { BLOCK_ROWS, outAt, PACKED_A, PACKED_B } from "./gemm";
import { madd } from "./simd";
import { takeTile } from "./turns";

// Scratch: pairs of addresses for a pixel's taps; weights as [tap, c].
const PAIRS: usize = PACKED_A;
const WEIGHTS: usize = 1 << 20; // to the end: 262,144 of them, see encode-conv.ts

export function depthwise(args: usize, thread: u32, threads: u32, scratch: usize): void {
  const p = changetype<Conv>(args), taps = p.weightColumn >> 2;
  for (let tap: u32 = 0, to = scratch + WEIGHTS; tap < taps; tap++) {
    for (let c: u32 = 0; c < p.groups; c++, to += 4) store<f32>(to, load<f32>(<usize>p.weight + (<usize>(c * taps + tap) << 2)));
  }
  let before: u32 = 0, t = takeTile(); // blocks of earlier phases; the block at hand, counted through all phases
  for (let i: u32 = 0; i < p.phases; i++) {
    const phase = changetype<Phase>(<usize>p.firstPhase + <usize>i * PHASE), pixels = p.images * phase.rows * phase.columns;
    const blocks = (pixels + BLOCK_ROWS - 1) / BLOCK_ROWS;
    for (; t < before + blocks; t = takeTile()) {
      const first = (t - before) * BLOCK_ROWS;
      pixelBlock(p, phase, first, min(BLOCK_ROWS, pixels - first), scratch);
    }
    before += blocks;
  }
}

/** Pixels [first, first + count) of a phase, all channels. */
function pixelBlock(p: Conv, phase: Phase, first: u32, count: u32, scratch: usize): void {
  placePixels(p, phase, first, count, 0, 0, scratch);
  for (let i: u32 = 0; i < count; i++) {
    let pairs = scratch + PAIRS;
    for (let t: u32 = 0; t < phase.taps; t++) {
      const tap = changetype<Tap>(<usize>phase.firstTap + <usize>t * TAP);
      if (!isInside(p, tap, i, scratch)) continue;
      store<u32>(pairs, <u32>under(p, tap, i, scratch));
      store<u32>(pairs, <u32>(scratch + WEIGHTS + <usize>tap.weight * p.groups), 4);
      pairs += 8;
    }
    sumTaps(scratch + PAIRS, pairs, p.groups, outAt(scratch, i));
  }
  if (p.epilogue) elementwiseTile(p.epilogue, first, first + count, 0, p.groups, scratch + PACKED_B);
}

/** y[n] = sum over pairs of x[n] w[n] */
function sumTaps(pairs: usize, end: usize, n: u32, y: usize): void {
  const bytes = <usize>n << 2;
  let c: usize = 0;
  for (; c + 64 <= bytes; c += 64) {
    let s0 = f32x4.splat(0), s1 = s0, s2 = s0, s3 = s0;
    for (let at = pairs; at < end; at += 8) {
      const x = <usize>load<u32>(at) + c, w = <usize>load<u32>(at, 4) + c;
      s0 = madd(v128.load(x), v128.load(w), s0);
      s1 = madd(v128.load(x, 16), v128.load(w, 16), s1);
      s2 = madd(v128.load(x, 32), v128.load(w, 32), s2);
      s3 = madd(v128.load(x, 48), v128.load(w, 48), s3);
    }
    v128.store(y + c, s0);
    v128.store(y + c, s1, 16);
    v128.store(y + c, s2, 32);
    v128.store(y + c, s3, 48);
  }
  for (; c < bytes; c += 4) {
    let sum: f32 = 0;
    for (let at = pairs; at < end; at += 8) sum += load<f32>(<usize>load<u32>(at) + c) * load<f32>(<usize>load<u32>(at, 4) + c);
    store<f32>(y + c, sum);
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

/** Up to 16 channels of the gradient over lines [begin, end) of g. */
function weightTile(p: WeightGrad, chunk: u32, begin: u32, end: u32, channel: u32, width: u32, scratch: usize): void {
  const sums = scratch + PACKED_A, taps = p.kernelRows * p.kernelColumns, pixel = p.channels << 2;
  memory.fill(sums, 0, <usize>taps << 6);
  for (let line = begin; line < end; line++) {
    const image = line / p.rows, g = <usize>(p.g + line * p.columns * pixel + (channel << 2));
    for (let tap: u32 = 0; tap < taps; tap++) {
      const y = <i32>(line % p.rows) * p.stride - p.padding + <i32>(tap / p.kernelColumns) * p.dilation;
      if (<u32>y >= p.height) continue;
      const shift = <i32>(tap % p.kernelColumns) * p.dilation - p.padding; // x = column stride + shift
      const first = shift < 0 ? (-shift + p.stride - 1) / p.stride : 0, room = <i32>p.width - shift;
      const last = room > 0 ? min<i32>(p.columns, (room + p.stride - 1) / p.stride) : 0;
      if (first >= last) continue;
      const x = <usize>(p.x + ((image * p.height + y) * p.width + first * p.stride + shift) * pixel + (channel << 2));
      addLine(x, p.stride * pixel, g + <usize>first * pixel, pixel, last - first, width, sums + (<usize>tap << 6));
    }
  }
  for (let c: u32 = 0; c < width; c++) {
    const to = <usize>p.out + (<usize>((chunk * p.channels + channel + c) * taps) << 2);
    for (let tap: usize = 0; tap < <usize>taps; tap++) store<f32>(to + (tap << 2), load<f32>(sums + (tap << 6) + (<usize>c << 2)));
  }
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
