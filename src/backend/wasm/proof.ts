// A proof at start that a build computes what it should, for engine modes that are experimental: every family of kernels
// against the plain loops of the reference backend. Half of its time goes into compiling the kernels, which
// a run needs anyway.
import { type Shape, size } from "../../tape/shape.ts";
import { kernels } from "../reference-kernels.ts";
import { elementwiseOps } from "./encode-elementwise.ts";
import { Solo, type SoloStep } from "./solo.ts";

const TOLERANCE = 1e-5;

const rows: Shape = [23, 67];
const [channel, perRow]: Shape[] = [[67], [23]];
const image: Shape = [2, 9, 7, 20];
const small: Shape = [2, 5, 3, 20];
const patches: Shape = [3, 8, 7, 16];
const windows: Shape = [2, 5, 4, 20];
const pooling = { kernel: 3, stride: 2, padding: 1 };
const heads = { heads: 2, scale: 0.25 };
const sequence: Shape = [2, 37, 64];
const same = { stride: 1, padding: 1, dilation: 1, groups: 1 };
const winograd = { ...same, algorithm: "winograd" };

/** Enough numbers that blocks, unrolled loops and tails all run. */
const flat: Shape = [1093];

/** One input after the other for an elementwise op of up to three operands. */
const elementwise = (op: string): SoloStep => ({
  op: "elementwise",
  shapes: [flat, flat, flat],
  outShapes: [flat],
  attrs: { op },
  body: (inputs, [view]) => ({
    shape: flat,
    inputs,
    code: [{ op, to: 3, from: [0, 1, 2] }],
    outputs: [{ view, register: 3 }],
    registers: 4,
  }),
});

const steps: readonly SoloStep[] = [
  ...elementwiseOps.map(elementwise),
  {
    op: "matmul",
    shapes: [
      [19, 330],
      [330, 19],
    ],
    outShapes: [[19, 19]],
  },
  {
    op: "matmul",
    shapes: [
      [3, 17, 23],
      [3, 21, 23],
    ],
    outShapes: [[3, 17, 21]],
    attrs: { tb: true },
  },
  {
    op: "matmul",
    shapes: [
      [70, 23],
      [70, 83],
    ],
    outShapes: [[23, 83]],
    attrs: { ta: true },
  },
  {
    op: "matmul",
    shapes: [
      [1, 37],
      [37, 53],
    ],
    outShapes: [[1, 53]],
  },
  { op: "conv2d", shapes: [small, [33, 3, 3, 20]], outShapes: [[2, 5, 3, 33]], attrs: same },
  { op: "conv2d", shapes: [image, [20, 3, 3, 1]], outShapes: [image], attrs: { ...same, groups: 20 } },
  {
    op: "conv2dInputGrad",
    shapes: [
      [2, 5, 3, 33],
      [33, 3, 3, 20],
    ],
    outShapes: [small],
    attrs: { ...same, shape: small },
  },
  { op: "conv2dWeightGrad", shapes: [small, [2, 5, 3, 33]], outShapes: [[33, 3, 3, 20]], attrs: { ...same, shape: [33, 3, 3, 20] } },
  { op: "attention", shapes: [sequence, sequence, sequence], outShapes: [sequence, [2, 2, 37]], attrs: heads },
  { op: "conv2dInputGrad", shapes: [image, [20, 3, 3, 1]], outShapes: [image], attrs: { ...same, groups: 20, shape: image } },
  { op: "conv2dWeightGrad", shapes: [image, image], outShapes: [[20, 3, 3, 1]], attrs: { ...same, groups: 20, shape: [20, 3, 3, 1] } },
  { op: "conv2d", shapes: [patches, [16, 3, 3, 16]], outShapes: [patches], attrs: winograd },
  { op: "conv2dInputGrad", shapes: [patches, [16, 3, 3, 16]], outShapes: [patches], attrs: { ...winograd, shape: patches } },
  { op: "conv2dWeightGrad", shapes: [patches, patches], outShapes: [[16, 3, 3, 16]], attrs: { ...winograd, shape: [16, 3, 3, 16] } },
  {
    op: "attentionGrad",
    shapes: [sequence, sequence, sequence, sequence, sequence, [2, 2, 37]],
    outShapes: [sequence, sequence, sequence],
    attrs: { heads: 2, scale: 0.01 },
  },
  { op: "sum", shapes: [rows], outShapes: [[23, 1]], attrs: { axes: [1] } },
  { op: "sum", shapes: [rows], outShapes: [[1, 67]], attrs: { axes: [0] } },
  { op: "max", shapes: [rows], outShapes: [[1, 67]], attrs: { axes: [0] } },
  { op: "softmax", shapes: [rows], outShapes: [rows] },
  { op: "logSoftmax", shapes: [rows], outShapes: [rows] },
  { op: "softmaxGrad", shapes: [rows, rows], outShapes: [rows] },
  { op: "logSoftmaxGrad", shapes: [rows, rows], outShapes: [rows] },
  { op: "argmax", shapes: [rows], outShapes: [perRow] },
  { op: "argsort", shapes: [rows], outShapes: [rows] },
  { op: "batchNorm", shapes: [rows, channel, channel], outShapes: [rows, channel, channel], attrs: { eps: 1e-5 } },
  { op: "batchNormGrad", shapes: [rows, rows, channel, channel, channel], outShapes: [rows, channel, channel], attrs: { eps: 1e-5 } },
  { op: "layerNorm", shapes: [rows, channel, channel], outShapes: [rows, perRow, perRow], attrs: { eps: 1e-6 } },
  { op: "layerNormGrad", shapes: [rows, rows, channel, perRow, perRow], outShapes: [rows, channel, channel] },
  { op: "maxPool", shapes: [image], outShapes: [windows], attrs: pooling },
  { op: "maxPoolGrad", shapes: [windows, image], outShapes: [image], attrs: pooling },
  { op: "avgPool", shapes: [image], outShapes: [windows], attrs: pooling },
  { op: "avgPoolGrad", shapes: [windows], outShapes: [image], attrs: { ...pooling, shape: image } },
  { op: "gather", shapes: [rows, [5]], outShapes: [[5, 67]] },
  { op: "scatterAdd", shapes: [rows, perRow], outShapes: [[9, 67]], attrs: { n: 9 } },
  { op: "concat", shapes: [rows, rows], outShapes: [[23, 134]], attrs: { axis: 1 } },
  { op: "pad", shapes: [rows], outShapes: [[26, 70]], attrs: { before: [1, 1], after: [2, 2], value: 3 } },
  { op: "updateSlice", shapes: [rows, [5, 67], []], outShapes: [rows], attrs: { axis: 0 } },
  { op: "toHalf", shapes: [flat], outShapes: [[547]], attrs: { count: 1093 } },
  { op: "fromHalf", shapes: [[547]], outShapes: [flat], attrs: { count: 1093 } },
  { op: "uniform", shapes: [[4]], outShapes: [flat], attrs: { stream: 5 } },
];

