// The image kernels' module and its memory, in which pictures are placed one behind the other and freed all at once.
import { existsSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import type { Picture } from "./picture.ts";
import type { Interpolation } from "./views.ts";

/** A uint8 picture [height, width, 3] in the kernels' memory. */
export interface Bitmap {
  readonly at: number;
  readonly width: number;
  readonly height: number;
}

/** The exports of assembly/image. Sizes are in pixels, `n` counts pixels, addresses are in bytes. */
interface Exports {
  memory: WebAssembly.Memory;
  heap: WebAssembly.Global;
  coefficients(size: number, low: number, high: number, out: number, filter: number, bounds: number, weights: number): number;
  resampleHorizontal(x: number, stride: number, rows: number, y: number, out: number, bounds: number, weights: number, taps: number): void;
  resampleVertical(x: number, bytes: number, y: number, out: number, bounds: number, weights: number, taps: number, skip: number): void;
  grayscale(x: number, n: number): void;
  luminance(x: number, n: number): number;
  lut(x: number, n: number, table: number): void;
  saturation(x: number, n: number, factor: number): void;
  hue(x: number, n: number, shift: number): void;
  boxHorizontal(x: number, y: number, w: number, h: number, r: number, inner: number, outer: number): void;
  boxVertical(x: number, y: number, w: number, h: number, r: number, inner: number, outer: number, sums: number): void;
  flip(x: number, y: number, w: number, h: number): void;
  normalize(x: number, y: number, n: number, mean: number, std: number): void;
  weighHorizontal(x: number, width: number, rows: number, y: number, out: number, bounds: number, weights: number, taps: number): void;
  weighVertical(x: number, width: number, y: number, out: number, bounds: number, weights: number, taps: number): void;
  channelSums(x: number, n: number, sums: number): void;
  stretch(x: number, y: number, n: number, factor: number, offsets: number): void;
  fromGrey(x: number, y: number, n: number, factor: number): void;
  hsv(x: number, y: number, n: number, turns: number, factor: number): void;
  invertAbove(x: number, y: number, n: number, level: number): void;
  flipFloats(x: number, y: number, w: number, h: number): void;
  standardize(x: number, y: number, n: number, mean: number, std: number): void;
}

/** Antialiased filters under the numbers that assembly/image/resize.ts gives them. */
export const filters: Record<Exclude<Interpolation, "nearest">, number> = { box: 0, bilinear: 1, bicubic: 2, lanczos: 3 };

/** Bytes behind each buffer that vectors may touch. */
const SLACK = 64;
/** Memory that one large picture made grow is given back when it exceeds this. */
const KEEP = 256 * 2 ** 20;
const PAGE = 65536;

let compiled: WebAssembly.Module | undefined;

function compileKernels(): WebAssembly.Module {
  const file = import.meta.url.endsWith(".ts") ? "../../dist/image.wasm" : "../../image.wasm"; // run from src/, or built into dist/src/
  const url = new URL(file, import.meta.url);
  if (!compiled && !existsSync(url))
    throw new Error(`Cannot open the image kernels: ${fileURLToPath(url)} is missing; run \`npm run build\``);
  compiled ??= new WebAssembly.Module(readFileSync(url));
  return compiled;
}

/** An instance of the kernels with a stack of buffers. Not shared between threads. */
export class ImageMemory {
  kernels!: Exports;
  private top = 0;

  constructor() {
    this.reset();
  }

  /** Frees everything. */
  reset(): void {
    if (!this.kernels || this.kernels.memory.buffer.byteLength > KEEP) {
      this.kernels = new WebAssembly.Instance(compileKernels()).exports as unknown as Exports;
    }
    this.top = this.kernels.heap.value;
  }

  /** The stack's height, for `release`. */
  mark(): number {
    return this.top;
  }

  /** Frees what was allocated after `mark`. */
  release(mark: number): void {
    this.top = mark;
  }

  /** The address of `bytes` new bytes, which hold anything. Growing the memory detaches views taken before. */
  allocate(bytes: number): number {
    const at = Math.ceil(this.top / 16) * 16;
    const end = at + bytes + SLACK;
    const { memory } = this.kernels;
    if (end > memory.buffer.byteLength) memory.grow(Math.ceil((end - memory.buffer.byteLength) / PAGE));
    this.top = end;
    return at;
  }

  bytes(at: number, length: number): Uint8Array {
    return new Uint8Array(this.kernels.memory.buffer, at, length);
  }

  floats(at: number, length: number): Float32Array {
    return new Float32Array(this.kernels.memory.buffer, at, length);
  }

  /** The address of three numbers, four times over, as kernels of four pixels want them. */
  channels(values: readonly [number, number, number]): number {
    const at = this.allocate(48);
    this.floats(at, 12).set([...values, ...values, ...values, ...values]);
    return at;
  }

  /** Room for a float32 picture. */
  floatBitmap(width: number, height: number): Bitmap {
    return { at: this.allocate(width * height * 12), width, height };
  }

  /** Room for a picture. */
  bitmap(width: number, height: number): Bitmap {
    return { at: this.allocate(width * height * 3), width, height };
  }

  /** Copies a picture in. */
  put({ width, height, data }: Picture): Bitmap {
    const bitmap = this.bitmap(width, height);
    this.bytes(bitmap.at, data.length).set(data);
    return bitmap;
  }

  /** The picture in place: valid until it is freed or memory grows. */
  view({ at, width, height }: Bitmap): Picture {
    return { width, height, data: this.bytes(at, width * height * 3) };
  }
}
