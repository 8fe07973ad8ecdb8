// The orientation that a camera notes in EXIF, and how a picture is turned upright by it.
import type { Picture } from "./picture.ts";

const ORIENTATION = 0x0112;

/** Orientation 1 to 8 from a TIFF block (what follows "Exif\0\0"); 1, upright, if there is none or it makes no sense. */
export function exifOrientation(tiff: Uint8Array): number {
  const view = new DataView(tiff.buffer, tiff.byteOffset, tiff.byteLength);
  if (tiff.length < 8) return 1;
  const little = view.getUint16(0) === 0x4949; // "II", otherwise "MM"
  const directory = view.getUint32(4, little);
  if (directory + 2 > tiff.length) return 1;
  const entries = view.getUint16(directory, little);
  for (let i = 0, at = directory + 2; i < entries && at + 12 <= tiff.length; i++, at += 12) {
    if (view.getUint16(at, little) !== ORIENTATION) continue;
    const value = view.getUint16(at + 8, little);
    return value >= 1 && value <= 8 ? value : 1;
  }
  return 1;
}

/** Turns a picture upright: 2 to 4 mirror or turn by 180 degrees, 5 to 8 also exchange the axes. */
export function orient(picture: Picture, orientation: number): Picture {
  if (orientation === 1) return picture;
  const { width: w, height: h, data } = picture;
  const [width, height] = orientation >= 5 ? [h, w] : [w, h];
  const out = new Uint8Array(data.length);
  const sources: Record<number, (y: number, x: number) => number> = {
    2: (y, x) => y * w + (w - 1 - x),
    3: (y, x) => (h - 1 - y) * w + (w - 1 - x),
    4: (y, x) => (h - 1 - y) * w + x,
    5: (y, x) => x * w + y,
    6: (y, x) => (h - 1 - x) * w + y,
    7: (y, x) => (h - 1 - x) * w + (w - 1 - y),
    8: (y, x) => x * w + (w - 1 - y),
  };
  const source = sources[orientation];
  for (let y = 0, at = 0; y < height; y++) {
    for (let x = 0; x < width; x++, at += 3) {
      const from = source(y, x) * 3;
      out[at] = data[from];
      out[at + 1] = data[from + 1];
      out[at + 2] = data[from + 2];
    }
  }
  return { width, height, data: out };
}
