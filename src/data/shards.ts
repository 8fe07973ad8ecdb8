// WebDataset: tar files whose members of one key (the path up to the first dot of the file's name) are one sample. Pictures are read
// from where they lie, so nothing is unpacked. github.com/webdataset/webdataset
import { closeSync, fstatSync, openSync, readSync } from "node:fs";
import { basename } from "node:path";
import { pictureEndings } from "./decode.ts";
import { fingerprint, type ImageSource } from "./source.ts";

const BLOCK = 512;

interface Member {
  name: string;
  start: number;
  length: number;
}

const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes).replace(/\0.*$/s, "");

/** A size: octal digits, or binary when the top bit of the first byte is set. */
function sizeField(field: Uint8Array): number {
  if (field[0] & 0x80) return field.subarray(4).reduce((sum, byte) => sum * 256 + byte, 0);
  return Number.parseInt(text(field).trim() || "0", 8);
}

function checksumHolds(head: Uint8Array): boolean {
  const sum = head.reduce((total, byte, i) => total + (i >= 148 && i < 156 ? 32 : byte), 0);
  return sum === sizeField(head.subarray(148, 156));
}

/** Members of a tar file, names longer than its fields included (GNU and pax). */
function* members(path: string, file: number): Generator<Member> {
  const total = fstatSync(file).size;
  const read = (start: number, length: number): Uint8Array => {
    const bytes = new Uint8Array(length);
    if (readSync(file, bytes, 0, length, start) < length)
      throw new Error(`Cannot read "${path}": the tar file is truncated at byte ${total}`);
    return bytes;
  };
  let longName: string | undefined;
  for (let at = 0; at + BLOCK <= total; ) {
    const head = read(at, BLOCK);
    if (head.every((byte) => byte === 0)) return;
    if (!checksumHolds(head)) throw new Error(`Cannot read "${path}" as tar: no member begins at byte ${at}`);
    const length = sizeField(head.subarray(124, 136));
    const start = at + BLOCK;
    if (start + length > total) throw new Error(`Cannot read "${path}": the tar file is truncated at byte ${total}`);
    const type = String.fromCharCode(head[156]);
    const prefix = text(head.subarray(257, 262)) === "ustar" ? text(head.subarray(345, 500)) : "";
    if (type === "L") longName = text(read(start, length));
    else if (type === "x") longName = /\d+ path=(.*)\n/.exec(text(read(start, length)))?.[1] ?? longName;
    else {
      const name = longName ?? (prefix ? `${prefix}/` : "") + text(head.subarray(0, 100));
      if (type === "0" || type === "\0") yield { name, start, length };
      longName = undefined;
    }
    at = start + Math.ceil(length / BLOCK) * BLOCK;
  }
}

/** The key that joins a sample's members, and the ending that tells them apart. */
function keyOf(name: string): [key: string, ending: string] {
  const dot = name.indexOf(".", name.lastIndexOf("/") + 1);
  return dot < 0 ? [name, ""] : [name.slice(0, dot), name.slice(dot).toLowerCase()];
}

interface Sample {
  name: string;
  path: string;
  start: number;
  length: number;
  label?: number;
}

/** The samples of one shard that have a picture, in its order. */
function samplesOf(path: string): Sample[] {
  const file = openSync(path, "r");
  try {
    const samples = new Map<string, Sample>();
    const labels = new Map<string, number>();
    for (const { name, start, length } of members(path, file)) {
      const [key, ending] = keyOf(name);
      if (pictureEndings.some((one) => ending.endsWith(one))) samples.set(key, { name: `${basename(path)}/${name}`, path, start, length });
      else if (ending === ".cls") {
        const bytes = new Uint8Array(length);
        readSync(file, bytes, 0, length, start);
        labels.set(key, Number(text(bytes)));
      }
    }
    return [...samples].map(([key, sample]) => ({ ...sample, label: labels.get(key) }));
  } finally {
    closeSync(file);
  }
}

/** Opens shards in the order given. `.cls` members (a whole number as text) are labels, if every sample has one. */
export function openShards(paths: readonly string[]): ImageSource {
  const samples = paths.flatMap(samplesOf);
  if (samples.length === 0)
    throw new Error(`Cannot find images in "${paths[0]}": looked for members ending in ${pictureEndings.join(" ")}`);
  const labels = samples.map(({ label }) => label ?? Number.NaN);
  const known = labels.every((label) => Number.isInteger(label) && label >= 0);
  return {
    length: samples.length,
    labels: known ? Int32Array.from(labels) : undefined,
    classes: known ? Array.from({ length: labels.reduce((most, label) => Math.max(most, label + 1), 0) }, (_, i) => String(i)) : undefined,
    name: (i) => samples[i].name,
    locate: (i) => samples[i],
    fingerprint: fingerprint(samples.map(({ name, length, label }) => `${name} ${length} ${label}`)),
  };
}
