// Tensors that lie in a file and are read when asked for.
import type { Shape } from "../tape/shape.ts";
import type { Host } from "../tape/trace.ts";
import type { Numbers } from "./dtype.ts";

export interface StoredTensor {
  /** PyTorch's name of the numbers' kind, "float16". */
  readonly dtype: string;
  readonly shape: Shape;
  /** Reads the numbers in row-major order. Throws a CheckpointError where the file is damaged. */
  read(): Promise<Numbers>;
}

/** How many elements apart neighbours along each axis lie in row-major order. */
export function rowMajor(shape: Shape): number[] {
  const strides = new Array<number>(shape.length).fill(1);
  for (let axis = shape.length - 2; axis >= 0; axis--) strides[axis] = strides[axis + 1] * Math.max(1, shape[axis + 1]);
  return strides;
}

/** Whether elements lie one after the other in row-major order. Along an axis of one element any stride will do. */
export function isContiguous(shape: Shape, strides: readonly number[]): boolean {
  const dense = rowMajor(shape);
  return shape.includes(0) || shape.every((n, axis) => n === 1 || strides[axis] === dense[axis]);
}

/** Copies elements that lie `strides` apart into row-major order. */
export function gather<T extends Numbers>(from: T, shape: Shape, strides: readonly number[]): T {
  const total = shape.reduce((product, n) => product * n, 1);
  const to = new (from.constructor as { new (length: number): T })(total);
  const index = new Array<number>(shape.length).fill(0);
  for (let i = 0, at = 0; i < total; i++) {
    to[i] = from[at];
    for (let axis = shape.length - 1; axis >= 0; axis--) {
      at += strides[axis];
      if (++index[axis] < shape[axis]) break;
      at -= strides[axis] * shape[axis];
      index[axis] = 0;
    }
  }
  return to;
}

/** The same numbers as float32, whatever their kind in the file: what `Module.load` takes. */
export const asFloats = (data: Numbers): Float32Array =>
  data instanceof Float32Array ? data : Float32Array.from(data as Int32Array, Number);

/** Reads some tensors of a file, one after the other: what a model takes need not fit beside what it leaves. */
export async function readHosts(tensors: Iterable<readonly [string, StoredTensor]>): Promise<Map<string, Host>> {
  const hosts = new Map<string, Host>();
  for (const [name, tensor] of tensors) hosts.set(name, { shape: tensor.shape, data: asFloats(await tensor.read()) });
  return hosts;
}

/** PyTorch keeps counts of batches and index tables as 64-bit integers; everything else here is float32. */
const isInteger = (name: string): boolean => /(^|\.)(num_batches_tracked|relative_position_index|rel_pos_idx)$/.test(name);

/** A tensor's bytes as files keep them. */
export function numbersToWrite(name: string, { data }: Host): { bytes: Uint8Array; integer: boolean } {
  const integer = isInteger(name);
  const numbers = integer ? BigInt64Array.from(data, (x) => BigInt(x)) : data;
  return { bytes: new Uint8Array(numbers.buffer, numbers.byteOffset, numbers.byteLength), integer };
}
