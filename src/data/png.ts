// PNG (ISO/IEC 15948): every colour type and depth, interlaced or not. Transparency is dropped, as Pillow's convert("RGB") drops it,
// and 16-bit values keep their upper byte.
import { inflateSync } from "node:zlib";
import { exifOrientation, orient } from "./exif.ts";
import { checkPixels, type Picture } from "./picture.ts";

const GREY = 0;
const RGB = 2;
const PALETTE = 3;
/** Samples a pixel by colour type, and the depths that each allows. */
const samplesOf: Record<number, number> = { [GREY]: 1, [RGB]: 3, [PALETTE]: 1, 4: 2, 6: 4 };
const depthsOf: Record<number, number[]> = { [GREY]: [1, 2, 4, 8, 16], [RGB]: [8, 16], [PALETTE]: [1, 2, 4, 8], 4: [8, 16], 6: [8, 16] };

/** Adam7: first column and row, then the steps between columns and rows. */
const adam7 = [
  [0, 0, 8, 8],
  [4, 0, 8, 8],
  [0, 4, 4, 8],
  [2, 0, 4, 4],
  [0, 2, 2, 4],
  [1, 0, 2, 2],
  [0, 1, 1, 2],
];

interface Header {
  width: number;
  height: number;
  depth: number;
  color: number;
  interlaced: boolean;
}

interface Chunks {
  header: Header;
  pixels: Uint8Array[];
  palette: Uint8Array;
  orientation: number;
}

const crcTable = Uint32Array.from({ length: 256 }, (_, n) => {
  for (let bit = 0; bit < 8; bit++) n = n & 1 ? 0xedb88320 ^ (n >>> 1) : n >>> 1;
  return n;
});

function crc32(bytes: Uint8Array): number {
  let crc = 0xffffffff;
  for (const byte of bytes) crc = crcTable[(crc ^ byte) & 255] ^ (crc >>> 8);
  return ~crc >>> 0;
}

function readHeader(body: Uint8Array): Header {
  const view = new DataView(body.buffer, body.byteOffset, body.byteLength);
  if (body.length < 13) throw new Error("a PNG whose header is too short");
  const [width, height, depth, color, interlace] = [view.getUint32(0), view.getUint32(4), body[8], body[9], body[12]];
  if (!depthsOf[color]?.includes(depth)) throw new Error(`a PNG of colour type ${color} with ${depth} bits, which does not exist`);
  checkPixels(width, height);
  return { width, height, depth, color, interlaced: interlace === 1 };
}

/** Reads what matters for pixels; checks the sum of each chunk that it uses. */
function readChunks(bytes: Uint8Array): Chunks {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let header: Header | undefined;
  const rest: Omit<Chunks, "header"> = { pixels: [], palette: new Uint8Array(0), orientation: 1 };
  for (let at = 8; at + 12 <= bytes.length; ) {
    const length = view.getUint32(at);
    const end = at + 8 + length;
    if (end + 4 > bytes.length) throw new Error("a truncated PNG");
    const type = String.fromCharCode(...bytes.subarray(at + 4, at + 8));
    const body = bytes.subarray(at + 8, end);
    if (["IHDR", "PLTE", "IDAT", "eXIf"].includes(type) && crc32(bytes.subarray(at + 4, end)) !== view.getUint32(end)) {
      throw new Error(`a PNG whose ${type} chunk is corrupt`);
    }
    if (type === "IHDR") header = readHeader(body);
    if (type === "PLTE") rest.palette = body;
    if (type === "IDAT") rest.pixels.push(body);
    if (type === "eXIf") rest.orientation = exifOrientation(body);
    at = end + 4;
    if (type === "IEND") break;
  }
  if (!header || rest.pixels.length === 0) throw new Error("a PNG without pixels");
  if (header.color === PALETTE && rest.palette.length === 0) throw new Error("a PNG without its palette");
  return { header, ...rest };
}

