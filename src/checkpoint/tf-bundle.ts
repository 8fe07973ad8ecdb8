// TensorFlow's V2 checkpoints: PREFIX.index, a table in LevelDB's format from names to places, and PREFIX.data-0000K-of-0000N with
// the numbers (tensorflow/core/util/tensor_bundle; leveldb doc/table_format.md).
import type { Checkpoint } from "./checkpoint.ts";
import { type Dtype, dtype, swapBytes } from "./dtype.ts";
import { CheckpointError } from "./error.ts";
import { isShape } from "./numpy.ts";
import { openSource, type Source } from "./source.ts";
import type { StoredTensor } from "./stored.ts";

type Bytes = Uint8Array<ArrayBuffer>;

/** Bytes at the end of the index: places of two blocks, and a magic number. */
const footerSize = 48;
const tableMagic = 0xdb4775248b80fb57n;

/** Whether a file ends as an index does. */
export async function isBundle(source: Source): Promise<boolean> {
  if (source.size < footerSize) return false;
  return new DataView((await source.read(source.size - 8, 8)).buffer).getBigUint64(0, true) === tableMagic;
}

/** types.proto's DataType */
const types: ReadonlyMap<number, Dtype> = new Map(
  Object.entries({
    1: "float32",
    2: "float64",
    3: "int32",
    4: "uint8",
    5: "int16",
    6: "int8",
    9: "int64",
    10: "bool",
    14: "bfloat16",
    19: "float16",
  }).map(([number, name]) => [Number(number), dtype(name)]),
);

/** A reader of varints and length-delimited fields. Reading beyond the end throws. */
class Fields {
  at = 0;
  readonly bytes: Uint8Array;
  readonly where: string;

  constructor(bytes: Uint8Array, where: string) {
    [this.bytes, this.where] = [bytes, where];
  }

  get done(): boolean {
    return this.at >= this.bytes.length;
  }

  take(length: number): Uint8Array {
    if (length > this.bytes.length - this.at) throw new CheckpointError(`Cannot read ${this.where}: its index is damaged`);
    this.at += length;
    return this.bytes.subarray(this.at - length, this.at);
  }

  varint(): number {
    let value = 0;
    for (let scale = 1; scale < 2 ** 56; scale *= 128) {
      const [byte] = this.take(1);
      value += (byte & 127) * scale;
      if (byte < 128) return value;
    }
    throw new CheckpointError(`Cannot read ${this.where}: a number in its index is too large`);
  }

  /** Fields of a protocol buffer: numbers, or bytes. */
  message(): Map<number, (number | Uint8Array)[]> {
    const fields = new Map<number, (number | Uint8Array)[]>();
    while (!this.done) {
      const tag = this.varint();
      const kind = tag % 8;
      const value =
        kind === 0
          ? this.varint()
          : kind === 2
            ? this.take(this.varint())
            : kind === 5
              ? this.fixed(4)
              : kind === 1
                ? this.fixed(8)
                : undefined;
      if (value === undefined) throw new CheckpointError(`Cannot read ${this.where}: its index is damaged`);
      const field = Math.floor(tag / 8);
      const values = fields.get(field);
      if (values) values.push(value);
      else fields.set(field, [value]);
    }
    return fields;
  }

  fixed(length: number): number {
    return this.take(length).reduceRight((sum, byte) => sum * 256 + byte, 0);
  }
}

const numberAt = (fields: Map<number, (number | Uint8Array)[]>, field: number): number => {
  const value = fields.get(field)?.at(-1) ?? 0;
  return typeof value === "number" ? value : 0;
};

/** CRC-32C (Castagnoli), rotated and shifted so that sums of data that hold sums stay sound. */
const crcTable = Uint32Array.from({ length: 256 }, (_, n) => {
  let c = n;
  for (let bit = 0; bit < 8; bit++) c = c & 1 ? (c >>> 1) ^ 0x82f63b78 : c >>> 1;
  return c;
});

export function maskedCrc(bytes: Uint8Array): number {
  let c = 0xffffffff;
  for (const byte of bytes) c = crcTable[(c ^ byte) & 255] ^ (c >>> 8);
  c = ~c >>> 0;
  return (((c >>> 15) | (c << 17)) + 0xa282ead8) >>> 0;
}

/** Bytes of a name. Without an end to it, a small file could claim names of gigabytes. */
const longestName = 4096;

