// Times of compute passes, kept by the GPU itself.
import { MAP_READ_MODE, usage } from "./device.ts";

const MOST_QUERIES = 4096; // of a set
const BYTES = 8; // of a time, in nanoseconds

/** Keeps when each of a number of passes began and ended. */
export class Stopwatch {
  readonly #sets: GPUQuerySet[] = [];
  readonly #resolved: GPUBuffer;
  readonly #times: GPUBuffer;
  readonly #count: number;

  constructor(device: GPUDevice, passes: number) {
    this.#count = 2 * passes;
    const size = Math.max(this.#count, 1) * BYTES;
    for (let at = 0; at < this.#count; at += MOST_QUERIES) {
      this.#sets.push(device.createQuerySet({ type: "timestamp", count: Math.min(MOST_QUERIES, this.#count - at) }));
    }
    this.#resolved = device.createBuffer({ label: "times", size, usage: usage.QUERY_RESOLVE | usage.COPY_SRC });
    this.#times = device.createBuffer({ label: "times", size, usage: usage.MAP_READ | usage.COPY_DST });
  }

  /** What pass number `i` has to be begun with. */
  pass(i: number): GPUComputePassDescriptor {
    const at = (2 * i) % MOST_QUERIES;
    const querySet = this.#sets[Math.floor((2 * i) / MOST_QUERIES)];
    return { timestampWrites: { querySet, beginningOfPassWriteIndex: at, endOfPassWriteIndex: at + 1 } };
  }

  /** Records the collecting of all times, after the passes. */
  collect(encoder: GPUCommandEncoder): void {
    for (const [i, set] of this.#sets.entries()) encoder.resolveQuerySet(set, 0, set.count, this.#resolved, i * MOST_QUERIES * BYTES);
    encoder.copyBufferToBuffer(this.#resolved, 0, this.#times, 0, this.#resolved.size);
  }

  /** When each pass began, after the first, and how long it took, in milliseconds. After submission. */
  async read(): Promise<{ beginMs: number; timeMs: number }[]> {
    await this.#times.mapAsync(MAP_READ_MODE);
    const times = new BigUint64Array(this.#times.getMappedRange().slice(0, this.#count * BYTES));
    const since = (i: number) => Number(times[i] - times[0]) / 1e6;
    return Array.from({ length: this.#count / 2 }, (_, i) => ({ beginMs: since(2 * i), timeMs: since(2 * i + 1) - since(2 * i) }));
  }

  free(): void {
    for (const set of this.#sets) set.destroy();
    this.#resolved.destroy();
    this.#times.destroy();
  }
}
