// Collects the kernel calls of a program's steps.
import type { Kernel } from "../../../gpu/kernel.ts";
import type { Buffer, Step, View } from "../../tape/program.ts";
import { size, strides } from "../../tape/shape.ts";
import type { ChooseTile } from "./tiles.ts";

/** Where a buffer lies: in which of the program's memories, and from which byte on. */
export interface Place {
  /** The arena goes by name: it is another buffer when it has grown. Its part that holds halves has a name of its own. */
  readonly home: "arena" | "halves" | GPUBuffer;
  readonly offset: number;
}

/** How numbers are stored in a memory. */
export const typeOf = ({ home }: Place): "f32" | "f16" => (home === "halves" ? "f16" : "f32");

/** Bytes of a number there. */
export const bytesOf = (place: Place): number => (typeOf(place) === "f16" ? 2 : 4);

/** A range of bytes of one memory. */
export interface Window extends Place {
  readonly size: number;
}

/** An operand: the buffer that it lies in, and where it begins. */
export interface Operand extends Window {
  /** In bytes from the beginning of the memory. */
  readonly at: number;
}

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
const ROUND = 2 ** 22;

export class Emitter {
  readonly calls: Call[] = [];
  readonly tileOf: ChooseTile;
  readonly #place: (buffer: Buffer) => Place;
  readonly #alignment: number;
  readonly #firstTemporary: number;
  #step: Step | undefined;
  #temporary: number;
  #set = 0;
  #together = false;
  /** Floats that the arena needs with temporaries. */
  arena: number;

  /** `arena`: floats of the plan; `alignment`: floats between possible beginnings of a window; `tileOf` chooses the tiles of products. */
  constructor(place: (buffer: Buffer) => Place, arena: number, alignment: number, tileOf: ChooseTile) {
    this.#place = place;
    this.tileOf = tileOf;
    this.#alignment = alignment;
    this.#firstTemporary = Math.ceil(arena / alignment) * alignment;
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
    const buffer: Buffer = { id: -1, size: size(shape), kind: "arena", offset: this.#temporary };
    this.#temporary += Math.ceil(buffer.size / this.#alignment) * this.#alignment;
    this.arena = Math.max(this.arena, this.#temporary);
    return { buffer, offset: 0, shape, strides: strides(shape) };
  }

  /**
   * Emits a kernel. `views`: its operands, reads first; only where each begins matters, the kernel knows its steps. `params` may hold
   * more than the kernel takes.
   */
  dispatch(kernel: Kernel, views: readonly View[], params: Readonly<Record<string, number>>, groups: number): void {
    const operands = views.map(({ buffer, offset }): Operand => {
      const place = this.#place(buffer);
      const bytes = bytesOf(place);
      const size = 16 * Math.ceil((bytes * Math.max(buffer.size, 1)) / 16); // kernels may see it as whole vectors
      return { ...place, size, at: place.offset + bytes * offset };
    });
    if (!this.#together) this.#set++;
    this.calls.push({ step: this.#step as Step, kernel, operands, params, groups, set: this.#set });
  }

  /** Makes what `emit` emits one set: for parts of one tensor, which each have elements of their own. */
  together(emit: () => void): void {
    this.#set++;
    this.#together = true;
    emit();
    this.#together = false;
  }
}
