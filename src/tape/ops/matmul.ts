import { apply1, composed, defineOp } from "../op.ts";
import { type Shape, ShapeError, sameShape } from "../shape.ts";
import type { Tensor } from "../tensor.ts";

declare module "../tensor.ts" {
  interface Tensor {
    /** [..., m, k] x [..., k, n] -> [..., m, n]. Leading axes must agree, or one side has none. */
    matmul(other: Tensor): Tensor;
  }
}

const flipped = (shape: Shape, transposed: unknown): [number, number] => {
  const [r, c] = shape.slice(-2);
  return transposed ? [c, r] : [r, c];
};

// attrs: ta, tb: the operand is stored transposed. A transpose in front of either side is folded into the packing.
defineOp({
  name: "matmul",
  shape([a, b], { ta, tb }) {
    if (a.length < 2 || b.length < 2) throw new ShapeError("matmul", [a, b], "at least two axes on both sides");
    const [m, k] = flipped(a, ta);
    const [inner, n] = flipped(b, tb);
    const [aLead, bLead] = [a.slice(0, -2), b.slice(0, -2)];
    if (k !== inner)
      throw new ShapeError(
        "matmul",
        [
          [...aLead, m, k],
          [...bLead, inner, n],
        ],
        `inner sizes to match, got ${k} and ${inner}`,
      );
    if (aLead.length && bLead.length && !sameShape(aLead, bLead)) throw new ShapeError("matmul", [a, b], "leading sizes that agree");
    return [[...(aLead.length ? aLead : bLead), m, n]];
  },
  vjp([g], { inputs: [a, b], attrs: { ta, tb } }) {
    if (!g) return [];
    const at = ta ? a : a.t(); // the transposes fold away again
    const bt = tb ? b : b.t();
    const da = ta ? (tb ? b.t() : b).matmul(g.t()) : g.matmul(bt);
    const db = tb ? g.t().matmul(ta ? a.t() : a) : at.matmul(g);
    return [sumLead(da, a), sumLead(db, b)];
  },
});

/** A side without leading axes took part in every product of the batch: its gradient is their sum. */
function sumLead(g: Tensor, operand: Tensor): Tensor {
  const extra = g.rank - operand.rank;
  return extra > 0 ? g.sum(g.shape.map((_, i) => i).slice(0, extra)) : g;
}

/** The tensor behind a transpose of the last two axes. */
function untransposed(x: Tensor): Tensor | undefined {
  const { op, attrs, inputs } = x.node;
  if (op.name !== "permute") return undefined;
  const axes = attrs.axes as number[];
  const n = axes.length;
  return axes.every((axis, i) => axis === (i === n - 1 ? n - 2 : i === n - 2 ? n - 1 : i)) ? inputs[0] : undefined;
}

composed("matmul", (a: Tensor, b: Tensor) => {
  // A batch against one matrix is one tall product.
  if (a.rank > 2 && b.rank === 2)
    return a
      .reshape([-1, a.shape[a.rank - 1]])
      .matmul(b)
      .reshape([...a.shape.slice(0, -1), b.shape[1]]);
  const [at, bt] = [untransposed(a), untransposed(b)];
  return apply1("matmul", [at ?? a, bt ?? b], { ta: !!at, tb: !!bt });
});
