// Sums and maxima: gpu/reduce.ts.
import { type Reduction, reduceColumns, reduceRows } from "../../../gpu/reduce.ts";
import type { View } from "../../tape/program.ts";
import { size } from "../../tape/shape.ts";
import { reducedRuns } from "../axes.ts";
import type { Emitter, Encode } from "./emitter.ts";
import { emitChain, emitCopy } from "./encode-elementwise.ts";
import { each, type Range, type Reach } from "./windows.ts";

/** Threads that keep a GPU busy; fewer results than that are computed in parts. */
const THREADS = 2 ** 15;
/** Elements of a part at least. */
const LEAST_ROWS = 2048; // by a workgroup of 64
const LEAST_COLUMNS = 64; // by a thread

/** The same numbers as [outer, n, inner]. */
export type Reduced = readonly [outer: number, n: number, inner: number];

/** y [outer, inner] = the sum or maximum of x [outer, n, inner] over n; both without gaps. Long sums are summed in parts. */
export function emitReduce(out: Emitter, reduction: Reduction, x: View, y: View, [outer, n, inner]: Reduced): void {
  const rows = inner === 1 && n >= 32;
  const wanted = Math.max(1, Math.floor(THREADS / (outer * inner * (rows ? 64 : 1))));
  const most = out.sees([x, y]) ? n : Math.floor(out.seen / inner / (rows ? 1 : 2)); // 64 columns may belong to two parts
  if (most < Math.min(n, 2)) {
    joinSlices(out, reduction, x, y, [outer, n, inner]);
    return;
  }
  const part = Math.min(Math.max(Math.ceil(n / wanted), rows ? LEAST_ROWS : LEAST_COLUMNS), most);
  const parts = Math.ceil(n / part);
  const results = outer * parts * inner;
  const target = parts === 1 ? y : out.temporary([outer, parts, inner]);
  const params = { n, inner, part, parts, size: results };
  /** Of x: from where the first of some results begins to where the last one ends. */
  const read = (begin: number, end: number): Range => {
    const from = (result: number) => Math.floor(result / inner / parts) * n + (Math.floor(result / inner) % parts) * part;
    const last = from(end - 1);
    return [from(begin) * inner, Math.min(last + part, (Math.floor(last / n) + 1) * n) * inner];
  };
  if (rows) out.dispatch(reduceRows(reduction), [x, target], params, results, [read, each(1)]);
  else {
    const ofGroups: Reach = (begin, end) => read(64 * begin, Math.min(64 * end, results));
    out.dispatch(reduceColumns(reduction), [x, target], params, Math.ceil(results / 64), [ofGroups, each(64)]);
  }
  if (parts > 1) emitReduce(out, reduction, target, y, [outer, parts, inner]);
}

/** The same where not even two neighbours along n are seen at once: each is joined to those before it. */
function joinSlices(out: Emitter, reduction: Reduction, x: View, y: View, [outer, n, inner]: Reduced): void {
  const shape = [outer, inner];
  const to = { ...y, shape, strides: [inner, 1] };
  const slice = (i: number): View => ({ ...x, offset: x.offset + i * inner, shape, strides: [n * inner, 1] });
  const code = [{ op: reduction === "sum" ? "add" : "maximum", to: 0, from: [0, 1] }];
  emitCopy(out, slice(0), to);
  for (let i = 1; i < n; i++) emitChain(out, { shape, inputs: [to, slice(i)], code, outputs: [{ view: to, register: 0 }], registers: 2 });
}

/** The innermost run of reduced axes goes first, into a temporary if more follow. */
const reduce =
  (reduction: Reduction): Encode =>
  ({ inputs: [x], outputs: [y], attrs }, out) => {
    let list = reducedRuns(x.shape, attrs.axes as number[]);
    for (let from = x; list.some(({ reduced }) => reduced); ) {
      const at = list.findLastIndex(({ reduced }) => reduced);
      const [outer, inner] = [list.slice(0, at), list.slice(at + 1)].map((part) => size(part.map(({ n }) => n)));
      const { n } = list[at];
      list = list.toSpliced(at, 1);
      const to = list.some(({ reduced }) => reduced) ? out.temporary([outer, inner]) : y;
      emitReduce(out, reduction, from, to, [outer, n, inner]);
      from = to;
    }
  };

export const reduceEncoders: Record<string, Encode> = { sum: reduce("sum"), max: reduce("max") };
