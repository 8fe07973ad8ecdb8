// The kNN score of an encoder on labelled pictures, with the score of their bare pixels beside it.
import type { Backend } from "../backend/backend.ts";
import { type Machine, openBackend } from "../backend/open.ts";
import { openImages } from "../data/open.ts";
import type { ImageSource } from "../data/source.ts";
import type { Precision } from "../tape/trace.ts";
import { type Encoder, type EncoderOptions, openEncoder } from "./encoder.ts";
import { centredPixels, type Extracted, type ExtractOptions, embedder, extract, extractPixels, standardized } from "./features.ts";
import { accuracy, type Features, type KnnOptions, nearest, normalizeRows, type Score, votes } from "./knn.ts";

export interface KnnScore extends Score {
  /** The same protocol on the pictures' pixels. */
  readonly pixels: Score;
  readonly k: number;
  readonly tau: number;
  readonly classes: number;
  /** Pictures that voted and pictures that were judged; the same ones with leave-one-out. */
  readonly trainImages: number;
  readonly testImages: number;
  /** Unreadable pictures, which took no part. */
  readonly skipped: readonly string[];
}

/** Labelled pictures: those that vote, and those that are judged. Without the latter each is judged by all others. */
export interface KnnImages {
  readonly train: ImageSource;
  readonly test?: ImageSource;
}

/** How neighbours vote, and on what. */
export interface ProtocolOptions extends Omit<KnnOptions, "leaveOneOut"> {
  /** Give every feature, or pixel, mean 0 and deviation 1 over the pictures that vote. */
  readonly standardize?: boolean;
}

/** What one encoder makes of the pictures. */
interface Sides {
  readonly bank: Extracted;
  readonly queries: Extracted;
}

const labelsOf = (source: ImageSource): { labels: Int32Array; classes: readonly string[] } => {
  const { labels, classes } = source;
  if (!labels || !classes) {
    throw new Error("Cannot score images without classes: expected a sub-folder for each class, or a data set with labels");
  }
  return { labels, classes };
};

/** The protocol on pictures that have been turned into features already. */
export class KnnProtocol {
  readonly #images: KnnImages;
  readonly #options: ProtocolOptions;
  readonly #backend: Backend;
  readonly #extract: ExtractOptions;
  readonly #classes: readonly string[];

  /** Throws if the pictures have no classes. */
  constructor(images: KnnImages, options: ProtocolOptions, backend: Backend, extractOptions: ExtractOptions = {}) {
    this.#images = images;
    this.#options = options;
    this.#backend = backend;
    this.#extract = extractOptions;
    // Two sources of one data set may number classes differently.
    this.#classes = [...new Set([images.train, ...(images.test ? [images.test] : [])].flatMap((source) => labelsOf(source).classes))];
  }

  async pixels(size: number): Promise<Score> {
    const sides = await this.#both((source) => extractPixels(source, size, this.#extract));
    const prepare = this.#options.standardize ? standardized : centredPixels;
    return this.#score(sides, ...prepare(sides.bank.features, sides.queries.features));
  }

  async encoder({ backbone, view }: Omit<Encoder, "about">, precision?: Precision): Promise<Omit<KnnScore, "pixels">> {
    const embed = embedder(backbone, this.#backend, precision);
    const sides = await this.#both((source) => extract(source, view, embed, this.#extract));
    const { k, tau, standardize } = this.#options;
    const features = [sides.bank.features, sides.queries.features] as const;
    return {
      ...(await this.#score(sides, ...(standardize ? standardized(...features) : features))),
      k,
      tau,
      classes: this.#classes.length,
      trainImages: sides.bank.indices.length,
      testImages: sides.queries.indices.length,
      skipped: [...new Set([...sides.bank.skipped, ...sides.queries.skipped])],
    };
  }

  async #both(extracted: (source: ImageSource) => Promise<Extracted>): Promise<Sides> {
    const bank = await extracted(this.#images.train);
    return { bank, queries: this.#images.test ? await extracted(this.#images.test) : bank };
  }

  async #score(sides: Sides, bank: Features, queries: Features): Promise<Score> {
    const { train, test = train } = this.#images;
    const options = { ...this.#options, leaveOneOut: test === train };
    const labels = (source: ImageSource, { indices }: Extracted) => {
      const own = labelsOf(source);
      const places = own.classes.map((name) => this.#classes.indexOf(name));
      return Int32Array.from(indices, (i) => places[own.labels[i]]);
    };
    const found = await nearest(normalizeRows(queries), normalizeRows(bank), options, this.#backend);
    const scores = votes(found, labels(train, sides.bank), this.#classes.length, options);
    return accuracy(scores, labels(test, sides.queries), this.#classes.length, options.k);
  }
}

export interface KnnRequest extends EncoderOptions, ExtractOptions, Machine {
  /** How many neighbours vote; default 20. */
  k?: number;
  /** Temperature of the votes; default 0.07. */
  tau?: number;
  /** How layers store values. */
  precision?: Precision;
  /** Give every feature, and pixel, mean 0 and deviation 1 over `train` first; helps where few features outshout the others, as MAE's. */
  standardize?: boolean;
}

/**
 * Scores a run or checkpoint by weighted nearest neighbours, as facebookresearch/dino eval_knn.py does. Without test images each
 * training image is judged by all others.
 *
 *     const { top1, pixels } = await knn("runs/cats", "photos/train", "photos/test")
 */
export async function knn(path: string, train: string, test?: string, request: KnnRequest = {}): Promise<KnnScore> {
  const { k = 20, tau = 0.07, standardize, threads, gpu, tune, backend: name, backbone, size, precision, ...extractOptions } = request;
  const images = { train: await openImages(train), test: test === undefined ? undefined : await openImages(test) };
  const encoder = await openEncoder(path, { backbone, size });
  const backend = await openBackend({ backend: name, gpu, threads, tune });
  try {
    const protocol = new KnnProtocol(images, { k, tau, standardize }, backend, extractOptions);
    const score = await protocol.encoder(encoder, precision);
    return { ...score, pixels: await protocol.pixels(encoder.view.size) };
  } finally {
    await backend.close();
  }
}
