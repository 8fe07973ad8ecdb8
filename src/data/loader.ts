// Batches of views, made by worker threads ahead of the step that uses them.
import type { Worker } from "node:worker_threads";
import { cores, startModule } from "../backend/workers.ts";
import type { Host } from "../tape/trace.ts";
import { type CacheMemory, cacheBytes, cacheMemory } from "./cache.ts";
import { ImageError } from "./picture.ts";
import { permutation, randomStream, streams, whole } from "./random.ts";
import type { ImageSource } from "./source.ts";
import type { ViewSpec } from "./views.ts";
import type { Done, Item, Job, Setup } from "./worker.ts";

export interface LoaderOptions {
  views: readonly ViewSpec[];
  batch: number;
  /** Fixes the order and all draws, whatever the number of workers. Default 0. */
  seed?: number;
  /** Worker threads. Default: one a core, at most 8; the engine's own threads wait for them rather than work against them. */
  workers?: number;
  /** A new random order each epoch. Default true; false reads in order, as evaluations do. */
  shuffle?: boolean;
  /** Leaves out the last batch of an epoch if it is not full. Default: as `shuffle`. */
  dropLast?: boolean;
  /** How many epochs follow the start's beginning. Default: no end with `shuffle`, one without. */
  epochs?: number;
  /** The first batch to make, to go on where a run was stopped. Default the very first. */
  start?: { epoch: number; step: number };
  /** Memory for decoded pictures of at most 256 x 256 pixels, in MiB. Default 256. */
  cacheMiB?: number;
}

export interface Batch {
  readonly epoch: number;
  /** Counts the batches of an epoch from 0. */
  readonly step: number;
  /** views[i] [n, size, size, 3] in the order of the options. Valid until the next batch is asked for. */
  readonly views: Host[];
  /** The picture behind each row. */
  readonly indices: Uint32Array;
  /** The class of each row, if the source has labels. */
  readonly labels?: Int32Array;
  /** Pictures that were found unreadable on the way to this batch, each once in the loader's life. */
  readonly skipped: readonly ImageError[];
}

/** A batch in the making. */
interface Making {
  epoch: number;
  step: number;
  slot: number;
  /** The picture of each row; -1 where it could not be read and order does not allow another. */
  rows: Int32Array;
  missing: number;
}

/** Pictures that one message carries: enough to hide its cost, few enough to spread a batch. */
const CHUNK = 4;
/** Jobs that wait in a worker besides the one it does. */
const AHEAD = 1;
/** Batches in memory, counting the one in use: as many as fit into this many bytes, but 2 to 4. */
const SLOT_BYTES = 512 * 2 ** 20;
/** A random order shows after this many pictures whether most are unreadable. */
const SAMPLE = 100;

/** Batches in an epoch. */
export function stepsPerEpoch(length: number, batch: number, dropLast = true): number {
  return dropLast ? Math.floor(length / batch) : Math.ceil(length / batch);
}

/** Starts a loader. Throws a RangeError for a batch that the source cannot fill. */
export function openLoader(source: ImageSource, options: LoaderOptions): Loader {
  return new Loader(source, options);
}

export class Loader implements AsyncIterable<Batch> {
  readonly stepsPerEpoch: number;
  /** All pictures found unreadable so far. */
  readonly skipped: ImageError[] = [];
  readonly #source: ImageSource;
  readonly #options: Required<Omit<LoaderOptions, "workers" | "cacheMiB" | "start">>;
  readonly #slots: SharedArrayBuffer[];
  readonly #cache?: CacheMemory;
  readonly #workers: { worker: Worker; jobs: number }[];
  readonly #free: number[];
  readonly #queue: Job[] = [];
  readonly #running = new Map<number, { job: Job; making: Making }>();
  readonly #ahead: Making[] = [];
  readonly #unreadable = new Set<number>();
  /** Which pictures a worker has tried to read, and how many. */
  readonly #tried: Uint8Array;
  #triedCount = 0;
  #position: { epoch: number; step: number };
  #order: { epoch: number; indices: Uint32Array } | undefined;
  #inUse: number | undefined;
  #jobs = 0;
  #reported = 0;
  #failure: Error | undefined;
  #closed = false;
  #wake: () => void = () => {};

