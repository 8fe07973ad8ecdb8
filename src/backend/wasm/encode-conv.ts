// Convolutions and their gradients. 1 x 1 ones are matrix products; channels of their own (depthwise) have kernels of their own;
// 3 x 3 ones with stride 1 go through Winograd's transform; the rest are implicit products over taps.
import { CONV, CONV_WEIGHT_GRAD, DEPTHWISE, DEPTHWISE_WEIGHT_GRAD, SUM_PARTS } from "../../../assembly/opcodes.ts";
import type { Step } from "../../tape/program.ts";
import type { Shape } from "../../tape/shape.ts";
import type { Emitter } from "./emitter.ts";
import { emitProduct, epilogue, tiling } from "./encode-matmul.ts";
import { emitWinograd, emitWinogradGrad, servesWinograd } from "./encode-winograd.ts";

/** Sizes of a convolution: image [n, h, w, c], weight [o, kh, kw, c / groups], result [n, oh, ow, o]. */
interface Sizes {
  readonly n: number;
  readonly h: number;
  readonly w: number;
  readonly c: number;
  readonly o: number;
  readonly kh: number;
  readonly kw: number;
  readonly oh: number;
  readonly ow: number;
  readonly stride: number;
  readonly padding: number;
  readonly dilation: number;
  readonly groups: number;
}

function sizes([n, h, w, c]: Shape, [o, kh, kw]: Shape, [, oh, ow]: Shape, attrs: Step["attrs"]): Sizes {
  const { stride, padding, dilation, groups } = attrs as Record<string, number>;
  return { n, h, w, c, o, kh, kw, oh, ow, stride, padding, dilation, groups };
}

const isPointwise = ({ kh, kw, stride, padding, groups }: Sizes) => kh * kw === 1 && stride === 1 && padding === 0 && groups === 1;

/** A filter a channel; their weights, and the table of taps, must fit into a thread's scratch. */
const isDepthwise = ({ c, o, kh, kw, groups }: Sizes) => groups === c && c === o && c * kh * kw <= 2 ** 18 && kh * kw <= 2 ** 12;

const is3x3 = (s: Sizes) => s.kh === 3 && s.kw === 3 && s.stride === 1 && s.dilation === 1 && s.groups === 1;

/** A source pixel relative to the grid's, and its weights in bytes behind the first. */
interface Tap {
  readonly y: number;
  readonly x: number;
  readonly weight: number;
}

/** Output pixels (row stride + top, column stride + left) for a grid of rows x columns. */
interface Phase {
  readonly rows: number;
  readonly columns: number;
  readonly top: number;
  readonly left: number;
  readonly taps: readonly Tap[];
}

/** Every place of the kernel: [ky, kx, bytes behind the first weight of a filter]. */
function* places({ kh, kw, c, groups }: Sizes): Generator<[ky: number, kx: number, weight: number]> {
  for (let ky = 0; ky < kh; ky++) for (let kx = 0; kx < kw; kx++) yield [ky, kx, ((ky * kw + kx) * 4 * c) / groups];
}

function forwardTaps(s: Sizes): Tap[] {
  return [...places(s)].map(([ky, kx, weight]) => ({ y: ky * s.dilation - s.padding, x: kx * s.dilation - s.padding, weight }));
}

/** Input pixels by their remainder after division by the stride: each phase with the places that reach it, in the order of the source. */
function inputPhases(s: Sizes): Phase[] {
  const phases: Phase[] = [];
  for (let top = 0; top < Math.min(s.stride, s.h); top++) {
    for (let left = 0; left < Math.min(s.stride, s.w); left++) {
      const taps = [...places(s)]
        .map(([ky, kx, weight]) => ({
          y: (top + s.padding - ky * s.dilation) / s.stride,
          x: (left + s.padding - kx * s.dilation) / s.stride,
          weight,
        }))
        .filter(({ x, y }) => Number.isInteger(x) && Number.isInteger(y))
        .reverse();
      phases.push({ rows: Math.ceil((s.h - top) / s.stride), columns: Math.ceil((s.w - left) / s.stride), top, left, taps });
    }
  }
  return phases;
}

