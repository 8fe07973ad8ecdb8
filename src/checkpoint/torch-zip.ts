// PyTorch's files since 1.6: a zip with the pickle `NAME/data.pkl` and a file `NAME/data/KEY` for each storage
// (torch/serialization.py, caffe2/serialize/inline_container.h).
import { type Checkpoint, tensorsIn } from "./checkpoint.ts";
import { CheckpointError } from "./error.ts";
import { Tuple, Unpickler, type Value } from "./pickle.ts";
import type { Source } from "./source.ts";
import { Storage, type StorageBytes, storageType, torchNames } from "./torch.ts";
import type { Zip, ZipEntry } from "./zip.ts";

/** The largest published checkpoints' pickles have a few megabytes. */
const mostPickle = 2 ** 29;

/** The folder in which everything lies. */
export function torchRoot(zip: Zip): string | undefined {
  for (const name of zip.entries.keys()) if (/^[^/]*\/data\.pkl$/.test(name)) return name.slice(0, -"data.pkl".length);
  return undefined;
}

export async function openTorchZip(source: Source, zip: Zip): Promise<Checkpoint> {
  const { where } = source;
  const root = torchRoot(zip) as string;
  const names = [...zip.entries.keys()];
  if (names.some((name) => name === `${root}constants.pkl` || name.startsWith(`${root}code/`))) {
    throw new CheckpointError(`Cannot read ${where}: it is a TorchScript program, expected tensors; save its state_dict() instead`);
  }
  const pickle = zip.entries.get(`${root}data.pkl`) as ZipEntry;
  if (pickle.size > mostPickle) throw new CheckpointError(`Cannot read ${where}: its pickle has ${pickle.size} bytes`);
  const order = zip.entries.get(`${root}byteorder`);
  const bigEndian = order !== undefined && order.size < 16 && new TextDecoder().decode(await zip.read(order)).trim() === "big";
  const bytes: StorageBytes = { bigEndian, range: (key, from, length) => zip.range(entryOf(key), from, length) };
  const entryOf = (key: string): ZipEntry => {
    const entry = zip.entries.get(`${root}data/${key}`);
    if (!entry) throw new CheckpointError(`Cannot read ${where}: it lacks the storage ${JSON.stringify(key)}`);
    return entry;
  };
  const persistent = (id: Value): Value => {
    const [kind, type, key, , count] = id instanceof Tuple ? id : [];
    if (kind !== "storage" || typeof key !== "string" || typeof count !== "number") {
      throw new CheckpointError(`Cannot read ${where}: a persistent id that names no storage`);
    }
    const storage = new Storage(key, storageType(type), count, bytes);
    const { size } = entryOf(key);
    if (storage.size !== size) {
      throw new CheckpointError(`Cannot read ${where}: storage ${JSON.stringify(key)} has ${size} bytes, expected ${storage.size}`);
    }
    return storage;
  };
  const contents = new Unpickler(await zip.read(pickle), { where, find: torchNames(source.size), persistent }).load();
  return { where, format: "PyTorch (zip)", contents, tensors: tensorsIn(contents, where), close: () => source.close() };
}
