// Python's pickles, as far as checkpoints use them (cpython Lib/pickletools.py). A pickle is a program for a small stack machine.
// This one can build values and nothing else: a name that the caller does not know is refused, and nothing is imported or run.
import { CheckpointError } from "./error.ts";

/** Python's values. Maps keep keys such as `__proto__` harmless; shared and circular references stay references. */
export type Value =
  | null
  | boolean
  | number
  | bigint
  | string
  | Uint8Array
  | Value[]
  | Map<Value, Value>
  | Set<Value>
  | Constructor
  | Instance
  | Made;

/** A Python tuple; a list is a plain array. */
export class Tuple extends Array<Value> {}

/** Something that a constructor made and this reader looks no further into. */
export abstract class Made {
  /** What BUILD does to it. Refused where not said otherwise. */
  build?(state: Value): void;
}

/** A name in a pickle that the reader knows. */
export class Constructor {
  readonly name: string;
  /** REDUCE: the value that it makes of arguments. */
  readonly call?: (args: Value[]) => Value;
  /** NEWOBJ makes an inert record of it. */
  readonly record: boolean;

  constructor(name: string, call?: (args: Value[]) => Value, record = false) {
    this.name = name;
    this.call = call;
    this.record = record;
  }
}

/** An object of a class whose code is not here: its name and its state. */
export class Instance {
  readonly class: string;
  readonly args: readonly Value[];
  /** Of classes that are dictionaries. */
  readonly items = new Map<Value, Value>();
  attributes: Value = null;

  constructor(name: string, args: readonly Value[] = []) {
    this.class = name;
    this.args = args;
  }
}

export interface Reading {
  /** For messages. */
  where: string;
  /** What an exact pair of module and name stands for; undefined refuses the file. */
  find(module: string, name: string): Constructor | undefined;
  /** What a persistent id stands for: in PyTorch's files a storage. */
  persistent?(id: Value): Value;
}

/** The bytes ended inside a pickle: it was cut short, or more of the file has to be read. */
export class PickleCutShort extends CheckpointError {}

const mark = Symbol("mark");
type Slot = Value | typeof mark;

/** Enough for the largest published checkpoints by a factor of ten; stops a file of many empty lists from filling the memory. */
const mostOpcodes = 20_000_000;

const utf8 = new TextDecoder("utf-8", { fatal: true });
const latin1 = (bytes: Uint8Array): string => Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("latin1");

/** One pickle's machine. */
export class Unpickler {
  /** Where the next byte lies. */
  at: number;
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  readonly #reading: Reading;
  readonly #stack: Slot[] = [];
  readonly #memo = new Map<number, Value>();

  constructor(bytes: Uint8Array, reading: Reading, at = 0) {
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.#reading = reading;
    this.at = at;
  }

  /** Runs to STOP and gives what the pickle describes. */
  load(): Value {
    for (let steps = 0; steps < mostOpcodes; steps++) {
      const code = this.#byte();
      if (code === 0x2e) return this.#pop(); // STOP
      const step = opcodes.get(code);
      if (!step) this.fail(`opcode 0x${code.toString(16)} is not allowed`);
      step(this);
    }
    this.fail(`it has more than ${mostOpcodes} steps`);
  }

  fail(what: string): never {
    throw new CheckpointError(`Cannot read ${this.#reading.where}: at byte ${this.at} of a pickle, ${what}`);
  }

