// The one shared linear memory and who has which part of it.
import { CONTROL_BYTES } from "../../../assembly/control.ts";

const PAGE = 65536;
const ALIGN = 64;
const LIMIT = 65535 * PAGE; // the last page stays out, so that the end of a range never wraps to 0
const SLACK = PAGE; // vector loads may look beyond the end of the last block

/** Address of the control block: behind the module's own constants. */
export const CONTROL = PAGE;

const aligned = (bytes: number) => Math.ceil(Math.max(bytes, 1) / ALIGN) * ALIGN;
const mib = (bytes: number) => `${(bytes / 2 ** 20).toFixed(1)} MiB`;

interface Block {
  readonly start: number;
  readonly end: number;
}

/** A shared memory of at most 4 GiB that grows as blocks are taken. Addresses and sizes in bytes. */
export class Memory {
  readonly memory = new WebAssembly.Memory({ initial: 4, maximum: 65536, shared: true });
  readonly #limit: number;
  #blocks: Block[] = [{ start: 0, end: CONTROL + aligned(CONTROL_BYTES) }]; // by address

  constructor(limit = LIMIT) {
    this.#limit = Math.min(limit, LIMIT);
  }

  /** Bytes in use. */
  get used(): number {
    return this.#blocks.reduce((sum, { start, end }) => sum + end - start, 0);
  }

  /** The largest block that could be taken if the one at `released` were given back. */
  largest(released?: number): number {
    return Math.max(...this.#gaps(released).map(({ start, end }) => end - start));
  }

  /** Takes a block at a multiple of 64. Throws a RangeError if there is none. */
  allocate(bytes: number): number {
    const size = aligned(bytes);
    const gap = this.#gaps().find(({ start, end }) => end - start >= size);
    if (!gap) throw new RangeError(`Cannot take ${mib(size)} of memory: the largest free part has ${mib(this.largest())}`);
    const block = { start: gap.start, end: gap.start + size };
    this.#grow(block.end);
    const at = this.#blocks.findIndex(({ start }) => start > block.start);
    this.#blocks.splice(at < 0 ? this.#blocks.length : at, 0, block);
    return block.start;
  }

  /** Gives a block back. */
  release(address: number): void {
    this.#blocks = this.#blocks.filter(({ start }) => start !== address);
  }

  /** A view of `count` floats; it stays valid when the memory grows. */
  floats(address: number, count: number): Float32Array<SharedArrayBuffer> {
    return new Float32Array(this.#buffer, address, count);
  }

  words(address: number, count: number): Uint32Array<SharedArrayBuffer> {
    return new Uint32Array(this.#buffer, address, count);
  }

  get #buffer(): SharedArrayBuffer {
    return this.memory.buffer as unknown as SharedArrayBuffer;
  }

  #gaps(released?: number): Block[] {
    const kept = this.#blocks.filter(({ start }) => start !== released);
    return kept.map(({ end }, i) => ({ start: end, end: kept[i + 1]?.start ?? this.#limit }));
  }

  #grow(end: number): void {
    const missing = Math.ceil((end + SLACK - this.#buffer.byteLength) / PAGE);
    if (missing <= 0) return;
    try {
      this.memory.grow(missing);
    } catch {
      throw new RangeError(`Cannot grow the memory to ${mib(end)}: the system refuses`);
    }
  }
}
