// A program on the wasm backend: where its buffers are, its command stream, and one run of it.
import type { Buffer, Program } from "../../tape/program.ts";
import { size } from "../../tape/shape.ts";
import type { Executable, StepTime, TimedRun } from "../backend.ts";
import { unsetFloats } from "../workers.ts";
import { Emitter, type Stream } from "./emitter.ts";
import { encoders } from "./encoders.ts";
import type { Memory } from "./memory.ts";
import type { Storage } from "./storage.ts";

/** Makes the threads walk a stream. */
type Walk = (stream: number) => Promise<void>;
/** Runs something when its turn has come. */
export type InTurn = <T>(work: (walk: Walk) => Promise<T>) => Promise<T>;

const ALIGN = 64;
const NOWHERE = 2 ** 40; // an address behind all memory
const aligned = (bytes: number) => Math.ceil(bytes / ALIGN) * ALIGN;

export class WasmExecutable implements Executable {
  readonly arenaBytes: number;
  readonly steps: number;
  readonly #program: Program;
  readonly #memory: Memory;
  readonly #storage: Storage;
  readonly #inTurn: InTurn;
  readonly #fixed = new Map<Buffer, number>(); // addresses of parameters and arrays
  readonly #inputs = new Map<Buffer, number>(); // offsets behind the arena's start
  readonly #slots: Buffer[][] = []; // buffers of each input
  readonly #temporaries: number; // offset of temporaries
  readonly #streamBytes: number;
  #stream: { address: number; arena: number; counters: Uint32Array } | undefined;
  #running = false;
  #disposed = false;

  constructor(program: Program, memory: Memory, storage: Storage, inTurn: InTurn) {
    this.#program = program;
    this.#memory = memory;
    this.#storage = storage;
    this.#inTurn = inTurn;
    this.steps = program.steps.length;
    let at = aligned(4 * program.arena);
    for (const buffer of program.buffers) {
      if (buffer.kind !== "input") continue;
      this.#inputs.set(buffer, at);
      const slot = buffer.slot as number;
      this.#slots[slot] = [...(this.#slots[slot] ?? []), buffer];
      at += aligned(4 * buffer.size);
    }
    this.#temporaries = at;
    try {
      this.#take();
      // Sizes do not depend on where the arena is, so a first encoding tells them and checks that every step has a kernel.
      const measure = this.#encode(0, NOWHERE);
      this.#streamBytes = 4 * measure.words.length;
      this.arenaBytes = at + measure.temporaryBytes;
      storage.checkArena(this.arenaBytes);
    } catch (error) {
      this.dispose();
      throw error;
    }
  }

