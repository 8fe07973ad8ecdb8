// JPEG, through libjpeg-turbo compiled to WebAssembly (package @cwasm/jpeg-turbo, without its JavaScript).
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { exifOrientation, orient } from "./exif.ts";
import { checkPixels, type Picture } from "./picture.ts";

interface TurboJpeg {
  memory: WebAssembly.Memory;
  malloc(bytes: number): number;
  free(at: number): void;
  tjInitDecompress(): number;
  tjDecompressHeader3(handle: number, jpeg: number, bytes: number, width: number, height: number, sampling: number, colors: number): number;
  tjDecompress2(
    handle: number,
    jpeg: number,
    bytes: number,
    out: number,
    w: number,
    pitch: number,
    h: number,
    format: number,
    flags: number,
  ): number;
}

/** turbojpeg.h: TJPF_RGB, TJPF_CMYK; TJCS_CMYK, TJCS_YCCK. */
const RGB = 0;
const CMYK = 11;
const FOUR_COLORS = [3, 4];

/** An instance whose memory one large picture made grow beyond this is given up. */
const KEEP = 128 * 2 ** 20;

const marker = { SOF0: 0xc0, SOF3: 0xc3, DHT: 0xc4, JPG: 0xc8, DAC: 0xcc, SOF15: 0xcf, SOI: 0xd8, EOI: 0xd9, SOS: 0xda, APP1: 0xe1 };

let compiled: WebAssembly.Module | undefined;
let instance: { turbo: TurboJpeg; handle: number } | undefined;

function failing(name: string): () => never {
  return () => {
    throw new Error(`libjpeg called ${name}`);
  };
}

/** The decoder, started anew after an error, since libjpeg's way out (longjmp) leaves its state undefined. */
function open(): { turbo: TurboJpeg; handle: number } {
  compiled ??= new WebAssembly.Module(readFileSync(createRequire(import.meta.url).resolve("@cwasm/jpeg-turbo/jpeg-turbo.wasm")));
  if (!instance) {
    const calls = ["environ_get", "proc_exit", "fd_close", "fd_seek", "fd_write"];
    const turbo = new WebAssembly.Instance(compiled, {
      env: { setjmp: () => 0, longjmp: failing("longjmp") },
      wasi_snapshot_preview1: { environ_sizes_get: () => 0, ...Object.fromEntries(calls.map((name) => [name, failing(name)])) },
    }).exports as unknown as TurboJpeg;
    instance = { turbo, handle: turbo.tjInitDecompress() };
  }
  return instance;
}

interface Header {
  width: number;
  height: number;
  orientation: number;
  /** Where the compressed pixels begin. */
  scan: number;
}

/** Walks the segments up to the first scan. Errors say what is wrong, without the file's name. */
export function readJpegHeader(bytes: Uint8Array): Header {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const header = { width: 0, height: 0, orientation: 1, scan: 0 };
  for (let at = 2; at + 4 <= bytes.length; ) {
    if (bytes[at] !== 0xff || bytes[at + 1] === 0xff) {
      at++; // padding, or rubbish between segments, which decoders skip
      continue;
    }
    const code = bytes[at + 1];
    if (code === 0 || code === 1 || (code >= 0xd0 && code <= marker.SOI)) {
      at += 2;
      continue;
    }
    const length = view.getUint16(at + 2);
    if (code === marker.SOS) return { ...header, scan: at + 2 + length };
    if (code === marker.SOF3) throw new Error("a lossless JPEG, which is not supported");
    const frame = code >= marker.SOF0 && code <= marker.SOF15 && code !== marker.DHT && code !== marker.JPG && code !== marker.DAC;
    if (frame && at + 9 <= bytes.length) [header.height, header.width] = [view.getUint16(at + 5), view.getUint16(at + 7)];
    if (code === marker.APP1 && isExif(bytes, at + 4)) header.orientation = exifOrientation(bytes.subarray(at + 10, at + 2 + length));
    at += 2 + length;
  }
  throw new Error("a JPEG that ends before its pixels begin");
}

const isExif = (bytes: Uint8Array, at: number) => [0x45, 0x78, 0x69, 0x66, 0, 0].every((byte, i) => bytes[at + i] === byte);

/** Pixels only ever hold the marker that ends a picture where it ends. */
function hasEnd(bytes: Uint8Array, scan: number): boolean {
  for (let at = bytes.length - 2; at >= scan; at--) if (bytes[at] === 0xff && bytes[at + 1] === marker.EOI) return true;
  return false;
}

/** CMYK as Adobe stores it, inverted, to RGB as Pillow converts it. */
function cmykToRgb(cmyk: Uint8Array): Uint8Array {
  const rgb = new Uint8Array((cmyk.length / 4) * 3);
  for (let from = 0, to = 0; from < cmyk.length; from += 4, to += 3) {
    const white = cmyk[from + 3];
    for (let c = 0; c < 3; c++) {
      const product = (255 - cmyk[from + c]) * white + 128;
      rgb[to + c] = Math.max(0, white - (((product >> 8) + product) >> 8));
    }
  }
  return rgb;
}

/** Decodes a JPEG, upright. Errors say what is wrong, without the file's name. */
export function decodeJpeg(bytes: Uint8Array): Picture {
  const header = readJpegHeader(bytes);
  checkPixels(header.width, header.height);
  try {
    return orient(decompress(bytes, header), header.orientation);
  } catch (error) {
    instance = undefined;
    throw error;
  } finally {
    if (instance && instance.turbo.memory.buffer.byteLength > KEEP) instance = undefined;
  }
}

function decompress(bytes: Uint8Array, { scan }: Header): Picture {
  const { turbo, handle } = open();
  const input = turbo.malloc(bytes.length + 16);
  if (!input) throw new Error(`a JPEG of ${bytes.length} bytes, for which memory is lacking`);
  new Uint8Array(turbo.memory.buffer).set(bytes, input + 16);
  const jpeg = input + 16;
  const fields = [0, 4, 8, 12].map((offset) => input + offset);
  if (guarded(() => turbo.tjDecompressHeader3(handle, jpeg, bytes.length, fields[0], fields[1], fields[2], fields[3])) !== 0) {
    throw new Error("a JPEG whose header is corrupt or whose colour sampling is not supported");
  }
  const [width, height, , colors] = new Int32Array(turbo.memory.buffer, input, 4);
  const format = FOUR_COLORS.includes(colors) ? CMYK : RGB;
  const size = width * height * (format === CMYK ? 4 : 3);
  const output = turbo.malloc(size);
  if (!output) throw new Error(`a JPEG of ${width} x ${height} pixels, for which memory is lacking`);
  const status = guarded(() => turbo.tjDecompress2(handle, jpeg, bytes.length, output, width, 0, height, format, 0));
  if (status !== 0 && !hasEnd(bytes, scan)) throw new Error("a truncated JPEG"); // other warnings leave a whole picture, as in Pillow
  const data = new Uint8Array(turbo.memory.buffer).slice(output, output + size);
  turbo.free(input);
  turbo.free(output);
  return { width, height, data: format === CMYK ? cmykToRgb(data) : data };
}

/** libjpeg leaves a fatal error by a longjmp, which ends up here as an exception. */
function guarded(call: () => number): number {
  try {
    return call();
  } catch {
    throw new Error("a corrupt JPEG");
  }
}
