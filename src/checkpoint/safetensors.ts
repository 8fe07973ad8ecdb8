// Tensors in files: 8 bytes of header length, a JSON header {name: {dtype, shape, data_offsets}}, then the numbers, little-endian
// and without holes (github.com/huggingface/safetensors). Files written here carry a SHA-256 of everything in their metadata, so
// that a file that was cut short or in which a bit flipped is refused.
import { createHash } from "node:crypto";
import type { Shape } from "../tape/shape.ts";
import type { Host } from "../tape/trace.ts";
import { writeAtomically } from "./atomic.ts";
import type { Checkpoint } from "./checkpoint.ts";
import { type Dtype, dtype, type Numbers } from "./dtype.ts";
import { CheckpointError } from "./error.ts";
import { openSource, type Source } from "./source.ts";
import { asFloats, numbersToWrite, type StoredTensor } from "./stored.ts";

export { CheckpointError } from "./error.ts";

export interface Entry {
  readonly shape: Shape;
  /** Floats of all kinds are read as float32. */
  readonly data: Numbers;
}

export interface Archive {
  readonly tensors: ReadonlyMap<string, Entry>;
  readonly metadata: Readonly<Record<string, string>>;
}

/** The format's names of kinds of numbers. */
const dtypes: Readonly<Record<string, Dtype>> = {
  F32: dtype("float32"),
  F64: dtype("float64"),
  F16: dtype("float16"),
  BF16: dtype("bfloat16"),
  F8_E4M3: dtype("float8_e4m3fn"),
  F8_E5M2: dtype("float8_e5m2"),
  I64: dtype("int64"),
  I32: dtype("int32"),
  I16: dtype("int16"),
  I8: dtype("int8"),
  U64: dtype("uint64"),
  U32: dtype("uint32"),
  U16: dtype("uint16"),
  U8: dtype("uint8"),
  BOOL: dtype("bool"),
};

interface Header {
  dtype: string;
  shape: number[];
  data_offsets: [number, number];
}

const isCount = (x: unknown): x is number => Number.isSafeInteger(x) && (x as number) >= 0;

/** What is wrong with one tensor's header, or undefined. */
function fault(name: string, { dtype, shape, data_offsets: offsets }: Header, length: number): string | undefined {
  const type = Object.hasOwn(dtypes, dtype) ? dtypes[dtype] : undefined;
  if (!type) return `"${name}" has dtype ${JSON.stringify(dtype)}, expected one of ${Object.keys(dtypes).join(", ")}`;
  if (!Array.isArray(shape) || !shape.every(isCount)) return `"${name}" has shape ${JSON.stringify(shape)}, expected whole numbers`;
  if (!Array.isArray(offsets) || offsets.length !== 2 || !offsets.every(isCount)) return `"${name}" has offsets ${JSON.stringify(offsets)}`;
  const [begin, end] = offsets;
  if (begin > end || end > length) return `"${name}" lies at bytes ${begin} to ${end} of ${length}: the file was cut short or changed`;
  const expected = shape.reduce((product, n) => product * n, type.size);
  if (end - begin !== expected) return `"${name}" has ${end - begin} bytes, expected ${expected} for ${dtype} [${shape.join(", ")}]`;
  return undefined;
}

function parseHeader(bytes: Uint8Array, where: string): Record<string, unknown> {
  try {
    const header: unknown = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
    if (typeof header === "object" && header !== null && !Array.isArray(header)) return header as Record<string, unknown>;
  } catch {}
  throw new CheckpointError(`Cannot read ${where}: its header is not a JSON object`);
}

function parseMetadata(value: unknown, where: string): Record<string, string> {
  if (value === undefined) return {};
  if (typeof value === "object" && value !== null && Object.values(value).every((text) => typeof text === "string"))
    return value as Record<string, string>;
  throw new CheckpointError(`Cannot read ${where}: its metadata is not a record of texts`);
}

