// The gpu backend: programs as lists of dispatches, on whatever WebGPU finds.
import { type Abilities, lower } from "../tape/lower.ts";
import type { Program } from "../tape/program.ts";
import type { Parameter } from "../tape/tensor.ts";
import type { Trace } from "../tape/trace.ts";
import type { Backend } from "./backend.ts";
import { type AdapterDescription, type DeviceOptions, type OpenDevice, openDevice } from "./webgpu/device.ts";
import { GpuExecutable, type Turns } from "./webgpu/executable.ts";
import { Pipelines } from "./webgpu/pipelines.ts";
import { UNDER_WAY } from "./webgpu/results.ts";
import { type SizeLimits, Storage } from "./webgpu/storage.ts";
import { type ChooseTile, roomOf, type TileTable, tileChooser } from "./webgpu/tiles.ts";

/** Buffers of so many floats are worth less memory than the dispatches that they keep apart. */
const APART = 1024;

/** What its kernels can do. */
const abilities: Abilities = { carry: ["layerNormGrad"], writeParts: ["attentionGrad"], gather: ["sum"] };

/** Runs programs on a GPU; one at a time, in the order in which they are asked for. */
export class GpuBackend implements Backend {
  readonly name = "gpu";
  readonly ahead = UNDER_WAY - 1;
  readonly halves: boolean;
  readonly adapter: AdapterDescription;
  readonly notes: readonly string[];
  readonly #open: OpenDevice;
  readonly #storage: Storage;
  readonly #pipelines: Pipelines;
  readonly #turns: Turns = { inTurn: (work) => this.#inTurn(work), unlessBroken: (work) => this.#unlessBroken(work) };
  readonly #tileOf: ChooseTile;
  /** Work that has not ended, with what makes it fail. */
  readonly #pending = new Map<Promise<unknown>, (error: Error) => void>();
  #queue: Promise<unknown> = Promise.resolve();
  #broken: Error | undefined;

  /** Takes over a device. `tiles`: those of products, as measured there. `sizes`: smaller limits than the device has. */
  constructor(open: OpenDevice, tiles: TileTable = {}, sizes: SizeLimits = {}) {
    this.#open = open;
    this.adapter = open.adapter;
    this.halves = open.device.features.has("shader-f16");
    this.notes = open.notes;
    this.#storage = new Storage(open.device, sizes);
    this.#pipelines = new Pipelines(open.device);
    this.#tileOf = tileChooser(roomOf(open), tiles);
    const fail = (reason: string) => {
      this.#broken ??= new Error(`Cannot go on with the gpu backend: ${reason}`);
      for (const end of this.#pending.values()) end(this.#broken);
    };
    void open.device.lost.then(({ message }) => fail(`the GPU was lost (${message})`));
    open.device.addEventListener("uncapturederror", (event) => {
      event.preventDefault();
      fail((event as GPUUncapturedErrorEvent).error.message);
    });
  }

  /** Opens a GPU. Throws a NoGpuError that says why there is none, or none that will do. */
  static async open(options: DeviceOptions = {}): Promise<GpuBackend> {
    return new GpuBackend(await openDevice(options));
  }

  load(trace: Trace): GpuExecutable {
    return this.loadProgram(
      lower(trace, { align: this.#storage.alignment / 4, segment: this.#storage.segment / 4, apart: APART, halvesFirst: true }, abilities),
    );
  }

  /** Takes a program that has been lowered already, for this backend's alignment. */
  loadProgram(program: Program): GpuExecutable {
    if (this.#broken) throw this.#broken;
    return new GpuExecutable(program, this.#open.device, this.#storage, this.#pipelines, this.#turns, this.#tileOf);
  }

  /** `work`, which fails when the device does. Closing waits for it. */
  #unlessBroken<T>(work: Promise<T>): Promise<T> {
    let fail: (error: Error) => void = () => {};
    const result = new Promise<T>((resolve, reject) => {
      fail = reject;
      work.then(resolve, reject);
    });
    this.#pending.set(result, fail);
    const end = () => void this.#pending.delete(result);
    result.then(end, end);
    return result;
  }

  /** Runs `work` when everything before it has been sent to the GPU. */
  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const result = this.#queue.then(() => {
      if (this.#broken) throw this.#broken;
      return this.#unlessBroken(work());
    });
    this.#queue = result.catch(() => {});
    return result;
  }

  read(parameter: Parameter): Promise<Float32Array> {
    return this.#inTurn(async () => {
      await this.#storage.fetch([parameter]);
      return parameter.data.slice();
    });
  }

  write(parameter: Parameter, data: Float32Array): Promise<void> {
    if (data.length !== parameter.size) throw new RangeError(`Cannot write ${data.length} numbers to a parameter of ${parameter.size}`);
    return this.#inTurn(async () => {
      parameter.data.set(data);
      this.#storage.replaced(parameter);
    });
  }

  async close(): Promise<void> {
    await this.#queue;
    await Promise.allSettled(this.#pending.keys());
    if (!this.#broken) await this.#inTurn(() => this.#storage.detach());
    this.#broken ??= new Error("Cannot use the gpu backend: it has been closed");
    await this.#open.close();
  }
}
