// Attention and its gradient: strides of the projections, sizes of the blocks.
import { ATTENTION, ATTENTION_GRAD } from "../../../assembly/opcodes.ts";
import type { Step, View } from "../../tape/program.ts";
import type { Emitter } from "./emitter.ts";

const KEYS = 256; // keys of a block, as in attention.ts
const QUERIES = 256; // of a tile, as in attention.ts
const ROWS = 128; // queries of a block, as BLOCK_ROWS in gemm.ts
const SCORES = 6144; // of a block: half of a first cache
const TILES = 16; // wanted, where there are enough queries
const WIDEST = 512; // channels of a head: more do not fit into a thread's scratch

interface Sizes {
  readonly batch: number;
  readonly heads: number;
  readonly n: number;
  readonly m: number;
  readonly d: number;
}

function sizes({ op, attrs }: Step, q: View, k: View): Sizes {
  const heads = attrs.heads as number;
  const d = q.shape[2] / heads;
  if (d > WIDEST) throw new RangeError(`Cannot run ${op} with ${d} channels a head: expected at most ${WIDEST}; take more heads`);
  return { batch: q.shape[0], heads, n: q.shape[1], m: k.shape[1], d };
}

/** An even number of rows, so that `n` is cut into equal blocks of at most `most`. */
const even = (n: number, most: number) => 2 * Math.ceil(n / Math.ceil(n / most) / 2);

/** Distances between images and rows, in bytes. */
const steps = (view: View) => [4 * view.strides[0], 4 * view.strides[1]];

function touched(step: Step, out: Emitter) {
  return { reads: step.inputs.map((view) => out.range(view)), writes: step.outputs.map((view) => out.range(view)) };
}

const addresses = (views: readonly View[], out: Emitter) => views.map((view) => out.address(view));

function encodeAttention(step: Step, out: Emitter): void {
  const [q, k, v] = step.inputs;
  const { batch, heads, n, m, d } = sizes(step, q, k);
  const tiles = Math.max(Math.ceil(n / QUERIES), Math.min(Math.ceil(n / 32), Math.ceil(TILES / (batch * heads))));
  const queries = even(n, Math.ceil(n / tiles));
  const keys = Math.min(even(m, KEYS), KEYS);
  const rows = even(queries, Math.min(ROWS, Math.floor(SCORES / (16 * Math.ceil(keys / 16)))));
  out.emit(ATTENTION, touched(step, out), [
    ...addresses([...step.inputs, ...step.outputs], out),
    ...[batch, heads, n, m, d, out.f32(step.attrs.scale as number)],
    ...[...steps(q), ...steps(k), ...steps(v)],
    ...[queries, rows, keys],
  ]);
}

function encodeAttentionGrad(step: Step, out: Emitter): void {
  const [, q, k, v] = step.inputs;
  const { batch, heads, n, m, d } = sizes(step, q, k);
  out.emit(ATTENTION_GRAD, touched(step, out), [
    ...addresses([...step.inputs, ...step.outputs], out),
    ...[batch, heads, n, m, d, out.f32(step.attrs.scale as number)],
    ...[...steps(q), ...steps(k), ...steps(v)],
    d > 192 ? 64 : ROWS,
  ]);
}

export const attentionEncoders = { attention: encodeAttention, attentionGrad: encodeAttentionGrad };