  #need(length: number): number {
    const from = this.at;
    if (!(length >= 0)) this.fail(`a length of ${length}`);
    if (from + length > this.#bytes.length) {
      throw new PickleCutShort(`Cannot read ${this.#reading.where}: cut short inside a pickle, at byte ${this.#bytes.length}`);
    }
    this.at += length;
    return from;
  }

  #byte(): number {
    return this.#bytes[this.#need(1)];
  }

  u8 = (): number => this.#byte();
  u16 = (): number => this.#view.getUint16(this.#need(2), true);
  i32 = (): number => this.#view.getInt32(this.#need(4), true);
  u32 = (): number => this.#view.getUint32(this.#need(4), true);
  u64 = (): number => Number(this.#view.getBigUint64(this.#need(8), true));
  f64 = (): number => this.#view.getFloat64(this.#need(8)); // big-endian, alone among them

  raw(length: number): Uint8Array {
    const from = this.#need(length);
    return this.#bytes.subarray(from, from + length);
  }

  text(length: number): string {
    const bytes = this.raw(length);
    try {
      return utf8.decode(bytes);
    } catch {
      this.fail("a text is not UTF-8");
    }
  }

  /** Python 2's str: bytes or text, each byte one character. */
  bytesText = (length: number): string => latin1(this.raw(length));

  line(): string {
    const end = this.#bytes.indexOf(0x0a, this.at);
    if (end < 0) this.#need(Number.MAX_SAFE_INTEGER);
    const text = this.text(end - this.at);
    this.at++;
    return text;
  }

  /** Two's complement; a bigint where no number is exact. */
  long(length: number): number | bigint {
    let value = 0n;
    for (const byte of [...this.raw(length)].reverse()) value = (value << 8n) | BigInt(byte);
    const signed = length ? BigInt.asIntN(8 * length, value) : 0n;
    const small = Number(signed);
    return Number.isSafeInteger(small) ? small : signed;
  }

  push(value: Slot): void {
    this.#stack.push(value);
  }

  #pop(): Value {
    const value = this.#stack.pop();
    if (value === undefined || value === mark) this.fail("the stack is empty");
    return value;
  }

  pop = (): Value => this.#pop();

  /** POP may also take a mark. */
  drop(): void {
    if (this.#stack.pop() === undefined) this.fail("the stack is empty");
  }

  /** The value on top. */
  top(): Value {
    const value = this.#stack.at(-1);
    if (value === undefined || value === mark) this.fail("the stack is empty");
    return value;
  }

  /** Everything above the last mark. */
  marked(): Value[] {
    const from = this.#stack.lastIndexOf(mark);
    if (from < 0) this.fail("there is no mark");
    return this.#stack.splice(from).slice(1) as Value[];
  }

  put(index: number): void {
    this.#memo.set(index, this.top());
  }

  memoize(): void {
    this.put(this.#memo.size);
  }

  get(index: number): void {
    const value = this.#memo.get(index);
    if (value === undefined) this.fail(`nothing is remembered under ${index}`);
    this.push(value);
  }

  find(module: Value, name: Value): void {
    const found = typeof module === "string" && typeof name === "string" ? this.#reading.find(module, name) : undefined;
    if (!found) this.fail(`${module}.${name} is not allowed: only the parts of tensors and arrays are made, and no code is run`);
    this.push(found);
  }

  persistent(): void {
    const id = this.#pop();
    if (!this.#reading.persistent) this.fail("a persistent id, which only PyTorch's files have");
    this.push(this.#reading.persistent(id));
  }

  reduce(): void {
    const args = this.#pop();
    const made = this.#pop();
    if (!(made instanceof Constructor) || !made.call) this.fail("REDUCE of something that cannot be called");
    if (!(args instanceof Tuple)) this.fail("arguments that are no tuple");
    try {
      this.push(made.call(args));
    } catch (error) {
      if (error instanceof ArgumentError) this.fail(`${made.name}: ${error.message}`);
      throw error;
    }
  }

  newObject(): void {
    const args = this.#pop();
    const made = this.#pop();
    if (!(made instanceof Constructor) || !(args instanceof Tuple)) this.fail("NEWOBJ of something that is no class");
    if (made.record) this.push(new Instance(made.name, [...args]));
    else this.fail(`NEWOBJ of ${made.name}, which is no record`);
  }

  build(): void {
    const state = this.#pop();
    const target = this.top();
    if (target instanceof Instance) target.attributes = state;
    else if (target instanceof Made && target.build) this.#built(target.build.bind(target), state);
    else if (!(target instanceof Map)) this.fail("BUILD of something that has no state"); // an OrderedDict's _metadata is not needed
  }

  #built(build: (state: Value) => void, state: Value): void {
    try {
      build(state);
    } catch (error) {
      if (error instanceof ArgumentError) this.fail(error.message);
      throw error;
    }
  }

  append(values: Value[]): void {
    const target = this.top();
    if (!Array.isArray(target) || target instanceof Tuple) this.fail("APPEND to something that is no list");
    for (const value of values) target.push(value);
  }

  add(values: Value[]): void {
    const target = this.top();
    if (!(target instanceof Set)) this.fail("ADDITEMS to something that is no set");
    for (const value of values) target.add(value);
  }

  setItems(pairs: Value[]): void {
    const target = this.top();
    const map = target instanceof Instance ? target.items : target;
    if (!(map instanceof Map) || pairs.length % 2) this.fail("SETITEMS of something that is no dictionary");
    for (let i = 0; i < pairs.length; i += 2) map.set(pairs[i], pairs[i + 1]);
  }

  /** `count` values from the stack as a tuple. */
  tuple(count: number): void {
    const values = Array.from({ length: count }, () => this.#pop()).reverse();
    this.push(Tuple.from(values));
  }
}

/** Arguments that a constructor cannot take. */
export class ArgumentError extends Error {}

type Step = (m: Unpickler) => void;

/** Those that checkpoints use, with their codes. */
const opcodes: ReadonlyMap<number, Step> = new Map<number, Step>([
  [0x80, (m) => void (m.u8() > 5 && m.fail("a pickle protocol newer than 5"))], // PROTO
  [0x95, (m) => void m.u64()], // FRAME
  [0x28, (m) => m.push(mark)], // MARK
  [0x30, (m) => m.drop()], // POP
  [0x4e, (m) => m.push(null)], // NONE
  [0x88, (m) => m.push(true)], // NEWTRUE
  [0x89, (m) => m.push(false)], // NEWFALSE
  [0x4a, (m) => m.push(m.i32())], // BININT
  [0x4b, (m) => m.push(m.u8())], // BININT1
  [0x4d, (m) => m.push(m.u16())], // BININT2
  [0x8a, (m) => m.push(m.long(m.u8()))], // LONG1
  [0x47, (m) => m.push(m.f64())], // BINFLOAT
  [0x58, (m) => m.push(m.text(m.u32()))], // BINUNICODE
  [0x8c, (m) => m.push(m.text(m.u8()))], // SHORT_BINUNICODE
  [0x8d, (m) => m.push(m.text(m.u64()))], // BINUNICODE8
  [0x42, (m) => m.push(m.raw(m.u32()))], // BINBYTES
  [0x43, (m) => m.push(m.raw(m.u8()))], // SHORT_BINBYTES
  [0x8e, (m) => m.push(m.raw(m.u64()))], // BINBYTES8
  [0x54, (m) => m.push(m.bytesText(m.i32()))], // BINSTRING
  [0x55, (m) => m.push(m.bytesText(m.u8()))], // SHORT_BINSTRING
  [0x29, (m) => m.push(new Tuple())], // EMPTY_TUPLE
  [0x74, (m) => m.push(Tuple.from(m.marked()))], // TUPLE
  [0x85, (m) => m.tuple(1)],
  [0x86, (m) => m.tuple(2)],
  [0x87, (m) => m.tuple(3)],
  [0x5d, (m) => m.push([])], // EMPTY_LIST
  [0x61, (m) => m.append([m.pop()])], // APPEND
  [0x65, (m) => m.append(m.marked())], // APPENDS
  [0x7d, (m) => m.push(new Map())], // EMPTY_DICT
  [0x73, (m) => m.setItems([m.pop(), m.pop()].reverse())], // SETITEM
  [0x75, (m) => m.setItems(m.marked())], // SETITEMS
  [0x8f, (m) => m.push(new Set())], // EMPTY_SET
  [0x90, (m) => m.add(m.marked())], // ADDITEMS
  [0x63, (m) => m.find(m.line(), m.line())], // GLOBAL
  [0x93, (m) => m.find(...([m.pop(), m.pop()].reverse() as [Value, Value]))], // STACK_GLOBAL
  [0x52, (m) => m.reduce()], // REDUCE
  [0x81, (m) => m.newObject()], // NEWOBJ
  [0x62, (m) => m.build()], // BUILD
  [0x51, (m) => m.persistent()], // BINPERSID
  [0x71, (m) => m.put(m.u8())], // BINPUT
  [0x72, (m) => m.put(m.u32())], // LONG_BINPUT
  [0x68, (m) => m.get(m.u8())], // BINGET
  [0x6a, (m) => m.get(m.u32())], // LONG_BINGET
  [0x94, (m) => m.memoize()], // MEMOIZE
]);