const checksumOf = (parts: Iterable<Uint8Array>): string => {
  const hash = createHash("sha256");
  for (const part of parts) hash.update(part);
  return hash.digest("hex");
};

const key = "autodidact_sha256";

/** The checksum counts the header as if it held zeros in the checksum's place. */
const blank = "0".repeat(64);

function verify(bytes: Uint8Array, end: number, checksum: string | undefined, required: boolean, where: string): void {
  if (checksum === undefined) {
    if (required) throw new CheckpointError(`Cannot read ${where}: it has no checksum, so it was changed or is not a file of this program`);
    return;
  }
  const header = new TextDecoder().decode(bytes.subarray(8, end));
  const blanked = new TextEncoder().encode(header.replace(`"${key}":${JSON.stringify(checksum)}`, `"${key}":"${blank}"`));
  if (checksumOf([bytes.subarray(0, 8), blanked, bytes.subarray(end)]) !== checksum) {
    throw new CheckpointError(`Cannot read ${where}: its checksum does not match, so it was damaged after it was written`);
  }
}

export interface ReadOptions {
  /** What error messages call the file. */
  where?: string;
  /** Refuse files without our checksum. */
  checksum?: "required" | "optional";
}

/** What a header says, once all of it holds. */
interface Listing {
  /** In the order of their bytes. */
  tensors: [string, Header][];
  metadata: Record<string, string>;
  checksum: string | undefined;
}

/** Reads a header and checks that its tensors fill the `length` bytes behind it, without holes. */
function parseListing(header: Uint8Array, length: number, where: string): Listing {
  const { __metadata__, ...entries } = parseHeader(header, where);
  const { [key]: checksum, ...metadata } = parseMetadata(__metadata__, where);
  const tensors = (Object.entries(entries) as [string, Header][]).sort(
    ([, a], [, b]) => (a?.data_offsets?.[0] ?? 0) - (b?.data_offsets?.[0] ?? 0),
  );
  let at = 0;
  for (const [name, entry] of tensors) {
    const wrong =
      fault(name, entry ?? {}, length) ??
      (entry.data_offsets[0] === at ? undefined : `"${name}" begins at byte ${entry.data_offsets[0]}, expected ${at}`);
    if (wrong) throw new CheckpointError(`Cannot read ${where}: ${wrong}`);
    at = entry.data_offsets[1];
  }
  if (at !== length) throw new CheckpointError(`Cannot read ${where}: it has ${length - at} bytes after the last tensor`);
  return { tensors, metadata, checksum };
}

/** Length of the header, from the first eight bytes. */
function headerLength(bytes: Uint8Array, size: number, where: string): number {
  if (size < 8) throw new CheckpointError(`Cannot read ${where}: ${size} bytes are too few for a safetensors file`);
  const length = Number(new DataView(bytes.buffer, bytes.byteOffset).getBigUint64(0, true));
  if (8 + length <= size) return length;
  throw new CheckpointError(
    `Cannot read ${where}: its header should have ${length} bytes, the file has ${size}: cut short, or no safetensors file`,
  );
}

/** Reads a file's bytes. Nothing is returned unless every part of it is sound. */
export function decodeSafetensors(
  bytes: Uint8Array<ArrayBuffer>,
  { where = "safetensors", checksum = "optional" }: ReadOptions = {},
): Archive {
  const start = 8 + headerLength(bytes, bytes.length, where);
  const body = bytes.subarray(start);
  const { tensors, metadata, checksum: stated } = parseListing(bytes.subarray(8, start), body.length, where);
  verify(bytes, start, stated, checksum === "required", where);
  const read = ({ dtype, shape, data_offsets: [from, to] }: Header): Entry => ({
    shape,
    data: dtypes[dtype].decode(body.slice(from, to)),
  });
  return { tensors: new Map(tensors.map(([name, header]) => [name, read(header)])), metadata };
}

