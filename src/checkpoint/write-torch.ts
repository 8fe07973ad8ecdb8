// PyTorch's .pth: a zip with a pickle of an OrderedDict of tensors, as `torch.save(model.state_dict(), path)` writes it. The pickle
// names nothing but OrderedDict, storages and `_rebuild_tensor_v2`, so `torch.load(path, weights_only=True)` opens it.
import type { Host } from "../tape/trace.ts";
import { writeAtomically } from "./atomic.ts";
import { numbersToWrite, rowMajor } from "./stored.ts";
import { encodeZip, type NewEntry } from "./write-zip.ts";

const opcode = {
  proto: 0x80,
  stop: 0x2e,
  mark: 0x28,
  global: 0x63,
  put: 0x71,
  get: 0x68,
  emptyTuple: 0x29,
  tuple: 0x74,
  reduce: 0x52,
  setItems: 0x75,
  persistent: 0x51,
  int: 0x4a,
  unicode: 0x58,
  false: 0x89,
};

/** Collects the bytes of a pickle of protocol 2. */
class Pickler {
  readonly #pieces: Uint8Array[] = [];
  readonly #remembered = new Map<string, number>();

  bytes(...bytes: number[]): this {
    this.#pieces.push(Uint8Array.from(bytes));
    return this;
  }

  #sized(code: number, value: number, body: Uint8Array = new Uint8Array(0)): this {
    const head = new DataView(new ArrayBuffer(5));
    head.setUint8(0, code);
    head.setUint32(1, value, true);
    this.#pieces.push(new Uint8Array(head.buffer), body);
    return this;
  }

  text(text: string): this {
    const body = new TextEncoder().encode(text);
    return this.#sized(opcode.unicode, body.length, body);
  }

  /** A count. One that no 32 bits hold has five to seven bytes. */
  int(value: number): this {
    if (value < 2 ** 31) return this.#sized(opcode.int, value);
    const body = new DataView(new ArrayBuffer(8));
    body.setBigInt64(0, BigInt(value), true);
    return this.bytes(0x8a, 8, ...new Uint8Array(body.buffer)); // LONG1
  }

  /** `module name`, remembered after its first use. */
  global(name: string): this {
    const known = this.#remembered.get(name);
    if (known !== undefined) return this.bytes(opcode.get, known);
    this.bytes(opcode.global, ...new TextEncoder().encode(`${name.replace(" ", "\n")}\n`), opcode.put, this.#remembered.size);
    this.#remembered.set(name, this.#remembered.size);
    return this;
  }

  ints(values: readonly number[]): this {
    this.bytes(opcode.mark);
    for (const value of values) this.int(value);
    return this.bytes(opcode.tuple);
  }

  emptyDict(): this {
    return this.global("collections OrderedDict").bytes(opcode.emptyTuple, opcode.reduce);
  }

  /** A row-major tensor that is the whole of a storage. */
  tensor(key: string, storage: string, shape: readonly number[], count: number): this {
    this.global("torch._utils _rebuild_tensor_v2").bytes(opcode.mark, opcode.mark);
    this.text("storage").global(`torch ${storage}`).text(key).text("cpu").int(count).bytes(opcode.tuple, opcode.persistent);
    this.int(0).ints(shape).ints(rowMajor(shape)).bytes(opcode.false).emptyDict(); // offset, size, stride, requires_grad, hooks
    return this.bytes(opcode.tuple, opcode.reduce);
  }

  done(): Uint8Array {
    return new Uint8Array(Buffer.concat(this.#pieces));
  }
}

/** A file's bytes in pieces: float32 tensors, and PyTorch's batch counts as int64. */
export function encodeTorch(tensors: Iterable<readonly [string, Host]>): Iterable<Uint8Array> {
  const root = "archive";
  const seen = new Set<string>();
  const storages: NewEntry[] = [];
  const pickle = new Pickler().bytes(opcode.proto, 2).emptyDict().bytes(opcode.mark);
  for (const [name, host] of tensors) {
    if (seen.has(name)) throw new RangeError(`Cannot write "${name}" twice: expected every tensor to have its own name`);
    seen.add(name);
    const { bytes, integer } = numbersToWrite(name, host);
    const key = String(storages.length);
    pickle.text(name).tensor(key, integer ? "LongStorage" : "FloatStorage", host.shape, host.data.length);
    storages.push({ name: `${root}/data/${key}`, bytes });
  }
  pickle.bytes(opcode.setItems, opcode.stop);
  const text = (name: string, content: string) => ({ name: `${root}/${name}`, bytes: new TextEncoder().encode(content) });
  return encodeZip([{ name: `${root}/data.pkl`, bytes: pickle.done() }, text("byteorder", "little"), ...storages, text("version", "3\n")]);
}

/** Writes a state dict that `torch.load` opens, whole or not at all. */
export async function writeTorch(path: string, tensors: Iterable<readonly [string, Host]>): Promise<void> {
  await writeAtomically(path, encodeTorch(tensors));
}
