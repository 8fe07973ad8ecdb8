// A data worker: decodes pictures, makes their views and writes them into the batch that the loader named.
import { parentPort, workerData } from "node:worker_threads";
import { Augmenter } from "./augment.ts";
import { type CacheMemory, PictureCache } from "./cache.ts";
import { decodeImage } from "./decode.ts";
import { ImageError, type Picture } from "./picture.ts";
import { randomStream, streams } from "./random.ts";
import { type Location, type Packed, packedPicture, readBytes } from "./source.ts";
import type { ViewSpec } from "./views.ts";

/** What every worker of a loader is started with. */
export interface Setup {
  readonly seed: number;
  readonly batch: number;
  readonly views: readonly ViewSpec[];
  /** For each slot the views of a batch one behind the other, each [batch, size, size, 3]. */
  readonly slots: readonly SharedArrayBuffer[];
  readonly packed?: Packed;
  /** For decoded pictures; absent where every picture is read once. */
  readonly cache?: CacheMemory;
}

/** Part of a batch. */
export interface Job {
  readonly id: number;
  readonly slot: number;
  readonly epoch: number;
  readonly step: number;
  readonly items: readonly Item[];
}

export interface Item {
  /** Row in the batch. */
  readonly row: number;
  /** The picture whose turn it was: it fixes the draws, even when another one takes its place. */
  readonly turn: number;
  readonly index: number;
  readonly name: string;
  readonly location?: Location;
}

/** What a worker answers: which items could not be read, and why. */
export interface Done {
  readonly id: number;
  readonly failed: readonly { readonly item: Item; readonly reason: string }[];
}

const setup: Setup = workerData;
const augmenter = new Augmenter();
const cache = setup.cache && new PictureCache(setup.cache);

function read({ index, name, location }: Item): Picture {
  if (setup.packed) return packedPicture(setup.packed, index);
  const known = cache?.get(index);
  if (known) return known;
  const picture = decodeImage(readBytes(location as Location), name);
  cache?.put(index, picture);
  return picture;
}

/** Where each view of a row is written. */
function outputsOf(slot: number, row: number): Float32Array[] {
  let at = 0;
  return setup.views.map(({ size }) => {
    const numbers = size * size * 3;
    const output = new Float32Array(setup.slots[slot], (at + row * numbers) * 4, numbers);
    at += setup.batch * numbers;
    return output;
  });
}

function work({ id, slot, epoch, step, items }: Job): Done {
  const failed: { item: Item; reason: string }[] = [];
  for (const item of items) {
    try {
      const draws = (view: number) => ({
        picture: randomStream(setup.seed, streams.view + view, epoch, item.turn),
        batch: randomStream(setup.seed, streams.batch + view, epoch, step),
      });
      augmenter.apply(read(item), setup.views, draws, outputsOf(slot, item.row));
    } catch (error) {
      if (!(error instanceof ImageError)) throw error;
      failed.push({ item, reason: error.reason });
    }
  }
  return { id, failed };
}

parentPort?.on("message", (job: Job) => parentPort?.postMessage(work(job)));
