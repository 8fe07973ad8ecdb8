// Where parameters and the arena lie on the GPU. All programs share one arena, as big as the largest of them needs.
import type { Parameter } from "../../tape/tensor.ts";
import { MAP_READ_MODE, usage } from "./device.ts";
import type { Place } from "./place.ts";
import type { Sight } from "./windows.ts";

interface Slab {
  readonly buffer: GPUBuffer;
  /** Parameters in it. */
  users: number;
}

/** A parameter on the GPU. */
interface Entry {
  readonly parameter: Parameter;
  readonly slab: Slab;
  readonly offset: number;
  /** The host's numbers when the GPU last took them over. */
  host: Float32Array;
  /** The GPU has newer numbers than the host. */
  ahead: boolean;
  /** Programs that use it. */
  users: number;
}

/** What a program holds of a parameter that it uses. */
export type Held = Entry;

const KERNEL_DATA = usage.STORAGE | usage.COPY_DST | usage.COPY_SRC;
const gib = (bytes: number) => `${(bytes / 2 ** 30).toFixed(2)} GiB`;

/** Sizes in bytes that a program is held to, below those of the device: for tests. */
export interface SizeLimits {
  /** Of a buffer. */
  readonly buffer?: number;
  /** Of what a kernel sees as one. */
  readonly binding?: number;
}

/** Memory for intermediate values: one range of bytes, in several buffers where it is larger than one may be. */
export class Arena {
  readonly bytes: number;
  readonly #segment: number;
  readonly #buffers: readonly GPUBuffer[];

  constructor(bytes: number, segment: number, make: (bytes: number) => GPUBuffer) {
    this.bytes = bytes;
    this.#segment = segment;
    this.#buffers = Array.from({ length: Math.ceil(bytes / segment) }, (_, i) => make(Math.min(segment, bytes - i * segment)));
  }