/** Entries of one block: keys share beginnings with the one before. */
async function readBlock(source: Source, handle: Uint8Array): Promise<[key: string, value: Uint8Array][]> {
  const place = new Fields(handle, source.where);
  const [at, size] = [place.varint(), place.varint()];
  const bytes = await source.read(at, size + 5);
  if (bytes[size] !== 0)
    throw new CheckpointError(`Cannot read ${source.where}: its index is packed by method ${bytes[size]}, expected 0 (none)`);
  if (maskedCrc(bytes.subarray(0, size + 1)) !== new Fields(bytes.subarray(size + 1), source.where).fixed(4)) {
    throw new CheckpointError(`Cannot read ${source.where}: its index fails its checksum: it was damaged`);
  }
  const tail = new Fields(bytes.subarray(Math.max(0, size - 4), size), source.where);
  const end = size - 4 - 4 * tail.fixed(4); // restart points, for searching
  if (!(end >= 0)) throw new CheckpointError(`Cannot read ${source.where}: its index is damaged`);
  const fields = new Fields(bytes.subarray(0, end), source.where);
  const entries: [string, Uint8Array][] = [];
  let key = new Uint8Array(0);
  while (!fields.done) {
    const [shared, unshared, length] = [fields.varint(), fields.varint(), fields.varint()];
    if (shared > key.length || shared + unshared > longestName)
      throw new CheckpointError(`Cannot read ${source.where}: its index is damaged`);
    key = Uint8Array.from([...key.subarray(0, shared), ...fields.take(unshared)]);
    entries.push([new TextDecoder().decode(key), fields.take(length)]);
  }
  return entries;
}

/** Every name and its entry. */
async function readTable(source: Source): Promise<Map<string, Uint8Array>> {
  const footer = new Fields(await source.read(source.size - footerSize, footerSize), source.where);
  footer.varint(); // where the index of the index's metadata lies: there is none
  footer.varint();
  const from = footer.at;
  const table = new Map<string, Uint8Array>();
  for (const [, handle] of await readBlock(source, footer.bytes.subarray(from))) {
    for (const [name, value] of await readBlock(source, handle)) table.set(name, value);
  }
  return table;
}

/** What opens a file beside the index; replaced in tests and fuzzing. */
export type OpenShard = (path: string) => Promise<Source>;

export async function openBundle(source: Source, openShard: OpenShard = openSource): Promise<Checkpoint> {
  const { where } = source;
  const broken = (what: string) => new CheckpointError(`Cannot read ${where}: ${what}`);
  const table = await readTable(source);
  const header = new Fields(table.get("") ?? new Uint8Array(0), where).message();
  const shards = numberAt(header, 1);
  const bigEndian = numberAt(header, 2) === 1;
  if (shards < 1 || shards > 99999) throw broken(`it says that its numbers lie in ${shards} files`);
  const prefix = where.replace(/\.index$/, "");
  const open = new Map<number, Promise<Source>>();
  const shard = (i: number): Promise<Source> => {
    const number = (n: number) => String(n).padStart(5, "0");
    const file = open.get(i) ?? openShard(`${prefix}.data-${number(i)}-of-${number(shards)}`);
    open.set(i, file);
    return file;
  };
  const tensors = new Map<string, StoredTensor>();
  for (const [name, bytes] of table) {
    if (name === "") continue;
    const entry = new Fields(bytes, where).message();
    const type = types.get(numberAt(entry, 1));
    if (!type) continue; // text and other things that are no numbers
    const shape = shapeOf(entry.get(2)?.at(-1), where);
    const [id, at, size, crc] = [3, 4, 5, 6].map((field) => numberAt(entry, field));
    const expected = shape.reduce((product, n) => product * n, type.size);
    if (!isShape(shape) || size !== expected || id >= shards)
      throw broken(`"${name}" has ${size} bytes, expected ${expected} in one of ${shards} files`);
    const read = async () => {
      const numbers: Bytes = await (await shard(id)).read(at, size);
      if (maskedCrc(numbers) !== crc) throw broken(`the numbers of "${name}" fail their checksum: they were damaged`);
      return type.decode(bigEndian ? swapBytes(numbers, type.size) : numbers);
    };
    tensors.set(name, { dtype: type.name, shape, read });
  }
  const close = async () => {
    await source.close();
    for (const file of open.values()) await file.then((opened) => opened.close()).catch(() => {});
  };
  return { where, format: "TensorFlow", contents: null, tensors, close };
}

/** TensorShapeProto: repeated dim, each with a size. */
function shapeOf(bytes: number | Uint8Array | undefined, where: string): number[] {
  if (!(bytes instanceof Uint8Array)) return [];
  const dims = new Fields(bytes, where).message().get(2) ?? [];
  return dims.map((dim) => (dim instanceof Uint8Array ? numberAt(new Fields(dim, where).message(), 1) : 0));
}
