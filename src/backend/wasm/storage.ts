// Where parameters, arrays and the arena lie. All programs share one arena, as big as the largest of them needs.
import type { Parameter } from "../../tape/tensor.ts";
import type { Memory } from "./memory.ts";

interface Entry {
  readonly address: number;
  readonly view: Float32Array;
  users: number;
}

/** Numbers in the shared memory that outlive a run, each with the number of programs that use it. */
export class Storage {
  readonly #memory: Memory;
  readonly #parameters = new Map<Parameter, Entry>();
  readonly #arrays = new Map<Float32Array, Entry>();
  #arena = { address: 0, bytes: 0 };

  constructor(memory: Memory) {
    this.#memory = memory;
  }

  /** Moves a parameter into the shared memory: its `data` is a view of it from now on. */
  takeParameter(parameter: Parameter): number {
    const entry = this.#take(this.#parameters, parameter, parameter.data);
    parameter.data = entry.view;
    return entry.address;
  }

  takeArray(data: Float32Array): number {
    return this.#take(this.#arrays, data, data).address;
  }

  #take<K>(entries: Map<K, Entry>, key: K, data: Float32Array): Entry {
    const known = entries.get(key);
    if (known) {
      known.users++;
      return known;
    }
    const address = this.#memory.allocate(4 * data.length);
    const entry = { address, view: this.#memory.floats(address, data.length), users: 1 };
    entry.view.set(data);
    entries.set(key, entry);
    return entry;
  }

  /** Gives up one use; the last one gives a parameter its numbers back in memory of its own. */
  dropParameter(parameter: Parameter): void {
    const entry = this.#parameters.get(parameter);
    if (!entry || --entry.users > 0) return;
    if (parameter.data === entry.view) parameter.data = new Float32Array(entry.view);
    this.#parameters.delete(parameter);
    this.#memory.release(entry.address);
  }

  dropArray(data: Float32Array): void {
    const entry = this.#arrays.get(data);
    if (!entry || --entry.users > 0) return;
    this.#arrays.delete(data);
    this.#memory.release(entry.address);
  }

  /** Takes over numbers that somebody put in place of the view. */
  refresh(parameter: Parameter): void {
    const entry = this.#parameters.get(parameter);
    if (!entry || parameter.data === entry.view) return;
    if (parameter.data.length !== entry.view.length) {
      throw new RangeError(`Cannot run with ${parameter.data.length} numbers in a parameter of ${entry.view.length}`);
    }
    entry.view.set(parameter.data);
    parameter.data = entry.view;
  }

  /** Throws a RangeError if an arena of so many bytes cannot be had. */
  checkArena(bytes: number): void {
    const available = this.#memory.largest(this.#arena.address);
    if (bytes <= available) return;
    throw new RangeError(
      `Cannot fit a program that needs ${bytes} bytes (${gib(bytes)}) for its values: ${available} bytes (${gib(available)}) are available`,
    );
  }

  /** Bytes of the arena as it is now. */
  get arenaBytes(): number {
    return this.#arena.bytes;
  }

  /** The arena's address, after making it at least so large. It may move: nothing in it outlives a run. */
  arena(bytes: number): number {
    if (bytes > this.#arena.bytes) {
      this.checkArena(bytes);
      this.#memory.release(this.#arena.address);
      this.#arena = { address: this.#memory.allocate(bytes), bytes };
    }
    return this.#arena.address;
  }

  /** Gives all parameters their numbers back in memory of their own. */
  detach(): void {
    for (const [parameter, { view }] of this.#parameters) if (parameter.data === view) parameter.data = new Float32Array(view);
    this.#parameters.clear();
  }
}

const gib = (bytes: number) => `${(bytes / 2 ** 30).toFixed(2)} GiB`;
