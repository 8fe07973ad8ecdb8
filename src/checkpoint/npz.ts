// NumPy's .npz: a zip with an .npy file for each array.
import type { Checkpoint } from "./checkpoint.ts";
import { openNpy } from "./numpy.ts";
import type { Source } from "./source.ts";
import type { StoredTensor } from "./stored.ts";
import type { Zip } from "./zip.ts";

export const isNpz = (zip: Zip): boolean => zip.entries.size > 0 && [...zip.entries.keys()].every((name) => name.endsWith(".npy"));

export async function openNpz(source: Source, zip: Zip): Promise<Checkpoint> {
  const tensors = new Map<string, StoredTensor>();
  for (const [name, entry] of zip.entries) {
    const where = `${source.where}, array "${name}"`;
    const file = { where, size: entry.size, read: (at: number, length: number) => zip.range(entry, at, length) };
    tensors.set(name.slice(0, -".npy".length), await openNpy(file));
  }
  return { where: source.where, format: "NumPy (.npz)", contents: null, tensors, close: () => source.close() };
}
