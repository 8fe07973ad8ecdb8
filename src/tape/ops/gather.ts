import { apply1, composed, defineOp } from "../op.ts";
import { type Shape, ShapeError } from "../shape.ts";
import type { Tensor } from "../tensor.ts";

declare module "../tensor.ts" {
  interface Tensor {
    /** Rows by index. x [n, ...], index [...m] -> [...m, ...]; an index outside 0..n-1 is clamped. */
    gather(index: Tensor): Tensor;
    /** Adds each row of this tensor [m, ...] to the row `index[i]` of zeros [n, ...]. */
    scatterAdd(index: Tensor, n: number): Tensor;
  }
}

defineOp({
  name: "gather",
  shape([x, index]) {
    if (x.length === 0) throw new ShapeError("gather", [x, index], "rows to gather from");
    return [[...index, ...x.slice(1)]];
  },
  vjp: ([g], { inputs: [x, index] }) => [g?.reshape([index.size, ...x.shape.slice(1)]).scatterAdd(index.reshape([-1]), x.shape[0])],
});
defineOp({
  name: "scatterAdd", // rows [m, ...], index [m]; attrs: n
  shape([x, index], { n }) {
    if (index.length !== 1 || index[0] !== x[0]) throw new ShapeError("scatterAdd", [x, index], "one index a row");
    return [[n as number, ...x.slice(1)]] as Shape[];
  },
  vjp: ([g], { inputs: [, index] }) => [g?.gather(index)],
});
composed("gather", (x: Tensor, index: Tensor) => apply1("gather", [x, index]));
composed("scatterAdd", (x: Tensor, index: Tensor, n: number) => apply1("scatterAdd", [x, index], { n }));
