// The demo: learns from one vendor's emoji without labels, then searches another vendor's by edited copies, and shows both what
// bare pixels find and what the learned features find.
import { existsSync } from "node:fs";
import { join } from "node:path";
import type { Backend } from "../backend/backend.ts";
import { type Machine, openBackend } from "../backend/open.ts";
import { type ImageSource, packedPicture } from "../data/source.ts";
import { openEncoder } from "../evaluate/encoder.ts";
import { centred, embedder, extract, extractPixels } from "../evaluate/features.ts";
import type { Features } from "../evaluate/knn.ts";
import { meanRow } from "../evaluate/spectrum.ts";
import type { RunResult, Watch } from "../train/events.ts";
import { type Gallery, report } from "../train/report.ts";
import { resume, train } from "../train/train.ts";
import { emojiOf, unpack } from "./emoji.ts";
import { edited, type Found, firstOfSame, meanOf, search } from "./search.ts";

export interface DemoOptions extends Watch, Machine {
  /** Where pictures and run are written. A demo that was stopped in its training goes on there. */
  folder: string;
  /** Time for training (default 2.6); the search and the report take seconds more. */
  minutes?: number;
  /** Length of the training in place of a time. */
  epochs?: number;
  seed?: number;
}

export interface DemoResult {
  readonly run: RunResult;
  /** What was found by pixels, less the mean picture, and by features; absent when training was stopped. */
  readonly pixels?: Searches;
  readonly learned?: Searches;
  /** The page to open. */
  readonly report?: string;
}

/** Two ways to search. */
export interface Searches {
  /** Each original as it is. */
  readonly once: Found;
  /** Each original as it is and in some edited copies, of other edits than the queries': the mean of their features. */
  readonly several: Found;
}

/** Side of the drawings; training sees smaller views of them. */
const SIDE = 32;
/** Seed of the edits, apart from that of the training. */
const EDITS = 7;
/** Edited copies of each original beside itself. */
export const COPIES = 4;
/** Rows of pictures in the report. */
const ROWS = 16;

/** Trains on one set of drawings, searches the other, and writes the report into `folder`. */
export async function demo(
  { folder, minutes = 2.6, epochs, seed, threads, gpu, tune, backend: name, ...watch }: DemoOptions,
  drawings: ImageSource = emojiOf("google"),
  originals: ImageSource = emojiOf("twitter"),
): Promise<DemoResult> {
  const images = join(folder, "pictures");
  const length = epochs === undefined ? { minutes } : { epochs };
  const settings = { threads, gpu, tune, backend: name, knnEvery: -1, report: false };
  const run = join(folder, "run");
  const begin = () => {
    unpack(drawings, images);
    return train({ method: "simclr", recipe: "simclr-emoji", images, seed, ...length }, { run, settings, ...watch });
  };
  const result = await (existsSync(join(run, "run.json")) ? resume(run, { settings, ...watch }) : begin());
  if (result.stopped) return { run: result };
  const queries = edited(originals, SIDE, EDITS);
  const same = firstOfSame(originals);
  const backend = await openBackend({ backend: name, gpu, threads, tune });
  try {
    const looks = [originals, ...Array.from({ length: COPIES }, (_, i) => edited(originals, SIDE, EDITS + 1 + i))];
    const find = async (features: (source: ImageSource) => Promise<Features>): Promise<Searches> => {
      const asked = await features(queries);
      const known: Features[] = [];
      for (const look of looks) known.push(await features(look));
      return { once: await search(asked, known[0], same, backend), several: await search(asked, meanOf(known), same, backend) };
    };
    const pixels = await find(await pixelFeatures(originals));
    const learned = await find(await learnedFeatures(run, backend));
    const galleries = [
      gallery("Found by what was learned", learned.once, queries, originals, same),
      gallery("Found by raw pixels", pixels.once, queries, originals, same),
    ];
    return { run: result, pixels, learned, report: await report(run, { threads, gpu, backend: name, galleries }) };
  } finally {
    await backend.close();
  }
}

/** Pixels less the mean picture of the originals. */
async function pixelFeatures(originals: ImageSource): Promise<(source: ImageSource) => Promise<Features>> {
  const mean = meanRow((await extractPixels(originals, SIDE)).features);
  return async (source) => centred((await extractPixels(source, SIDE)).features, mean);
}

async function learnedFeatures(run: string, backend: Backend): Promise<(source: ImageSource) => Promise<Features>> {
  const { backbone, view } = await openEncoder(run, { size: SIDE });
  const embed = embedder(backbone, backend);
  return async (source) => (await extract(source, view, embed)).features;
}

/** Evenly spaced queries, each with the five nearest originals. */
function gallery(
  title: string,
  { top1, top5, neighbours }: Found,
  queries: ImageSource,
  originals: ImageSource,
  same: Int32Array,
): Gallery {
  const picture = (source: ImageSource, i: number) => packedPicture(source.packed as NonNullable<ImageSource["packed"]>, i);
  const shown = Array.from({ length: ROWS }, (_, row) => Math.floor(((row + 0.5) * queries.length) / ROWS));
  return {
    title,
    note:
      `Edited drawings of a vendor that training never saw, and the five most similar of that vendor's ${originals.length} originals. ` +
      `The right one came first in ${top1.toFixed(1)} % of all searches and was among five in ${top5.toFixed(1)} %.`,
    rows: shown.map((query) => ({
      query: picture(queries, query),
      found: Array.from(neighbours.index.subarray(query * neighbours.k, (query + 1) * neighbours.k), (i) => ({
        picture: picture(originals, i),
        right: same[i] === same[query],
      })),
    })),
  };
}
