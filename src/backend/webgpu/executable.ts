// A program on the gpu backend: its dispatches with their pipelines and bind groups, and one run of them.
import { writes } from "../../tape/assign.ts";
import type { Buffer, Program, Step } from "../../tape/program.ts";
import type { Parameter } from "../../tape/tensor.ts";
import type { Executable, StepTime, TimedRun, UnderWay } from "../backend.ts";
import { usage } from "./device.ts";
import { type Dispatch, dispatches } from "./dispatch.ts";
import { Emitter } from "./emitter.ts";
import { encoders } from "./encoders.ts";
import type { Pipelines } from "./pipelines.ts";
import type { Place, Window } from "./place.ts";
import { Results } from "./results.ts";
import { Stopwatch } from "./stopwatch.ts";
import type { Arena, Held, Storage } from "./storage.ts";
import type { ChooseTile } from "./tiles.ts";

/** How programs of one device come after each other. */
export interface Turns {
  /** Runs something when all before it has been sent to the GPU. */
  inTurn<T>(work: () => Promise<T>): Promise<T>;
  /** Makes a wait fail when the device does. */
  unlessBroken<T>(work: Promise<T>): Promise<T>;
}

/** Inputs of so many floats are sent on their own, smaller ones together. */
const LARGE = 2 ** 14;

/** What a program binds, made for one arena. */
interface Bound {
  readonly arena: Arena;
  readonly groups: readonly GPUBindGroup[];
}

export class GpuExecutable implements Executable {
  readonly arenaBytes: number;
  readonly onDevice = true;
  readonly steps: number;
  readonly dispatches: readonly Dispatch[];
  readonly #program: Program;
  readonly #device: GPUDevice;
  readonly #storage: Storage;
  readonly #pipelines: Pipelines;
  readonly #turns: Turns;
  readonly #tileOf: ChooseTile;
  readonly #parameters: readonly Parameter[];
  readonly #held: readonly Held[];
  readonly #assigned: readonly Held[];
  readonly #compiled: Promise<GPUComputePipeline[]>;
  readonly #offsets = new Map<Buffer, number>(); // of inputs and arrays, in bytes of `own`
  readonly #own: GPUBuffer;
  readonly #inputs: readonly { slot: number; offset: number }[];
  readonly #small: Float32Array; // the first inputs, side by side as in `own`
  readonly #params: GPUBuffer;
  readonly #paramSlots: readonly number[];
  readonly #results: Results;
  #copy = new Float32Array(0);
  #bound: Bound | undefined;
  #disposed = false;

  constructor(program: Program, device: GPUDevice, storage: Storage, pipelines: Pipelines, turns: Turns, tileOf: ChooseTile) {
    this.#program = program;
    this.#device = device;
    this.#storage = storage;
    this.#pipelines = pipelines;
    this.#turns = turns;
    this.#tileOf = tileOf;
    this.steps = program.steps.length;
    this.#parameters = program.buffers.flatMap(({ parameter }) => parameter ?? []);
    const { bytes, small } = this.#layOut();
    this.#small = new Float32Array(small / 4);
    this.#inputs = [...this.#offsets].flatMap(([{ slot }, offset]) => (slot === undefined ? [] : { slot, offset }));
    this.#own = storage.buffer("inputs", bytes);
    for (const [{ data }, offset] of this.#offsets) if (data) this.#write(this.#own, offset, data);
    this.#results = new Results(device, storage, program.outputs);
    this.#held = storage.take(this.#parameters);
    const assigned = new Set(program.steps.flatMap(writes).map(({ buffer }) => buffer.parameter));
    this.#assigned = this.#held.filter(({ parameter }) => assigned.has(parameter));
    const { maxStorageBuffersPerShaderStage, maxUniformBufferBindingSize } = device.limits;
    const binds = {
      buffers: maxStorageBuffersPerShaderStage,
      bytes: storage.sight.bytes,
      segment: storage.segment,
      params: maxUniformBufferBindingSize,
    };
    try {
      for (const { kind, size, dtype } of program.buffers) {
        if (kind === "arena") storage.check("an intermediate value", (dtype === "f16" ? 2 : 4) * size);
      }
      const emitter = this.#emit();
      this.arenaBytes = 4 * emitter.arena;
      this.dispatches = dispatches(emitter.calls, binds);
    } catch (error) {
      this.dispose();
      throw error;
    }
    this.#paramSlots = slots(this.dispatches, device.limits.minUniformBufferOffsetAlignment);
    this.#params = this.#writeParams();
    this.#compiled = Promise.all(this.dispatches.map(({ shader, label, windows }) => pipelines.get(shader, windows.length, label)));
    this.#compiled.catch(() => {}); // each run hears of it by itself
  }

  #write(buffer: GPUBuffer, offset: number, data: Float32Array): void {
    const { buffer: from, byteOffset, byteLength } = this.#unshared(data);
    this.#device.queue.writeBuffer(buffer, offset, from, byteOffset, byteLength);
  }

