// Convolution over images in NHWC with a weight [o, kh, kw, c / groups], and its two gradients. Undivided channels make each of them a
// matrix product whose operands are gathered from the images as they are read (implicit GEMM); groups, depthwise ones among
// them, have kernels of their own, where a thread makes one element.
import type { Elementwise } from "../src/tape/program.ts";
import { ending } from "./ending.ts";
import type { Kernel } from "./kernel.ts";
import type { Operands } from "./product.ts";

/** Images [n, h, w, c], their convolution [n, oh, ow, o], taps kh x kw. */
const params = ["h", "w", "c", "oh", "ow", "o", "kh", "kw", "stride", "padding", "dilation"].map((name) => `${name}: u32`);

/** One number, or four neighbours along the channels. */
type Wide = "" | "4";
const typeOf = (wide: Wide) => (wide ? "vec4f" : "f32");

/** The image's element under tap (v, u) of output `at` = (n oh + row) ow + column, or 0 outside. */
const tapOf = (x: string, wide: Wide = "") => `
fn tap${wide}(at: u32, v: u32, u: u32, c: u32) -> ${typeOf(wide)} {
  let column = at % p.ow; let row = at / p.ow % p.oh; let n = at / p.ow / p.oh;
  let y_at = row * p.stride + v * p.dilation; let x_at = column * p.stride + u * p.dilation;
  if (y_at < p.padding || y_at - p.padding >= p.h || x_at < p.padding || x_at - p.padding >= p.w) { return ${typeOf(wide)}(); }
  return ${x}${wide}(((n * p.h + y_at - p.padding) * p.w + x_at - p.padding) * p.c + c);
}`;

/** The output's element that saw the image's place `at` = (n h + row) w + column under tap (v, u), or 0 where none did. */
const sawOf = (g: string, wide: Wide = "") => `
fn saw${wide}(at: u32, v: u32, u: u32, o: u32) -> ${typeOf(wide)} {
  let column = at % p.w + p.padding; let row = at / p.w % p.h + p.padding; let n = at / p.w / p.h;
  if (row < v * p.dilation || column < u * p.dilation) { return ${typeOf(wide)}(); }
  let y_at = row - v * p.dilation; let x_at = column - u * p.dilation;
  if (y_at % p.stride != 0u || x_at % p.stride != 0u || y_at / p.stride >= p.oh || x_at / p.stride >= p.ow) { return ${typeOf(wide)}(); }
  return ${g}${wide}(((n * p.oh + y_at / p.stride) * p.ow + x_at / p.stride) * p.o + o);
}`;

const widths = (fours: boolean): Wide[] => (fours ? ["", "4"] : [""]);
const left = (wide: Wide, value: string) => `\nfn left${wide}(batch: u32, row: u32, k: u32) -> ${typeOf(wide)} { return ${value}; }`;
const right = (wide: Wide, value: string) => `\nfn right${wide}(batch: u32, k: u32, column: u32) -> ${typeOf(wide)} { return ${value}; }`;

/** Which numbers of channels are multiples of 4, so that they may be read in fours. */
export interface Fours {
  readonly c: boolean;
  readonly o: boolean;
}

/** Names of those that are true. */
const chosen = (names: Readonly<Record<string, boolean>>) => Object.keys(names).filter((name) => names[name]);

/** [n oh ow, kh kw c] x [kh kw c, o] */
export const forward = ({ c }: Fours): Operands => ({
  name: "conv2d",
  reads: ["x", "w"],
  fours: chosen({ x: c, w: c }),
  params,
  code: widths(c)
    .map(
      (wide) =>
        tapOf("x", wide) +
        left(wide, `tap${wide}(row, k / p.c / p.kw, k / p.c % p.kw, k % p.c)`) +
        right(wide, `w${wide}(column * p.kh * p.kw * p.c + k)`),
    )
    .join("\n"),
  leftAlong: "k",
  rightAlong: "k",
  leftFours: c,
  rightFours: c,
});

