// Searching for a drawing by an edited copy of it: what the demo measures.
import type { Backend } from "../backend/backend.ts";
import { Augmenter } from "../data/augment.ts";
import { randomStream, streams } from "../data/random.ts";
import { type ImageSource, packedSource, readPicture } from "../data/source.ts";
import type { ViewSpec } from "../data/views.ts";
import { type Features, type Neighbours, nearest, normalizeRows } from "../evaluate/knn.ts";

/** A crop of 30 to 100 % of the area, mirrored in half of the cases, with other brightness, contrast, saturation and hue. */
export const edits = (size: number): ViewSpec => ({
  size,
  steps: [
    { step: "resizedCrop", scale: [0.3, 1], interpolation: "bilinear" },
    { step: "flip", p: 0.5 },
    { step: "jitter", p: 1, brightness: 0.4, contrast: 0.4, saturation: 0.4, hue: 0.1 },
  ],
  arithmetic: "pillow",
});

/** A copy of every picture of a source, edited as `edits` says. The seed settles all draws. */
export function edited(source: ImageSource, size: number, seed: number): ImageSource {
  const view = edits(size);
  const augmenter = new Augmenter();
  const bytes = size * size * 3;
  const data = new Uint8Array(new SharedArrayBuffer(source.length * bytes));
  const floats = new Float32Array(bytes); // in [0, 1], multiples of 1 / 255
  for (let i = 0; i < source.length; i++) {
    const draws = { picture: randomStream(seed, streams.view, 0, i), batch: randomStream(seed, streams.batch, 0, i) };
    augmenter.apply(readPicture(source, i), [view], () => draws, [floats]);
    for (let j = 0; j < bytes; j++) data[i * bytes + j] = Math.round(255 * floats[j]);
  }
  const names = Array.from({ length: source.length }, (_, i) => source.name(i));
  return packedSource({ width: size, height: size, data, names, labels: source.labels, classes: source.classes });
}

/** For each picture the first one that is the same pixel by pixel: vendors reuse a drawing for several emoji. */
export function firstOfSame(source: ImageSource): Int32Array {
  const seen = new Map<string, number>();
  return Int32Array.from({ length: source.length }, (_, i) => {
    const key = Buffer.from(readPicture(source, i).data).toString("latin1");
    const first = seen.get(key) ?? i;
    seen.set(key, first);
    return first;
  });
}

/** What a search found, and in how many cases, in per cent, the original came first or was among the first five. */
export interface Found {
  readonly top1: number;
  readonly top5: number;
  readonly neighbours: Neighbours;
}

/** Looks for original i by query i, by the cosine of their features. `same` as `firstOfSame` gives it for the originals. */
export async function search(queries: Features, originals: Features, same: Int32Array, backend: Backend): Promise<Found> {
  const neighbours = await nearest(normalizeRows(queries), normalizeRows(originals), { k: Math.min(5, originals.count) }, backend);
  const { k, index } = neighbours;
  const among = (first: number) => {
    const hits = same.filter((original, i) => index.subarray(i * k, i * k + first).some((j) => same[j] === original));
    return (100 * hits.length) / same.length;
  };
  return { top1: among(1), top5: among(5), neighbours };
}

/** Rows that stand for several looks at the same pictures: the mean of their features, each of length 1. */
export function meanOf(looks: readonly Features[]): Features {
  const rows = looks.map(normalizeRows);
  const [{ data, count, dim }, ...others] = rows;
  for (const other of others) for (let i = 0; i < data.length; i++) data[i] += other.data[i];
  return { data: data.map((x) => x / rows.length), count, dim };
}
