// NumPy's arrays: pickled ones, and .npy files (numpy/lib/format.py).
import type { Shape } from "../tape/shape.ts";
import { type Dtype, dtype, type Numbers, swapBytes } from "./dtype.ts";
import { CheckpointError } from "./error.ts";
import { ArgumentError, Constructor, Made, type Value } from "./pickle.ts";
import { bytesOf } from "./python.ts";
import { gather, type StoredTensor } from "./stored.ts";

type Bytes = Uint8Array<ArrayBuffer>;

const kinds: Readonly<Record<string, string>> = {
  f2: "float16",
  f4: "float32",
  f8: "float64",
  i1: "int8",
  i2: "int16",
  i4: "int32",
  i8: "int64",
  u1: "uint8",
  u2: "uint16",
  u4: "uint32",
  u8: "uint64",
  b1: "bool",
};

/** `numpy.dtype("f4")`. Kinds that hold no numbers (text, objects, records) have no `type`. */
export class NumpyDtype extends Made {
  readonly code: string;
  bigEndian = false;
  type: Dtype | undefined;

  constructor(code: string) {
    super();
    this.code = code;
    this.type = Object.hasOwn(kinds, code) ? dtype(kinds[code]) : undefined;
  }

  /** (version, byte order, sub-array, names, fields, size, alignment, flags) */
  override build(state: Value): void {
    if (!Array.isArray(state) || state.length < 5) throw new ArgumentError("numpy.dtype: expected a tuple as its state");
    const [, order, subArray, names] = state;
    this.bigEndian = order === ">";
    if (subArray !== null || names !== null) this.type = undefined;
  }
}

const product = (shape: Shape) => shape.reduce((all, n) => all * n, 1);

export const isShape = (value: unknown): value is number[] =>
  Array.isArray(value) &&
  value.length <= 64 &&
  value.every((n) => Number.isSafeInteger(n) && n >= 0) &&
  Number.isSafeInteger(product(value));

/** Numbers in an array's bytes. Fortran's order has the first axis fastest. */
function decode(bytes: Bytes, type: Dtype, { shape, fortran, bigEndian }: { shape: Shape; fortran: boolean; bigEndian: boolean }): Numbers {
  const numbers = type.decode(bigEndian ? swapBytes(bytes.slice(), type.size) : bytes);
  if (!fortran || shape.length < 2) return numbers;
  const strides = shape.map((_, axis) => product(shape.slice(0, axis)));
  return gather(numbers, shape, strides);
}

/** A pickled array. One of text, objects or records keeps no numbers. */
export class NumpyArray extends Made implements StoredTensor {
  shape: Shape = [0];
  #dtype?: NumpyDtype;
  #fortran = false;
  #bytes: Uint8Array = new Uint8Array(0);

  /** (version, shape, dtype, Fortran's order, bytes) */
  override build(state: Value): void {
    if (!Array.isArray(state) || state.length !== 5) throw new ArgumentError("numpy.ndarray: expected a tuple of five as its state");
    const [, shape, type, fortran, data] = state;
    if (!isShape(shape) || !(type instanceof NumpyDtype)) throw new ArgumentError("numpy.ndarray: expected a shape and a dtype");
    [this.shape, this.#dtype, this.#fortran] = [[...shape], type, fortran === true];
    if (!type.type) return;
    this.#bytes = bytesOf(data);
    const expected = product(shape) * type.type.size;
    if (this.#bytes.length !== expected) throw new ArgumentError(`numpy.ndarray: ${this.#bytes.length} bytes, expected ${expected}`);
  }

  get hasNumbers(): boolean {
    return this.#dtype?.type !== undefined;
  }

  get dtype(): string {
    return this.#dtype?.type?.name ?? this.#dtype?.code ?? "none";
  }

  async read(): Promise<Numbers> {
    const type = this.#dtype?.type;
    if (!type) throw new CheckpointError(`Cannot read an array of dtype "${this.dtype}": it holds no numbers`);
    return decode(this.#bytes.slice() as Bytes, type, {
      shape: this.shape,
      fortran: this.#fortran,
      bigEndian: this.#dtype?.bigEndian ?? false,
    });
  }
}

/** A number with a NumPy type, such as `numpy.float64`. */
export class NumpyScalar extends Made {
  readonly dtype: string;
  readonly value: number;

