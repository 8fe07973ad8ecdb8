// Chains and copies: gpu/elementwise.ts.
import { constantsOf } from "../../../gpu/chain.ts";
import { elementwise, elementwiseParams, ITEMS, LANES } from "../../../gpu/elementwise.ts";
import { epilogueParams } from "../../../gpu/ending.ts";
import type { Elementwise, Step, View } from "../../tape/program.ts";
import { size } from "../../tape/shape.ts";
import { collapse, part } from "../../tape/view.ts";
import type { Emitter, Encode } from "./emitter.ts";
import { hull, type Range, type Reach } from "./windows.ts";

/** Emits a chain over a shape, or over parts of it where operands are too large to be seen at once. */
export function emitChain(out: Emitter, body: Elementwise): void {
  const views = [...body.inputs, ...body.outputs.map(({ view }) => view)];
  const groups = Math.ceil(size(body.shape) / (LANES * ITEMS));
  if (groups === 0 || out.sees(views)) out.dispatch(elementwise(body), views, { ...elementwiseParams(body), ...constantsOf(body) }, groups);
  else for (const half of halvesOf(body)) emitChain(out, half);
}

/** A chain over one half of its shape and over the other, cut across the axis along which an operand reaches furthest. */
function halvesOf({ shape, inputs, outputs, ...chain }: Elementwise): Elementwise[] {
  const views = [...inputs, ...outputs.map(({ view }) => view)];
  const reach = shape.map((n, axis) => Math.max(...views.map(({ strides }) => Math.abs(strides[axis]) * (n - 1))));
  const axis = reach.indexOf(Math.max(...reach));
  const middle = Math.ceil(shape[axis] / 2);
  return [
    [0, middle],
    [middle, shape[axis] - middle],
  ].map(([begin, n]) => {
    const cut = (view: View) => part(view, axis, begin, n);
    const halves = outputs.map(({ view, register }) => ({ view: cut(view), register }));
    return { ...chain, shape: shape.with(axis, n), inputs: inputs.map(cut), outputs: halves };
  });
}

/** Copies a view into another of its shape. */
export function emitCopy(out: Emitter, from: View, to: View): void {
  if (size(from.shape) === 0) return;
  const { shape, views } = collapse(from.shape, [from, to]);
  emitChain(out, { shape, inputs: [views[0]], code: [], outputs: [{ view: views[1], register: 0 }], registers: 1 });
}

/** Stores one number in every element of a view. */
export function emitFill(out: Emitter, value: number, to: View): void {
  if (size(to.shape) === 0) return;
  const { shape, views } = collapse(to.shape, [to]);
  const code = [{ op: "constant", to: 0, from: [], value }];
  emitChain(out, { shape, inputs: [], code, outputs: [{ view: views[0], register: 0 }], registers: 1 });
}

export interface StepEnding {
  readonly views: readonly View[];
  readonly params: Readonly<Record<string, number>>;
  /** What a kernel touches of each of the views if its groups finish elements of these numbers, counted row by row. */
  reaches(elements: (begin: number, end: number) => Range): Reach[];
}

/** Operands and numbers that the ending of a step's kernel takes: of its epilogue, or its output 0. */
export function endingOf({ epilogue, outputs }: Step): StepEnding {
  const views = epilogue ? [...epilogue.inputs.slice(1), ...epilogue.outputs.map(({ view }) => view)] : [outputs[0]];
  return {
    views,
    params: epilogue ? { ...epilogueParams(epilogue), ...constantsOf(epilogue) } : {},
    reaches: (elements) => views.map((view) => (begin, end) => hull(view, ...elements(begin, end))),
  };
}

const chain: Encode = ({ body }, out) => emitChain(out, body as Elementwise);
const copy: Encode = ({ inputs: [x], outputs: [y] }, out) => emitCopy(out, x, { ...y, shape: x.shape });

/** Copies between a value and its halves: buffers know how they store numbers. */
const convert: Encode = ({ inputs: [x], outputs: [y] }, out) => emitCopy(out, x, y);

export const elementwiseEncoders: Record<string, Encode> = { elementwise: chain, copy, toHalf: convert, fromHalf: convert };
