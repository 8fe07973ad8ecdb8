// y [outer, parts, inner] = sums or maxima of x [outer, n, inner] over parts of n elements each `part`, the last one shorter.
import { functionsFor } from "./functions.ts";
import type { Kernel } from "./kernel.ts";

export type Reduction = "sum" | "max";

const joined: Record<Reduction, (a: string, b: string) => string> = {
  sum: (a, b) => `${a} + ${b}`,
  max: (a, b) => `larger(${a}, ${b})`,
};

/** What lanes without elements bring along: nothing, or once more the element that they read, the part's last. */
const neutral: Record<Reduction, string> = { sum: "0.0", max: "value" };

const PARAMS = ["n: u32", "inner: u32", "part: u32", "parts: u32", "size: u32"];

/** A thread for each result, which reads along n. */
export function reduceColumns(reduction: Reduction): Kernel {
  const join = joined[reduction]("value", "x(at)");
  return {
    name: `${reduction} over columns`,
    reads: ["x"],
    writes: ["y"],
    params: PARAMS,
    batches: true,
    lanes: 64,
    code: `${functionsFor(join)}
fn run(group: u32, lane: u32) {
  let i = group * LANES + lane;
  if (i >= p.size) { return; }
  let first = i / p.inner % p.parts * p.part;
  var at = (i / (p.inner * p.parts) * p.n + first) * p.inner + i % p.inner;
  var value = x(at);
  for (var left = min(p.part, p.n - first) - 1u; left > 0u; left--) {
    at += p.inner;
    value = ${join};
  }
  set_y(i, value);
}`,
  };
}

/** A workgroup for each result, inner = 1: its threads stride over the part, then halve. */
export function reduceRows(reduction: Reduction): Kernel {
  const join = joined[reduction];
  const step = join("value", "x(start + i)");
  return {
    name: `${reduction} over rows`,
    reads: ["x"],
    writes: ["y"],
    params: PARAMS,
    batches: true,
    lanes: 64,
    code: `${functionsFor(step)}
var<workgroup> partial: array<f32, LANES>;
fn run(group: u32, lane: u32) {
  let first = group % p.parts * p.part;
  let count = min(p.part, p.n - first);
  let start = group / p.parts * p.n + first;
  var value = x(start + min(lane, count - 1u));
  for (var i = lane + LANES; i < count; i += LANES) { value = ${step}; }
  partial[lane] = select(value, ${neutral[reduction]}, lane >= count);
  for (var half = LANES / 2u; half > 0u; half /= 2u) {
    workgroupBarrier();
    if (lane < half) { partial[lane] = ${join("partial[lane]", "partial[lane + half]")}; }
  }
  if (lane == 0u) { set_y(group, partial[0]); }
}`,
  };
}
