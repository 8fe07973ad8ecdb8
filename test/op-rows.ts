// The op test table: one row gives an op its gradient check, its backend checks and its bad-shape check.
import { apply1 } from "../src/tape/op.ts";
import { attention, attentionMap } from "../src/tape/ops/attention.ts";
import { concat } from "../src/tape/ops/move.ts";
import { batchNorm, layerNorm } from "../src/tape/ops/normalize.ts";
import { dropout, dropPath, uniform } from "../src/tape/ops/random.ts";
import { crossEntropy, iota, oneHot, softCrossEntropy } from "../src/tape/ops/reduce.ts";
import type { Shape } from "../src/tape/shape.ts";
import type { Input, Run } from "./support.ts";

export interface Row {
  name: string;
  run: Run;
  inputs: Input[];
  /** Shapes that must be refused. */
  bad?: Shape[];
  /** False for ops without a gradient. */
  gradient?: boolean;
}

const positive = (shape: Shape): Input => ({ shape, role: "scale" });
const fixed = (data: number[], shape: Shape = [data.length]): Input => ({ shape, data });
const key = fixed([7, 1, 3, 0]);

const unaries: Row[] = (["neg", "exp", "square", "abs", "tanh", "sigmoid", "relu", "gelu"] as const).map((name) => ({
  name,
  run: (x) => x[name](),
  inputs: [[3, 5, 7]],
}));

const binaries: Row[] = (["add", "sub", "mul", "maximum", "minimum"] as const).map((name) => ({
  name,
  run: (a, b) => a[name](b),
  inputs: [
    [3, 5],
    [3, 5],
  ],
  bad: [
    [3, 5],
    [3, 4],
  ],
}));

