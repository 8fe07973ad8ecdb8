// Kinds of numbers in files, by PyTorch's names, and how their little-endian bytes become arrays.

/** Numbers in memory: floats of all kinds as float32; whole numbers of 8 and 16 bits as int32, but for unsigned bytes. */
export type Numbers = Float32Array | BigInt64Array | BigUint64Array | Int32Array | Uint32Array | Uint8Array;

type Bytes = Uint8Array<ArrayBuffer>;

export interface Dtype {
  /** As in `torch.float16`. */
  readonly name: string;
  /** Bytes that one number takes. */
  readonly size: number;
  /** Little-endian numbers. May be a view of the bytes. */
  decode(bytes: Bytes): Numbers;
}

/** Reads an array in place where it lies at a multiple of its element's size, else from a copy. */
const view =
  <T extends ArrayBufferView>(type: { new (buffer: ArrayBuffer, at: number, length: number): T; BYTES_PER_ELEMENT: number }) =>
  (bytes: Bytes): T => {
    const { buffer, byteOffset } = bytes.byteOffset % type.BYTES_PER_ELEMENT ? bytes.slice() : bytes;
    return new type(buffer, byteOffset, bytes.length / type.BYTES_PER_ELEMENT);
  };

interface SmallFloat {
  exponent: number;
  fraction: number;
  bias: number;
  /** IEEE: the highest exponent is infinity and NaN. "fn": only all ones are NaN. "fnuz": only minus zero is NaN. */
  special: "ieee" | "fn" | "fnuz";
}

/** The number that a pattern of sign, exponent and fraction bits stands for. */
function smallFloat(bits: number, { exponent, fraction, bias, special }: SmallFloat): number {
  const [e, f] = [(bits >> fraction) & (2 ** exponent - 1), bits & (2 ** fraction - 1)];
  const sign = bits >> (exponent + fraction) ? -1 : 1;
  const highest = e === 2 ** exponent - 1;
  if (special === "ieee" && highest) return f ? Number.NaN : sign * Number.POSITIVE_INFINITY;
  if (special === "fn" && highest && f === 2 ** fraction - 1) return Number.NaN;
  if (special === "fnuz" && sign < 0 && !e && !f) return Number.NaN;
  return sign * (e ? (1 + f / 2 ** fraction) * 2 ** (e - bias) : f * 2 ** (1 - bias - fraction));
}

/** Every value of a float of 8 or 16 bits, made when first needed. */
function table(format: SmallFloat): () => Float32Array {
  let values: Float32Array | undefined;
  return () => {
    const { exponent, fraction } = format;
    values ??= Float32Array.from({ length: 2 ** (1 + exponent + fraction) }, (_, bits) => smallFloat(bits, format));
    return values;
  };
}

const words = view(Uint16Array);

function lookUp(format: SmallFloat, patterns: (bytes: Bytes) => Uint16Array | Uint8Array): (bytes: Bytes) => Float32Array {
  const values = table(format);
  return (bytes) => {
    const known = values();
    return Float32Array.from(patterns(bytes), (bits) => known[bits]);
  };
}

const own = (bytes: Bytes): Bytes => bytes;
const eight = (format: SmallFloat) => lookUp(format, own);

const decoders: Readonly<Record<string, readonly [size: number, decode: (bytes: Bytes) => Numbers]>> = {
  float32: [4, view(Float32Array)],
  float64: [8, (b) => Float32Array.from(view(Float64Array)(b))],
  float16: [2, lookUp({ exponent: 5, fraction: 10, bias: 15, special: "ieee" }, words)],
  bfloat16: [2, (b) => new Float32Array(Uint32Array.from(words(b), (x) => x << 16).buffer)],
  float8_e4m3fn: [1, eight({ exponent: 4, fraction: 3, bias: 7, special: "fn" })],
  float8_e5m2: [1, eight({ exponent: 5, fraction: 2, bias: 15, special: "ieee" })],
  float8_e4m3fnuz: [1, eight({ exponent: 4, fraction: 3, bias: 8, special: "fnuz" })],
  float8_e5m2fnuz: [1, eight({ exponent: 5, fraction: 2, bias: 16, special: "fnuz" })],
  int64: [8, view(BigInt64Array)],
  int32: [4, view(Int32Array)],
  int16: [2, (b) => Int32Array.from(view(Int16Array)(b))],
  int8: [1, (b) => Int32Array.from(view(Int8Array)(b))],
  uint64: [8, view(BigUint64Array)],
  uint32: [4, view(Uint32Array)],
  uint16: [2, (b) => Int32Array.from(words(b))],
  uint8: [1, own],
  bool: [1, own],
};

/** Every kind that is read, by name. */
export const dtypes: ReadonlyMap<string, Dtype> = new Map(
  Object.entries(decoders).map(([name, [size, decode]]) => [name, { name, size, decode }]),
);

/** A kind that is known to be there. */
export function dtype(name: string): Dtype {
  const found = dtypes.get(name);
  if (!found) throw new RangeError(`Unknown dtype "${name}": expected one of ${[...dtypes.keys()].join(", ")}`);
  return found;
}

/** Turns big-endian numbers of `size` bytes each into little-endian ones, in place. */
export function swapBytes(bytes: Bytes, size: number): Bytes {
  if (size > 1) for (let at = 0; at + size <= bytes.length; at += size) bytes.subarray(at, at + size).reverse();
  return bytes;
}
