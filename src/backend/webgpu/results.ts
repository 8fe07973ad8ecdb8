// What a program gives back. Its outputs lie side by side in one buffer; copies of that are read while later runs are under way.
import type { Buffer, View } from "../../tape/program.ts";
import { size } from "../../tape/shape.ts";
import { MAP_READ_MODE, usage } from "./device.ts";
import type { Place } from "./place.ts";
import type { Storage } from "./storage.ts";

/** Runs whose outputs can be on their way to the host at once. */
export const UNDER_WAY = 3;

export class Results {
  readonly #device: GPUDevice;
  readonly #outputs: readonly View[];
  readonly #offsets = new Map<Buffer, number>(); // of whole buffers that are outputs, in bytes of `home`
  readonly #others: readonly { output: View; at: number }[]; // parts of buffers, parameters, inputs: copied one by one
  readonly #starts: readonly number[]; // of all outputs in a copy, in floats
  readonly #home: GPUBuffer;
  readonly #side: number; // bytes of `home` in use
  readonly #bytes: number;
  readonly #free: GPUBuffer[] = [];
  readonly #reads = new Set<Promise<unknown>>();
  #made = 0;

  constructor(device: GPUDevice, storage: Storage, outputs: readonly View[]) {
    this.#device = device;
    this.#outputs = outputs;
    let end = 0;
    for (const { buffer, shape } of outputs) {
      if (buffer.kind !== "arena" || buffer.size !== size(shape) || this.#offsets.has(buffer)) continue;
      this.#offsets.set(buffer, end);
      end += storage.aligned(4 * buffer.size);
    }
    this.#side = end;
    this.#home = storage.buffer("outputs", end);
    const others: { output: View; at: number }[] = [];
    this.#starts = outputs.map((output) => {
      const whole = this.#offsets.get(output.buffer);
      if (whole !== undefined) return whole / 4 + output.offset;
      others.push({ output, at: end });
      end += 4 * size(output.shape);
      return end / 4 - size(output.shape);
    });
    this.#others = others;
    this.#bytes = Math.max(end, 4);
  }

  /** Where a buffer lies that is an output as a whole. */
  place(buffer: Buffer): Place | undefined {
    const offset = this.#offsets.get(buffer);
    return offset === undefined ? undefined : { home: this.#home, offset };
  }

  /** Memory for a copy that the host can read. Waits for the oldest run where too many are under way. */
  async take(): Promise<GPUBuffer> {
    while (this.#free.length === 0 && this.#made === UNDER_WAY) await Promise.race(this.#reads);
    const free = this.#free.pop();
    if (free) return free;
    this.#made++;
    return this.#device.createBuffer({ label: "results", size: this.#bytes, usage: usage.MAP_READ | usage.COPY_DST });
  }

  /** Records the copy. `source` says where a view lies that is no output as a whole: the buffer, and the byte where it begins. */
  copy(encoder: GPUCommandEncoder, to: GPUBuffer, source: (view: View) => { buffer: GPUBuffer; offset: number }): void {
    if (this.#side) encoder.copyBufferToBuffer(this.#home, 0, to, 0, this.#side);
    for (const { output, at } of this.#others) {
      const { buffer, offset } = source(output);
      encoder.copyBufferToBuffer(buffer, offset, to, at, 4 * size(output.shape));
    }
  }

  /** The outputs, when what has been submitted so far is done. */
  read(from: GPUBuffer): Promise<Float32Array[]> {
    const reading = this.#read(from);
    const end = () => void this.#reads.delete(settled);
    const settled: Promise<void> = reading.then(end, end); // whoever waits for `reading` hears of its failure
    this.#reads.add(settled);
    return reading;
  }

  async #read(from: GPUBuffer): Promise<Float32Array[]> {
    await from.mapAsync(MAP_READ_MODE);
    const all = new Float32Array(from.getMappedRange().slice(0));
    from.unmap();
    this.#free.push(from);
    return this.#outputs.map(({ shape }, i) => all.subarray(this.#starts[i], this.#starts[i] + size(shape)));
  }

  /** Frees the memory when nothing is read any more. */
  async free(): Promise<void> {
    await Promise.all(this.#reads);
    for (const buffer of [this.#home, ...this.#free]) buffer.destroy();
  }
}
