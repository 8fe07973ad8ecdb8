// Features of pictures in a file that other programs read.
import { extname } from "node:path";
import { type Machine, openBackend } from "../backend/open.ts";
import { writeAtomically } from "../checkpoint/atomic.ts";
import { writeNpy } from "../checkpoint/npy.ts";
import { writeSafetensors } from "../checkpoint/safetensors.ts";
import { openImages } from "../data/open.ts";
import type { ImageSource } from "../data/source.ts";
import type { Precision } from "../tape/trace.ts";
import { type EncoderOptions, openEncoder } from "./encoder.ts";
import { type Extracted, type ExtractOptions, embedder, extract } from "./features.ts";

export interface EmbedRequest extends EncoderOptions, ExtractOptions, Machine {
  /** How layers store values. */
  precision?: Precision;
}

export interface Embedded {
  readonly out: string;
  readonly images: number;
  readonly dim: number;
  /** Unreadable pictures, which have no row. */
  readonly skipped: readonly string[];
}

type Write = (path: string, extracted: Extracted, source: ImageSource) => Promise<void>;

const className = ({ labels, classes }: ImageSource, i: number): string | undefined => labels && classes?.[labels[i]];
const row = ({ features: { data, dim } }: Extracted, r: number): number[] => Array.from(data.subarray(r * dim, (r + 1) * dim));

/** Text as a cell of a comma-separated table (RFC 4180). */
const cell = (text: string): string => (/[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);

function* lines(head: string | undefined, count: number, line: (r: number) => string): Generator<Uint8Array> {
  const encoder = new TextEncoder();
  if (head !== undefined) yield encoder.encode(`${head}\n`);
  for (let r = 0; r < count; r++) yield encoder.encode(`${line(r)}\n`);
}

/** Name and class of each row. */
const names = ({ indices }: Extracted, source: ImageSource) =>
  Array.from(indices, (i) => [source.name(i), className(source, i) ?? ""].map(cell).join(","));

const writers: Readonly<Record<string, Write>> = {
  /** "features" [n, d], "labels" [n] where there are classes; names and classes as JSON in the metadata. */
  async ".safetensors"(path, { features: { data, count, dim }, indices }, source) {
    const { labels, classes } = source;
    const tensors = new Map([["features", { data, shape: [count, dim] }]]);
    if (labels) tensors.set("labels", { data: Float32Array.from(indices, (i) => labels[i]), shape: [count] });
    const listed = JSON.stringify(Array.from(indices, (i) => source.name(i)));
    await writeSafetensors(path, tensors, { names: listed, ...(classes && { classes: JSON.stringify(classes) }) });
  },
  /** [n, d]; names and classes stand beside it in a .csv file. */
  async ".npy"(path, extracted, source) {
    const { data, count, dim } = extracted.features;
    await writeNpy(path, { data, shape: [count, dim] });
    const listed = names(extracted, source);
    await writeAtomically(
      path.replace(/\.npy$/i, ".csv"),
      lines("name,class", count, (r) => listed[r]),
    );
  },
  async ".csv"(path, extracted, source) {
    const { count, dim } = extracted.features;
    const listed = names(extracted, source);
    const head = ["name", "class", ...Array.from({ length: dim }, (_, i) => `f${i}`)].join(",");
    await writeAtomically(
      path,
      lines(head, count, (r) => `${listed[r]},${row(extracted, r).join(",")}`),
    );
  },
  async ".jsonl"(path, extracted, source) {
    const line = (r: number) => {
      const i = extracted.indices[r];
      return JSON.stringify({ name: source.name(i), class: className(source, i), features: row(extracted, r) });
    };
    await writeAtomically(path, lines(undefined, extracted.features.count, line));
  },
};

/** Endings of the files that `embed` writes. */
export const embeddingFormats: readonly string[] = Object.keys(writers);

/**
 * Turns pictures into features and writes them, with names and classes, in the format that the ending of `out` names.
 *
 *     await embed("runs/cats", "photos/", "photos.npy")
 */
export async function embed(path: string, images: string, out: string, request: EmbedRequest = {}): Promise<Embedded> {
  const { threads, gpu, tune, backend: name, backbone, size, precision, ...extractOptions } = request;
  const ending = extname(out).toLowerCase();
  if (!Object.hasOwn(writers, ending)) {
    throw new RangeError(`Cannot write features to "${out}": expected a name that ends in ${embeddingFormats.join(", ")}`);
  }
  const source = await openImages(images);
  const encoder = await openEncoder(path, { backbone, size });
  const backend = await openBackend({ backend: name, gpu, threads, tune });
  try {
    const extracted = await extract(source, encoder.view, embedder(encoder.backbone, backend, precision), extractOptions);
    if (extracted.indices.length === 0) throw new Error(`Cannot embed "${images}": none of its pictures can be read`);
    await writers[ending](out, extracted, source);
    return { out, images: extracted.features.count, dim: extracted.features.dim, skipped: extracted.skipped };
  } finally {
    await backend.close();
  }
}
