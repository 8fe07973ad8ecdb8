// Calls become dispatches: what each binds and the numbers that it takes.
import { batchShader, fields, type Kernel, shader } from "../../../gpu/kernel.ts";
import type { Step } from "../../tape/program.ts";
import { around, type Batch, batches } from "./batches.ts";
import type { Call } from "./emitter.ts";
import { bytesOf, typeOf, type Window } from "./place.ts";

export interface Dispatch {
  /** The steps that it belongs to: several for a batch. */
  readonly steps: readonly Step[];
  readonly label: string;
  readonly shader: string;
  readonly windows: readonly Window[];
  /** What binding 0 holds. */
  readonly params: Uint32Array<ArrayBuffer>;
  readonly grid: readonly [number, number];
}

/** What a device can bind. */
export interface Binds {
  /** Storage buffers of a kernel. */
  readonly buffers: number;
  /** Bytes of one. */
  readonly bytes: number;
  /** Bytes of the arena that lie in one memory. */
  readonly segment: number;
  /** Bytes of binding 0. */
  readonly params: number;
}

const MOST_GROUPS = 65535; // along an axis of the grid, on every adapter

/** Dispatches of calls in their order. */
export function dispatches(calls: readonly Call[], binds: Binds): Dispatch[] {
  return batches(calls, (batch) => fits(batch, binds)).map((batch) =>
    batch.calls.length === 1 ? single(batch.calls[0], binds) : several(batch, binds),
  );
}

const words = (kernel: Kernel) => 4 * Math.ceil(fields(kernel).length / 4);

/**
 * What a batch binds: one window for each memory, so that batches of a kernel share a shader, or, where such a window is larger than a
 * binding, one for each operand, joined where they overlap.
 */
function windowsOf({ spans }: Batch, binds: Binds): Window[] {
  const joined = (meet: (a: Window, b: Window) => boolean) => {
    const windows: Window[] = [];
    for (const span of spans) {
      let window = span;
      for (let i = 0; i < windows.length; ) {
        if (!meet(windows[i], window)) i++;
        else {
          window = around(windows.splice(i, 1)[0], window);
          i = 0;
        }
      }
      windows.push(window);
    }
    return windows;
  };
  const whole = joined((a, b) => a.home === b.home);
  return whole.every((window) => canBind(window, binds)) ? whole : joined(overlap);
}

/** Whether a window is small enough, and in one memory. */
const canBind = ({ home, offset, size }: Window, { bytes, segment }: Binds) =>
  size <= bytes && (typeof home !== "string" || (offset % segment) + size <= segment);

const overlap = (a: Window, b: Window) => a.home === b.home && a.offset < b.offset + b.size && b.offset < a.offset + a.size;
const within = (outer: Window, { home, offset }: Window) =>
  outer.home === home && outer.offset <= offset && offset < outer.offset + outer.size;

function fits(batch: Batch, binds: Binds): boolean {
  const windows = windowsOf(batch, binds);
  const numbers = 4 * (4 + batch.calls.length * words(batch.calls[0].kernel));
  return windows.length <= binds.buffers && windows.every((window) => canBind(window, binds)) && numbers <= binds.params;
}

/** Each call's numbers in turn, behind the number of all groups. */
function several(batch: Batch, binds: Binds): Dispatch {
  const { calls, spans } = batch;
  const { kernel } = calls[0];
  const windows = windowsOf(batch, binds);
  const bindings = spans.map((span) => windows.findIndex((window) => within(window, span)));
  const params = new Uint32Array(4 + calls.length * words(kernel));
  let groups = 0;
  for (const [i, call] of calls.entries()) {
    params.set(numbers(call, windows, bindings, groups), 4 + i * words(kernel));
    groups += call.groups;
  }
  params[0] = groups;
  const steps = [...new Set(calls.map(({ step }) => step))];
  const label = `${steps[0].label} and ${calls.length - 1} more`;
  return {
    steps,
    label,
    shader: batchShader(kernel, { bindings, types: windows.map(typeOf) }, calls.length),
    windows,
    params,
    grid: grid(groups),
  };
}

/** A window for each buffer of a call; where those are too many, the nearest neighbours in one memory become one. */
function single(call: Call, binds: Binds): Dispatch {
  const { step, kernel, operands, groups } = call;
  const windows: Window[] = [];
  for (const { home, offset, size } of operands) {
    if (!windows.some((window) => window.home === home && window.offset === offset)) windows.push({ home, offset, size });
  }
  const apart = windows.length;
  while (windows.length > binds.buffers) {
    if (joinNearest(windows, binds)) continue;
    throw new RangeError(
      `Cannot run ${step.label} on this GPU: a kernel sees at most ${binds.buffers} buffers of ${binds.bytes} bytes, this step's ${apart} operands lie too far apart for that; take a smaller batch`,
    );
  }
  for (const window of windows) {
    if (canBind(window, binds)) continue;
    throw new RangeError(
      `Cannot run ${step.label} on this GPU: a kernel sees at most ${binds.bytes} bytes as one buffer, this step needs ${window.size}; take a smaller batch`,
    );
  }
  const bindings = operands.map((operand) => windows.findIndex((window) => within(window, operand)));
  const params = numbers(call, windows, bindings, groups);
  return {
    steps: [step],
    label: step.label,
    shader: shader(kernel, { bindings, types: windows.map(typeOf) }),
    windows,
    params,
    grid: grid(groups),
  };
}

/** Replaces the two windows of one memory with the smallest gap between them by one; false where none can be bound. */
function joinNearest(windows: Window[], binds: Binds): boolean {
  let best: { first: Window; second: Window; gap: number } | undefined;
  for (const first of windows) {
    for (const second of windows) {
      const gap = second.offset - first.offset - first.size;
      if (first === second || first.home !== second.home || gap < 0 || (best && best.gap <= gap)) continue;
      if (!canBind(around(first, second), binds)) continue;
      best = { first, second, gap };
    }
  }
  if (!best) return false;
  const { first, second } = best;
  windows.splice(windows.indexOf(second), 1);
  windows[windows.indexOf(first)] = { ...first, size: second.offset + second.size - first.offset };
  return true;
}

/** A call's `p` as words; `groups` is the value of its first field. */
function numbers(call: Call, windows: readonly Window[], bindings: readonly number[], groups: number): Uint32Array<ArrayBuffer> {
  const { kernel, operands, params } = call;
  const values: Record<string, number> = { ...params, groups };
  for (const [i, name] of [...kernel.reads, ...kernel.writes].entries()) {
    values[`${name}_at`] = (operands[i].at - windows[bindings[i]].offset) / bytesOf(operands[i]);
  }
  const list = fields(kernel);
  const packed = new DataView(new ArrayBuffer(4 * list.length));
  for (const [i, { name, type }] of list.entries()) {
    const value = values[name];
    if (value === undefined) throw new TypeError(`Cannot run kernel ${kernel.name}: it was given no "${name}"`);
    if (type === "f32") packed.setFloat32(4 * i, value, true);
    else packed.setUint32(4 * i, value, true); // negative steps wrap, as sums of places do
  }
  return new Uint32Array(packed.buffer);
}

function grid(groups: number): [number, number] {
  const rows = Math.ceil(groups / MOST_GROUPS);
  if (rows > MOST_GROUPS) throw new RangeError(`Cannot run ${groups} workgroups: a grid has at most ${MOST_GROUPS ** 2}`);
  return [Math.ceil(groups / Math.max(rows, 1)), rows];
}
