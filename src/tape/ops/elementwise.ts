import { apply1, binary, broadcastAll, composed, defineOp, sumTo, tensor, unary } from "../op.ts";
import type { Tensor } from "../tensor.ts";

declare module "../tensor.ts" {
  interface Tensor {
    neg(): Tensor;
    exp(): Tensor;
    log(): Tensor;
    sqrt(): Tensor;
    rsqrt(): Tensor;
    square(): Tensor;
    abs(): Tensor;
    floor(): Tensor;
    tanh(): Tensor;
    sigmoid(): Tensor;
    relu(): Tensor;
    /** x Phi(x) with the exact normal distribution function (erf form). */
    gelu(): Tensor;
    /** Phi(x) + x phi(x), the derivative of `gelu`. */
    geluDerivative(): Tensor;
    add(other: Tensor | number): Tensor;
    sub(other: Tensor | number): Tensor;
    mul(other: Tensor | number): Tensor;
    div(other: Tensor | number): Tensor;
    /** other - x. */
    rsub(other: Tensor | number): Tensor;
    maximum(other: Tensor | number): Tensor;
    minimum(other: Tensor | number): Tensor;
    /** 1 where the comparison holds, 0 elsewhere; no gradient. */
    greater(other: Tensor | number): Tensor;
    greaterEqual(other: Tensor | number): Tensor;
    less(other: Tensor | number): Tensor;
    equal(other: Tensor | number): Tensor;
    /** a where this is not 0, b elsewhere. */
    where(a: Tensor | number, b: Tensor | number): Tensor;
    clamp(low: number, high: number): Tensor;
  }
}

unary("neg", (g) => g.neg());
unary("exp", (g, _, y) => g.mul(y));
unary("log", (g, x) => g.div(x));
unary("sqrt", (g, _, y) => g.mul(0.5).div(y));
unary("rsqrt", (g, x, y) => g.mul(-0.5).mul(y).div(x));
unary("square", (g, x) => g.mul(x).mul(2));
unary("abs", (g, x) => x.greater(0).where(g, x.less(0).where(g.neg(), 0))); // 0 at x = 0, as PyTorch
unary("floor", (g) => g.mul(0));
unary("tanh", (g, _, y) => g.mul(y.square().rsub(1)));
unary("sigmoid", (g, _, y) => g.mul(y).mul(y.rsub(1)));
unary("relu", (g, _, y) => y.greater(0).where(g, 0)); // 0 at x = 0, as PyTorch
unary("gelu", (g, x) => g.mul(x.geluDerivative()));
unary("geluDerivative");
binary("add", (g) => [g, g]); // each side is summed back to its own shape
binary("sub", (g) => [g, g.neg()]);
binary("mul", (g, a, b) => [g.mul(b), g.mul(a)]);
binary("div", (g, _, b, y) => [g.div(b), g.mul(y).div(b).neg()]);
binary("maximum", (g, a, b) => [a.greaterEqual(b).where(g, 0), a.greaterEqual(b).where(0, g)]);
binary("minimum", (g, a, b) => [a.greaterEqual(b).where(0, g), a.greaterEqual(b).where(g, 0)]);
binary("greater");
binary("greaterEqual");
binary("equal");
composed("rsub", (x: Tensor, other: Tensor | number) => tensor(other).sub(x));
composed("less", (x: Tensor, other: Tensor | number) => tensor(other).greater(x));
composed("clamp", (x: Tensor, low: number, high: number) => x.maximum(low).minimum(high));

defineOp({
  name: "where", // condition, a, b
  kind: "elementwise",
  shape: (shapes) => [broadcastAll("where", shapes)],
  vjp: ([g], { inputs: [condition, a, b] }) =>
    g ? [undefined, sumTo(condition.where(g, 0), a.shape), sumTo(condition.where(0, g), b.shape)] : [],
});
composed("where", (condition: Tensor, a: Tensor | number, b: Tensor | number) => apply1("where", [condition, tensor(a), tensor(b)]));