/** Writes phases and their taps into the stream and gives the first phase's address. */
function phaseTable(phases: readonly Phase[], out: Emitter): number {
  const words = phases.flatMap(({ rows, columns, top, left, taps }) => {
    const table = out.data(taps.flatMap(({ y, x, weight }) => [y, x, weight]));
    return [rows, columns, top, left, taps.length, table];
  });
  return out.data(words);
}

/** What the general kernel sums: runs of `length` source channels under each tap. Steps of the weight in bytes. */
interface Taps {
  readonly groups: number;
  readonly depthwise: boolean;
  readonly phases: readonly Phase[];
  readonly length: number;
  readonly columns: number;
  readonly weightK: number;
  readonly weightColumn: number;
  readonly weightGroup: number;
  /** Source pixels between neighbours of the grid; output pixels between them. */
  readonly stride: number;
  readonly outStride: number;
}

function emitTaps(taps: Taps, step: Step, out: Emitter): void {
  const { phases, length, columns, groups } = taps;
  const [source, weight] = step.inputs;
  const [n, h, w, channels] = source.shape;
  const [, oh, ow, outChannels] = step.outputs[0].shape;
  const depth = Math.max(...phases.map((phase) => phase.taps.length)) * length;
  const cut = tiling(n * phases[0].rows * phases[0].columns, columns, depth, groups * phases.length);
  const { program, reads, writes } = epilogue(step, out);
  const table = phaseTable(phases, out);
  out.emit(
    taps.depthwise ? DEPTHWISE : CONV,
    { reads: [out.range(source), out.range(weight), ...reads], writes: [out.range(step.outputs[0]), ...writes] },
    [
      ...[out.address(source), out.address(weight), out.address(step.outputs[0])],
      ...[n, h, w, 4 * channels, taps.stride, oh, ow, 4 * outChannels, taps.outStride],
      ...[length, columns, taps.weightK, taps.weightColumn, groups, taps.weightGroup],
      ...[cut.rows, cut.columns, program, phases.length, table],
    ],
  );
}

function encodeConv(step: Step, out: Emitter): void {
  const [x, weight] = step.inputs;
  const s = sizes(x.shape, weight.shape, step.outputs[0].shape, step.attrs);
  if (isPointwise(s)) {
    const a = { address: out.address(x), row: 4 * s.c, column: 4, batch: [] };
    const b = { address: out.address(weight), row: 4, column: 4 * s.c, batch: [] };
    emitProduct({ m: s.n * s.h * s.w, n: s.o, k: s.c, a, b, c: out.address(step.outputs[0]), batch: [] }, step, out);
    return;
  }
  if (is3x3(s) && servesWinograd(s.c, s.o, step.outputs[0].shape, s.padding, step.attrs, out)) {
    const steps = { step: 4, columnStep: 36 * s.c, tapStep: 4 * s.c, firstTap: 0 };
    emitWinograd({ source: x, weight, padding: s.padding, ...steps }, step, out);
    return;
  }
  // Without padding the places of one kernel row are one run of the image.
  const whole = s.padding === 0 && s.dilation === 1 && s.groups === 1 && !isDepthwise(s);
  const taps = forwardTaps(s).filter((_, i) => !whole || i % s.kw === 0);
  const filter = (4 * s.kh * s.kw * s.c) / s.groups;
  emitTaps(
    {
      groups: s.groups,
      depthwise: isDepthwise(s),
      phases: [{ rows: s.oh, columns: s.ow, top: 0, left: 0, taps }],
      length: whole ? s.kw * s.c : s.c / s.groups,
      columns: s.o / s.groups,
      weightK: 4,
      weightColumn: filter,
      weightGroup: (filter * s.o) / s.groups,
      stride: s.stride,
      outStride: 1,
    },
    step,
    out,
  );
}

