// PNG (ISO/IEC 15948): every colour type and depth, interlaced or not. Transparency is dropped, as Pillow's convert("RGB") drops it,
// and 16-bit values keep their upper byte.
import { crc32, inflateSync } from "node:zlib";
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

/** How each filter guesses a byte from those to the left, above and at the upper left corner. */
type Undo = (rows: Uint8Array, row: number, above: number, stride: number, step: number) => void;

const filters: readonly Undo[] = [
  () => {},
  (rows, row, _, stride, step) => {
    for (let i = row + step; i < row + stride; i++) rows[i] += rows[i - step];
  },
  (rows, row, above, stride) => {
    for (let i = 0; i < stride; i++) rows[row + i] += rows[above + i];
  },
  (rows, row, above, stride, step) => {
    for (let i = 0; i < stride; i++) rows[row + i] += ((i >= step ? rows[row + i - step] : 0) + rows[above + i]) >> 1;
  },
  (rows, row, above, stride, step) => {
    for (let i = 0; i < step; i++) rows[row + i] += rows[above + i];
    for (let i = step; i < stride; i++) rows[row + i] += paeth(rows[row + i - step], rows[above + i], rows[above + i - step]);
  },
];

/**
 * Undoes the filter of each row, in place. `rows` begins with a row of zeros above the picture; rows are one filter byte and `stride`
 * bytes. `step` is the size of a pixel in bytes.
 */
function unfilter(rows: Uint8Array, stride: number, count: number, step: number): void {
  for (let y = 1; y <= count; y++) {
    const row = y * (stride + 1) + 1;
    const undo = filters[rows[row - 1]];
    if (!undo) throw new Error("a corrupt PNG");
    undo(rows, row, row - stride - 1, stride, step);
  }
}

function paeth(left: number, up: number, corner: number): number {
  const toLeft = Math.abs(up - corner);
  const toUp = Math.abs(left - corner);
  const toCorner = Math.abs(left + up - 2 * corner);
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
  const write = depth < 8 || color === PALETTE ? writeSmall : writeWhole;
  const parts = passes(header).map((pass) => ({ ...pass, stride: Math.ceil((pass.width * bits) / 8) }));
  const expected = parts.reduce((sum, { stride, height }) => sum + (stride + 1) * height, 0);
  const rows = inflate(pixels, expected);
  const data = new Uint8Array(width * height * 3);
  let from = 0;
  for (const { x, y, dx, dy, stride, ...pass } of parts) {
    const part = new Uint8Array((stride + 1) * (pass.height + 1));
    part.set(rows.subarray(from, from + (stride + 1) * pass.height), stride + 1);
    unfilter(part, stride, pass.height, Math.max(1, bits >> 3));
    for (let i = 0; i < pass.height; i++) {
      const row = part.subarray((i + 1) * (stride + 1) + 1, (i + 2) * (stride + 1));
      write(row, pass.width, header, data, ((y + i * dy) * width + x) * 3, dx * 3, palette);
    }
    from += (stride + 1) * pass.height;
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
function writeWhole(row: Uint8Array, width: number, { depth, color }: Header, out: Uint8Array, at: number, step: number): void {
  const bytes = depth >> 3;
  const samples = samplesOf[color] * bytes;
  const apart = color & RGB ? bytes : 0; // grey is its own red, green and blue
  for (let from = 0; from < width * samples; from += samples, at += step) {
    out[at] = row[from];
    out[at + 1] = row[from + apart];
    out[at + 2] = row[from + 2 * apart];
  }
}

/** The same for palettes, and for grey of less than a byte. */
function writeSmall(
  row: Uint8Array,
  width: number,
  { depth, color }: Header,
  out: Uint8Array,
  at: number,
  step: number,
  palette: Uint8Array,
): void {
  const perByte = 8 / depth;
  const mask = (1 << depth) - 1;
  for (let i = 0; i < width; i++, at += step) {
    const value = (row[Math.floor(i / perByte)] >> (8 - depth * ((i % perByte) + 1))) & mask;
    for (let c = 0; c < 3; c++) out[at + c] = color === PALETTE ? palette[value * 3 + c] : (value * 255) / mask;
  }
}
