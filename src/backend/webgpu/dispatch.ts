// Calls become dispatches: what each binds, the numbers that it takes, and calls of one kernel that do not wait for each other in one.
import { batchShader, fields, type Kernel, shader } from "../../../gpu/kernel.ts";
import type { Step } from "../../tape/program.ts";
import { bytesOf, type Call, typeOf, type Window } from "./emitter.ts";

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
  /** Bytes of binding 0. */
  readonly params: number;
}

const MOST_GROUPS = 65535; // along an axis of the grid, on every adapter

/** Dispatches of calls in their order. */
export function dispatches(calls: readonly Call[], binds: Binds): Dispatch[] {
  return batches(calls, binds).map((batch) => (batch.length === 1 ? single(batch[0], binds) : several(batch)));
}

/** How far back a call looks for a batch to join. */
const LOOK_BACK = 32;

/**
 * Calls of one kernel with operands in the same memories go together where nothing in between has to come before or after: weights of an
 * optimiser, lengths of gradients.
 */
function batches(calls: readonly Call[], binds: Binds): Call[][] {
  const list: Call[][] = [];
  for (const call of calls) {
    let home: Call[] | undefined;
    for (let i = list.length - 1; call.kernel.batches && i >= Math.max(0, list.length - LOOK_BACK); i--) {
      if (list[i].some((before) => mustWait(call, before))) break;
      if (alike(list[i][0], call) && fits([...list[i], call], binds)) home = list[i]; // the first one leaves most room for what waits
    }
    if (home) home.push(call);
    else list.push([call]);
  }
  return list;
}

/** Whether two calls can share a shader and its bindings. */
const alike = (a: Call, b: Call) =>
  a.kernel.name === b.kernel.name && a.kernel.code === b.kernel.code && a.operands.every(({ home }, i) => home === b.operands[i].home);

const overlap = (a: Window, b: Window) => a.home === b.home && a.offset < b.offset + b.size && b.offset < a.offset + a.size;
const readsOf = ({ kernel, operands }: Call) => operands.slice(0, kernel.reads.length);
const writesOf = ({ kernel, operands }: Call) => operands.slice(kernel.reads.length);

/** Whether a call must come after another: one of them writes what the other reads or writes. */
function mustWait(call: Call, before: Call): boolean {
  const hit = (a: readonly Window[], b: readonly Window[]) => a.some((x) => b.some((y) => overlap(x, y)));
  return hit(call.operands, writesOf(before)) || hit(writesOf(call), readsOf(before));
}

/** One window for each memory, around all operands in it. */
function spans(calls: readonly Call[]): Window[] {
  const windows: Window[] = [];
  for (const { home, offset, size } of calls.flatMap(({ operands }) => operands)) {
    const i = windows.findIndex((window) => window.home === home);
    if (i < 0) windows.push({ home, offset, size });
    else {
      const begin = Math.min(windows[i].offset, offset);
      windows[i] = { home, offset: begin, size: Math.max(windows[i].offset + windows[i].size, offset + size) - begin };
    }
  }
  return windows;
}

const words = (kernel: Kernel) => 4 * Math.ceil(fields(kernel).length / 4);

function fits(calls: readonly Call[], { buffers, bytes, params }: Binds): boolean {
  const windows = spans(calls);
  return (
    windows.length <= buffers && windows.every(({ size }) => size <= bytes) && 4 * (4 + calls.length * words(calls[0].kernel)) <= params
  );
}

/** Each call's numbers in turn, behind the number of all groups. */
function several(calls: readonly Call[]): Dispatch {
  const { kernel, operands } = calls[0];
  const windows = spans(calls);
  const bindings = operands.map(({ home }) => windows.findIndex((window) => window.home === home));
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
  while (windows.length > binds.buffers) joinNearest(windows);
  for (const { size } of windows) {
    if (size <= binds.bytes) continue;
    throw new RangeError(
      `Cannot run ${step.label} on this GPU: a kernel sees at most ${binds.bytes} bytes as one buffer, this step needs ${size}; take a smaller batch`,
    );
  }
  const holds = (window: Window, { home, offset }: Window) =>
    window.home === home && window.offset <= offset && offset < window.offset + window.size;
  const bindings = operands.map((operand) => windows.findIndex((window) => holds(window, operand)));
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

/** Replaces the two windows of one memory with the smallest gap between them by one. */
function joinNearest(windows: Window[]): void {
  let best: { first: Window; second: Window; gap: number } | undefined;
  for (const first of windows) {
    for (const second of windows) {
      const gap = second.offset - first.offset - first.size;
      if (first === second || first.home !== second.home || gap < 0 || (best && best.gap <= gap)) continue;
      best = { first, second, gap };
    }
  }
  if (!best) throw new RangeError("Cannot bind so many memories at once");
  const { first, second } = best;
  windows.splice(windows.indexOf(second), 1);
  windows[windows.indexOf(first)] = { ...first, size: second.offset + second.size - first.offset };
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
