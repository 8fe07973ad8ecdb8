// Operands of a matrix product that lie in memory with steps of their own.
import type { Operands } from "./product.ts";

/** Along which index an operand lies side by side, and whether it may be read in fours: its other steps and its place are multiples of 4. */
export interface Lie<Along> {
  readonly along: Along;
  readonly fours: boolean;
}

/**
 * left[b, row, k] = a[b a_outer, a_inner + row a_row + k a_k], the batch counted through two axes; right alike. `left.along` and
 * `right.along` say which of the steps is the small one: it is 1 where there are fours.
 */
export function matmulOperands(left: Lie<"k" | "row">, right: Lie<"k" | "column">): Operands {
  const leftAt = "batch / p.batch_inner * p.a_outer + batch % p.batch_inner * p.a_inner + row * p.a_row + k * p.a_k";
  const rightAt = "batch / p.batch_inner * p.b_outer + batch % p.batch_inner * p.b_inner + k * p.b_k + column * p.b_column";
  return {
    name: "matmul",
    reads: ["a", "b"],
    fours: [...(left.fours ? ["a"] : []), ...(right.fours ? ["b"] : [])],
    params: ["a_row", "a_k", "b_k", "b_column", "batch_inner", "a_outer", "a_inner", "b_outer", "b_inner"].map((name) => `${name}: u32`),
    code: `
fn left(batch: u32, row: u32, k: u32) -> f32 { return a(${leftAt}); }
fn right(batch: u32, k: u32, column: u32) -> f32 { return b(${rightAt}); }
${left.fours ? `fn left4(batch: u32, row: u32, k: u32) -> vec4f { return a4(${leftAt}); }` : ""}
${right.fours ? `fn right4(batch: u32, k: u32, column: u32) -> vec4f { return b4(${rightAt}); }` : ""}`,
    leftAlong: left.along,
    rightAlong: right.along,
    leftFours: left.fours,
    rightFours: right.fours,
  };
}
