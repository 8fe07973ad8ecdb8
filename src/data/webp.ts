// WebP, through libwebp compiled to WebAssembly (package @cwasm/webp, without its JavaScript). Transparency is dropped; of an
// animation the first frame is taken.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { exifOrientation, orient } from "./exif.ts";
import { checkPixels, type Picture } from "./picture.ts";

interface WebP {
  memory: WebAssembly.Memory;
  malloc(bytes: number): number;
  free(at: number): void;
  WebPDecodeRGBA(bytes: number, length: number, width: number, height: number): number;
}

/** An instance whose memory one large picture made grow beyond this is given up. */
const KEEP = 128 * 2 ** 20;

let compiled: WebAssembly.Module | undefined;
let instance: WebP | undefined;

function open(): WebP {
  compiled ??= new WebAssembly.Module(readFileSync(createRequire(import.meta.url).resolve("@cwasm/webp/webp.wasm")));
  const unused = () => {
    throw new Error("a corrupt WebP");
  };
  const calls = { fd_close: unused, fd_seek: unused, fd_write: unused };
  instance ??= new WebAssembly.Instance(compiled, { wasi_snapshot_preview1: calls }).exports as unknown as WebP;
  return instance;
}

interface Chunk {
  type: string;
  /** The chunk with its head, padded. */
  whole: Uint8Array;
  body: Uint8Array;
}

function chunks(bytes: Uint8Array): Chunk[] {
  const found: Chunk[] = [];
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  for (let at = 0; at + 8 <= bytes.length; ) {
    const length = view.getUint32(at + 4, true);
    const end = at + 8 + length;
    if (end > bytes.length) throw new Error("a truncated WebP");
    found.push({
      type: String.fromCharCode(...bytes.subarray(at, at + 4)),
      whole: bytes.subarray(at, end + (length & 1)),
      body: bytes.subarray(at + 8, end),
    });
    at = end + (length & 1);
  }
  return found;
}

const number24 = (bytes: Uint8Array, at: number) => bytes[at] | (bytes[at + 1] << 8) | (bytes[at + 2] << 16);

/** Width and height of a picture's chunk, before anything is decoded. */
function sizeOf({ type, body }: Chunk): [number, number] {
  if (type === "VP8L") {
    const bits = body[1] | (body[2] << 8) | (body[3] << 16) | (body[4] << 24);
    return [(bits & 0x3fff) + 1, ((bits >>> 14) & 0x3fff) + 1];
  }
  return [(body[6] | (body[7] << 8)) & 0x3fff, (body[8] | (body[9] << 8)) & 0x3fff];
}

/** A file of the simple format that holds only the picture's own chunk: its alpha is not wanted. */
function simpleFile({ whole }: Chunk): Uint8Array {
  const file = new Uint8Array(12 + whole.length);
  file.set([0x52, 0x49, 0x46, 0x46, 0, 0, 0, 0, 0x57, 0x45, 0x42, 0x50]); // RIFF, length, WEBP
  new DataView(file.buffer).setUint32(4, 4 + whole.length, true);
  file.set(whole, 12);
  return file;
}

const isPixels = ({ type }: Chunk) => type === "VP8 " || type === "VP8L";

/** Decodes a WebP, upright. Errors say what is wrong, without the file's name. */
export function decodeWebp(bytes: Uint8Array): Picture {
  const parts = chunks(bytes.subarray(12));
  const exif = parts.find(({ type }) => type === "EXIF");
  const frame = parts.find(({ type }) => type === "ANMF");
  const pixels = (frame ? chunks(frame.body.subarray(16)) : parts).find(isPixels);
  if (!pixels) throw new Error("a WebP without pixels");
  let picture = decompress(pixels);
  if (frame) picture = onCanvas(picture, frame, parts);
  return exif ? orient(picture, exifOrientation(skipExifHead(exif.body))) : picture;
}

/** Some writers put JPEG's "Exif\0\0" in front of the TIFF block. */
const skipExifHead = (body: Uint8Array) => (body[0] === 0x45 && body[1] === 0x78 ? body.subarray(6) : body);

/** A frame may cover a part of the canvas only; the rest is black. */
function onCanvas(picture: Picture, frame: Chunk, parts: readonly Chunk[]): Picture {
  const canvas = parts.find(({ type }) => type === "VP8X")?.body;
  if (!canvas) return picture;
  const [width, height] = [number24(canvas, 4) + 1, number24(canvas, 7) + 1];
  if (width === picture.width && height === picture.height) return picture;
  checkPixels(width, height);
  const [left, top] = [number24(frame.body, 0) * 2, number24(frame.body, 3) * 2];
  const data = new Uint8Array(width * height * 3);
  for (let y = 0; y < Math.min(picture.height, height - top); y++) {
    const row = picture.data.subarray(y * picture.width * 3, (y * picture.width + Math.min(picture.width, width - left)) * 3);
    data.set(row, ((top + y) * width + left) * 3);
  }
  return { width, height, data };
}

function decompress(pixels: Chunk): Picture {
  checkPixels(...sizeOf(pixels));
  const webp = open();
  const file = simpleFile(pixels);
  const input = webp.malloc(file.length + 8);
  if (!input) throw new Error(`a WebP of ${file.length} bytes, for which memory is lacking`);
  new Uint8Array(webp.memory.buffer).set(file, input + 8);
  const output = webp.WebPDecodeRGBA(input + 8, file.length, input, input + 4);
  const [width, height] = new Int32Array(webp.memory.buffer, input, 2);
  webp.free(input);
  if (!output) throw new Error("a corrupt WebP");
  const rgba = new Uint8Array(webp.memory.buffer, output, width * height * 4);
  const data = new Uint8Array(width * height * 3);
  for (let from = 0, to = 0; from < rgba.length; from += 4, to += 3) {
    data[to] = rgba[from];
    data[to + 1] = rgba[from + 1];
    data[to + 2] = rgba[from + 2];
  }
  webp.free(output);
  if (webp.memory.buffer.byteLength > KEEP) instance = undefined;
  return { width, height, data };
}