  constructor(dtype: string, value: number) {
    super();
    this.dtype = dtype;
    this.value = value;
  }
}

function scalar([type, data]: Value[]): Value {
  if (!(type instanceof NumpyDtype)) throw new ArgumentError("expected a dtype");
  if (!type.type) return data ?? null; // text
  const bytes = bytesOf(data).slice() as Bytes;
  if (bytes.length !== type.type.size) throw new ArgumentError(`${bytes.length} bytes, expected ${type.type.size}`);
  const ordered = type.bigEndian ? swapBytes(bytes, type.type.size) : bytes;
  const value = type.code === "f8" ? new DataView(ordered.buffer).getFloat64(0, true) : Number(type.type.decode(ordered)[0]);
  return new NumpyScalar(type.type.name, value);
}

function makeDtype([code]: Value[]): Value {
  if (typeof code !== "string") throw new ArgumentError("expected a code such as f4");
  return new NumpyDtype(code);
}

const known: readonly Constructor[] = [
  new Constructor("numpy.dtype", makeDtype),
  new Constructor("numpy.ndarray"),
  ...["numpy.core", "numpy._core"].flatMap((core) => [
    new Constructor(`${core}.multiarray._reconstruct`, () => new NumpyArray()),
    new Constructor(`${core}.multiarray.scalar`, scalar),
  ]),
];

/** By `module.name`. */
export const numpyNames: ReadonlyMap<string, Constructor> = new Map(known.map((made) => [made.name, made]));

/** Reads an array where it lies: bytes from a place, of which those of the numbers are read when asked for. */
export interface NpyBytes {
  readonly where: string;
  readonly size: number;
  read(at: number, length: number): Promise<Bytes>;
}

const magic = [0x93, 0x4e, 0x55, 0x4d, 0x50, 0x59]; // "\x93NUMPY"

export const isNpy = (head: Uint8Array): boolean => magic.every((byte, i) => head[i] === byte);

/** Opens an .npy file of version 1, 2 or 3. Its header is a Python dictionary of three fields and is taken apart, not evaluated. */
export async function openNpy(file: NpyBytes): Promise<StoredTensor> {
  const broken = (what: string) => new CheckpointError(`Cannot read ${file.where}: ${what}`);
  const head = await file.read(0, Math.min(file.size, 12));
  if (head.length < 12 || !isNpy(head)) throw broken("it is no .npy file");
  const view = new DataView(head.buffer);
  const version = head[6];
  const [start, length] = version === 1 ? [10, view.getUint16(8, true)] : [12, view.getUint32(8, true)];
  const text = new TextDecoder("latin1").decode(await file.read(start, Math.min(length, 2 ** 20)));
  const descr = /'descr':\s*'([<>|=]?)(\w+)'/.exec(text);
  const fortran = /'fortran_order':\s*(True|False)/.exec(text);
  const tuple = /'shape':\s*\(([\d,\sL]*)\)/.exec(text);
  if (!descr || !fortran || !tuple) throw broken("its header does not say dtype, order and shape");
  const type = new NumpyDtype(descr[2]).type;
  if (!type) throw broken(`it has dtype "${descr[2]}", expected one of ${Object.keys(kinds).join(", ")}`);
  const shape = tuple[1].split(",").flatMap((n) => (n.trim() ? [Number.parseInt(n, 10)] : []));
  const bytes = product(shape) * type.size;
  if (!isShape(shape) || start + length + bytes !== file.size) {
    throw broken(`${file.size - start - length} bytes of numbers, expected ${bytes} for ${type.name} [${shape.join(", ")}]`);
  }
  const order = { shape, fortran: fortran[1] === "True", bigEndian: descr[1] === ">" };
  return { dtype: type.name, shape, read: async () => decode(await file.read(start + length, bytes), type, order) };
}
