// Collects the dispatches of a program: kernels, the windows of memory that they see, and the numbers that they take.
import { fields, type Kernel, shader } from "../../../gpu/kernel.ts";
import type { Buffer, Step, View } from "../../tape/program.ts";

/** Where a buffer lies: in which of the program's memories, and from which byte on. */
export interface Place {
  /** The arena goes by name: it is another buffer when it has grown. */
  readonly home: "arena" | GPUBuffer;
  readonly offset: number;
}

/** A range of bytes that a kernel sees as one storage buffer. */
export interface Window extends Place {
  readonly size: number;
}

export interface Dispatch {
  readonly step: Step;
  readonly shader: string;
  readonly windows: readonly Window[];
  /** The fields of the kernel's `p`. */
  readonly params: Uint32Array<ArrayBuffer>;
  readonly grid: readonly [number, number];
}

export type Encode = (step: Step, out: Emitter) => void;

/** What a device can bind. */
export interface Binds {
  /** Storage buffers of a kernel. */
  readonly buffers: number;
  /** Bytes of one. */
  readonly bytes: number;
}

const MOST_GROUPS = 65535; // along an axis of the grid, on every adapter

export class Emitter {
  readonly dispatches: Dispatch[] = [];
  readonly #place: (buffer: Buffer) => Place;
  readonly #binds: Binds;
  readonly #alignment: number;
  readonly #firstTemporary: number;
  #step: Step | undefined;
  #temporary: number;
  /** Floats that the arena needs with temporaries. */
  arena: number;

  /** `arena`: floats of the plan; `alignment`: floats between possible beginnings of a window. */
  constructor(place: (buffer: Buffer) => Place, binds: Binds, arena: number, alignment: number) {
    this.#place = place;
    this.#binds = binds;
    this.#alignment = alignment;
    this.#firstTemporary = Math.ceil(arena / alignment) * alignment;
    this.#temporary = this.#firstTemporary;
    this.arena = arena;
  }

  /** Emits a step with its encoder. Temporaries of earlier steps are given up. */
  step(step: Step, encode: Encode): void {
    this.#step = step;
    this.#temporary = this.#firstTemporary;
    encode(step, this);
  }

  /** Memory for this step alone, without gaps. */
  temporary(shape: readonly number[]): View {
    const size = shape.reduce((a, b) => a * b, 1);
    const buffer: Buffer = { id: -1, size, kind: "arena", offset: this.#temporary };
    this.#temporary += Math.ceil(size / this.#alignment) * this.#alignment;
    this.arena = Math.max(this.arena, this.#temporary);
    const strides = shape.map((_, i) => shape.slice(i + 1).reduce((a, b) => a * b, 1));
    return { buffer, offset: 0, shape, strides };
  }

  /**
   * Emits a kernel. `views`: its operands, reads first; only where each begins matters, the kernel knows its steps. `params` may hold
   * more than the kernel takes.
   */
  dispatch(kernel: Kernel, views: readonly View[], params: Readonly<Record<string, number>>, groups: number): void {
    const step = this.#step as Step;
    const { windows, bindings } = this.#windows(views.map(({ buffer }) => buffer));
    const at = views.map((view, i) => {
      const { offset } = this.#place(view.buffer);
      return (offset - windows[bindings[i]].offset) / 4 + view.offset;
    });
    const own: Record<string, number> = { ...params, groups };
    for (const [i, name] of [...kernel.reads, ...kernel.writes].entries()) own[`${name}_at`] = at[i];
    this.dispatches.push({ step, shader: shader(kernel, bindings), windows, params: pack(kernel, own), grid: grid(groups) });
  }

  /** One window for each buffer; where those are too many, the nearest neighbours in one memory become one. */
  #windows(buffers: readonly Buffer[]): { windows: Window[]; bindings: number[] } {
    const windows: Window[] = [];
    for (const buffer of new Set(buffers)) windows.push({ ...this.#place(buffer), size: 4 * Math.max(buffer.size, 1) });
    while (windows.length > this.#binds.buffers) joinNearest(windows);
    for (const { size } of windows) {
      if (size <= this.#binds.bytes) continue;
      throw new RangeError(
        `Cannot run ${this.#step?.label} on this GPU: a kernel sees at most ${this.#binds.bytes} bytes as one buffer, this step needs ${size}; take a smaller batch`,
      );
    }
    const bindings = buffers.map((buffer) => {
      const { home, offset } = this.#place(buffer);
      return windows.findIndex((window) => window.home === home && window.offset <= offset && offset < window.offset + window.size);
    });
    return { windows, bindings };
  }
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

/** A kernel's `p` as words. */
function pack(kernel: Kernel, values: Readonly<Record<string, number>>): Uint32Array<ArrayBuffer> {
  const list = fields(kernel);
  const words = new DataView(new ArrayBuffer(4 * list.length));
  for (const [i, { name, type }] of list.entries()) {
    const value = values[name];
    if (value === undefined) throw new TypeError(`Cannot run kernel ${kernel.name}: it was given no "${name}"`);
    if (type === "f32") words.setFloat32(4 * i, value, true);
    else words.setUint32(4 * i, value, true); // negative steps wrap, as sums of places do
  }
  return new Uint32Array(words.buffer);
}

function grid(groups: number): [number, number] {
  const rows = Math.ceil(groups / MOST_GROUPS);
  if (rows > MOST_GROUPS) throw new RangeError(`Cannot run ${groups} workgroups: a grid has at most ${MOST_GROUPS ** 2}`);
  return [Math.ceil(groups / Math.max(rows, 1)), rows];
}
