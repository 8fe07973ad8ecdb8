// What can be learned from: a numbered set of pictures, in files or in memory, with or without labels.
import { createHash } from "node:crypto";
import { closeSync, openSync, readFileSync, readSync } from "node:fs";
import { decodeImage } from "./decode.ts";
import { ImageError, type Picture } from "./picture.ts";

/** Where the bytes of an encoded picture lie: a file, or a part of one. */
export interface Location {
  readonly path: string;
  readonly start?: number;
  readonly length?: number;
}

/** Decoded pictures of one size, [n, height, width, 3] uint8, in memory that worker threads share. */
export interface Packed {
  readonly width: number;
  readonly height: number;
  readonly data: Uint8Array<SharedArrayBuffer>;
}

export interface ImageSource {
  readonly length: number;
  /** The class of each picture as a place in `classes`; absent where nothing says so. */
  readonly labels?: Int32Array;
  /** Names of the classes. Two sources of one data set may number them differently: compare names. */
  readonly classes?: readonly string[];
  /** A name to show for a picture: its path in the source, or its place. */
  name(i: number): string;
  /** Where picture i lies; absent when `packed` holds all of them. */
  locate?(i: number): Location;
  readonly packed?: Packed;
  /** Changes when the pictures do: a digest of names, sizes and labels. */
  readonly fingerprint: string;
}

/** A digest of parts, as 16 hexadecimal digits. */
export function fingerprint(parts: Iterable<string | Uint8Array>): string {
  const hash = createHash("sha256");
  for (const part of parts) hash.update(part).update("\n");
  return hash.digest("hex").slice(0, 16);
}

/** Reads the bytes at a location. Throws an ImageError where the file is missing, unreadable or too short. */
export function readBytes({ path, start, length }: Location): Uint8Array {
  try {
    if (start === undefined || length === undefined) return readFileSync(path);
    const bytes = new Uint8Array(length);
    const file = openSync(path, "r");
    try {
      if (readSync(file, bytes, 0, length, start) < length) throw new ImageError(path, "a truncated file");
    } finally {
      closeSync(file);
    }
    return bytes;
  } catch (error) {
    if (error instanceof ImageError) throw error;
    const { code, message } = error as NodeJS.ErrnoException;
    throw new ImageError(path, code === "ENOENT" ? "no such file" : code === "EISDIR" ? "a folder, not a picture" : message);
  }
}

/** Picture i of packed pictures, in place. */
export function packedPicture({ width, height, data }: Packed, i: number): Picture {
  const bytes = width * height * 3;
  return { width, height, data: data.subarray(i * bytes, (i + 1) * bytes) };
}

/** Picture i of a source, decoded. Throws an ImageError if it cannot be. */
export function readPicture(source: ImageSource, i: number): Picture {
  if (source.packed) return packedPicture(source.packed, i);
  const location = source.locate?.(i) as Location;
  return decodeImage(readBytes(location), source.name(i));
}

export interface PackedOptions {
  width: number;
  height: number;
  /** [n, height, width, 3]. */
  data: Uint8Array;
  labels?: Int32Array;
  classes?: readonly string[];
  /** Default: the picture's place. */
  names?: readonly string[];
}

/** A source of decoded pictures of one size. Copies `data` into shared memory unless it is there. */
export function packedSource({ width, height, data, labels, classes, names }: PackedOptions): ImageSource {
  const length = data.length / (width * height * 3);
  if (!Number.isInteger(length)) throw new RangeError(`Cannot cut ${data.length} bytes into pictures of ${width} x ${height} pixels`);
  let shared = data as Uint8Array<SharedArrayBuffer>;
  if (!(data.buffer instanceof SharedArrayBuffer)) {
    shared = new Uint8Array(new SharedArrayBuffer(data.length));
    shared.set(data);
  }
  return {
    length,
    labels,
    classes,
    packed: { width, height, data: shared },
    name: (i) => names?.[i] ?? String(i),
    fingerprint: fingerprint([
      `${width} ${height}`,
      shared,
      ...(labels ? [new Uint8Array(labels.buffer, labels.byteOffset, labels.byteLength)] : []),
    ]),
  };
}

/** A source of some of another's pictures. */
export function subset(source: ImageSource, indices: ArrayLike<number>): ImageSource {
  const { locate, packed } = source;
  const chosen = Uint32Array.from(indices);
  const labels = source.labels ? Int32Array.from(chosen, (i) => (source.labels as Int32Array)[i]) : undefined;
  if (packed) {
    const bytes = packed.width * packed.height * 3;
    const data = new Uint8Array(new SharedArrayBuffer(chosen.length * bytes));
    chosen.forEach((from, i) => data.set(packed.data.subarray(from * bytes, (from + 1) * bytes), i * bytes));
    return packedSource({ ...packed, data, labels, classes: source.classes, names: Array.from(chosen, (i) => source.name(i)) });
  }
  return {
    length: chosen.length,
    labels,
    classes: source.classes,
    name: (i) => source.name(chosen[i]),
    locate: (i) => (locate as NonNullable<typeof locate>)(chosen[i]),
    fingerprint: fingerprint([source.fingerprint, new Uint8Array(chosen.buffer)]),
  };
}
