// PyTorch's tensors in pickles: views of storages, which lie elsewhere in the file (torch/_utils.py, torch/serialization.py).
import type { Shape } from "../tape/shape.ts";
import { type Dtype, dtype, dtypes, type Numbers, swapBytes } from "./dtype.ts";
import { CheckpointError } from "./error.ts";
import { isShape, numpyNames } from "./numpy.ts";
import { ArgumentError, Constructor, Instance, Made, Tuple, type Value } from "./pickle.ts";
import { pythonNames } from "./python.ts";
import { gather, isContiguous, type StoredTensor } from "./stored.ts";

type Bytes = Uint8Array<ArrayBuffer>;

/** Where the bytes of storages lie. */
export interface StorageBytes {
  /** `length` bytes of a storage, from byte `from`. */
  range(key: string, from: number, length: number): Promise<Bytes>;
  /** The file keeps numbers with their highest byte first. */
  readonly bigEndian: boolean;
}

/** A row of numbers that tensors are views of. */
export class Storage extends Made {
  readonly key: string;
  /** Undefined where the storage is bytes and the tensor says what they mean. */
  readonly type: Dtype | undefined;
  /** Elements, or bytes where it has no type. */
  readonly count: number;
  /** First element in the storage of that key: older files name views. */
  readonly offset: number;
  readonly bytes: StorageBytes;

  constructor(key: string, type: Dtype | undefined, count: number, bytes: StorageBytes, offset = 0) {
    super();
    [this.key, this.type, this.count, this.bytes, this.offset] = [key, type, count, bytes, offset];
  }

  get size(): number {
    return this.count * (this.type?.size ?? 1);
  }
}

export class TorchTensor extends Made implements StoredTensor {
  readonly storage: Storage;
  readonly type: Dtype;
  readonly offset: number;
  readonly shape: Shape;
  readonly strides: readonly number[];

  constructor(storage: Storage, type: Dtype, offset: number, shape: Shape, strides: readonly number[]) {
    super();
    [this.storage, this.type, this.offset, this.shape, this.strides] = [storage, type, offset, shape, strides];
  }

  get dtype(): string {
    return this.type.name;
  }

  async read(): Promise<Numbers> {
    const { storage, type, shape, strides } = this;
    const extent = shape.includes(0) ? 0 : 1 + shape.reduce((sum, n, axis) => sum + (n - 1) * strides[axis], 0);
    const bytes = await storage.bytes.range(storage.key, (storage.offset + this.offset) * type.size, extent * type.size);
    const numbers = type.decode(storage.bytes.bigEndian ? swapBytes(bytes, type.size) : bytes);
    return isContiguous(shape, strides) ? numbers : gather(numbers, shape, strides);
  }
}

const storageTypes: Readonly<Record<string, string>> = {
  Float: "float32",
  Double: "float64",
  Half: "float16",
  BFloat16: "bfloat16",
  Long: "int64",
  Int: "int32",
  Short: "int16",
  Char: "int8",
  Byte: "uint8",
  Bool: "bool",
};

/** The kind of numbers of a storage's type tag; null where it is bytes. Throws for what is no storage. */
export function storageType(tag: Value): Dtype | undefined {
  const name = tag instanceof Constructor ? /^torch\.(?:cuda\.|storage\.)?(\w+)Storage$/.exec(tag.name)?.[1] : undefined;
  if (name === "Untyped") return undefined;
  if (name === undefined || !Object.hasOwn(storageTypes, name)) throw new CheckpointError("expected the type of a storage");
  return dtype(storageTypes[name]);
}

const isCount = (value: unknown): value is number => Number.isSafeInteger(value) && (value as number) >= 0;

/**
 * A tensor of a storage, its claims checked against it. A tensor may have more elements than its storage (an expanded one has a
 * stride of 0): then no more than would fill the file.
 */
function tensorOf(args: readonly Value[], type: Dtype | undefined, fileSize: number): TorchTensor {
  const [storage, offset, shape, strides] = args;
  if (!(storage instanceof Storage) || !isCount(offset) || !isShape(shape) || !Array.isArray(strides)) {
    throw new ArgumentError("expected a storage, an offset, a shape and strides");
  }
  const kind = type ?? storage.type;
  if (!kind) throw new ArgumentError("a storage of bytes and no dtype");
  if (strides.length !== shape.length || !strides.every(isCount)) throw new ArgumentError(`strides [${strides.join(", ")}]`);
  const count = Math.floor(storage.size / kind.size);
  const steps = strides as number[];
  const end = offset + shape.reduce((sum, n, axis) => sum + (n - 1) * steps[axis], 1);
  const elements = shape.reduce((product, n) => product * n, 1);
  if (elements > 0 && !(end <= count)) {
    throw new ArgumentError(`a tensor [${shape.join(", ")}] at ${offset} ends at ${end}, its storage has ${count} elements`);
  }
  if (elements > count && !(elements * kind.size <= fileSize)) {
    throw new ArgumentError(`a tensor [${shape.join(", ")}] repeats its ${count} numbers beyond the size of the file`);
  }
  return new TorchTensor(storage, kind, offset, [...shape], [...steps]);
}

function inner([tensor]: Value[]): Value {
  if (!(tensor instanceof TorchTensor)) throw new ArgumentError("expected a tensor");
  return tensor;
}

function sizeOf(sizes: Value | undefined): Value {
  if (!isShape(sizes)) throw new ArgumentError("expected whole numbers");
  return Tuple.from(sizes);
}

function rebuildTyped(args: Value[], fileSize: number): Value {
  const tag = args[6];
  const name = tag instanceof Constructor ? tag.name.replace("torch.", "") : "";
  return tensorOf(args, dtypes.get(name), fileSize);
}

/** Classes that hold a network's layers. Their objects become records of a name and a state. */
const layers = /^(torch\.nn(\.[a-z_0-9]+)*|dall_e(\.[a-z_0-9]+)*)$/;

/** What names in PyTorch's pickles stand for: exact pairs, and the classes of layers. */
export function torchNames(fileSize: number): (module: string, name: string) => Constructor | undefined {
  const known = new Map<string, Constructor>([...pythonNames, ...numpyNames]);
  const add = (name: string, call?: (args: Value[]) => Value) => known.set(name, new Constructor(name, call));
  add("torch._utils._rebuild_tensor", (args) => tensorOf(args, undefined, fileSize));
  add("torch._utils._rebuild_tensor_v2", (args) => tensorOf(args, undefined, fileSize));
  add("torch._utils._rebuild_tensor_v3", (args) => rebuildTyped(args, fileSize));
  add("torch._utils._rebuild_parameter", inner);
  add("torch._utils._rebuild_parameter_with_state", inner);
  add("torch.Size", ([sizes]) => sizeOf(sizes));
  add("torch.device", (args) => new Instance("torch.device", [...args]));
  add("torch.storage.UntypedStorage");
  for (const name of Object.keys(storageTypes)) for (const module of ["torch", "torch.cuda"]) add(`${module}.${name}Storage`);
  for (const name of dtypes.keys()) add(`torch.${name}`);
  const find = (module: string, name: string): Constructor | undefined => {
    if (layers.test(module) && /^[A-Z]\w*$/.test(name)) return new Constructor(`${module}.${name}`, undefined, true);
    return name.includes(".") ? undefined : known.get(`${module}.${name}`);
  };
  return find;
}
