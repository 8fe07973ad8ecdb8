// From the bytes of a file to a picture. The content decides what a file is, not its name.
import { decodeJpeg } from "./jpeg.ts";
import { ImageError, type Picture } from "./picture.ts";
import { decodePng } from "./png.ts";
import { decodeWebp } from "./webp.ts";

interface Format {
  name: string;
  decode(bytes: Uint8Array): Picture;
  matches(bytes: Uint8Array): boolean;
}

const starts = (bytes: Uint8Array, text: string, at = 0) => [...text].every((letter, i) => bytes[at + i] === letter.charCodeAt(0));

const formats: readonly Format[] = [
  { name: "JPEG", decode: decodeJpeg, matches: (bytes) => bytes[0] === 0xff && bytes[1] === 0xd8 },
  { name: "PNG", decode: decodePng, matches: (bytes) => starts(bytes, "\x89PNG\r\n\x1a\n") },
  { name: "WebP", decode: decodeWebp, matches: (bytes) => starts(bytes, "RIFF") && starts(bytes, "WEBP", 8) },
];

/** Endings of file names under which folders are searched for pictures. */
export const pictureEndings = [".jpg", ".jpeg", ".jpe", ".png", ".webp"];

/** Whether the first bytes of a file are those of a picture that can be decoded. */
export const isPicture = (bytes: Uint8Array): boolean => formats.some((format) => format.matches(bytes));

/**
 * Decodes a JPEG, PNG or WebP to upright 8-bit RGB. Grey, palette, CMYK and 16-bit pictures become RGB, transparency is dropped.
 * Throws an ImageError that names the file if it is empty, truncated, corrupt, not a picture, or beyond MAX_PIXELS.
 */
export function decodeImage(bytes: Uint8Array, file = "picture"): Picture {
  if (bytes.length === 0) throw new ImageError(file, "an empty file");
  const format = formats.find((one) => one.matches(bytes));
  if (!format) throw new ImageError(file, `not a picture: expected ${formats.map(({ name }) => name).join(", ")}`);
  try {
    return format.decode(bytes);
  } catch (error) {
    throw new ImageError(file, error instanceof Error ? error.message : String(error));
  }
}
