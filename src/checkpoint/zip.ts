// Zip archives, as PyTorch and NumPy write them: stored or deflated entries, ZIP64 (PKWARE's APPNOTE 6.3). Sizes come from the
// central directory, every entry is checked by its CRC-32, and nothing is allocated that the file could not hold.
import { promisify } from "node:util";
import { inflateRaw } from "node:zlib";
import { crcOf } from "./crc.ts";
import { CheckpointError } from "./error.ts";
import type { Source } from "./source.ts";

type Bytes = Uint8Array<ArrayBuffer>;

export interface ZipEntry {
  readonly name: string;
  /** Bytes when unpacked. */
  readonly size: number;
  readonly packed: number;
  readonly deflated: boolean;
  readonly crc: number;
  /** Where its local header lies. */
  readonly at: number;
}

const signatures = { local: 0x04034b50, central: 0x02014b50, end: 0x06054b50, end64: 0x06064b50, locator64: 0x07064b50 };

/** DEFLATE packs at most 1,032 bytes into one (zlib's technical notes). */
const mostInflation = 1032;

const inflate = promisify<Uint8Array, { maxOutputLength: number }, Uint8Array>(inflateRaw);

const dataView = ({ buffer, byteOffset, byteLength }: Uint8Array) => new DataView(buffer, byteOffset, byteLength);

export class Zip {
  readonly entries: ReadonlyMap<string, ZipEntry>;
  readonly #source: Source;
  /** Stored entries whose checksum was found right. */
  readonly #sound = new Set<ZipEntry>();
  #last?: { entry: ZipEntry; bytes: Bytes };

  private constructor(source: Source, entries: ReadonlyMap<string, ZipEntry>) {
    this.#source = source;
    this.entries = entries;
  }

  /** Reads the list of entries. Throws a CheckpointError where it is damaged or two entries have one name. */
  static async open(source: Source): Promise<Zip> {
    const { at, size, count } = await findDirectory(source);
    const entries = parseDirectory(await source.read(at, size), count, source);
    for (const { name, at: begin, packed } of entries.values()) {
      if (begin + 30 + packed > at) throw broken(source, `entry "${name}" would lie at bytes ${begin} to ${begin + 30 + packed} of ${at}`);
    }
    return new Zip(source, entries);
  }