  constructor(source: ImageSource, options: LoaderOptions) {
    const { views, batch, seed = 0, shuffle = true, dropLast = shuffle, start = { epoch: 0, step: 0 } } = options;
    const { workers = Math.min(cores(), 8), epochs = shuffle ? Number.POSITIVE_INFINITY : 1, cacheMiB = 256 } = options;
    checkOptions(source, { views, batch, dropLast, workers });
    this.#source = source;
    this.#tried = new Uint8Array(source.length);
    this.#options = { views, batch, seed, shuffle, dropLast, epochs };
    this.stepsPerEpoch = stepsPerEpoch(source.length, batch, dropLast);
    this.#position = { ...start };
    const bytes = views.reduce((sum, { size }) => sum + batch * size * size * 12, 0);
    const slots = Math.max(2, Math.min(4, Math.floor(SLOT_BYTES / bytes)));
    this.#slots = Array.from({ length: slots }, () => new SharedArrayBuffer(bytes));
    this.#free = this.#slots.map((_, i) => i);
    const cache = source.packed || epochs === 1 || cacheMiB === 0 ? undefined : cacheMemory(source.length, cacheMiB * 2 ** 20);
    this.#cache = cache;
    const setup: Setup = { seed, batch, views, slots: this.#slots, packed: source.packed, cache };
    this.#workers = Array.from({ length: workers }, () => this.#startWorker(setup));
    this.#makeAhead();
  }

  #startWorker(setup: Setup): { worker: Worker; jobs: number } {
    const state = { worker: startModule("./worker", import.meta.url, setup), jobs: 0 };
    state.worker.unref(); // a program that forgets the loader can end
    state.worker.on("message", (done: Done) => {
      state.jobs--;
      this.#finish(done);
    });
    state.worker.on("error", (error) => this.#fail(new Error(`A data worker failed: ${error instanceof Error ? error.message : error}`)));
    state.worker.on("exit", (code) => this.#fail(new Error(`A data worker ended with code ${code}`)));
    return state;
  }

  /** The indices of an epoch in the order of their batches. */
  #orderOf(epoch: number): Uint32Array {
    const { shuffle, seed } = this.#options;
    if (this.#order?.epoch !== epoch) {
      const { length } = this.#source;
      const indices = shuffle
        ? permutation(randomStream(seed, streams.shuffle, epoch, 0), length)
        : Uint32Array.from({ length }, (_, i) => i);
      this.#order = { epoch, indices };
    }
    return this.#order.indices;
  }

  /** Queues the work of as many batches as there are free slots. */
  #makeAhead(): void {
    const { batch, epochs } = this.#options;
    while (this.#free.length && !this.#failure) {
      if (this.#position.step >= this.stepsPerEpoch) this.#position = { epoch: this.#position.epoch + 1, step: 0 };
      const { epoch, step } = this.#position;
      if (epoch >= epochs) break;
      this.#position.step++;
      const rows = Int32Array.from(this.#orderOf(epoch).subarray(step * batch, (step + 1) * batch));
      const making = { epoch, step, slot: this.#free.shift() as number, rows, missing: rows.length };
      this.#ahead.push(making);
      const items = Array.from(rows, (turn, row) => this.#item(row, turn, this.#options.shuffle ? this.#readable(epoch, turn) : turn));
      for (const { row, index } of items) rows[row] = index;
      for (let i = 0; i < items.length; i += CHUNK) this.#enqueue(making, items.slice(i, i + CHUNK));
    }
    this.#assign();
  }

  #item(row: number, turn: number, index: number): Item {
    return { row, turn, index, name: this.#source.name(index), location: this.#source.locate?.(index) };
  }

  #enqueue(making: Making, items: Item[], first = false): void {
    const { slot, epoch, step } = making;
    const job = { id: this.#jobs++, slot, epoch, step, items };
    this.#running.set(job.id, { job, making });
    if (first) this.#queue.unshift(job);
    else this.#queue.push(job);
  }

  #assign(): void {
    for (let load = 0; load <= AHEAD; load++) {
      for (const state of this.#workers) {
        if (state.jobs > load || !this.#queue.length) continue;
        state.jobs++;
        state.worker.postMessage(this.#queue.shift());
      }
    }
  }

  #finish({ id, failed }: Done): void {
    if (this.#failure || this.#closed) return;
    const { job, making } = this.#running.get(id) as { job: Job; making: Making };
    this.#running.delete(id);
    for (const { index } of job.items) {
      this.#triedCount += 1 - this.#tried[index];
      this.#tried[index] = 1;
    }
    for (const { item, reason } of failed) this.#skip(item, reason);
    making.missing -= job.items.length - failed.length;
    for (const { item } of failed) this.#replace(making, item);
    if (making.missing === 0) this.#wake();
    this.#assign();
  }

  #skip({ index, name }: Item, reason: string): void {
    if (this.#unreadable.has(index)) return;
    this.#unreadable.add(index);
    this.skipped.push(new ImageError(name, reason));
    const [bad, tried, { length }] = [this.#unreadable.size, this.#triedCount, this.#source];
    const most = bad * 2 > length || (this.#options.shuffle && tried >= SAMPLE && bad * 2 > tried);
    if (!most) return;
    const first = this.skipped.slice(0, 10).map(({ message }) => message);
    this.#fail(
      new Error(`Cannot go on: ${bad} of ${tried} pictures read so far (${length} in all) are unreadable:\n  ${first.join("\n  ")}`),
    );
  }

  /** Gives the row of an unreadable picture to another one; in reading order the row is left out. */
  #replace(making: Making, { row, turn }: Item): void {
    if (this.#failure) return;
    if (this.#options.shuffle) {
      making.rows[row] = this.#readable(making.epoch, turn);
      this.#enqueue(making, [this.#item(row, turn, making.rows[row])], true);
    } else {
      making.rows[row] = -1;
      making.missing--;
    }
  }

  /** The picture whose turn it is or, if that is known to be unreadable, another one that depends on seed, epoch and turn alone. */
  #readable(epoch: number, turn: number): number {
    const draws = randomStream(this.#options.seed, streams.replace, epoch, turn);
    let index = turn;
    while (this.#unreadable.has(index)) index = whole(draws, this.#source.length);
    return index;
  }

  #fail(error: Error): void {
    if (this.#closed) return;
    this.#failure ??= error;
    this.#wake();
  }

  /** The next batch; undefined after the last. Frees the memory of the one before. Rejects when a worker failed. */
  async next(): Promise<Batch | undefined> {
    if (this.#inUse !== undefined) this.#free.push(this.#inUse);
    this.#inUse = undefined;
    if (!this.#closed) this.#makeAhead();
    const making = this.#ahead[0];
    if (making && !this.#closed) await this.#ready(making);
    if (this.#failure) {
      await this.close();
      throw this.#failure;
    }
    if (!making || this.#closed) return undefined;
    this.#ahead.shift();
    this.#inUse = making.slot;
    return this.#batch(making);
  }

  /** Resolves when the next batch is there, without taking it. An error shows when it is taken. */
  async ready(): Promise<void> {
    if (this.#ahead[0]) await this.#ready(this.#ahead[0]);
  }

  /** Bytes that the loader will still take beside what it has now, if pictures to come are as large as those read so far. */
  get bytesToCome(): number {
    const { views, batch } = this.#options;
    const row = views.reduce((sum, { size }) => sum + 12 * size * size, 0);
    const unused = this.#slots.length - this.#ahead.length - (this.#inUse === undefined ? 0 : 1);
    const batches = row * (batch * unused + this.#ahead.reduce((sum, { missing }) => sum + missing, 0));
    if (!this.#cache || !this.#triedCount) return batches;
    const { used, limit } = cacheBytes(this.#cache);
    return batches + Math.min(limit, (used * this.#source.length) / this.#triedCount) - used;
  }

  async #ready(making: Making): Promise<void> {
    for (const { worker } of this.#workers) worker.ref();
    while (making.missing > 0 && !this.#failure && !this.#closed) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
    if (!this.#closed) for (const { worker } of this.#workers) worker.unref();
  }

  #batch({ epoch, step, slot, rows }: Making): Batch {
    const { views, batch } = this.#options;
    const kept = Array.from(rows.keys()).filter((row) => rows[row] >= 0);
    let at = 0;
    const hosts = views.map(({ size }) => {
      const numbers = size * size * 3;
      const data = new Float32Array(this.#slots[slot], at * 4, batch * numbers);
      kept.forEach((row, to) => row !== to && data.copyWithin(to * numbers, row * numbers, (row + 1) * numbers));
      at += batch * numbers;
      return { data: data.subarray(0, kept.length * numbers), shape: [kept.length, size, size, 3] };
    });
    const indices = Uint32Array.from(kept, (row) => rows[row]);
    const { labels } = this.#source;
    const skipped = this.skipped.slice(this.#reported);
    this.#reported = this.skipped.length;
    return { epoch, step, views: hosts, indices, labels: labels && Int32Array.from(indices, (i) => labels[i]), skipped };
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Batch> {
    try {
      for (let batch = await this.next(); batch; batch = await this.next()) yield batch;
    } finally {
      await this.close();
    }
  }

  /** Stops the workers. A batch that somebody waits for does not come. */
  async close(): Promise<void> {
    this.#closed = true;
    this.#wake();
    await Promise.all(
      this.#workers.map(({ worker }) => {
        worker.removeAllListeners("exit");
        worker.ref();
        return worker.terminate();
      }),
    );
  }
}

function checkOptions(
  { length }: ImageSource,
  { views, batch, dropLast, workers }: { views: readonly ViewSpec[]; batch: number; dropLast: boolean; workers: number },
): void {
  if (length < 1) throw new RangeError("Cannot load pictures from a source without any");
  if (!views.length) throw new RangeError("Cannot load pictures without a view");
  if (!Number.isInteger(batch) || batch < 1)
    throw new RangeError(`Cannot make batches of ${batch} pictures: expected a whole number from 1`);
  if (dropLast && batch > length)
    throw new RangeError(`Cannot fill a batch of ${batch} from ${length} pictures: a batch of ${length} or less would do`);
  if (!Number.isInteger(workers) || workers < 1)
    throw new RangeError(`Cannot start ${workers} data workers: expected a whole number from 1`);
}