  /** Dawn takes no memory that threads share, such as a loader's batch: that goes through a copy, kept for the next one. */
  #unshared(data: Float32Array): Float32Array<ArrayBuffer> {
    if (data.buffer instanceof ArrayBuffer) return data as Float32Array<ArrayBuffer>;
    if (this.#copy.length < data.length) this.#copy = new Float32Array(data.length);
    this.#copy.set(data);
    return this.#copy.subarray(0, data.length);
  }

  /** Offsets of inputs and arrays: small inputs first, so that one write carries them all. */
  #layOut(): { bytes: number; small: number } {
    const order = ({ kind, size }: Buffer) => (kind === "array" ? 2 : size >= LARGE ? 1 : 0);
    const own = this.#program.buffers.filter(({ kind }) => kind === "input" || kind === "array").sort((a, b) => order(a) - order(b));
    let bytes = 0;
    let small = 0;
    for (const buffer of own) {
      this.#offsets.set(buffer, bytes);
      bytes += this.#storage.aligned(4 * buffer.size);
      if (order(buffer) === 0) small = bytes;
    }
    return { bytes, small };
  }

  #place(buffer: Buffer): Place {
    const result = this.#results.place(buffer);
    if (result) return result;
    if (buffer.kind === "arena") return { home: buffer.dtype === "f16" ? "halves" : "arena", offset: 4 * (buffer.offset as number) };
    if (buffer.parameter) return this.#storage.place(buffer.parameter);
    return { home: this.#own, offset: this.#offsets.get(buffer) as number };
  }

  #emit(): Emitter {
    const emitter = new Emitter((buffer) => this.#place(buffer), this.#program.arena, {
      ...{ tileOf: this.#tileOf, sight: this.#storage.sight, segment: this.#storage.segment / 4 },
    });
    for (const step of this.#program.steps) {
      const encode = encoders[step.op];
      if (!encode) throw new TypeError(`Cannot run "${step.op}" on the gpu backend: it has no kernel there`);
      emitter.step(step, encode);
    }
    return emitter;
  }

  #writeParams(): GPUBuffer {
    const all = new Uint32Array((this.#paramSlots.at(-1) as number) / 4);
    for (const [i, { params }] of this.dispatches.entries()) all.set(params, this.#paramSlots[i] / 4);
    const buffer = this.#device.createBuffer({ label: "params", size: Math.max(all.byteLength, 4), usage: usage.UNIFORM | usage.COPY_DST });
    this.#device.queue.writeBuffer(buffer, 0, all);
    return buffer;
  }

  /** Bind groups for the present arena. */
  async #bind(): Promise<Bound> {
    const arena = await this.#storage.arena(Math.max(this.arenaBytes, 4));
    if (this.#bound?.arena === arena) return this.#bound;
    const groups = this.dispatches.map(({ label, windows, params }, i) => {
      const uniform = { buffer: this.#params, offset: this.#paramSlots[i], size: params.byteLength };
      const resources = [uniform, ...windows.map((window) => bindingOf(window, arena))];
      return this.#device.createBindGroup({
        label,
        layout: this.#pipelines.layout(windows.length),
        entries: resources.map((resource, binding) => ({ binding, resource })),
      });
    });
    this.#bound = { arena, groups };
    return this.#bound;
  }

  #fill(inputs: readonly Float32Array[]): void {
    for (const held of this.#held) this.#storage.refresh(held);
    for (const { slot, offset } of this.#inputs) {
      if (4 * this.#small.length > offset) this.#small.set(inputs[slot], offset / 4);
      else this.#write(this.#own, offset, inputs[slot]);
    }
    if (this.#small.length) this.#write(this.#own, 0, this.#small);
  }

  /** Compiles all kernels and takes the memory, as the first run would. Rejects with an error that names the op. */
  async prepare(): Promise<void> {
    await this.#compiled;
    await this.#turns.inTurn(() => this.#bind());
  }

  async run(inputs: readonly Float32Array[]): Promise<Float32Array[]> {
    return (await this.start(inputs)).outputs;
  }

  start(inputs: readonly Float32Array[]): Promise<UnderWay<Float32Array[]>> {
    return this.#turn(inputs, async ({ arena, groups }, pipelines) => {
      const copy = await this.#results.take();
      const encoder = this.#device.createCommandEncoder();
      const pass = encoder.beginComputePass();
      for (let i = 0; i < groups.length; i++) {
        if (pipelines[i] !== pipelines[i - 1]) pass.setPipeline(pipelines[i]);
        this.#dispatch(pass, i, groups[i]);
      }
      pass.end();
      return { outputs: this.#finish(encoder, arena, copy) };
    });
  }

  /**
   * Runs once with a pass for each dispatch, and tells when each step began and how long it took: of a dispatch of several steps each has
   * an equal share. Throws where the GPU keeps no time.
   */
  runTimed(inputs: readonly Float32Array[]): Promise<TimedRun> {
    if (!this.#device.features.has("timestamp-query")) throw new TypeError("Cannot time a program on this GPU: it keeps no times");
    return this.#turn(inputs, async ({ arena, groups }, pipelines) => {
      const copy = await this.#results.take();
      const watch = new Stopwatch(this.#device, groups.length);
      const encoder = this.#device.createCommandEncoder();
      for (let i = 0; i < groups.length; i++) {
        const pass = encoder.beginComputePass(watch.pass(i));
        pass.setPipeline(pipelines[i]);
        this.#dispatch(pass, i, groups[i]);
        pass.end();
      }
      watch.collect(encoder);
      const outputs = await this.#finish(encoder, arena, copy);
      const times = await watch.read();
      watch.free();
      return { outputs, times: this.#timesOfSteps(times) };
    });
  }

  #timesOfSteps(times: readonly { beginMs: number; timeMs: number }[]): StepTime[] {
    const of = new Map<Step, { beginMs: number; timeMs: number }>();
    for (const [i, { steps }] of this.dispatches.entries()) {
      for (const step of steps) {
        const { beginMs, timeMs } = of.get(step) ?? { beginMs: times[i].beginMs, timeMs: 0 };
        of.set(step, { beginMs, timeMs: timeMs + times[i].timeMs / steps.length });
      }
    }
    return this.#program.steps.flatMap((step) => {
      const time = of.get(step);
      return time ? [{ step, ...time }] : [];
    });
  }

  /** Takes the program's turn: `work` runs with inputs and memory in place. */
  #turn<T>(inputs: readonly Float32Array[], work: (bound: Bound, pipelines: readonly GPUComputePipeline[]) => Promise<T>): Promise<T> {
    return this.#turns.inTurn(async () => {
      if (this.#disposed) throw new Error("Cannot run a program that has been disposed of");
      const pipelines = await this.#compiled;
      const bound = await this.#bind();
      this.#fill(inputs);
      return work(bound, pipelines);
    });
  }

  #dispatch(pass: GPUComputePassEncoder, i: number, group: GPUBindGroup): void {
    const [columns, rows] = this.dispatches[i].grid;
    pass.setBindGroup(0, group);
    pass.dispatchWorkgroups(columns, rows);
  }

  /** Submits what has been recorded and reads the outputs through `copy`. */
  #finish(encoder: GPUCommandEncoder, arena: Arena, copy: GPUBuffer): Promise<Float32Array[]> {
    this.#results.copy(encoder, copy, ({ buffer, offset }) => {
      const place = this.#place(buffer);
      return located(place.home, place.offset + 4 * offset, arena);
    });
    this.#device.queue.submit([encoder.finish()]);
    for (const held of this.#assigned) this.#storage.changed(held);
    const outputs = this.#turns.unlessBroken(this.#results.read(copy));
    outputs.catch(() => {}); // whoever waits for it hears of it
    return outputs;
  }

  /** Frees the program's memory, after the runs that wait. */
  dispose(): void {
    if (this.#disposed) return;
    this.#disposed = true;
    void this.#turns
      .inTurn(async () => {
        await this.#storage.drop(this.#parameters);
        await this.#results.free();
        for (const buffer of [this.#own, this.#params]) buffer?.destroy(); // the last one is missing where loading failed
      })
      .catch(() => {}); // a device that is gone has freed them
  }
}

/** Where a byte of a memory lies. */
const located = (home: Window["home"], offset: number, arena: Arena) =>
  typeof home === "string" ? arena.at(offset) : { buffer: home, offset };
const bindingOf = ({ home, offset, size }: Window, arena: Arena) => ({ ...located(home, offset, arena), size });

/** Offsets of the dispatches' parameters, and the end of the last. */
function slots(dispatches: readonly Dispatch[], alignment: number): number[] {
  let at = 0;
  const offsets = dispatches.map(({ params }) => {
    const here = at;
    at += Math.ceil(params.byteLength / alignment) * alignment;
    return here;
  });
  return [...offsets, at];
}