/** Positive numbers that differ: fit for logarithms and variances; rounded down they are valid indices. */
function fill(data: Float32Array, which: number): void {
  for (let i = 0; i < data.length; i++) data[i] = 0.05 + ((i * 7919 + which * 104729) % 4093) / 1024;
}

function close(got: Float32Array, expected: Float64Array): boolean {
  const scale = expected.reduce((most, x) => Math.max(most, Math.abs(x)), 1e-6);
  return got.every((x, i) => Math.abs(x - expected[i]) <= TOLERANCE * scale || (Number.isNaN(x) && Number.isNaN(expected[i])));
}

const whole = new Set(["gather", "scatterAdd", "updateSlice", "uniform"]);

function holds(solo: Solo, step: SoloStep): boolean {
  const { inputs, outputs, run } = solo.prepare(step);
  for (const [i, data] of inputs.entries()) {
    fill(data, i);
    if (whole.has(step.op) && i === inputs.length - 1) for (const [j, x] of data.entries()) data[j] = Math.floor(x);
  }
  try {
    run();
  } catch {
    return false; // trapped
  }
  const name = step.op === "elementwise" ? (step.attrs?.op as string) : step.op;
  const expected = step.outShapes.map((shape) => new Float64Array(size(shape)));
  const { shapes, outShapes, attrs = {} } = step;
  kernels[name]({ inputs: inputs.map((x) => Float64Array.from(x)), outputs: expected, shapes, outShapes, attrs });
  return outputs.every((got, i) => close(got, expected[i]));
}

/** Undefined if all kernels of a module compute what the reference does; otherwise the first op that does not. */
export function disproved(module: WebAssembly.Module): string | undefined {
  const solo = new Solo(module);
  const wrong = steps.find((step) => !holds(solo, step));
  return wrong && (wrong.op === "elementwise" ? (wrong.attrs?.op as string) : wrong.op);
}
