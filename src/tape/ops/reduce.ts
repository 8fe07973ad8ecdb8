import { apply1, composed, constant, defineOp } from "../op.ts";
import { withScope } from "../scope.ts";
import { normalizeAxes, type Shape, ShapeError } from "../shape.ts";
import type { Tensor } from "../tensor.ts";

type Axes = number | readonly number[];

declare module "../tensor.ts" {
  interface Tensor {
    /** Sum over axes (all when none is named); `keep` leaves them with size 1. */
    sum(axes?: Axes, keep?: boolean): Tensor;
    mean(axes?: Axes, keep?: boolean): Tensor;
    /** Largest element over axes. The gradient goes to every element that equals it, in equal parts. */
    max(axes?: Axes, keep?: boolean): Tensor;
    /** Mean of squared deviations over axes; `correction` 1 divides by n - 1 (unbiased), 0 by n. */
    variance(axes?: Axes, options?: { correction?: number; keep?: boolean }): Tensor;
    /** Index of the largest element of the last axis, the first of equals. */
    argmax(): Tensor;
    /** Indices that sort the last axis ascending; stable. */
    argsort(): Tensor;
    /** Unit vectors along the last axis: x / max(|x|, eps), as torch.nn.functional.normalize. */
    normalize(eps?: number): Tensor;
    softmax(): Tensor;
    logSoftmax(): Tensor;
  }
}

const reduced = (x: Shape, axes: readonly number[], keep: boolean) =>
  keep ? x.map((n, i) => (axes.includes(i) ? 1 : n)) : x.filter((_, i) => !axes.includes(i));

const listAxes = (op: string, x: Tensor, axes?: Axes) =>
  axes === undefined
    ? x.shape.map((_, i) => i)
    : normalizeAxes(op, x.shape, typeof axes === "number" ? [axes] : axes).sort((a, b) => a - b);

defineOp({
  name: "sum", // attrs: axes (ascending); reduced axes keep size 1
  shape: ([x], { axes }) => [reduced(x, axes as number[], true)],
  vjp: ([g], { inputs: [x] }) => [g?.expand(x.shape)],
});
defineOp({
  name: "max",
  shape: ([x], { axes }) => [reduced(x, axes as number[], true)],
  vjp: ([g], { inputs: [x], outputs: [y], attrs }) => {
    const hit = x.equal(y);
    return [g && hit.mul(g.div(hit.sum(attrs.axes as number[], true)))];
  },
});
for (const name of ["sum", "max"]) {
  composed(name, (x: Tensor, axes?: Axes, keep = false) => {
    const list = listAxes(name, x, axes);
    if (list.length === 0) return x;
    const y = apply1(name, [x], { axes: list });
    return keep ? y : y.reshape(reduced(x.shape, list, false));
  });
}
composed("mean", (x: Tensor, axes?: Axes, keep = false) => {
  const sum = x.sum(axes, keep);
  return sum.mul(sum.size / x.size);
});
composed("variance", (x: Tensor, axes?: Axes, { correction = 1, keep = false }: { correction?: number; keep?: boolean } = {}) => {
  const list = listAxes("variance", x, axes);
  const n = list.reduce((product, i) => product * x.shape[i], 1);
  return x
    .sub(x.mean(list, true))
    .square()
    .sum(list, keep)
    .div(n - correction);
});
composed("normalize", (x: Tensor, eps = 1e-12) =>
  // Squares of what a half can hold, and the gradients of short rows, leave its range.
  withScope({ single: true }, () => x.div(x.square().sum(-1, true).sqrt().maximum(eps))),
);

defineOp({ name: "argmax", shape: ([x]) => [x.slice(0, -1)] });
composed("argmax", (x: Tensor) => apply1("argmax", [x]));
defineOp({ name: "argsort", shape: ([x]) => [x] });
composed("argsort", (x: Tensor) => apply1("argsort", [x]));

const needsAxis =
  (op: string) =>
  ([x]: readonly Shape[]) => {
    if (x.length === 0) throw new ShapeError(op, [x], "at least one axis");
    return [x];
  };
defineOp({
  name: "softmax", // over the last axis
  shape: needsAxis("softmax"),
  vjp: ([g], { outputs: [y] }) => [g && apply1("softmaxGrad", [g, y])],
});
defineOp({ name: "softmaxGrad", shape: ([g]) => [g] }); // g, y -> y (g - sum(g y))
defineOp({
  name: "logSoftmax",
  shape: needsAxis("logSoftmax"),
  vjp: ([g], { outputs: [y] }) => [g && apply1("logSoftmaxGrad", [g, y])],
});
defineOp({ name: "logSoftmaxGrad", shape: ([g]) => [g] }); // g, y -> g - exp(y) sum(g)
composed("softmax", (x: Tensor) => apply1("softmax", [x]));
composed("logSoftmax", (x: Tensor) => apply1("logSoftmax", [x]));

/** Mean over rows of -sum(target log_softmax(logits)). logits, target [n, k]; target rows are distributions. */
export const softCrossEntropy = (logits: Tensor, target: Tensor): Tensor => logits.logSoftmax().mul(target).sum(-1).mean().neg();

/** Mean cross-entropy of logits [n, k] with class indices [n]. */
export const crossEntropy = (logits: Tensor, label: Tensor): Tensor =>
  softCrossEntropy(logits, oneHot(label, logits.shape[logits.rank - 1]));

defineOp({ name: "iota", kind: "leaf", shape: (_, { n }) => [[n as number]] }); // 0, 1, ... n - 1

/** 0, 1, ... n - 1. */
export const iota = (n: number): Tensor => (n === 1 ? constant(0).reshape([1]) : apply1("iota", [], { n }));

/** Rows of zeros with a one at each index. index [...] -> [..., n] */
export const oneHot = (index: Tensor, n: number): Tensor => index.reshape([...index.shape, 1]).equal(iota(n));