  /** The buffer that a byte lies in, and where there. */
  at(offset: number): { buffer: GPUBuffer; offset: number } {
    const i = Math.floor(offset / this.#segment);
    return { buffer: this.#buffers[i], offset: offset - i * this.#segment };
  }

  destroy(): void {
    for (const buffer of this.#buffers) buffer.destroy();
  }
}

/** Buffers on the GPU that outlive a run. */
export class Storage {
  readonly #device: GPUDevice;
  readonly #parameters = new Map<Parameter, Entry>();
  /** Bytes between possible beginnings of what kernels see. */
  readonly alignment: number;
  /** What kernels see as one buffer. */
  readonly sight: Sight;
  /** Bytes of the arena that lie in one buffer. */
  readonly segment: number;
  readonly #largest: number;
  #arena: Arena | undefined;

  constructor(device: GPUDevice, { buffer, binding }: SizeLimits = {}) {
    const { maxBufferSize, maxStorageBufferBindingSize, minStorageBufferOffsetAlignment } = device.limits;
    this.#device = device;
    this.alignment = Math.max(64, minStorageBufferOffsetAlignment);
    this.sight = { bytes: Math.min(maxStorageBufferBindingSize, binding ?? Number.POSITIVE_INFINITY), alignment: this.alignment };
    this.#largest = Math.min(maxBufferSize, buffer ?? Number.POSITIVE_INFINITY);
    this.segment = Math.floor(this.#largest / this.alignment) * this.alignment;
  }

  aligned(bytes: number): number {
    return Math.ceil(Math.max(bytes, 4) / this.alignment) * this.alignment;
  }

  /** Throws a RangeError if this GPU has no buffers so large. */
  check(label: string, bytes: number): void {
    if (bytes <= this.#largest) return;
    throw new RangeError(
      `Cannot make a buffer of ${bytes} bytes (${gib(bytes)}) for ${label}: this GPU makes them of ${gib(this.#largest)} at most`,
    );
  }

  /** A buffer for numbers that kernels read and write. */
  buffer(label: string, bytes: number): GPUBuffer {
    this.check(label, bytes);
    return this.#device.createBuffer({ label, size: this.aligned(bytes), usage: KERNEL_DATA });
  }

  /** Puts parameters on the GPU, those that are new there side by side. */
  take(parameters: readonly Parameter[]): Held[] {
    const fresh: Parameter[] = [];
    for (const parameter of new Set(parameters)) {
      const known = this.#parameters.get(parameter);
      if (known) known.users++;
      else fresh.push(parameter);
    }
    while (fresh.length) {
      let bytes = 0;
      let count = 0;
      while (count < fresh.length && (count === 0 || bytes + this.aligned(4 * fresh[count].size) <= this.#largest)) {
        bytes += this.aligned(4 * fresh[count++].size);
      }
      this.#slab(fresh.splice(0, count), bytes);
    }
    return parameters.map((parameter) => this.#parameters.get(parameter) as Entry);
  }

  #slab(parameters: readonly Parameter[], bytes: number): void {
    const slab = { buffer: this.buffer("parameters", bytes), users: parameters.length };
    let offset = 0;
    for (const parameter of parameters) {
      const entry = { parameter, slab, offset, host: parameter.data, ahead: false, users: 1 };
      this.#parameters.set(parameter, entry);
      this.#upload(entry);
      offset += this.aligned(4 * parameter.size);
    }
  }

  #upload(entry: Entry): void {
    const { parameter } = entry;
    const { data } = parameter;
    if (data.length !== parameter.size) throw new RangeError(`Cannot run with ${data.length} numbers in a parameter of ${parameter.size}`);
    this.#device.queue.writeBuffer(entry.slab.buffer, entry.offset, data.buffer as ArrayBuffer, data.byteOffset, data.byteLength);
    entry.host = data;
    entry.ahead = false;
  }

  place(parameter: Parameter): Place {
    const { slab, offset } = this.#parameters.get(parameter) as Entry;
    return { home: slab.buffer, offset };
  }

  /** Takes over numbers that somebody put in place of the host's. */
  refresh(held: Held): void {
    if (held.host !== held.parameter.data) this.#upload(held);
  }

  /** Notes that a run has changed a parameter. */
  changed(held: Held): void {
    held.ahead = true;
  }

  /** Brings the host's numbers of these parameters up to date. */
  async fetch(parameters: Iterable<Parameter>): Promise<void> {
    const behind = [...parameters].filter((parameter) => {
      const entry = this.#parameters.get(parameter);
      return entry?.ahead && entry.host === parameter.data;
    });
    if (behind.length === 0) return;
    const ranges = behind.map((parameter) => {
      const { slab, offset } = this.#parameters.get(parameter) as Entry;
      return { buffer: slab.buffer, offset, bytes: 4 * parameter.size };
    });
    const copies = await readBack(this.#device, ranges);
    for (const [i, parameter] of behind.entries()) {
      parameter.data.set(copies[i]);
      (this.#parameters.get(parameter) as Entry).ahead = false;
    }
  }

  /** Takes the host's numbers, which have just been replaced in place. */
  replaced(parameter: Parameter): void {
    const entry = this.#parameters.get(parameter);
    if (entry) this.#upload(entry);
  }

  /** Gives up one use of each parameter; those without uses leave the GPU, their last numbers go to the host. */
  async drop(parameters: readonly Parameter[]): Promise<void> {
    const unused = parameters.filter((parameter) => {
      const entry = this.#parameters.get(parameter);
      return entry && --entry.users === 0;
    });
    await this.fetch(unused);
    for (const parameter of unused) {
      const entry = this.#parameters.get(parameter);
      if (!entry || entry.users > 0) continue; // taken again meanwhile
      this.#parameters.delete(parameter);
      if (--entry.slab.users === 0) entry.slab.buffer.destroy();
    }
  }

  /** Fetches everything that only the GPU has. */
  detach(): Promise<void> {
    return this.fetch(this.#parameters.keys());
  }

  /** The arena, made at least so large. It may be another than before: nothing in it outlives a run. */
  async arena(bytes: number): Promise<Arena> {
    if (this.#arena && this.#arena.bytes >= bytes) return this.#arena;
    this.free();
    this.#device.pushErrorScope("out-of-memory");
    const arena = new Arena(bytes, this.segment, (size) => this.buffer("intermediate values", size));
    const error = await this.#device.popErrorScope();
    if (error) {
      arena.destroy();
      throw new RangeError(
        `Cannot fit a program that needs ${bytes} bytes (${gib(bytes)}) for its values into the GPU's memory; take a smaller batch`,
      );
    }
    this.#arena = arena;
    return arena;
  }

  /** Frees the arena; who needs it later gets another. */
  free(): void {
    this.#arena?.destroy();
    this.#arena = undefined;
    this.#device.queue.submit([]); // Dawn gives memory back with the next submission
  }
}

/** Copies of ranges of buffers, through one buffer that the host can read. */
export async function readBack(
  device: GPUDevice,
  ranges: readonly { buffer: GPUBuffer; offset: number; bytes: number }[],
): Promise<Float32Array[]> {
  const total = ranges.reduce((sum, { bytes }) => sum + bytes, 0);
  const staging = device.createBuffer({ label: "read back", size: Math.max(total, 4), usage: usage.MAP_READ | usage.COPY_DST });
  try {
    const encoder = device.createCommandEncoder({ label: "read back" });
    let at = 0;
    for (const { buffer, offset, bytes } of ranges) {
      encoder.copyBufferToBuffer(buffer, offset, staging, at, bytes);
      at += bytes;
    }
    device.queue.submit([encoder.finish()]);
    return await mapped(
      staging,
      ranges.map(({ bytes }) => bytes),
    );
  } finally {
    staging.destroy();
  }
}

/** Copies of consecutive parts of a mappable buffer, sizes in bytes. */
export async function mapped(staging: GPUBuffer, sizes: readonly number[]): Promise<Float32Array[]> {
  await staging.mapAsync(MAP_READ_MODE);
  const all = staging.getMappedRange();
  let at = 0;
  const parts = sizes.map((bytes) => {
    at += bytes;
    return new Float32Array(all.slice(at - bytes, at));
  });
  staging.unmap();
  return parts;
}
