// Writes the command stream of a program: opcodes and arguments, barriers where a command needs what an earlier one left.
import { BARRIER, END, MARK, SKIP } from "../../../assembly/opcodes.ts";
import type { Buffer, Elementwise, Step, View } from "../../tape/program.ts";
import { writeElementwise } from "./encode-elementwise.ts";

/** Bytes [start, end) of the shared memory. */
export interface Range {
  readonly start: number;
  readonly end: number;
}

/** What a command reads and writes. */
export interface Touched {
  readonly reads: readonly Range[];
  readonly writes: readonly Range[];
  /** Written as well, beside what the step's earlier commands write: need not wait for them. */
  readonly apart?: readonly Range[];
}

/** A finished stream. */
export interface Stream {
  readonly words: Uint32Array;
  /** Words at the end that count tiles. */
  readonly counters: number;
}

/** Writes the commands of one step. */
export type Encode = (step: Step, out: Emitter) => void;

/** Where a program and its buffers are, in bytes. */
export interface Places {
  /** The stream's first word. */
  readonly stream: number;
  /** First byte behind the arena: scratch that lives for one step. */
  readonly temporaries: number;
  address(buffer: Buffer): number;
  /** Whether the program has gradients of convolutions. */
  readonly learns?: boolean;
}

const overlap = (a: Range, list: readonly Range[]) => list.some((b) => a.start < b.end && b.start < a.end);
const bits = new Uint32Array(1);
const float = new Float32Array(bits.buffer);

export class Emitter {
  readonly #places: Places;
  readonly #words: number[] = [0]; // word 0: the address of the tile counters, which follow the stream
  #entries = 0; // commands, barriers and all else that the threads step over
  #reads: Range[] = []; // since the last barrier
  #writes: Range[] = [];
  #commands = 0;
  #used = 0; // bytes of temporaries of the present step
  #most = 0;

  constructor(places: Places) {
    this.#places = places;
  }

  /** Whether what is rounded here changes what a network learns. */
  get learns(): boolean {
    return this.#places.learns ?? false;
  }

  /** Commands so far. */
  get commands(): number {
    return this.#commands;
  }

  /** Bytes of temporaries that the hungriest step needs. */
  get temporaryBytes(): number {
    return this.#most;
  }

  /** Address of a view's element 0, ... 0. */
  address(view: View): number {
    return this.#places.address(view.buffer) + 4 * view.offset;
  }

  /** All bytes that a view reaches. */
  range(view: View): Range {
    let low = this.address(view);
    let high = low + 4;
    for (const [i, n] of view.shape.entries()) {
      const reach = 4 * (n - 1) * view.strides[i];
      if (reach < 0) low += reach;
      else high += reach;
    }
    return { start: low, end: high };
  }

  /** The bits of a float32. */
  f32(value: number): number {
    float[0] = value;
    return bits[0];
  }

  /** Shared scratch that belongs to this step; 64-byte aligned. */
  temporary(bytes: number): number {
    const at = this.#places.temporaries + this.#used;
    this.#used += (bytes + 63) & ~63;
    this.#most = Math.max(this.#most, this.#used);
    return at;
  }

  /** Called between steps: temporaries are free again. */
  nextStep(): void {
    this.#used = 0;
  }

  /** Appends a command. Everything it touches must be in `reads`, `writes` and `apart`. */
  emit(opcode: number, { reads, writes, apart = [] }: Touched, words: readonly number[]): void {
    const waits = reads.some((r) => overlap(r, this.#writes)) || writes.some((w) => overlap(w, this.#writes) || overlap(w, this.#reads));
    if (waits) this.barrier();
    this.#reads.push(...reads);
    this.#writes.push(...writes, ...apart);
    this.#push(opcode, words);
    this.#commands++;
  }

  /** Makes all threads meet and keeps the time at which the last one came at an address of 8 bytes. */
  mark(address: number): void {
    this.#meet(MARK, [address]);
  }

  /** Makes all threads meet here. */
  barrier(): void {
    this.#meet(BARRIER, []);
  }

  #meet(opcode: number, words: readonly number[]): void {
    this.#push(opcode, words);
    this.#reads = [];
    this.#writes = [];
  }

  /** Writes a fused program into the stream and gives its address. */
  elementwise(body: Elementwise): number {
    return this.data(writeElementwise(body, this));
  }

  /** Writes words that commands refer to and gives their address. */
  data(words: readonly number[]): number {
    this.#push(SKIP, words);
    return this.#places.stream + 4 * (this.#words.length - words.length);
  }

  #push(opcode: number, words: readonly number[]): void {
    this.#words.push(opcode, words.length + 2, ...words);
    this.#entries++;
  }

  /** The finished stream, and how many tile counters are at its end: they are zero when a run begins. */
  finish(): Stream {
    const words = [...this.#words, END, 2];
    words[0] = this.#places.stream + 4 * words.length;
    return { words: Uint32Array.from([...words, ...new Array<number>(this.#entries).fill(0)]), counters: this.#entries };
  }
}
