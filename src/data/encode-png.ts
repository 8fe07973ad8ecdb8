// PNG files of 8-bit RGB pictures, for pages that must not load anything. ISO/IEC 15948.
import { crc32, deflateSync } from "node:zlib";

/** Pixels [height, width, 3], row-major, 0 to 255. */
export interface Pixels {
  readonly width: number;
  readonly height: number;
  readonly data: Uint8Array | Uint8ClampedArray;
}

function chunk(type: string, body: Uint8Array): Buffer {
  const out = Buffer.alloc(12 + body.length);
  out.writeUInt32BE(body.length);
  out.write(type, 4, "latin1");
  out.set(body, 8);
  out.writeUInt32BE(crc32(out.subarray(4, 8 + body.length)), 8 + body.length);
  return out;
}

/** A PNG file. Each row is stored as differences from the pixel to its left ("Sub"), which deflate packs well. */
export function encodePng({ width, height, data }: Pixels): Buffer {
  const head = Buffer.alloc(13);
  head.writeUInt32BE(width);
  head.writeUInt32BE(height, 4);
  head.set([8, 2], 8); // 8 bits, RGB
  const stride = 3 * width;
  const rows = new Uint8Array(height * (stride + 1));
  for (let y = 0; y < height; y++) {
    const to = y * (stride + 1);
    rows[to] = 1;
    for (let i = 0; i < stride; i++) rows[to + 1 + i] = data[y * stride + i] - (i < 3 ? 0 : data[y * stride + i - 3]);
  }
  const signature = Buffer.from([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a]);
  return Buffer.concat([signature, chunk("IHDR", head), chunk("IDAT", deflateSync(rows, { level: 9 })), chunk("IEND", new Uint8Array())]);
}

/** The picture inside a page. */
export const dataUri = (pixels: Pixels): string => `data:image/png;base64,${encodePng(pixels).toString("base64")}`;

/** Puts pictures of one size side by side, `columns` in a row, left to right and down; what is left over is black. */
export function sheet(pictures: readonly Pixels[], columns: number): Pixels {
  const { width, height } = pictures[0];
  const rows = Math.ceil(pictures.length / columns);
  const data = new Uint8Array(columns * width * rows * height * 3);
  for (const [i, picture] of pictures.entries()) {
    const [left, top] = [(i % columns) * width, Math.floor(i / columns) * height];
    for (let y = 0; y < height; y++) {
      data.set(picture.data.subarray(y * width * 3, (y + 1) * width * 3), ((top + y) * columns * width + left) * 3);
    }
  }
  return { width: columns * width, height: rows * height, data };
}
