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