export const rows: Row[] = [
  ...unaries,
  ...binaries,
  { name: "log", run: (x) => x.log(), inputs: [positive([13])] },
  { name: "sqrt", run: (x) => x.sqrt(), inputs: [positive([13])] },
  { name: "rsqrt", run: (x) => x.rsqrt(), inputs: [positive([13])] },
  { name: "floor", run: (x) => x.floor(), inputs: [[13]], gradient: false },
  { name: "div", run: (a, b) => a.div(b), inputs: [[3, 5], positive([3, 5])], bad: [[3], [4]] },
  { name: "add, a row", run: (a, b) => a.add(b), inputs: [[3, 5], [5]], bad: [[3, 5], [3]] },
  {
    name: "mul, a column",
    run: (a, b) => a.mul(b),
    inputs: [
      [3, 5],
      [3, 1],
    ],
  },
  {
    name: "sub, both stretched",
    run: (a, b) => a.sub(b),
    inputs: [
      [2, 1, 7],
      [5, 1],
    ],
  },
  { name: "mul, a scalar", run: (a, b) => a.mul(b).add(2), inputs: [[11, 3], []] },
  {
    name: "mul, a middle axis",
    run: (a, b) => a.mul(b),
    inputs: [
      [2, 3, 5, 7],
      [3, 1, 7],
    ],
  },
  { name: "greater", run: (a, b) => a.greater(b), inputs: [[13], [13]], gradient: false },
  { name: "equal", run: (a) => a.equal(2), inputs: [fixed([1, 2, 3, 2])], gradient: false },
  { name: "where", run: (a, b, c) => a.greater(0).where(b, c), inputs: [{ shape: [3, 5], fixed: true }, [3, 5], [5]] },
  { name: "clamp", run: (x) => x.clamp(-0.5, 0.5), inputs: [[13]] },
  { name: "a long chain", run: (x, b) => x.add(b).gelu().mul(2).sub(x).square().tanh().add(1).sqrt(), inputs: [[37, 65], [65]] },
  {
    name: "a chain over many tiles",
    run: (x, b) => x.mul(b).sigmoid().add(x),
    inputs: [
      [3, 1025],
      [3, 1],
    ],
  },

  { name: "reshape", run: (x) => x.reshape([5, -1]).exp(), inputs: [[3, 5, 2]], bad: [[3, 4]] },
  { name: "permute", run: (x) => x.permute([2, 0, 1]), inputs: [[3, 5, 7]], bad: [[3, 5]] },
  { name: "permute, attention heads", run: (x) => x.reshape([2, 5, 3, 2, 8]).permute([2, 0, 3, 1, 4]), inputs: [[2, 5, 48]] },
  { name: "t", run: (x) => x.t(), inputs: [[2, 13, 9]], bad: [[3]] },
  { name: "expand", run: (x) => x.expand([4, 3, 5]).mul(2), inputs: [[3, 1]], bad: [[3, 2]] },
  { name: "slice", run: (x) => x.slice(1, 1, -1), inputs: [[3, 7, 2]], bad: [[3]] },
  { name: "split", run: (x) => x.split(-1, 3), inputs: [[2, 9]], bad: [[2, 10]] },
  { name: "pad", run: (x) => x.pad([0, 2], [1, 1], 3), inputs: [[3, 5]], bad: [[3]] },
  { name: "flip", run: (x) => x.flip(1), inputs: [[2, 3, 5]], bad: [[3]] },
  {
    name: "concat",
    run: (a, b) => concat([a, b, a], 1),
    inputs: [
      [2, 3, 5],
      [2, 4, 5],
    ],
    bad: [
      [2, 3, 5],
      [2, 3, 4],
    ],
  },
  {
    name: "updateSlice",
    run: (x, part, at) => x.updateSlice(part, at.reshape([]), 1),
    inputs: [[3, 7], [3, 2], fixed([4])],
    gradient: false,
    bad: [[3, 7], [2, 2], [1]],
  },

  { name: "sum, all", run: (x) => x.sum(), inputs: [[37, 29]] },
  { name: "sum, last axis", run: (x) => x.sum(-1), inputs: [[3, 5, 129]], bad: [[]] },
  { name: "sum, first axes", run: (x) => x.sum([0, 1]), inputs: [[3, 5, 9]] },
  { name: "sum, middle axis", run: (x) => x.sum(1, true), inputs: [[3, 5, 7]] },
  { name: "sum, outer axes", run: (x) => x.sum([0, 2]), inputs: [[3, 5, 7]] },
  { name: "sum of a chain", run: (x, y) => x.mul(y).square().sum(-1), inputs: [[33, 70], [70]] },
  { name: "mean", run: (x) => x.mean(1), inputs: [[3, 5, 7]] },
  { name: "max", run: (x) => x.max(-1), inputs: [[3, 17]] },
  { name: "variance", run: (x) => x.variance(0), inputs: [[13, 7]] },
  { name: "normalize", run: (x) => x.normalize(), inputs: [[5, 13]] },
  { name: "argmax", run: (x) => x.argmax(), inputs: [[5, 13]], gradient: false },
  { name: "argsort", run: (x) => x.argsort(), inputs: [[5, 67]], gradient: false },
  { name: "argsort is stable", run: (x) => x.argsort(), inputs: [fixed([2, 1, 2, 1, 0, 2], [1, 6])], gradient: false },
  { name: "softmax", run: (x) => x.softmax(), inputs: [[3, 5, 17]], bad: [[]] },
  { name: "logSoftmax", run: (x) => x.mul(3).logSoftmax(), inputs: [[5, 131]], bad: [[]] },
  { name: "softCrossEntropy", run: (x, t) => softCrossEntropy(x, t.softmax()), inputs: [[5, 9], { shape: [5, 9], fixed: true }] },
  { name: "crossEntropy", run: (x, label) => crossEntropy(x, label), inputs: [[4, 7], fixed([0, 3, 6, 3])] },
  { name: "iota", run: (x) => x.add(iota(9)), inputs: [[3, 9]] },
  { name: "oneHot", run: (label) => oneHot(label, 5), inputs: [fixed([0, 4, 2])], gradient: false },

  {
    name: "matmul, a factor for each sample and rows of a table behind it",
    run: (x, w, f, t) => x.matmul(w).mul(f).add(t).relu(),
    inputs: [
      [3, 7, 5],
      [5, 9],
      [3, 1, 1],
      [7, 9],
    ],
  },
  {
    name: "matmul",
    run: (a, b) => a.matmul(b),
    inputs: [
      [7, 5],
      [5, 9],
    ],
    bad: [
      [7, 5],
      [6, 9],
    ],
  },
  {
    name: "matmul, left transposed",
    run: (a, b) => a.t().matmul(b),
    inputs: [
      [5, 7],
      [5, 9],
    ],
  },
  {
    name: "matmul, right transposed",
    run: (a, b) => a.matmul(b.t()),
    inputs: [
      [7, 5],
      [9, 5],
    ],
  },
  {
    name: "matmul, both transposed",
    run: (a, b) => a.t().matmul(b.t()),
    inputs: [
      [5, 7],
      [9, 5],
    ],
  },
  {
    name: "matmul, larger than a block",
    run: (a, b) => a.matmul(b),
    inputs: [
      [133, 275],
      [275, 67],
    ],
  },
  {
    name: "matmul, right transposed, larger",
    run: (a, b) => a.matmul(b.t()),
    inputs: [
      [65, 300],
      [131, 300],
    ],
  },
  {
    name: "matmul, one row",
    run: (a, b) => a.matmul(b),
    inputs: [
      [1, 37],
      [37, 53],
    ],
  },
  {
    name: "matmul, one column",
    run: (a, b) => a.matmul(b),
    inputs: [
      [37, 53],
      [53, 1],
    ],
  },
  {
    name: "matmul, long inner axis",
    run: (a, b) => a.t().matmul(b),
    inputs: [
      [2100, 9],
      [2100, 17],
    ],
  },
  {
    name: "matmul, batch",
    run: (a, b) => a.matmul(b),
    inputs: [
      [2, 3, 7, 5],
      [2, 3, 5, 9],
    ],
    bad: [
      [2, 7, 5],
      [3, 5, 9],
    ],
  },
  {
    name: "matmul, batch, right transposed",
    run: (a, b) => a.matmul(b.t()),
    inputs: [
      [3, 7, 5],
      [3, 9, 5],
    ],
  },
  {
    name: "matmul, batch against one",
    run: (a, b) => a.matmul(b),
    inputs: [
      [3, 7, 5],
      [5, 9],
    ],
  },
  {
    name: "matmul, one against a batch",
    run: (a, b) => a.matmul(b),
    inputs: [
      [7, 5],
      [3, 5, 9],
    ],
  },
  { name: "matmul, bias, gelu, residual", run: (x, w, b) => x.matmul(w.t()).add(b).gelu().add(x), inputs: [[37, 48], [48, 48], [48]] },
  { name: "matmul, column scale", run: (x, w, s) => x.matmul(w).mul(s).exp(), inputs: [[9, 7], { shape: [7, 5] }, [9, 1]] },

  {
    name: "conv2d, 3x3",
    run: (x, w) => x.conv2d(w, { padding: 1 }),
    inputs: [
      [2, 7, 5, 3],
      [9, 3, 3, 3],
    ],
    bad: [
      [2, 7, 5, 3],
      [9, 3, 3, 4],
    ],
  },
  {
    name: "conv2d, 3x3 wide",
    run: (x, w) => x.conv2d(w, { padding: 1 }),
    inputs: [
      [3, 9, 11, 20],
      [33, 3, 3, 20],
    ],
  },
  {
    name: "conv2d, 3x3 stride 2",
    run: (x, w) => x.conv2d(w, { stride: 2, padding: 1 }),
    inputs: [
      [2, 9, 8, 5],
      [7, 3, 3, 5],
    ],
  },
  {
    name: "conv2d, 1x1",
    run: (x, w) => x.conv2d(w),
    inputs: [
      [2, 5, 4, 7],
      [11, 1, 1, 7],
    ],
  },
  {
    name: "conv2d, 1x1 stride 2",
    run: (x, w) => x.conv2d(w, { stride: 2 }),
    inputs: [
      [2, 7, 6, 5],
      [9, 1, 1, 5],
    ],
  },
  {
    name: "conv2d, 7x7 stem",
    run: (x, w) => x.conv2d(w, { stride: 2, padding: 3 }),
    inputs: [
      [2, 19, 17, 3],
      [13, 7, 7, 3],
    ],
  },
  {
    name: "conv2d, patches",
    run: (x, w) => x.conv2d(w, { stride: 4 }),
    inputs: [
      [2, 12, 8, 3],
      [17, 4, 4, 3],
    ],
  },
  {
    name: "conv2d, patches, remainder dropped",
    run: (x, w) => x.conv2d(w, { stride: 4 }),
    inputs: [
      [1, 14, 9, 3],
      [5, 4, 4, 3],
    ],
  },
  {
    name: "conv2d, dilated",
    run: (x, w) => x.conv2d(w, { padding: 2, dilation: 2 }),
    inputs: [
      [1, 9, 8, 3],
      [5, 3, 3, 3],
    ],
  },
  {
    name: "conv2d, groups",
    run: (x, w) => x.conv2d(w, { padding: 1, groups: 2 }),
    inputs: [
      [2, 5, 6, 6],
      [8, 3, 3, 3],
    ],
    bad: [
      [2, 5, 6, 6],
      [7, 3, 3, 3],
    ],
  },
  {
    name: "conv2d, depthwise",
    run: (x, w) => x.conv2d(w, { padding: 1, groups: 7 }),
    inputs: [
      [2, 6, 5, 7],
      [7, 3, 3, 1],
    ],
  },
  { name: "conv2d, bias and relu", run: (x, w, b) => x.conv2d(w, { padding: 1 }).add(b).relu(), inputs: [[2, 6, 6, 4], [8, 3, 3, 4], [8]] },
  {
    name: "conv2d between chains",
    run: (x, w, r) => x.relu().conv2d(w, { padding: 1 }).add(r).relu(),
    inputs: [
      [2, 7, 6, 5],
      [9, 3, 3, 5],
      [2, 7, 6, 9],
    ],
  },
  {
    name: "conv2d between chains, stride 2",
    run: (x, w) => x.relu().conv2d(w, { padding: 1, stride: 2 }).relu(),
    inputs: [
      [2, 7, 6, 5],
      [9, 3, 3, 5],
    ],
  },
  { name: "maxPool", run: (x) => x.maxPool({ kernel: 3, stride: 2, padding: 1 }), inputs: [[2, 9, 7, 5]], bad: [[2, 7]] },
  { name: "maxPool, 2x2", run: (x) => x.maxPool({ kernel: 2 }), inputs: [[2, 7, 6, 3]] },
  { name: "avgPool", run: (x) => x.avgPool({ kernel: 3, stride: 2, padding: 1 }), inputs: [[2, 9, 7, 5]], bad: [[7]] },
  { name: "global average", run: (x) => x.mean([1, 2]), inputs: [[3, 4, 5, 7]] },

  { name: "batchNorm", run: (x, g, b) => batchNorm(x, g, b, 1e-5).y, inputs: [[3, 5, 4, 13], [13], [13]], bad: [[3, 5], [4], [5]] },
  {
    name: "batchNorm, statistics",
    run: (x, g, b) => Object.values(batchNorm(x, g, b, 1e-5)).slice(1),
    inputs: [[33, 70], [70], [70]],
    gradient: false,
  },
  { name: "batchNorm, many rows", run: (x, g, b) => batchNorm(x, g, b, 1e-5).y.gelu(), inputs: [[1031, 9], [9], [9]] },
  {
    name: "batchNorm, residual and relu",
    run: (x, g, b, r) => batchNorm(x, g, b, 1e-5).y.add(r).relu(),
    inputs: [[3, 57, 9, 13], [13], [13], [3, 57, 9, 13]],
  },
  {
    name: "batchNorm, its output and its statistics in use",
    run: (x, g, b) => {
      const { y, mean, variance } = batchNorm(x, g, b, 1e-5);
      return [y, y.relu().add(1), mean.mul(2), variance.add(mean)];
    },
    inputs: [[33, 70], [70], [70]],
    gradient: false,
  },
  { name: "layerNorm", run: (x, g, b) => layerNorm(x, g, b, 1e-6), inputs: [[3, 5, 13], [13], [13]], bad: [[3, 5], [4], [5]] },
  {
    name: "layerNorm, a residual beside it and a factor for each sample",
    run: (x, g, b, f, r) => layerNorm(x.mul(f).add(r), g, b, 1e-6).add(x),
    inputs: [[3, 21, 13], [13], [13], [3, 1, 1], [3, 21, 13]],
  },
  { name: "layerNorm, wide", run: (x, g, b) => layerNorm(x, g, b, 1e-6), inputs: [[37, 192], [192], [192]] },
  {
    name: "attention",
    run: (q, k, v) => attention(q, k, v, { heads: 2, scale: 0.4 }),
    inputs: [
      [2, 7, 10],
      [2, 9, 10],
      [2, 9, 10],
    ],
    bad: [
      [2, 7, 10],
      [2, 9, 8],
      [2, 9, 8],
    ],
  },
  {
    name: "attention, sliced from one projection",
    run: (x) => {
      const [q, k, v] = x.split(-1, 3);
      return attention(q, k, v, { heads: 3, scale: 0.125 });
    },
    inputs: [[2, 67, 576]],
  },
  {
    name: "attentionMap",
    run: (q, k) => attentionMap(q, k, { heads: 2, scale: 0.4 }),
    inputs: [
      [2, 5, 6],
      [2, 7, 6],
    ],
  },

  { name: "gather", run: (x, i) => x.gather(i), inputs: [[7, 5], fixed([3, 0, 6, 3])] },
  { name: "gather, matrix of indices", run: (x, i) => x.gather(i), inputs: [[7, 2, 3], fixed([3, 0, 6, 3], [2, 2])] },
  { name: "scatterAdd", run: (x, i) => x.scatterAdd(i, 6), inputs: [[4, 5], fixed([3, 0, 5, 3])], bad: [[4, 5], [3]] },
  { name: "uniform", run: (k) => uniform(k, 5, [3, 7]), inputs: [key], gradient: false, bad: [[3]] },
  { name: "dropout", run: (x, k) => dropout(x, k, 1, 0.3), inputs: [[13, 7], key] },
  { name: "dropPath", run: (x, k) => dropPath(x, k, 2, 0.5), inputs: [[13, 3, 2], key] },
  {
    name: "one value, two uses",
    run: (x, w) => x.matmul(w).relu().add(x.matmul(w)),
    inputs: [
      [7, 5],
      [5, 5],
    ],
  },
  { name: "a stopped gradient", run: (x) => x.mul(x.stopGradient()), inputs: [{ shape: [7], fixed: true }] },
  { name: "geluDerivative", run: (x) => apply1("geluDerivative", [x.mul(3)]), inputs: [[29]], gradient: false },
];