/** Reads a safetensors file. Throws a CheckpointError that says what is wrong with it. */
export async function readSafetensors(path: string, options: ReadOptions = {}): Promise<Archive> {
  const source = await openSource(path);
  try {
    return decodeSafetensors(await source.read(0, source.size), { where: path, ...options });
  } finally {
    await source.close();
  }
}

/** The format's own limit. */
const longestHeader = 100_000_000;

/** Whether a file begins as the format does: the length of a header, and the header's first brace. */
export function isSafetensors(head: Uint8Array, size: number): boolean {
  if (head.length < 9 || head[8] !== 0x7b) return false;
  const length = new DataView(head.buffer, head.byteOffset).getBigUint64(0, true);
  return length <= BigInt(longestHeader) && 8n + length <= BigInt(size);
}

/** Reads a header; tensors are read when asked for. The checksum of the whole is not looked at. */
export async function openSafetensors(source: Source): Promise<Checkpoint> {
  const { where, size } = source;
  const start = 8 + headerLength(await source.read(0, Math.min(8, size)), size, where);
  if (start > longestHeader) throw new CheckpointError(`Cannot read ${where}: a header of ${start} bytes is more than the format allows`);
  const { tensors, metadata } = parseListing(await source.read(8, start - 8), size - start, where);
  const stored = ({ dtype, shape, data_offsets: [from, to] }: Header): StoredTensor => ({
    dtype: dtypes[dtype].name,
    shape,
    read: async () => dtypes[dtype].decode(await source.read(start + from, to - from)),
  });
  return {
    where,
    format: "safetensors",
    contents: new Map(Object.entries(metadata)),
    tensors: new Map(tensors.map(([name, header]) => [name, stored(header)])),
    close: () => source.close(),
  };
}

/** The same numbers as float32, whatever their type in the file: what `Module.load` takes. */
export function floats({ shape, data }: Entry): Host {
  return { shape, data: asFloats(data) };
}

/** All tensors of an archive as float32. */
export const stateIn = (archive: Archive): Map<string, Host> => new Map([...archive.tensors].map(([name, entry]) => [name, floats(entry)]));

/** A file's bytes in pieces. Integers come first, so that all numbers lie at multiples of their size. */
export function encodeSafetensors(
  tensors: Iterable<readonly [string, Host]>,
  metadata: Readonly<Record<string, string>> = {},
): Uint8Array[] {
  const list = [...tensors].map(([name, host]) => ({ name, shape: host.shape, ...numbersToWrite(name, host) }));
  list.sort((a, b) => Number(b.integer) - Number(a.integer));
  const chunks: Uint8Array[] = [];
  const entries: Record<string, Header> = {};
  let at = 0;
  for (const { name, shape, integer, bytes } of list) {
    if (Object.hasOwn(entries, name)) throw new RangeError(`Cannot write "${name}" twice: expected every tensor to have its own name`);
    entries[name] = { dtype: integer ? "I64" : "F32", shape: [...shape], data_offsets: [at, at + bytes.length] };
    chunks.push(bytes);
    at += bytes.length;
  }
  const header = (checksum: string): Uint8Array => {
    const json = new TextEncoder().encode(JSON.stringify({ __metadata__: { ...metadata, [key]: checksum }, ...entries }));
    const padded = new Uint8Array(Math.ceil(json.length / 8) * 8).fill(0x20);
    padded.set(json);
    return padded;
  };
  const blanked = header(blank);
  const size = new Uint8Array(8);
  new DataView(size.buffer).setBigUint64(0, BigInt(blanked.length), true);
  return [size, header(checksumOf([size, blanked, ...chunks])), ...chunks];
}

/** Writes float32 tensors (and PyTorch's int64 batch counts) with text metadata, whole or not at all. */
export async function writeSafetensors(
  path: string,
  tensors: Iterable<readonly [string, Host]>,
  metadata: Readonly<Record<string, string>> = {},
): Promise<void> {
  await writeAtomically(path, encodeSafetensors(tensors, metadata));
}