/** [n h w, kh kw o] x [kh kw o, c] */
export const inputGrad = ({ c, o }: Fours): Operands => ({
  name: "conv2d input gradient",
  reads: ["g", "w"],
  fours: chosen({ g: o, w: c }),
  params,
  code: [
    ...widths(o).map((wide) => sawOf("g", wide) + left(wide, `saw${wide}(row, k / p.o / p.kw, k / p.o % p.kw, k % p.o)`)),
    ...widths(c).map((wide) => right(wide, `w${wide}((k % p.o * p.kh * p.kw + k / p.o) * p.c + column)`)),
  ].join("\n"),
  leftAlong: "k",
  rightAlong: "column",
  leftFours: o,
  rightFours: c,
});

/** [o, n oh ow] x [n oh ow, kh kw c] */
export const weightGrad = ({ c, o }: Fours): Operands => ({
  name: "conv2d weight gradient",
  reads: ["x", "g"],
  fours: chosen({ x: c, g: o }),
  params,
  code: [
    ...widths(o).map((wide) => left(wide, `g${wide}(k * p.o + row)`)),
    ...widths(c).map((wide) => tapOf("x", wide) + right(wide, `tap${wide}(k, column / p.c / p.kw, column / p.c % p.kw, column % p.c)`)),
  ].join("\n"),
  leftAlong: "row",
  rightAlong: "column",
  leftFours: o,
  rightFours: c,
});

const grouped = [...params, "inputs: u32", "outputs: u32"]; // channels of a group

/** y [n oh ow, o] of a convolution in groups. */
export function groupedForward(epilogue: Elementwise | undefined): Kernel {
  const end = ending(epilogue);
  return {
    name: "conv2d in groups",
    reads: ["x", "w", ...end.reads],
    writes: end.writes,
    params: [...grouped, "n: u32", "size: u32", ...end.params],
    lanes: 64,
    code: `${tapOf("x")}
${end.code}
fn run(group: u32, lane: u32) {
  let i = group * LANES + lane;
  if (i >= p.size) { return; }
  let o = i % p.o;
  let first = o / p.outputs * p.inputs;
  var sum = 0.0;
  for (var k = 0u; k < p.kh * p.kw * p.inputs; k++) {
    sum += tap(i / p.o, k / p.inputs / p.kw, k / p.inputs % p.kw, first + k % p.inputs) * w(o * p.kh * p.kw * p.inputs + k);
  }
  finish(i / p.o, o, sum);
}`,
  };
}

/** dx [n h w, c] of a convolution in groups. */
export function groupedInputGrad(epilogue: Elementwise | undefined): Kernel {
  const end = ending(epilogue);
  return {
    name: "conv2d input gradient in groups",
    reads: ["g", "w", ...end.reads],
    writes: end.writes,
    params: [...grouped, "n: u32", "size: u32", ...end.params],
    lanes: 64,
    code: `${sawOf("g")}
${end.code}
fn run(group: u32, lane: u32) {
  let i = group * LANES + lane;
  if (i >= p.size) { return; }
  let c = i % p.c;
  let first = c / p.inputs * p.outputs;
  var sum = 0.0;
  for (var at = 0u; at < p.kh * p.kw; at++) {
    for (var o = first; o < first + p.outputs; o++) {
      sum += saw(i / p.c, at / p.kw, at % p.kw, o) * w((o * p.kh * p.kw + at) * p.inputs + c % p.inputs);
    }
  }
  finish(i / p.c, c, sum);
}`,
  };
}

/** Sums over parts of the outputs' places, [parts, size], of dw [o, kh, kw, inputs]. */
export const groupedWeightGrad: Kernel = {
  name: "conv2d weight gradient in groups",
  reads: ["x", "g"],
  writes: ["y"],
  params: [...grouped, "size: u32", "places: u32", "part: u32", "parts: u32"],
  lanes: 64,
  code: `${tapOf("x")}
fn run(group: u32, lane: u32) {
  let i = group * LANES + lane;
  if (i >= p.size * p.parts) { return; }
  let at = i % p.size;
  let c = at % p.inputs; let u = at / p.inputs % p.kw; let v = at / p.inputs / p.kw % p.kh; let o = at / p.inputs / p.kw / p.kh;
  let begin = i / p.size * p.part;
  var sum = 0.0;
  for (var place = begin; place < min(begin + p.part, p.places); place++) {
    sum += tap(place, v, u, o / p.outputs * p.inputs + c) * g(place * p.o + o);
  }
  set_y(i, sum);
}`,
};
