// Operands of a matrix product that lie in memory with steps of their own.
import type { Operands } from "./product.ts";

/**
 * left[b, row, k] = a[b a_outer, a_inner + row a_row + k a_k], the batch counted through two axes; right alike. `leftAlong` and
 * `rightAlong` say which of the steps is the small one.
 */
export function matmulOperands(leftAlong: "k" | "row", rightAlong: "k" | "column"): Operands {
  return {
    name: "matmul",
    reads: ["a", "b"],
    params: ["a_row", "a_k", "b_k", "b_column", "batch_inner", "a_outer", "a_inner", "b_outer", "b_inner"].map((name) => `${name}: u32`),
    code: `
fn left(batch: u32, row: u32, k: u32) -> f32 {
  return a(batch / p.batch_inner * p.a_outer + batch % p.batch_inner * p.a_inner + row * p.a_row + k * p.a_k);
}
fn right(batch: u32, k: u32, column: u32) -> f32 {
  return b(batch / p.batch_inner * p.b_outer + batch % p.batch_inner * p.b_inner + k * p.b_k + column * p.b_column);
}`,
    leftAlong,
    rightAlong,
  };
}
