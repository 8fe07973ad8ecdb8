// IDX, the format of MNIST and its relatives: big-endian sizes, then bytes; plain or compressed by gzip. Grey becomes RGB.
import { existsSync, readFileSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { gunzipSync } from "node:zlib";
import { type ImageSource, packedSource } from "./source.ts";

/** Unsigned bytes in three dimensions and in one. */
const IMAGES = 0x00000803;
const LABELS = 0x00000801;

interface Idx {
  sizes: number[];
  data: Uint8Array;
}

function readIdx(file: string, magic: number): Idx {
  const raw = readFileSync(file);
  let bytes: Uint8Array = raw;
  try {
    if (raw[0] === 0x1f && raw[1] === 0x8b) bytes = gunzipSync(raw);
  } catch {
    throw new Error(`Cannot read "${file}": its gzip data is truncated or corrupt`);
  }
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const rank = magic & 255;
  if (bytes.length < 4 + 4 * rank || view.getUint32(0) !== magic) {
    throw new Error(`Cannot read "${file}" as IDX: expected it to begin with 0x${magic.toString(16).padStart(8, "0")} and ${rank} sizes`);
  }
  const sizes = Array.from({ length: rank }, (_, i) => view.getUint32(4 + 4 * i));
  const count = sizes.reduce((a, b) => a * b, 1);
  const data = bytes.subarray(4 + 4 * rank);
  if (data.length !== count)
    throw new Error(`Cannot read "${file}" as IDX: expected ${count} bytes for sizes ${sizes.join(" x ")}, got ${data.length}`);
  return { sizes, data };
}

const IMAGE_NAME = /idx3-ubyte(\.gz)?$/;

/** Whether a file's name is that of IDX pictures. */
export const isIdxName = (path: string): boolean => IMAGE_NAME.test(basename(path));

/** The training pictures among a folder's files, or the only ones. */
export function idxTrainingFile(names: readonly string[]): string | undefined {
  const images = names.filter(isIdxName).sort();
  return images.find((name) => name.startsWith("train")) ?? images[0];
}

/** Reads pictures, and their labels from the file beside them that is named alike. */
export function openIdx(file: string): ImageSource {
  const { sizes, data: grey } = readIdx(file, IMAGES);
  const [length, height, width] = sizes;
  if (!grey.length) throw new Error(`Cannot find images in "${file}": it holds none`);
  const data = new Uint8Array(new SharedArrayBuffer(grey.length * 3));
  for (let i = 0; i < grey.length; i++) data.fill(grey[i], i * 3, i * 3 + 3);
  const names = ["idx1-ubyte", "idx1-ubyte.gz"].map((ending) =>
    join(dirname(file), basename(file).replace(IMAGE_NAME, ending).replace("images", "labels")),
  );
  const labelFile = names.find((name) => existsSync(name));
  if (!labelFile) return packedSource({ width, height, data });
  const labels = readIdx(labelFile, LABELS);
  if (labels.sizes[0] !== length)
    throw new Error(`Cannot label "${file}": it holds ${length} pictures, "${labelFile}" ${labels.sizes[0]} labels`);
  const count = labels.data.reduce((most, label) => Math.max(most, label + 1), 0);
  const classes = Array.from({ length: count }, (_, i) => String(i));
  return packedSource({ width, height, data, labels: Int32Array.from(labels.data), classes });
}
