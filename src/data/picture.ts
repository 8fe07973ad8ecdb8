// What passes between decoding, augmentation and sources.

/** A decoded picture: 8-bit RGB, three bytes a pixel, rows without padding. */
export interface Picture {
  readonly width: number;
  readonly height: number;
  readonly data: Uint8Array;
}

/** A rectangle of pixels. */
export interface Box {
  readonly top: number;
  readonly left: number;
  readonly height: number;
  readonly width: number;
}

/** A file that should have been a picture and is not, or not a whole one. The message begins with the file's name. */
export class ImageError extends Error {
  override name = "ImageError";
  readonly file: string;
  readonly reason: string;

  constructor(file: string, reason: string) {
    super(`${file}: ${reason}`);
    this.file = file;
    this.reason = reason;
  }
}

/** Pictures of more pixels are refused: a few bytes can ask for gigabytes. The same bound as Pillow's. */
export const MAX_PIXELS = 89_478_485;

/** Throws if a picture has no pixels or too many. */
export function checkPixels(width: number, height: number): void {
  if (width < 1 || height < 1) throw new Error(`a picture of ${width} x ${height} pixels`);
  if (width * height > MAX_PIXELS) {
    const millions = (pixels: number) => (pixels / 1e6).toFixed(1);
    throw new Error(
      `a picture of ${width} x ${height} = ${millions(width * height)} megapixels: expected at most ${millions(MAX_PIXELS)}; a smaller copy would do`,
    );
  }
}

/** Rounds halves to even, as Python and PyTorch do. */
export function roundHalfEven(x: number): number {
  const down = Math.floor(x);
  return x - down === 0.5 ? down + (down % 2) : Math.round(x);
}