  /** Puts parameters and arrays into the shared memory. */
  #take(): void {
    for (const buffer of this.#program.buffers) {
      if (buffer.parameter) this.#fixed.set(buffer, this.#storage.takeParameter(buffer.parameter));
      else if (buffer.data) this.#fixed.set(buffer, this.#storage.takeArray(buffer.data));
    }
  }

  #address(buffer: Buffer, arena: number): number {
    if (buffer.kind === "arena") return arena + 4 * (buffer.offset as number);
    if (buffer.kind === "input") return arena + (this.#inputs.get(buffer) as number);
    return this.#fixed.get(buffer) as number;
  }

  /** The stream for these places. `marks`: where to keep the time before the first step and after each. */
  #encode(stream: number, arena: number, marks?: number): Stream & { temporaryBytes: number } {
    const address = (buffer: Buffer) => this.#address(buffer, arena);
    const learns = this.#program.steps.some(({ op }) => op === "conv2dWeightGrad");
    const out = new Emitter({ stream, temporaries: arena + this.#temporaries, address, learns });
    if (marks !== undefined) out.mark(marks);
    for (const [i, step] of this.#program.steps.entries()) {
      const encode = encoders[step.op];
      if (!encode) throw new TypeError(`Cannot run "${step.op}" on the wasm backend: it has no kernel there`);
      encode(step, out);
      out.nextStep();
      if (marks !== undefined) out.mark(marks + 8 * (i + 1));
    }
    return { ...out.finish(), temporaryBytes: out.temporaryBytes };
  }

  /** Writes the stream, again when the arena has moved. */
  #place(): { address: number; arena: number; counters: Uint32Array } {
    const arena = this.#storage.arena(this.arenaBytes);
    if (this.#stream?.arena === arena) return this.#stream;
    const address = this.#stream?.address ?? this.#memory.allocate(this.#streamBytes);
    const { words, counters } = this.#encode(address, arena);
    const placed = this.#memory.words(address, words.length);
    placed.set(words);
    this.#stream = { address, arena, counters: placed.subarray(words.length - counters) };
    return this.#stream;
  }

  /** Copies inputs in and takes over parameters that the host has replaced. */
  #fill(inputs: readonly Float32Array[], arena: number): void {
    for (const { parameter } of this.#program.buffers) if (parameter) this.#storage.refresh(parameter);
    for (const [slot, buffers] of this.#slots.entries()) {
      for (const buffer of buffers ?? []) this.#memory.floats(this.#address(buffer, arena), buffer.size).set(inputs[slot]);
    }
  }

  /** Takes the program's turn: `work` runs with everything in place. */
  #turn<T>(inputs: readonly Float32Array[], work: (walk: Walk, stream: number, arena: number) => Promise<T>): Promise<T> {
    return this.#inTurn(async (walk) => {
      if (this.#disposed) throw new Error("Cannot run a program that has been disposed of");
      const { address, arena, counters } = this.#place();
      counters.fill(0);
      this.#fill(inputs, arena);
      this.#running = true;
      try {
        return await work(walk, address, arena);
      } finally {
        this.#running = false;
        if (this.#disposed) this.#release();
      }
    });
  }

  run(inputs: readonly Float32Array[]): Promise<Float32Array[]> {
    return this.#turn(inputs, (walk, stream, arena) => this.#outputs(arena, () => walk(stream)));
  }

  /** Makes the threads work and copies the outputs. New memory costs more than the copy: it is taken while they are at it. */
  async #outputs(arena: number, work: () => Promise<void>): Promise<Float32Array[]> {
    const done = work();
    const copies = this.#program.outputs.map(({ shape }) => unsetFloats(size(shape)));
    await done;
    for (const [i, { buffer, offset }] of this.#program.outputs.entries()) {
      copies[i].set(this.#memory.floats(this.#address(buffer, arena) + 4 * offset, copies[i].length));
    }
    return copies;
  }

  /** Runs once and tells how long each step took. */
  async profile(inputs: readonly Float32Array[]): Promise<readonly StepTime[]> {
    return (await this.runTimed(inputs)).times;
  }

  runTimed(inputs: readonly Float32Array[]): Promise<TimedRun> {
    return this.#turn(inputs, async (walk, _, arena) => {
      const { steps } = this.#program;
      const marks = this.#memory.allocate(8 * (steps.length + 1));
      const stream = this.#memory.allocate(4 * this.#encode(0, arena, marks).words.length);
      try {
        const { words } = this.#encode(stream, arena, marks);
        this.#memory.words(stream, words.length).set(words);
        const outputs = await this.#outputs(arena, () => walk(stream));
        const times = new Float64Array(this.#memory.words(marks, 2).buffer, marks, steps.length + 1);
        return {
          outputs,
          times: steps.map((step, i) => ({ step, beginMs: times[i] - times[0], timeMs: times[i + 1] - times[i] })),
        };
      } finally {
        this.#memory.release(stream);
        this.#memory.release(marks);
      }
    });
  }

  /** Frees the program's memory, after the run that is under way. */
  dispose(): void {
    if (this.#disposed) return;
    this.#disposed = true;
    if (!this.#running) this.#release();
  }

  #release(): void {
    for (const buffer of this.#fixed.keys()) {
      if (buffer.parameter) this.#storage.dropParameter(buffer.parameter);
      else if (buffer.data) this.#storage.dropArray(buffer.data);
    }
    this.#fixed.clear();
    if (this.#stream) this.#memory.release(this.#stream.address);
  }
}
