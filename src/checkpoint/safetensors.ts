// Tensors in files: 8 bytes of header length, a JSON header {name: {dtype, shape, data_offsets}}, then the numbers, little-endian
// and without holes (github.com/huggingface/safetensors). Files written here carry a SHA-256 of everything in their metadata, so
// that a file that was cut short or in which a bit flipped is refused.
import { createHash } from "node:crypto";
import { open } from "node:fs/promises";
import type { Shape } from "../tape/shape.ts";
import type { Host } from "../tape/trace.ts";
import { writeAtomically } from "./atomic.ts";

/** A file that is not what it should be. */
export class CheckpointError extends Error {
  override name = "CheckpointError";
}

export interface Entry {
  readonly shape: Shape;
  /** Half and double precision are read as float32. */
  readonly data: Float32Array | BigInt64Array | Int32Array | Uint8Array;
}

export interface Archive {
  readonly tensors: ReadonlyMap<string, Entry>;
  readonly metadata: Readonly<Record<string, string>>;
}

type Numbers = Entry["data"];

const view =
  <T extends Numbers>(type: { new (buffer: ArrayBuffer): T }) =>
  (bytes: Uint8Array<ArrayBuffer>): T =>
    new type(bytes.slice().buffer);
const words = (bytes: Uint8Array<ArrayBuffer>) => new Uint16Array(bytes.slice().buffer);

/** IEEE half precision, as in PyTorch's float16. */
function half(h: number): number {
  const [exponent, fraction] = [(h >> 10) & 31, h & 1023];
  const size =
    exponent === 31
      ? fraction
        ? Number.NaN
        : Number.POSITIVE_INFINITY
      : exponent
        ? (1 + fraction / 1024) * 2 ** (exponent - 15)
        : fraction * 2 ** -24;
  return h & 0x8000 ? -size : size;
}

interface Dtype {
  bytes: number;
  read(bytes: Uint8Array<ArrayBuffer>): Numbers;
}

const dtypes: Readonly<Record<string, Dtype>> = {
  F32: { bytes: 4, read: view(Float32Array) },
  F64: { bytes: 8, read: (b) => Float32Array.from(new Float64Array(b.slice().buffer)) },
  F16: { bytes: 2, read: (b) => Float32Array.from(words(b), half) },
  BF16: { bytes: 2, read: (b) => new Float32Array(Uint32Array.from(words(b), (x) => x << 16).buffer) },
  I64: { bytes: 8, read: view(BigInt64Array) },
  I32: { bytes: 4, read: view(Int32Array) },
  U8: { bytes: 1, read: view(Uint8Array) },
  BOOL: { bytes: 1, read: view(Uint8Array) },
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
  const expected = shape.reduce((product, n) => product * n, type.bytes);
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

/** Reads a file's bytes. Nothing is returned unless every part of it is sound. */
export function decodeSafetensors(
  bytes: Uint8Array<ArrayBuffer>,
  { where = "safetensors", checksum = "optional" }: ReadOptions = {},
): Archive {
  if (bytes.length < 8) throw new CheckpointError(`Cannot read ${where}: ${bytes.length} bytes are too few for a safetensors file`);
  const length = Number(new DataView(bytes.buffer, bytes.byteOffset).getBigUint64(0, true));
  const start = 8 + length;
  if (start > bytes.length)
    throw new CheckpointError(
      `Cannot read ${where}: its header should have ${length} bytes, the file has ${bytes.length}: cut short, or no safetensors file`,
    );
  const { __metadata__, ...entries } = parseHeader(bytes.subarray(8, start), where);
  const { [key]: stated, ...metadata } = parseMetadata(__metadata__, where);
  const body = bytes.subarray(start);
  const sorted = (Object.entries(entries) as [string, Header][]).sort(
    ([, a], [, b]) => (a?.data_offsets?.[0] ?? 0) - (b?.data_offsets?.[0] ?? 0),
  );
  let at = 0;
  for (const [name, header] of sorted) {
    const wrong =
      fault(name, header ?? {}, body.length) ??
      (header.data_offsets[0] === at ? undefined : `"${name}" begins at byte ${header.data_offsets[0]}, expected ${at}`);
    if (wrong) throw new CheckpointError(`Cannot read ${where}: ${wrong}`);
    at = header.data_offsets[1];
  }
  if (at !== body.length) throw new CheckpointError(`Cannot read ${where}: it has ${body.length - at} bytes after the last tensor`);
  verify(bytes, start, stated, checksum === "required", where);
  const tensors = new Map(
    sorted.map(
      ([
        name,
        {
          dtype,
          shape,
          data_offsets: [a, b],
        },
      ]) => [name, { shape, data: dtypes[dtype].read(body.subarray(a, b)) }],
    ),
  );
  return { tensors, metadata };
}

/** Reads a safetensors file. Throws a CheckpointError that says what is wrong with it. */
export async function readSafetensors(path: string, options: ReadOptions = {}): Promise<Archive> {
  const file = await open(path, "r").catch((cause: Error) => {
    throw new CheckpointError(`Cannot read ${path}: ${cause.message}`, { cause });
  });
  try {
    const stat = await file.stat();
    if (!stat.isFile()) throw new CheckpointError(`Cannot read ${path}: it is not a file`);
    const bytes = new Uint8Array(stat.size);
    for (let at = 0; at < bytes.length; ) {
      const { bytesRead } = await file.read(bytes, at, Math.min(bytes.length - at, 2 ** 30), at);
      if (bytesRead === 0) throw new CheckpointError(`Cannot read ${path}: it became shorter while being read`);
      at += bytesRead;
    }
    return decodeSafetensors(bytes, { where: path, ...options });
  } finally {
    await file.close();
  }
}

/** The same numbers as float32, whatever their type in the file: what `Module.load` takes. */
export function floats({ shape, data }: Entry): Host {
  return { shape, data: data instanceof Float32Array ? data : Float32Array.from(data as Int32Array, Number) };
}

/** All tensors of an archive as float32. */
export const stateIn = (archive: Archive): Map<string, Host> => new Map([...archive.tensors].map(([name, entry]) => [name, floats(entry)]));

/** PyTorch counts batches in 64-bit integers; everything else here is float32. */
const isInteger = (name: string): boolean => name.endsWith("num_batches_tracked");

const bytesOf = ({ buffer, byteOffset, byteLength }: Numbers): Uint8Array => new Uint8Array(buffer, byteOffset, byteLength);

/** A file's bytes in pieces. Integers come first, so that all numbers lie at multiples of their size. */
export function encodeSafetensors(
  tensors: Iterable<readonly [string, Host]>,
  metadata: Readonly<Record<string, string>> = {},
): Uint8Array[] {
  const list = [...tensors].map(([name, host]) => ({ name, shape: host.shape, integer: isInteger(name), data: host.data }));
  list.sort((a, b) => Number(b.integer) - Number(a.integer));
  const chunks: Uint8Array[] = [];
  const entries: Record<string, Header> = {};
  let at = 0;
  for (const { name, shape, integer, data } of list) {
    if (Object.hasOwn(entries, name)) throw new RangeError(`Cannot write "${name}" twice: expected every tensor to have its own name`);
    const bytes = bytesOf(integer ? BigInt64Array.from(data, (x) => BigInt(x)) : data);
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
