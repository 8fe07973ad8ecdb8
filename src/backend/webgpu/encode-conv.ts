// Convolution and its gradients: gpu/conv.ts. A 1 x 1 convolution that skips nothing is a product as it stands.
import * as kernels from "../../../gpu/conv.ts";
import type { Lie } from "../../../gpu/matmul.ts";
import type { Step, View } from "../../tape/program.ts";
import { type Shape, size } from "../../tape/shape.ts";
import type { Emitter, Encode } from "./emitter.ts";
import { endingOf } from "./encode-elementwise.ts";
import { type Block, emitProduct, matrices } from "./encode-matmul.ts";
import { emitReduce } from "./encode-reduce.ts";
import { each, type Range, type Reach, through } from "./windows.ts";

interface Geometry {
  readonly groups: number;
  /** Places of the images, and of the result. */
  readonly from: number;
  readonly to: number;
  /** Elements of a weight's row: kh kw c / groups. */
  readonly taps: number;
  readonly params: Record<string, number>;
  /** 1 x 1, without stride or padding. */
  readonly plain: boolean;
  readonly fours: kernels.Fours;
}

/** Images [n, h, w, c], weight [o, kh, kw, c / groups], result [n, oh, ow, o]. */
function geometry([n, h, w, c]: Shape, [o, kh, kw, inputs]: Shape, [, oh, ow]: Shape, { attrs, inputs: views }: Step): Geometry {
  const aligned = views.every(({ offset }) => offset % 4 === 0);
  const { stride, padding, dilation, groups } = attrs as Record<string, number>;
  const params = { h, w, c, oh, ow, o, kh, kw, stride, padding, dilation, inputs, outputs: o / groups };
  const plain = kh === 1 && kw === 1 && stride === 1 && padding === 0;
  return {
    groups,
    from: n * h * w,
    to: n * oh * ow,
    taps: kh * kw * inputs,
    params,
    plain,
    fours: { c: aligned && c % 4 === 0, o: aligned && o % 4 === 0 },
  };
}

const lie = <Along>(along: Along, fours: boolean): Lie<Along> => ({ along, fours });

/** Steps of the operands of a product that is not batched. */
const steps = (a_row: number, a_k: number, b_k: number, b_column: number) => ({
  ...{ a_row, a_k, b_k, b_column },
  ...{ batch_inner: 1, a_outer: 0, a_inner: 0, b_outer: 0, b_inner: 0 },
});

/** The images, of so many floats each, that places of their results or sources belong to. */
const wholeImages = ([begin, end]: Range, places: number, floats: number): Range => [
  Math.floor(begin / places) * floats,
  Math.ceil(end / places) * floats,
];

/** Elements of groups of 64. */
const elementsOf =
  (total: number): Reach =>
  (begin, end) => [64 * begin, Math.min(64 * end, total)];

const conv2d: Encode = (step, out) => {
  const [x, w] = step.inputs;
  const { groups, to, taps, params, plain, fours } = geometry(x.shape, w.shape, step.outputs[0].shape, step);
  const sizes = { batch: 1, m: to, n: params.o, k: taps };
  const perImage = size(x.shape.slice(1));
  const reach = ({ rows, columns }: Block): Range[] => [
    wholeImages(rows, to / x.shape[0], perImage),
    [columns[0] * taps, columns[1] * taps],
  ];
  if (groups > 1) {
    const end = endingOf(step);
    const total = to * params.o;
    const own = { ...params, n: params.o, size: total, ...end.params };
    const reaches = [through(64, total / x.shape[0], perImage), undefined, ...end.reaches(elementsOf(total))];
    out.dispatch(kernels.groupedForward(step.epilogue), [x, w, ...end.views], own, Math.ceil(total / 64), reaches);
  } else if (plain) emitProduct(out, step, matrices(lie("k", fours.c), lie("k", fours.c), [x, w], steps(taps, 1, 1, taps)), sizes);
  else emitProduct(out, step, { operands: kernels.forward(fours), views: [x, w], params, reach }, sizes);
};

const conv2dInputGrad: Encode = (step, out) => {
  const [g, w] = step.inputs;
  const [dx] = step.outputs;
  const { groups, from, params, plain, fours } = geometry(dx.shape, w.shape, g.shape, step);
  const { o, c, kh, kw } = params;
  const sizes = { batch: 1, m: from, n: c, k: kh * kw * o };
  const perImage = size(g.shape.slice(1));
  const reach = ({ rows }: Block): Range[] => [wholeImages(rows, from / g.shape[0], perImage), [0, size(w.shape)]];
  if (groups > 1) {
    const end = endingOf(step);
    const total = from * c;
    const own = { ...params, n: c, size: total, ...end.params };
    const reaches = [through(64, total / g.shape[0], perImage), undefined, ...end.reaches(elementsOf(total))];
    out.dispatch(kernels.groupedInputGrad(step.epilogue), [g, w, ...end.views], own, Math.ceil(total / 64), reaches);
  } else if (plain) emitProduct(out, step, matrices(lie("k", fours.o), lie("column", fours.c), [g, w], steps(o, 1, c, 1)), sizes);
  else emitProduct(out, step, { operands: kernels.inputGrad(fours), views: [g, w], params, reach }, sizes);
};

const conv2dWeightGrad: Encode = (step, out) => {
  const [x, g] = step.inputs;
  const [dw] = step.outputs;
  const { groups, to, taps, params, plain, fours } = geometry(x.shape, dw.shape, g.shape, step);
  const sizes = { batch: 1, m: params.o, n: taps, k: to };
  const perImage = size(x.shape.slice(1));
  const reach = ({ ks }: Block): Range[] => [wholeImages(ks, to / x.shape[0], perImage), [ks[0] * params.o, ks[1] * params.o]];
  if (groups > 1) groupedWeightGrad(out, x, g, dw, { places: to, params });
  else if (plain)
    emitProduct(out, step, matrices(lie("row", fours.o), lie("column", fours.c), [g, x], steps(1, params.o, params.c, 1)), sizes);
  else emitProduct(out, step, { operands: kernels.weightGrad(fours), views: [x, g], params, reach }, sizes);
};

/** Threads that keep a GPU busy, and the fewest places that are worth a part of their own. */
const BUSY = 2 ** 14;
const LEAST_PLACES = 64;

function groupedWeightGrad(
  out: Emitter,
  x: View,
  g: View,
  dw: View,
  { places, params }: { places: number; params: Record<string, number> },
) {
  const total = size(dw.shape);
  const part = Math.max(LEAST_PLACES, Math.ceil((places * total) / BUSY));
  const parts = Math.ceil(places / part);
  const target = parts === 1 ? dw : out.temporary([parts, total]);
  const own = { ...params, size: total, places, part, parts };
  const placesOf: Reach = (begin, end) => [Math.floor((64 * begin) / total) * part, Math.min(Math.ceil((64 * end) / total) * part, places)];
  const ofX: Reach = (begin, end) => wholeImages(placesOf(begin, end), places / x.shape[0], size(x.shape.slice(1)));
  const ofG: Reach = (begin, end) => placesOf(begin, end).map((place) => place * params.o) as [number, number];
  out.dispatch(kernels.groupedWeightGrad, [x, g, target], own, Math.ceil((total * parts) / 64), [ofX, ofG, each(64)]);
  if (parts > 1) emitReduce(out, "sum", target, dw, [1, parts, total]);
}

export const convEncoders: Record<string, Encode> = { conv2d, conv2dInputGrad, conv2dWeightGrad };
