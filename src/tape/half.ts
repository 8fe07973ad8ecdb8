// Large values that the backward pass reads are kept in half precision in between (`--activations f16`): they are rounded once
// after they have been computed, the forward pass goes on with the exact ones, and the backward pass reads the rounded ones.
import { mapViews, viewsRead, writes } from "./assign.ts";
import { exactBuffers } from "./precision.ts";
import type { Buffer, Draft, Step, View } from "./program.ts";
import { contiguous } from "./view.ts";

/** Floats from which a value is worth two conversions. */
const LARGE = 16384;
/** Steps between which a value has to wait at least. */
const LONG = 8;

/**
 * Ops whose results may be rounded. Random draws may not: the backward pass compares them with a rate once more, and a rounded one
 * could fall on the other side.
 */
const ROUNDABLE = new Set([
  "elementwise",
  "matmul",
  "conv2d",
  "attention",
  "batchNorm",
  "layerNorm",
  "maxPool",
  "avgPool",
  "copy",
  "concat",
]);

/** Where a value is computed, where the backward pass first reads it, and its buffers. */
interface Kept {
  readonly computed: number;
  readonly read: number;
  readonly half: Buffer;
  readonly restored: Buffer;
}

/** Adds the steps that round values after the forward pass has computed them (`toHalf`) and restore them before they are read (`fromHalf`). */
export function keepHalves(draft: Draft): Draft {
  const kept = new Map<Buffer, Kept>();
  const buffers = [...draft.buffers];
  const add = (size: number, dtype?: "f16"): Buffer => {
    const buffer: Buffer = { id: buffers.length, kind: "arena", size, dtype };
    buffers.push(buffer);
    return buffer;
  };
  for (const [buffer, { computed, read }] of waits(draft)) {
    kept.set(buffer, { computed, read, half: add(buffer.size, "f16"), restored: add(buffer.size) });
  }
  const steps: Step[] = [];
  const whole = (buffer: Buffer): View => contiguous(buffer, [buffer.size]);
  for (const [at, step] of draft.steps.entries()) {
    for (const { read, half, restored } of kept.values()) {
      if (read !== at) continue;
      const attrs = { count: restored.size };
      steps.push({ op: "fromHalf", inputs: [whole(half)], outputs: [whole(restored)], attrs, label: "fromHalf", scope: step.scope });
    }
    const now = (buffer: Buffer): Buffer => {
      const value = kept.get(buffer);
      return value && at >= value.read ? value.restored : buffer;
    };
    steps.push(mapViews(step, (view) => ({ ...view, buffer: now(view.buffer) })));
    for (const [buffer, { computed, half }] of kept) {
      if (computed !== at) continue;
      const attrs = { count: buffer.size };
      steps.push({ op: "toHalf", inputs: [whole(buffer)], outputs: [whole(half)], attrs, label: "toHalf", scope: step.scope });
    }
  }
  return { steps, buffers, outputs: draft.outputs };
}

/** Buffers that are computed in the forward pass and wait long for the backward pass. */
function* waits(draft: Draft): Generator<[Buffer, { computed: number; read: number }]> {
  const { steps, outputs } = draft;
  const leaving = new Set(outputs.map(({ buffer }) => buffer));
  const exact = exactBuffers(draft, []);
  const touches = new Map<Buffer, number[]>();
  for (const [at, step] of steps.entries()) {
    for (const buffer of new Set([...viewsRead(step), ...writes(step)].map((view) => view.buffer))) {
      touches.set(buffer, [...(touches.get(buffer) ?? []), at]);
    }
  }
  const isBackward = (at: number) => steps[at].scope?.pass === "backward";
  for (const [buffer, at] of touches) {
    if (buffer.kind !== "arena" || buffer.dtype || buffer.size < LARGE || leaving.has(buffer) || exact.has(buffer)) continue;
    const [computed] = at;
    const first = at.findIndex(isBackward);
    if (first <= 0 || !ROUNDABLE.has(steps[computed].op) || at[first] - at[first - 1] < LONG) continue;
    const written = at.filter((i) => writes(steps[i]).some((view) => view.buffer === buffer));
    if (written.length === 1) yield [buffer, { computed, read: at[first] }];
  }
}
