// Collects the kernel calls of a program's steps.
import { FIRST_GROUP, type Kernel, TABLE_RANGE } from "../../../gpu/kernel.ts";
import type { Buffer, Step, View } from "../../tape/program.ts";
import { size, strides } from "../../tape/shape.ts";
import { bytesOf, type Operand, type Place } from "./place.ts";
import type { ChooseTile } from "./tiles.ts";
import { cutGroups, type Reach, type Reached, rangesOf, type Sight } from "./windows.ts";

/** A kernel with what it works on. */
export interface Call {
  readonly step: Step;
  readonly kernel: Kernel;
  /** The kernel's reads, then its writes. */
  readonly operands: readonly Operand[];
  readonly params: Readonly<Record<string, number>>;
  readonly groups: number;
  /** Calls of one set may run in any order, though they share memory: no element is touched by two of them. */
  readonly set: number;
}

export type Encode = (step: Step, out: Emitter) => void;

/** Temporaries go round over so many floats, so that steps that follow each other do not share them and may run at once. */
const ROUND = 2 ** 24;

export interface EmitterOptions {
  /** Chooses the tiles of products. */
  readonly tileOf: ChooseTile;
  readonly sight: Sight;
  /** Floats of the arena that lie in one memory. */
  readonly segment: number;
}

export class Emitter {
  readonly calls: Call[] = [];
  readonly tileOf: ChooseTile;
  readonly sight: Sight;
  readonly #place: (buffer: Buffer) => Place;
  readonly #alignment: number;
  readonly #segment: number;
  readonly #firstTemporary: number;
  #step: Step | undefined;
  #temporary: number;
  #set = 0;
  #together = false;
  /** Floats that the arena needs with temporaries. */
  arena: number;

  /** `arena`: floats of the plan. */
  constructor(place: (buffer: Buffer) => Place, arena: number, { tileOf, sight, segment }: EmitterOptions) {
    this.#place = place;
    this.tileOf = tileOf;
    this.sight = sight;
    this.#segment = segment;
    this.#alignment = sight.alignment / 4;
    this.#firstTemporary = Math.ceil(arena / this.#alignment) * this.#alignment;
    this.#temporary = this.#firstTemporary;
    this.arena = arena;
  }

  /** Emits a step with its encoder. */
  step(step: Step, encode: Encode): void {
    this.#step = step;
    if (this.#temporary > this.#firstTemporary + ROUND) this.#temporary = this.#firstTemporary;
    encode(step, this);
  }

  /** Memory for this step alone, without gaps. */
  temporary(shape: readonly number[]): View {
    const room = Math.ceil(size(shape) / this.#alignment) * this.#alignment;
    const over = (this.#temporary % this.#segment) + room > this.#segment; // into the arena's next memory
    if (over) this.#temporary = Math.ceil(this.#temporary / this.#segment) * this.#segment;
    const buffer: Buffer = { id: -1, size: size(shape), kind: "arena", offset: this.#temporary };
    this.#temporary += room;
    this.arena = Math.max(this.arena, this.#temporary);
    return { buffer, offset: 0, shape, strides: strides(shape) };
  }

  #reached(view: View, reach?: Reach): Reached {
    const { buffer, offset } = view;
    const place = this.#place(buffer);
    const bytes = bytesOf(place);
    const size = 16 * Math.ceil((bytes * Math.max(buffer.size, 1)) / 16); // kernels may see it as whole vectors
    return { operand: { ...place, size, at: place.offset + bytes * offset }, view, reach, bytes };
  }

  #inSight(list: readonly Reached[]): boolean {
    return list.every(({ operand }) => operand.size <= this.sight.bytes);
  }

  /** Floats that a kernel sees at once, wherever they begin. */
  get seen(): number {
    return (this.sight.bytes - 2 * this.sight.alignment) / 4;
  }

  /** Whether a kernel can see all of these views at once. */
  sees(views: readonly View[]): boolean {
    const list = views.map((view) => this.#reached(view));
    return this.#inSight(list) || cutGroups(list, 1, this.sight) !== undefined;
  }

  /**
   * Emits a kernel. `views`: its operands, reads first; the kernel knows their steps. `params` may hold more than the kernel takes. `reaches`: what
   * groups touch of each operand, so that those that are too large to be seen at once can be cut.
   */
  dispatch(
    kernel: Kernel,
    views: readonly View[],
    params: Readonly<Record<string, number>>,
    groups: number,
    reaches: readonly (Reach | undefined)[] = [],
  ): void {
    const list = views.map((view, i) => this.#reached(view, reaches[i]));
    if (!this.#together) this.#set++;
    const call = { step: this.#step as Step, kernel, operands: list.map(({ operand }) => operand), params, groups, set: this.#set };
    if (groups === 0 || this.#inSight(list)) this.calls.push(call);
    else this.#inParts(call, list);
  }

  /** A call whose operands are larger than what a kernel sees as one buffer: for each range of the kernel's table, of some groups at a time. */
  #inParts(call: Call, list: readonly Reached[]): void {
    const { kernel, step } = call;
    const table = [...kernel.reads, ...kernel.writes].indexOf(kernel.table ?? "");
    const ranges = table < 0 ? [undefined] : rangesOf(list[table], this.sight);
    for (const range of ranges) {
      const parts = cutGroups(range ? list.with(table, { ...list[table], reach: () => range }) : list, call.groups, this.sight);
      if (!parts) {
        const largest = Math.max(...call.operands.map(({ size }) => size));
        throw new RangeError(
          `Cannot run ${step.label} on this GPU: its kernel sees at most ${this.sight.bytes} bytes at once, a tensor has ${largest} and cannot be cut there; take a smaller batch`,
        );
      }
      const params = [...kernel.params, ...(parts.length > 1 ? [FIRST_GROUP] : []), ...(ranges.length > 1 ? TABLE_RANGE : [])];
      const [table_begin, table_end] = range ?? [0, 0];
      for (const { begin, end, operands } of parts) {
        const numbers = { ...call.params, first_group: begin, table_begin, table_end };
        this.calls.push({ ...call, kernel: { ...kernel, params }, operands, params: numbers, groups: end - begin, set: this.#set });
      }
      if (ranges.length > 1) this.#set++; // what is not in the table may be written for each range
    }
  }

  /** Makes what `emit` emits one set: for parts of one tensor, which each have elements of their own. */
  together(emit: () => void): void {
    this.#set++;
    this.#together = true;
    emit();
    this.#together = false;
  }
}
