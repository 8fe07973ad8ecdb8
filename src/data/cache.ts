// Decoded small pictures in memory that all workers share, so that later epochs decode nothing.
import type { Picture } from "./picture.ts";

/** Pictures of at most this many pixels are kept. */
const SMALL = 256 * 256;

/** What a cache is made of, to be sent to another thread. */
export interface CacheMemory {
  readonly data: Uint8Array<SharedArrayBuffer>;
  /** How many bytes of `data` are taken; then for each picture its place in `data` plus one (0: not there), width and height. */
  readonly table: Int32Array<SharedArrayBuffer>;
}

/** Memory for `pictures` pictures of at most `bytes` bytes together. */
export function cacheMemory(pictures: number, bytes: number): CacheMemory {
  return {
    data: new Uint8Array(new SharedArrayBuffer(Math.min(bytes, pictures * SMALL * 3))),
    table: new Int32Array(new SharedArrayBuffer(4 + pictures * 12)),
  };
}

/** Bytes that pictures have taken so far, and the most that they may. */
export function cacheBytes({ data, table }: CacheMemory): { used: number; limit: number } {
  return { used: Math.min(data.length, Atomics.load(table, 0)), limit: data.length };
}

export class PictureCache {
  private readonly memory: CacheMemory;

  constructor(memory: CacheMemory) {
    this.memory = memory;
  }

  get(i: number): Picture | undefined {
    const { data, table } = this.memory;
    const entry = 1 + i * 3;
    const place = Atomics.load(table, entry) - 1;
    if (place < 0) return undefined;
    const [width, height] = [table[entry + 1], table[entry + 2]];
    return { width, height, data: data.subarray(place, place + width * height * 3) };
  }

  /** Keeps a small picture while there is room. Two threads may both keep one, which costs room and nothing else. */
  put(i: number, { width, height, data: pixels }: Picture): void {
    const { data, table } = this.memory;
    if (width * height > SMALL || Atomics.load(table, 0) + pixels.length > data.length) return;
    const place = Atomics.add(table, 0, pixels.length);
    if (place + pixels.length > data.length) return;
    const entry = 1 + i * 3;
    data.set(pixels, place);
    table[entry + 1] = width;
    table[entry + 2] = height;
    Atomics.store(table, entry, place + 1);
  }
}
