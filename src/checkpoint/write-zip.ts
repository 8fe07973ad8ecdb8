// Zip archives of stored entries, each aligned to 64 bytes so that a reader may map it (PKWARE's APPNOTE 6.3).
import { crcOf } from "./crc.ts";

export interface NewEntry {
  readonly name: string;
  readonly bytes: Uint8Array;
}

/** Larger sizes and places need ZIP64 fields. */
const limit32 = 0xffffffff;
const alignment = 64;

/** Little-endian fields one after the other: [bytes in the field, value]. */
function fields(...values: [2 | 4 | 8, number][]): Uint8Array {
  const view = new DataView(new ArrayBuffer(values.reduce((sum, [size]) => sum + size, 0)));
  let at = 0;
  for (const [size, value] of values) {
    if (size === 2) view.setUint16(at, value, true);
    else if (size === 4) view.setUint32(at, value, true);
    else view.setBigUint64(at, BigInt(value), true);
    at += size;
  }
  return new Uint8Array(view.buffer);
}

const short = (value: number): number => Math.min(value, limit32);

/** Date and time of every entry, 1980-01-01: the same tensors give the same bytes. */
const date = 0x21;

/** An archive in pieces, in the order of its bytes. */
export function* encodeZip(entries: Iterable<NewEntry>): Generator<Uint8Array> {
  const directory: Uint8Array[] = [];
  let at = 0;
  for (const { name, bytes } of entries) {
    const begin = at;
    const title = new TextEncoder().encode(name);
    const size = bytes.length;
    const crc = crcOf(bytes);
    const wide = size >= limit32 ? fields([2, 1], [2, 16], [8, size], [8, size]) : new Uint8Array(0);
    const gap = -(begin + 30 + title.length + wide.length + 4) & (alignment - 1);
    const padding = fields([2, 0x4246], [2, gap]); // PyTorch's id for padding, "FB"
    const common: Parameters<typeof fields> = [
      [2, 0x800],
      [2, 0],
      [2, 0],
      [2, date],
      [4, crc],
      [4, short(size)],
      [4, short(size)],
      [2, title.length],
    ]; // names are UTF-8
    const version = size >= limit32 || begin >= limit32 ? 45 : 20;
    const local = fields([4, 0x04034b50], [2, version], ...common, [2, wide.length + 4 + gap]);
    yield* [local, title, wide, padding, new Uint8Array(gap), bytes];
    at = begin + local.length + title.length + wide.length + 4 + gap + size;
    const far = [...(size >= limit32 ? [size, size] : []), ...(begin >= limit32 ? [begin] : [])];
    const extra = far.length ? fields([2, 1], [2, 8 * far.length], ...far.map((n): [8, number] => [8, n])) : new Uint8Array(0);
    const central = fields(
      [4, 0x02014b50],
      [2, version],
      [2, version],
      ...common,
      [2, extra.length],
      [2, 0],
      [2, 0],
      [2, 0],
      [4, 0],
      [4, short(begin)],
    );
    directory.push(central, title, extra);
  }
  yield* directory;
  yield* ending(directory, at);
}

/** The records that tell where the directory lies. Each entry gave it three pieces. */
function* ending(directory: Uint8Array[], at: number): Generator<Uint8Array> {
  const count = directory.length / 3;
  const size = directory.reduce((sum, piece) => sum + piece.length, 0);
  if (at + size >= limit32 || count >= 0xffff) {
    yield fields([4, 0x06064b50], [8, 44], [2, 45], [2, 45], [4, 0], [4, 0], [8, count], [8, count], [8, size], [8, at]);
    yield fields([4, 0x07064b50], [4, 0], [8, at + size], [4, 1]);
  }
  const short16 = Math.min(count, 0xffff);
  yield fields([4, 0x06054b50], [2, 0], [2, 0], [2, short16], [2, short16], [4, short(size)], [4, short(at)], [2, 0]);
}
