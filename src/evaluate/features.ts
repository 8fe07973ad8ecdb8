// Features of many pictures: what every evaluation starts from.
import type { Backend } from "../backend/backend.ts";
import { openLoader } from "../data/loader.ts";
import { type ImageSource, subset } from "../data/source.ts";
import { rawView, type ViewSpec } from "../data/views.ts";
import type { Backbone } from "../models/backbone.ts";
import { nameModules, withContext } from "../nn/module.ts";
import type { Tensor } from "../tape/tensor.ts";
import { type CompiledFunction, compile, type Host, type Precision } from "../tape/trace.ts";
import type { Features } from "./knn.ts";
import { meanRow } from "./spectrum.ts";

/** Features of the readable pictures of a source, in its order. */
export interface Extracted {
  readonly features: Features;
  /** The picture behind each row. */
  readonly indices: Uint32Array;
  /** What was found unreadable and is left out, as sentences. */
  readonly skipped: readonly string[];
}

export interface ExtractOptions {
  /** Pictures at a time. */
  batch?: number;
  /** Threads that decode; default: one a core. */
  workers?: number;
  /** Called after each batch with how many pictures are done. */
  onProgress?: (done: number, of: number) => void;
  signal?: AbortSignal;
}

/** Turns batches of views [b, size, size, 3] into rows. */
type Embed = (images: Host) => Promise<Host>;

/** A backbone in evaluation mode: running statistics, no noise. */
export function embedder(backbone: Backbone, backend: Backend, precision: Precision = "f32"): CompiledFunction<[Tensor], Tensor> {
  if (precision === "f16") nameModules({ backbone }); // what is computed in a named module is stored in half precision
  return compile((images: Tensor) => withContext({ training: false }, () => backbone.forward(images)), backend, { precision });
}

/** Goes through a source in its order. Unreadable pictures have no row. */
export async function extract(source: ImageSource, view: ViewSpec, embed: Embed, options: ExtractOptions = {}): Promise<Extracted> {
  const { batch = 64, workers, onProgress, signal } = options;
  const loader = openLoader(source, { views: [view], batch: Math.min(batch, source.length), shuffle: false, workers });
  const rows: Float32Array[] = [];
  const indices: number[] = [];
  let dim = 0;
  for await (const { views, indices: some } of loader) {
    signal?.throwIfAborted();
    if (some.length === 0) continue;
    const { data, shape } = await embed(views[0]);
    dim = shape[1];
    rows.push(data.slice());
    indices.push(...some);
    onProgress?.(indices.length, source.length);
  }
  const data = new Float32Array(indices.length * dim);
  let at = 0;
  for (const row of rows) {
    data.set(row, at);
    at += row.length;
  }
  const features = { data, count: indices.length, dim };
  return { features, indices: Uint32Array.from(indices), skipped: loader.skipped.map(({ message }) => message) };
}

/** Side of the pictures that stand for their pixels. */
const PIXELS = 32;

/** The pictures themselves at no more than 32 x 32 pixels, one row each: the baseline that every result is read against. */
export const extractPixels = (source: ImageSource, size: number, options?: ExtractOptions): Promise<Extracted> =>
  extract(source, rawView(Math.min(size, PIXELS)), async ({ data, shape: [n] }) => ({ data, shape: [n, data.length / n] }), options);

/** Features less a mean row, each divided by its scale where scales are given. */
export function centred(features: Features, mean: Float64Array, scale?: Float64Array): Features {
  const { data, dim } = features;
  return { ...features, data: data.map((x, i) => (x - mean[i % dim]) / (scale ? scale[i % dim] : 1)) };
}

/** Pixels of two sets, both less the mean picture of the first. */
export function centredPixels(bank: Features, queries: Features): [Features, Features] {
  const mean = meanRow(bank);
  return [centred(bank, mean), centred(queries, mean)];
}

/**
 * Features of two sets with mean 0 and deviation 1 over the first, as the batch norm without weights before MAE's linear probe makes them
 * (facebookresearch/mae, main_linprobe.py). Features that never change become 0.
 */
export function standardized(bank: Features, queries: Features): [Features, Features] {
  const mean = meanRow(bank);
  const squares = meanRow({ ...bank, data: bank.data.map((x, i) => (x - mean[i % bank.dim]) ** 2) });
  const scale = squares.map((square) => Math.sqrt(square) || 1);
  return [centred(bank, mean, scale), centred(queries, mean, scale)];
}

/** At most `count` pictures of a source, evenly spaced, in its order. */
export function evenly(source: ImageSource, count: number): ImageSource {
  if (source.length <= count) return source;
  return subset(
    source,
    Array.from({ length: count }, (_, i) => Math.floor((i * source.length) / count)),
  );
}
