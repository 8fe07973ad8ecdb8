// PyTorch's files before 1.6: five pickles one after the other (magic number, protocol, system, the object, the keys of its
// storages), then each storage as a count and its numbers (torch/serialization.py, _legacy_save).
import { type Checkpoint, tensorsIn } from "./checkpoint.ts";
import { CheckpointError } from "./error.ts";
import { PickleCutShort, Tuple, Unpickler, type Value } from "./pickle.ts";
import type { Source } from "./source.ts";
import { Storage, type StorageBytes, storageType, torchNames } from "./torch.ts";

/** PROTO 2, then LONG1 with the number 0x1950a86a20f9469cfc6c. */
const magic = [0x80, 0x02, 0x8a, 0x0a, 0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19, 0x2e];

export const isTorchLegacy = (head: Uint8Array): boolean => magic.every((byte, i) => head[i] === byte);

/** Pickles longer than this hold no checkpoint. */
const mostPickle = 2 ** 29;

interface Opened {
  contents: Value;
  keys: Value;
  /** Where the storages begin. */
  end: number;
  /** Whole storages that the object named. */
  named: Map<string, Storage>;
}

interface Place {
  at: number;
  size: number;
}

export async function openTorchLegacy(source: Source): Promise<Checkpoint> {
  const { where } = source;
  const places = new Map<string, Place>();
  const bytes: StorageBytes = {
    bigEndian: false,
    range(key, from, length) {
      const place = places.get(key);
      if (!place || from + length > place.size)
        throw new CheckpointError(`Cannot read ${where}: storage ${JSON.stringify(key)} is too short`);
      return source.read(place.at + from, length);
    },
  };
  const { contents, keys, end, named } = await readPickles(source, bytes);
  if (!Array.isArray(keys)) throw new CheckpointError(`Cannot read ${where}: it has no list of storages`);
  let at = end;
  for (const key of keys) {
    const storage = typeof key === "string" ? named.get(key) : undefined;
    if (!storage || places.has(storage.key))
      throw new CheckpointError(`Cannot read ${where}: it lists a storage ${JSON.stringify(key)} that nothing uses`);
    const count = new DataView((await source.read(at, 8)).buffer).getBigInt64(0, true);
    if (count !== BigInt(storage.count)) {
      throw new CheckpointError(`Cannot read ${where}: storage "${storage.key}" has ${count} elements, expected ${storage.count}`);
    }
    places.set(storage.key, { at: at + 8, size: storage.size });
    at += 8 + storage.size;
    if (at > source.size) throw new CheckpointError(`Cannot read ${where}: it ends inside storage "${storage.key}": cut short`);
  }
  for (const key of named.keys()) {
    if (!places.has(key)) throw new CheckpointError(`Cannot read ${where}: it lacks the storage ${JSON.stringify(key)}`);
  }
  return { where, format: "PyTorch (before 1.6)", contents, tensors: tensorsIn(contents, where), close: () => source.close() };
}

/** Reads the pickles from a growing part of the file, since nothing says where they end. */
async function readPickles(source: Source, bytes: StorageBytes): Promise<Opened> {
  for (let length = 2 ** 20; ; length *= 4) {
    const head = await source.read(0, Math.min(length, source.size));
    try {
      return runPickles(head, source, bytes);
    } catch (error) {
      if (!(error instanceof PickleCutShort) || length >= source.size) throw error;
      if (length >= mostPickle) throw new CheckpointError(`Cannot read ${source.where}: its pickle has more than ${mostPickle} bytes`);
    }
  }
}

function runPickles(head: Uint8Array, source: Source, bytes: StorageBytes): Opened {
  const { where } = source;
  const named = new Map<string, Storage>();
  const reading = { where, find: torchNames(source.size), persistent: (id: Value) => storageOf(id, { where, named, bytes }) };
  let at = 0;
  const next = (): Value => {
    const machine = new Unpickler(head, reading, at);
    const value = machine.load();
    at = machine.at;
    return value;
  };
  next(); // the magic number
  const protocol = next();
  if (protocol !== 1001) throw new CheckpointError(`Cannot read ${where}: its protocol is ${String(protocol)}, expected 1001`);
  const system = next();
  if (system instanceof Map && system.get("little_endian") === false) {
    throw new CheckpointError(`Cannot read ${where}: a big-endian machine wrote it; load and save it with PyTorch first`);
  }
  return { contents: next(), keys: next(), end: at, named };
}

interface Naming {
  where: string;
  named: Map<string, Storage>;
  bytes: StorageBytes;
}

/** ("storage", type, key, location, count, view) or ("module", class, file, source), of which only the class is taken. */
function storageOf(id: Value, { where, named, bytes }: Naming): Value {
  const [kind, type, key, , count, view] = id instanceof Tuple ? id : [];
  if (kind === "module") return type;
  if (kind !== "storage" || typeof key !== "string" || !isCount(count)) {
    throw new CheckpointError(`Cannot read ${where}: a persistent id that names no storage`);
  }
  const before = named.get(key);
  const whole = new Storage(key, storageType(type), count, bytes);
  if (before && (before.count !== count || before.type !== whole.type)) {
    throw new CheckpointError(`Cannot read ${where}: storage ${JSON.stringify(key)} has two sizes or types`);
  }
  if (!whole.type) throw new CheckpointError(`Cannot read ${where}: storage ${JSON.stringify(key)} has no type`);
  named.set(key, before ?? whole);
  if (view === null || view === undefined) return before ?? whole;
  const [, offset, length] = view instanceof Tuple ? view : [];
  if (!isCount(offset) || !isCount(length) || offset + length > count) {
    throw new CheckpointError(`Cannot read ${where}: a view of storage ${JSON.stringify(key)} lies outside it`);
  }
  return new Storage(key, whole.type, length, bytes, offset);
}

const isCount = (value: Value | undefined): value is number => Number.isSafeInteger(value) && (value as number) >= 0;