/** Undoes the filter of each row, in place. Rows are one filter byte and `stride` bytes. `step` is the size of a pixel in bytes. */
function unfilter(rows: Uint8Array, stride: number, count: number, step: number): void {
  for (let y = 0; y < count; y++) {
    const row = y * (stride + 1) + 1;
    const above = row - stride - 1;
    const filter = rows[row - 1];
    if (filter > 4) throw new Error("a corrupt PNG");
    for (let i = 0; filter && i < stride; i++) {
      const left = i >= step ? rows[row + i - step] : 0;
      const up = y ? rows[above + i] : 0;
      const corner = y && i >= step ? rows[above + i - step] : 0;
      const guess = filter === 1 ? left : filter === 2 ? up : filter === 3 ? (left + up) >> 1 : paeth(left, up, corner);
      rows[row + i] += guess;
    }
  }
}

function paeth(left: number, up: number, corner: number): number {
  const [toLeft, toUp, toCorner] = [Math.abs(up - corner), Math.abs(left - corner), Math.abs(left + up - 2 * corner)];
  if (toLeft <= toUp && toLeft <= toCorner) return left;
  return toUp <= toCorner ? up : corner;
}

/** The pictures that a PNG is sent as: one, or seven when it is interlaced. */
function passes({ width, height, interlaced }: Header) {
  const steps = interlaced ? adam7 : [[0, 0, 1, 1]];
  return steps
    .map(([x, y, dx, dy]) => ({ x, y, dx, dy, width: Math.ceil((width - x) / dx), height: Math.ceil((height - y) / dy) }))
    .filter((pass) => pass.width > 0 && pass.height > 0);
}

/** Decodes a PNG, upright. Errors say what is wrong, without the file's name. */
export function decodePng(bytes: Uint8Array): Picture {
  const { header, pixels, palette, orientation } = readChunks(bytes);
  const { width, height, depth, color } = header;
  const bits = samplesOf[color] * depth;
  const parts = passes(header).map((pass) => ({ ...pass, stride: Math.ceil((pass.width * bits) / 8) }));
  const expected = parts.reduce((sum, { stride, height }) => sum + (stride + 1) * height, 0);
  const rows = inflate(pixels, expected);
  const data = new Uint8Array(width * height * 3);
  let from = 0;
  for (const { x, y, dx, dy, stride, ...pass } of parts) {
    const part = rows.subarray(from, from + (stride + 1) * pass.height);
    unfilter(part, stride, pass.height, Math.max(1, bits >> 3));
    for (let i = 0; i < pass.height; i++) {
      const row = part.subarray(i * (stride + 1) + 1, (i + 1) * (stride + 1));
      spread(row, pass.width, header, palette, data, ((y + i * dy) * width + x) * 3, dx * 3);
    }
    from += part.length;
  }
  return orient({ width, height, data }, orientation);
}

function inflate(parts: Uint8Array[], expected: number): Uint8Array {
  const rows = unzip(parts, expected);
  if (rows.length < expected) throw new Error("a truncated PNG");
  return rows;
}

function unzip(parts: Uint8Array[], expected: number): Uint8Array {
  try {
    return inflateSync(Buffer.concat(parts), { maxOutputLength: expected + 65536 });
  } catch (error) {
    const truncated = (error as { code?: string }).code === "Z_BUF_ERROR";
    throw new Error(truncated ? "a truncated PNG" : "a corrupt PNG");
  }
}

/** Writes a row's pixels as RGB, each `step` bytes behind the one before. */
function spread(
  row: Uint8Array,
  width: number,
  { depth, color }: Header,
  palette: Uint8Array,
  out: Uint8Array,
  at: number,
  step: number,
): void {
  const bytes = depth === 16 ? 2 : 1;
  const samples = samplesOf[color] * bytes;
  const [perByte, mask] = [8 / depth, (1 << depth) - 1];
  const scale = color === GREY && depth < 8 ? 255 / mask : 1;
  for (let i = 0; i < width; i++, at += step) {
    const value = depth < 8 ? (row[Math.floor(i / perByte)] >> (8 - depth * ((i % perByte) + 1))) & mask : row[i * samples];
    for (let c = 0; c < 3; c++) {
      if (color === PALETTE) out[at + c] = palette[value * 3 + c] ?? 0;
      else out[at + c] = color & RGB ? row[i * samples + c * bytes] : value * scale;
    }
  }
}
