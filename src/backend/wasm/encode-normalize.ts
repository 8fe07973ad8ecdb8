// Normalisation and pooling: assembly/normalize.ts and pool.ts.
import * as opcode from "../../../assembly/opcodes.ts";
import type { Step, View } from "../../tape/program.ts";
import { size } from "../../tape/shape.ts";
import type { Emitter, Encode, Range } from "./emitter.ts";
import { epilogue } from "./encode-matmul.ts";
import { emitReduce, partRows } from "./encode-reduce.ts";

const span = (start: number, floats: number): Range => ({ start, end: start + 4 * floats });

/** Rows and channels, and how the rows are cut into parts. */
function layout(x: View, part?: number) {
  const c = x.shape.at(-1) as number;
  const rows = size(x.shape) / c;
  const each = part ?? partRows(c);
  return { rows, c, part: each, parts: Math.ceil(rows / each) };
}

/** Emits a command whose first words are the addresses of views and scratch, reads first. */
function emit(
  out: Emitter,
  op: number,
  reads: readonly (View | Range)[],
  writes: readonly (View | Range)[],
  words: readonly number[],
): void {
  const range = (x: View | Range) => ("buffer" in x ? out.range(x) : x);
  const address = (x: View | Range) => ("buffer" in x ? out.address(x) : x.start);
  out.emit(op, { reads: reads.map(range), writes: writes.map(range) }, [...[...reads, ...writes].map(address), ...words]);
}

const scratch = (out: Emitter, floats: number): Range => span(out.temporary(4 * floats), floats);

const batchNorm: Encode = (step, out) => {
  const { inputs, outputs, attrs } = step;
  const [[x, gamma, beta], [y, mean, variance]] = [inputs, outputs];
  const { rows, c, part, parts } = layout(x);
  const [means, squares] = [scratch(out, parts * c), scratch(out, parts * c)];
  emit(out, opcode.BATCH_NORM_PARTS, [x], [means, squares], [rows, c, part]);
  emit(out, opcode.BATCH_NORM_STATISTICS, [means, squares], [mean, variance], [rows, c, part]);
  const { program, reads, writes } = epilogue(step, out);
  const operands = [x, gamma, beta, mean, variance];
  const touched = { reads: [...operands.map((view) => out.range(view)), ...reads], writes: [out.range(y), ...writes] };
  const addresses = [...operands, y].map((view) => out.address(view));
  out.emit(opcode.BATCH_NORM_APPLY, touched, [...addresses, rows, c, out.f32(attrs.eps as number), program]);
};

const batchNormGrad: Encode = ({ inputs: [g, x, gamma, mean, variance], outputs: [dx, dgamma, dbeta], attrs }, out) => {
  const { rows, c, part, parts } = layout(x);
  const eps = out.f32(attrs.eps as number);
  const [gammas, betas] = [scratch(out, parts * c), scratch(out, parts * c)];
  emit(out, opcode.BATCH_NORM_GRAD_PARTS, [g, x, mean, variance], [gammas, betas], [rows, c, part, eps]);
  emitReduce(out, gammas.start, out.address(dgamma), [1, parts, c]);
  emitReduce(out, betas.start, out.address(dbeta), [1, parts, c]);
  emit(out, opcode.BATCH_NORM_GRAD_APPLY, [g, x, gamma, mean, variance, dgamma, dbeta], [dx], [rows, c, eps]);
};

const layerNorm: Encode = ({ inputs: [x, gamma, beta], outputs: [y, mean, rstd], attrs }, out) => {
  const { rows, c } = layout(x);
  emit(out, opcode.LAYER_NORM, [x, gamma, beta], [y, mean, rstd], [rows, c, out.f32(attrs.eps as number)]);
};

/** Rows whose gradients of scale and shift are summed before they are stored. */
const LAYER_NORM_PART = 32;

const layerNormGrad: Encode = ({ inputs: [g, x, gamma, mean, rstd], outputs: [dx, dgamma, dbeta] }, out) => {
  const { rows, c, part, parts } = layout(x, LAYER_NORM_PART);
  const [gammas, betas] = [scratch(out, parts * c), scratch(out, parts * c)];
  emit(out, opcode.LAYER_NORM_GRAD, [g, x, gamma, mean, rstd], [dx, gammas, betas], [rows, c, part]);
  emitReduce(out, gammas.start, out.address(dgamma), [1, parts, c]);
  emitReduce(out, betas.start, out.address(dbeta), [1, parts, c]);
};

/** n, h, w, c, oh, ow, kernel, stride, padding */
const geometry = (image: View, output: View, { attrs }: Step): number[] => [
  ...image.shape,
  ...output.shape.slice(1, 3),
  ...["kernel", "stride", "padding"].map((name) => attrs[name] as number),
];

const pool =
  (op: number): Encode =>
  (step, out) =>
    emit(out, op, [step.inputs[0]], [step.outputs[0]], geometry(step.inputs[0], step.outputs[0], step));

const maxPoolGrad: Encode = (step, out) => {
  const {
    inputs: [g, x],
    outputs: [dx],
  } = step;
  out.emit(opcode.MAX_POOL_GRAD, { reads: [out.range(g), out.range(x)], writes: [out.range(dx)] }, [
    out.address(g),
    out.address(dx),
    ...geometry(x, g, step),
    out.address(x),
  ]);
};

const avgPoolGrad: Encode = (step, out) =>
  emit(out, opcode.AVG_POOL_GRAD, [step.inputs[0]], [step.outputs[0]], geometry(step.outputs[0], step.inputs[0], step));

export const normalizeEncoders: Record<string, Encode> = {
  batchNorm,
  batchNormGrad,
  layerNorm,
  layerNormGrad,
  maxPool: pool(opcode.MAX_POOL),
  avgPool: pool(opcode.AVG_POOL),
  maxPoolGrad,
  avgPoolGrad,
};