  /** A whole entry, checked. */
  async read(entry: ZipEntry): Promise<Bytes> {
    if (this.#last?.entry === entry) return this.#last.bytes.slice();
    const stored = await this.#source.read(await this.#begin(entry), entry.packed);
    if (!entry.deflated) return this.#check(entry, stored);
    const unpacked = await inflate(stored, { maxOutputLength: Math.max(1, entry.size) }).catch((cause: Error) => {
      throw broken(this.#source, `entry "${entry.name}" cannot be unpacked (${cause.message})`);
    });
    if (unpacked.length !== entry.size)
      throw broken(this.#source, `"${entry.name}" unpacks to ${unpacked.length} bytes, not ${entry.size}`);
    const bytes = this.#check(entry, new Uint8Array(unpacked));
    this.#last = { entry, bytes }; // several tensors may be views of one storage
    return bytes.slice();
  }

  /** Part of an entry. Of a stored one only that part is held in memory. */
  async range(entry: ZipEntry, from: number, length: number): Promise<Bytes> {
    if (from === 0 && length === entry.size) return this.read(entry);
    if (entry.deflated) return (await this.read(entry)).slice(from, from + length);
    const begin = await this.#begin(entry);
    if (!this.#sound.has(entry)) await this.#checkInParts(entry, begin);
    return this.#source.read(begin + from, length);
  }

  /** Where an entry's bytes begin: behind the local header, which repeats the name. */
  async #begin({ name, at }: ZipEntry): Promise<number> {
    const head = dataView(await this.#source.read(at, 30));
    if (head.getUint32(0, true) !== signatures.local) throw broken(this.#source, `entry "${name}" has no header at byte ${at}`);
    const [nameLength, extraLength] = [head.getUint16(26, true), head.getUint16(28, true)];
    const again = decodeName(await this.#source.read(at + 30, nameLength));
    if (again !== name) throw broken(this.#source, `the entry listed as "${name}" calls itself ${JSON.stringify(again)}`);
    return at + 30 + nameLength + extraLength;
  }

  #check(entry: ZipEntry, bytes: Bytes): Bytes {
    if (crcOf(bytes) !== entry.crc) throw broken(this.#source, `entry "${entry.name}" fails its CRC-32: it was damaged`);
    if (!entry.deflated) this.#sound.add(entry);
    return bytes;
  }

  async #checkInParts(entry: ZipEntry, begin: number): Promise<void> {
    const part = 2 ** 24;
    let crc = 0;
    for (let at = 0; at < entry.size; at += part) {
      crc = crcOf(await this.#source.read(begin + at, Math.min(part, entry.size - at)), crc);
    }
    if (crc !== entry.crc) throw broken(this.#source, `entry "${entry.name}" fails its CRC-32: it was damaged`);
    this.#sound.add(entry);
  }
}

const broken = ({ where }: Source, what: string) => new CheckpointError(`Cannot read ${where}: ${what}`);

const decodeName = (bytes: Uint8Array): string => new TextDecoder().decode(bytes);

const wide = (view: DataView, at: number): number => Number(view.getBigUint64(at, true));

/** Where the central directory lies: told by the record that ends the archive. */
async function findDirectory(source: Source): Promise<{ at: number; size: number; count: number }> {
  const length = Math.min(source.size, 22 + 65535); // a comment of up to 65,535 bytes may follow
  const start = source.size - length;
  const tail = await source.read(start, length);
  const view = dataView(tail);
  for (let at = length - 22; at >= 0; at--) {
    if (view.getUint32(at, true) !== signatures.end || at + 22 + view.getUint16(at + 20, true) !== length) continue;
    const found = { count: view.getUint16(at + 10, true), size: view.getUint32(at + 12, true), at: view.getUint32(at + 16, true) };
    const saturated = found.count === 0xffff || found.size === 0xffffffff || found.at === 0xffffffff;
    return saturated && at >= 20 && view.getUint32(at - 20, true) === signatures.locator64
      ? findDirectory64(source, wide(view, at - 12))
      : found;
  }
  throw broken(source, "it begins like a zip file and lacks a zip file's end: cut short");
}

async function findDirectory64(source: Source, at: number): Promise<{ at: number; size: number; count: number }> {
  const view = dataView(await source.read(at, 56));
  if (view.getUint32(0, true) !== signatures.end64) throw broken(source, `no ZIP64 record at byte ${at}`);
  return { count: wide(view, 32), size: wide(view, 40), at: wide(view, 48) };
}

function parseDirectory(bytes: Bytes, count: number, source: Source): Map<string, ZipEntry> {
  const view = dataView(bytes);
  const entries = new Map<string, ZipEntry>();
  let at = 0;
  for (let i = 0; i < count; i++) {
    if (at + 46 > bytes.length || view.getUint32(at, true) !== signatures.central) throw broken(source, "its list of entries is damaged");
    const [nameLength, extraLength, commentLength] = [28, 30, 32].map((field) => view.getUint16(at + field, true));
    const next = at + 46 + nameLength + extraLength + commentLength;
    if (next > bytes.length) throw broken(source, "its list of entries is damaged");
    const name = decodeName(bytes.subarray(at + 46, at + 46 + nameLength));
    const extra = dataView(bytes.subarray(at + 46 + nameLength, at + 46 + nameLength + extraLength));
    const entry = parseEntry(name, dataView(bytes.subarray(at, at + 46)), extra, source);
    if (entries.has(name)) throw broken(source, `it has two entries called "${name}"`);
    entries.set(name, entry);
    at = next;
  }
  return entries;
}

function parseEntry(name: string, head: DataView, extra: DataView, source: Source): ZipEntry {
  const method = head.getUint16(10, true);
  if (head.getUint16(8, true) & 1) throw broken(source, `entry "${name}" is encrypted`);
  if (method !== 0 && method !== 8)
    throw broken(source, `entry "${name}" is packed by method ${method}, expected 0 (stored) or 8 (deflated)`);
  const long = zip64Field(extra);
  let next = 0;
  const field = (at: number): number => {
    const short = head.getUint32(at, true);
    if (short !== 0xffffffff || !long) return short;
    if (next + 8 > long.byteLength) throw broken(source, `entry "${name}" lacks a ZIP64 size`);
    next += 8;
    return wide(long, next - 8);
  };
  const size = field(24); // in this order in the ZIP64 field
  const packed = field(20);
  const entry = { name, size, packed, deflated: method === 8, crc: head.getUint32(16, true), at: field(42) };
  if (!entry.deflated && size !== packed) throw broken(source, `entry "${name}" is stored in ${packed} bytes and says it has ${size}`);
  if (size > packed * mostInflation + mostInflation)
    throw broken(source, `entry "${name}" claims ${size} bytes from ${packed} packed ones`);
  return entry;
}

/** The body of the extra field with 64-bit sizes. */
function zip64Field(extra: DataView): DataView | undefined {
  for (let at = 0; at + 4 <= extra.byteLength; ) {
    const [id, length] = [extra.getUint16(at, true), extra.getUint16(at + 2, true)];
    if (at + 4 + length > extra.byteLength) return undefined;
    if (id === 1) return new DataView(extra.buffer, extra.byteOffset + at + 4, length);
    at += 4 + length;
  }
  return undefined;
}