function encodeInputGrad(step: Step, out: Emitter): void {
  const [g, weight] = step.inputs;
  const s = sizes(step.outputs[0].shape, weight.shape, g.shape, step.attrs);
  if (isPointwise(s)) {
    const a = { address: out.address(g), row: 4 * s.o, column: 4, batch: [] };
    const b = { address: out.address(weight), row: 4 * s.c, column: 4, batch: [] };
    emitProduct({ m: s.n * s.h * s.w, n: s.c, k: s.o, a, b, c: out.address(step.outputs[0]), batch: [] }, step, out);
    return;
  }
  if (is3x3(s) && servesWinograd(s.o, s.c, step.outputs[0].shape, 2 - s.padding, step.attrs, out)) {
    const steps = { step: 36 * s.c, columnStep: 4, tapStep: -4 * s.c, firstTap: 32 * s.c };
    emitWinograd({ source: g, weight, padding: 2 - s.padding, ...steps }, step, out);
    return;
  }
  const filter = (4 * s.kh * s.kw * s.c) / s.groups;
  emitTaps(
    {
      groups: s.groups,
      depthwise: isDepthwise(s),
      phases: inputPhases(s),
      length: s.o / s.groups,
      columns: s.c / s.groups,
      weightK: filter,
      weightColumn: isDepthwise(s) ? filter : 4,
      weightGroup: (filter * s.o) / s.groups,
      stride: 1,
      outStride: s.stride,
    },
    step,
    out,
  );
}

function encodeWeightGrad(step: Step, out: Emitter): void {
  const [x, g] = step.inputs;
  const s = sizes(x.shape, step.outputs[0].shape, g.shape, step.attrs);
  const result = out.address(step.outputs[0]);
  if (isPointwise(s)) {
    const a = { address: out.address(g), row: 4, column: 4 * s.o, batch: [] };
    const b = { address: out.address(x), row: 4 * s.c, column: 4, batch: [] };
    emitProduct({ m: s.o, n: s.c, k: s.n * s.h * s.w, a, b, c: result, batch: [] }, step, out);
    return;
  }
  if (is3x3(s) && servesWinograd(s.c, s.o, g.shape, s.padding, step.attrs, out)) {
    emitWinogradGrad(x, g, s.padding, step, out);
    return;
  }
  const length = s.c / s.groups;
  const columns = s.kh * s.kw * length;
  const depthwise = isDepthwise(s);
  const filters = depthwise ? s.o : s.o / s.groups;
  const { rows, columns: across, chunks } = weightTiling(filters, columns, s.n * s.oh * s.ow, s.o / filters);
  const bytes = 4 * chunks * s.o * columns;
  const to = chunks > 1 ? out.temporary(bytes) : result;
  const parts = { start: to, end: to + bytes };
  const touched = { reads: [out.range(x), out.range(g)], writes: [parts] };
  const places = [out.address(x), out.address(g), to, s.n, s.h, s.w];
  if (depthwise) {
    out.emit(DEPTHWISE_WEIGHT_GRAD, touched, [...places, s.c, s.oh, s.ow, s.stride, s.padding, s.dilation, s.kh, s.kw, chunks]);
  } else {
    const table = out.data(forwardTaps(s).flatMap(({ y, x }) => [y, x]));
    const sizes = [4 * s.c, s.oh, s.ow, s.stride, s.o, length, s.groups, s.kh * s.kw];
    out.emit(CONV_WEIGHT_GRAD, touched, [...places, ...sizes, table, rows, across, chunks]);
  }
  if (chunks > 1) {
    out.emit(SUM_PARTS, { reads: [parts], writes: [out.range(step.outputs[0])] }, [to, result, chunks, s.o, columns, 0]);
  }
}

/** Filters x [taps, channels] of the weight, pixels in chunks. Gathering the image costs most, so tiles hold many filters. */
function weightTiling(filters: number, columns: number, pixels: number, groups: number) {
  const down = Math.ceil(filters / 512);
  const across = Math.ceil(columns / 256);
  const tiles = groups * down * across;
  const chunks = Math.max(1, Math.floor(Math.min(32 / tiles, pixels / 256)));
  return { rows: 2 * Math.ceil(filters / down / 2), columns: 16 * Math.ceil(columns / across / 16), chunks };
}

export const convEncoders = { conv2d: encodeConv, conv2dInputGrad: encodeInputGrad, conv2dWeightGrad: encodeWeightGrad };
