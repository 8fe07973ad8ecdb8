// Stores the new values of parameters: in place where the old value is no longer needed, by a copy at the end where it is.
import type { Buffer, Draft, Elementwise, Step, View } from "./program.ts";
import { type Shape, sameShape } from "./shape.ts";
import { contiguous, isContiguous } from "./view.ts";

export interface Assignment {
  /** The parameter's buffer. */
  readonly buffer: Buffer;
  /** Its new value: dense, in the arena. */
  readonly value: View;
}

/** Writes each value into its parameter; `allocate` gives a new arena tensor. */
export function storeAssigned(draft: Draft, assignments: readonly Assignment[], allocate: (shape: Shape) => View): Draft {
  const { steps } = draft;
  const lastRead = new Map(steps.flatMap((step, at) => viewsRead(step).map((view) => [view.buffer, at] as const)));
  const writer = new Map(steps.flatMap((step, at) => writes(step).map((view) => [view.buffer, at] as const)));
  const moved = new Map<Buffer, Buffer>();
  const copies: Step[] = [];
  for (const { buffer, value } of assignments) {
    const at = writer.get(value.buffer) as number;
    const late = (lastRead.get(buffer) ?? -1) > at;
    if (!late && !moved.has(value.buffer) && value.buffer.size === buffer.size && writesInPlace(steps[at], buffer, value)) {
      moved.set(value.buffer, buffer);
      if (steps[at].epilogue) steps[at] = withOwnProduct(steps[at], value, allocate);
    } else copies.push({ op: "copy", inputs: [value], outputs: [contiguous(buffer, value.shape)], attrs: {}, label: "assign" });
  }
  const place = (view: View): View => ({ ...view, buffer: moved.get(view.buffer) ?? view.buffer });
  return {
    buffers: draft.buffers.filter((buffer) => !moved.has(buffer)),
    steps: [...steps, ...copies].map((step) => mapViews(step, place)),
    outputs: draft.outputs.map(place),
  };
}

/** Whether a step may write over a parameter that it reads itself: only element by element. */
function writesInPlace(step: Step, buffer: Buffer, value: View): boolean {
  const reads = viewsRead(step).filter((view) => view.buffer === buffer);
  if (step.op === "updateSlice") return reads.every((view) => view === step.inputs[0]) && isContiguous(step.inputs[0]);
  const chain = step.body ?? step.epilogue;
  if (step.epilogue && step.inputs.some((view) => view.buffer === buffer)) return false;
  if (!chain) return reads.length === 0;
  const own = chain.outputs.find((output) => output.view.buffer === value.buffer)?.view;
  return !!own && reads.every((view) => sameShape(view.shape, own.shape) && isContiguous(view) && view.offset === 0);
}

/** A product whose chain writes a parameter must not gather its sums there: the chain may still read the old value. */
function withOwnProduct(step: Step, value: View, allocate: (shape: Shape) => View): Step {
  return step.outputs[0].buffer === value.buffer ? { ...step, outputs: [allocate(step.outputs[0].shape), ...step.outputs.slice(1)] } : step;
}

/** Every view that a step reads. */
export const viewsRead = (step: Step): View[] => [...step.inputs, ...(step.body?.inputs ?? []), ...(step.epilogue?.inputs ?? [])];

/** Every view that a step writes. */
export const writes = (step: Step): View[] => [
  ...step.outputs,
  ...(step.body?.outputs ?? []).map((o) => o.view),
  ...(step.epilogue?.outputs ?? []).map((o) => o.view),
];

/** A step with its views replaced. */
export function mapViews(step: Step, place: (view: View) => View): Step {
  const chain = (body: Elementwise | undefined) =>
    body && {
      ...body,
      inputs: body.inputs.map(place),
      outputs: body.outputs.map(({ view, register }) => ({ view: place(view), register })),
    };
  return {
    ...step,
    inputs: step.inputs.map(place),
    outputs: step.outputs.map(place),
    ...(step.body && { body: chain(step.body) }),
    ...(step.epilogue && { epilogue: chain(step.epilogue) }),
  };
}
