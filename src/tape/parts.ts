// Tensors that are only joined with others are written into the joint tensor at once, by kernels that can: no copy joins them.
import { mapViews, viewsRead, writes } from "./assign.ts";
import type { Buffer, Draft, Step, View } from "./program.ts";
import { sameShape } from "./shape.ts";
import { part } from "./view.ts";

/** Drops every concat of what steps of these ops write for it alone; they write its parts. */
export function writeParts(draft: Draft, ops: readonly string[]): Draft {
  const { steps, outputs } = draft;
  const touching = new Map<Buffer, Set<Step>>();
  for (const step of steps) {
    for (const { buffer } of [...viewsRead(step), ...writes(step)]) touching.set(buffer, (touching.get(buffer) ?? new Set()).add(step));
  }
  const leaving = new Set(outputs.map(({ buffer }) => buffer));
  /** Whether a step of these ops wrote a tensor, as it stands, for a concat alone. */
  const isFor = (concat: Step, view: View): boolean => {
    const { buffer, shape } = view;
    const [writer, reader, ...others] = touching.get(buffer) ?? [];
    if (reader !== concat || others.length || leaving.has(buffer) || buffer.dtype !== concat.outputs[0].buffer.dtype) return false;
    return ops.includes(writer.op) && writer.outputs.some((output) => output.buffer === buffer && sameShape(output.shape, shape));
  };
  const parts = new Map<Buffer, View>();
  const dropped = new Set<Step>();
  for (const step of steps) {
    const [whole] = step.outputs;
    const distinct = new Set(step.inputs.map(({ buffer }) => buffer)).size === step.inputs.length;
    if (step.op !== "concat" || whole.buffer.kind !== "arena" || !distinct || !step.inputs.every((view) => isFor(step, view))) continue;
    const axis = step.attrs.axis as number;
    let at = 0;
    for (const { buffer, shape } of step.inputs) {
      parts.set(buffer, part(whole, axis, at, shape[axis]));
      at += shape[axis];
    }
    dropped.add(step);
  }
  return {
    steps: steps.filter((step) => !dropped.has(step)).map((step) => mapViews(step, (view) => parts.get(view.buffer) ?? view)),
    buffers: draft.buffers.filter((buffer) => !parts.has(buffer)),
    outputs,
  };
}
