import type { Host } from "../tape/trace.ts";
import { writeAtomically } from "./atomic.ts";

/** A NumPy array file of version 1.0, float32, row-major (numpy/lib/format.py). */
export async function writeNpy(path: string, { data, shape }: Host): Promise<void> {
  const tuple = `(${shape.join(", ")}${shape.length === 1 ? "," : ""})`;
  const dict = `{'descr': '<f4', 'fortran_order': False, 'shape': ${tuple}, }`;
  const length = Math.ceil((10 + dict.length + 1) / 64) * 64 - 10; // numbers begin at a multiple of 64
  const head = new Uint8Array(10 + length).fill(0x20);
  head.set([0x93, 0x4e, 0x55, 0x4d, 0x50, 0x59, 1, 0, length & 255, length >> 8]); // "\x93NUMPY"
  head.set(new TextEncoder().encode(dict), 10);
  head[head.length - 1] = 0x0a;
  await writeAtomically(path, [head, new Uint8Array(data.buffer, data.byteOffset, data.byteLength)]);
}
