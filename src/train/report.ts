// report.html: how a run went and what it learned, on one page that needs nothing else.
import type { Backend } from "../backend/backend.ts";
import { type Machine, openBackend } from "../backend/open.ts";
import { writeAtomically } from "../checkpoint/atomic.ts";
import { dataUri, type Pixels } from "../data/encode-png.ts";
import { openLoader } from "../data/loader.ts";
import { openImages } from "../data/open.ts";
import { type ImageSource, subset } from "../data/source.ts";
import { rawView, type ViewSpec } from "../data/views.ts";
import { newestCheckpoint } from "../evaluate/checkpoints.ts";
import { type Encoder, openEncoder } from "../evaluate/encoder.ts";
import { embedder, evenly, extract } from "../evaluate/features.ts";
import { nearest, normalizeRows } from "../evaluate/knn.ts";
import { attentionMaps, filterSheet, firstFilters } from "../evaluate/looks.ts";
import { tsne } from "../evaluate/tsne.ts";
import { withContext } from "../nn/module.ts";
import type { Tensor } from "../tape/tensor.ts";
import { compile, type Host } from "../tape/trace.ts";
import { type Figure, page, type Section, table } from "./report/page.ts";
import { curves, embeddingMap, type Gallery, gallerySection, neighbourRows, Sprites } from "./report/sections.ts";
import { type Metric, RunFolder, type RunRecord } from "./run.ts";

export type { Gallery, GalleryRow } from "./report/sections.ts";

export interface ReportOptions extends Machine {
  /** Images that are already open, in place of those that the run learned from. */
  source?: ImageSource;
  /** Rows of pictures to show before everything else. */
  galleries?: readonly Gallery[];
}

/** Pictures on the map and among which neighbours are sought; rows of neighbours and their length; pictures with attention. */
const SHOWN = { pictures: 600, rows: 8, neighbours: 9, attention: 4 };
/** Side of a thumbnail. */
const THUMB = 40;

/** Writes the report of a run and gives its path. */
export async function report(run: string, options: ReportOptions = {}): Promise<string> {
  const folder = await RunFolder.open(run);
  const { record } = folder;
  const metrics = await folder.metrics();
  const stepsPerEpoch = Math.max(1, Math.floor(record.data.images / record.options.batch));
  const learned = await learnedSections(folder, options);
  const html = page(
    {
      title: `${folder.name}: ${record.options.method} on ${record.data.images.toLocaleString("en-US")} images`,
      summary: summary(record, metrics),
      figures: figures(metrics),
      sections: [
        ...(options.galleries ?? []).map((gallery) => gallerySection(gallery)),
        ...curves(metrics, stepsPerEpoch),
        ...learned.sections,
        { title: "Configuration", note: "Everything that the result depends on.", html: configuration(record) },
      ],
    },
    learned.style,
  );
  await writeAtomically(folder.reportPath, [new TextEncoder().encode(html)]);
  return folder.reportPath;
}

function summary({ options, data }: RunRecord, metrics: readonly Metric[]): string {
  const last = metrics.findLast(({ kind }) => kind === "step");
  const steps = last ? `${last.step.toLocaleString("en-US")} steps (${Number(last.epoch).toFixed(1)} epochs)` : "no step yet";
  const classes = data.classes.length ? `, ${data.classes.length} classes that training did not see` : "";
  return `${options.backbone} trained by ${options.method} for ${steps} in batches of ${options.batch} views of ${options.size} pixels${classes}.`;
}

function figures(metrics: readonly Metric[]): Figure[] {
  const last = (kind: Metric["kind"], name: string) => metrics.findLast((m) => m.kind === kind)?.[name];
  const shown: [Metric["kind"], string, string, (x: number) => string][] = [
    ["knn", "top1", "kNN top-1", (x) => `${x.toFixed(1)} %`],
    ["knn", "pixelsTop1", "the same from raw pixels", (x) => `${x.toFixed(1)} %`],
    ["step", "loss", "loss", (x) => x.toPrecision(4)],
    ["health", "rank", "effective rank", (x) => x.toFixed(1)],
    ["step", "imagesPerSecond", "images a second", (x) => x.toFixed(0)],
  ];
  return shown.flatMap(([kind, key, name, text]) => {
    const value = last(kind, key);
    return typeof value === "number" ? [{ value: text(value), name }] : [];
  });
}

function configuration({ options, settings, versions, data, startedAt }: RunRecord): string {
  const flat = (value: unknown, name = ""): [string, string][] =>
    typeof value === "object" && value !== null && !Array.isArray(value)
      ? Object.entries(value).flatMap(([key, part]) => flat(part, name ? `${name}.${key}` : key))
      : [[name, Array.isArray(value) ? value.join(", ") : String(value)]];
  return table([
    ...flat(options),
    ...flat({ settings, versions }),
    ["images", `${data.images}, fingerprint ${data.fingerprint}`],
    ["started", startedAt],
  ]);
}

/** Map, neighbours, attention and filters: whatever the newest checkpoint and the images still allow. */
async function learnedSections(folder: RunFolder, options: ReportOptions): Promise<{ sections: Section[]; style: string }> {
  const missing = (why: string) => ({ sections: [{ title: "What was learned", note: why, html: "" }], style: "" });
  const path = await newestCheckpoint(folder.path).catch(() => undefined);
  if (!path) return missing("The run has no checkpoint yet.");
  const { images } = folder.record.options;
  let source: ImageSource;
  try {
    source = options.source ?? (await openImages(images));
  } catch (error) {
    return missing(`The images cannot be shown: ${(error as Error).message}`);
  }
  const encoder = await openEncoder(path.path);
  const backend = await openBackend(options);
  try {
    return await lookInside(encoder, evenly(source, SHOWN.pictures), backend);
  } finally {
    await backend.close();
  }
}

async function lookInside(
  { backbone, view }: Encoder,
  sample: ImageSource,
  backend: Backend,
): Promise<{ sections: Section[]; style: string }> {
  const extracted = await extract(sample, view, embedder(backbone, backend));
  const features = normalizeRows(extracted.features);
  const kept = subset(sample, extracted.indices);
  const sprites = new Sprites(await pictures(kept, rawView(THUMB)));
  const names = Array.from({ length: kept.length }, (_, i) => kept.name(i));
  const labels = kept.labels && [...kept.labels];
  const sections: Section[] = [];
  if (features.count > 3) {
    sections.push({
      title: "Embedding map",
      note: `${features.count} training images, placed so that those with similar features are close (t-SNE). Point at one to see it larger.`,
      html: embeddingMap(tsne(features), sprites, names, labels, kept.classes),
    });
    const k = Math.min(SHOWN.neighbours, features.count - 1);
    const found = await nearest(features, features, { k, leaveOneOut: true }, backend);
    const queries = Array.from({ length: Math.min(SHOWN.rows, features.count) }, (_, i) =>
      Math.floor(((i + 0.5) * features.count) / SHOWN.rows),
    );
    const rows = [...new Set(queries.map((query) => Math.min(query, features.count - 1)))].map((query) => ({
      query,
      found: Array.from({ length: k }, (_, i) => ({ index: found.index[query * k + i], similarity: found.similarity[query * k + i] })),
    }));
    sections.push({
      title: "Nearest neighbours",
      note: `The ${k} most similar of these images, with the cosine of their features${labels ? "; green where the class is the same" : ""}.`,
      html: neighbourRows(rows, sprites, names, labels),
    });
  }
  if (backbone.attention) sections.push(await attentionSection(backbone, view, evenly(kept, SHOWN.attention), backend));
  const filters = firstFilters(backbone.namedParameters());
  if (filters) {
    const cell = Math.max(2, Math.floor(32 / filters.shape[1]));
    const html = `<img class="filters" alt="" src="${dataUri(filterSheet(filters, cell))}">`;
    sections.push({
      title: "First layer",
      note: `Its ${filters.shape[0]} filters of ${filters.shape[1]} × ${filters.shape[2]} pixels in colour.`,
      html,
    });
  }
  return { sections, style: sprites.style };
}

/** Every picture of a source as a view of values in [0, 1] shows it, 8-bit. */
async function pictures(source: ImageSource, view: ViewSpec): Promise<Pixels[]> {
  const side = view.size;
  const out: Pixels[] = [];
  for await (const { views } of openLoader(source, { views: [view], batch: Math.min(64, source.length), shuffle: false })) {
    const { data, shape } = views[0];
    for (let i = 0; i < shape[0]; i++) {
      const picture = data.subarray(i * side * side * 3, (i + 1) * side * side * 3);
      out.push({ width: side, height: side, data: Uint8Array.from(picture, (x) => Math.round(255 * Math.min(Math.max(x, 0), 1))) });
    }
  }
  return out;
}

async function attentionSection(backbone: Encoder["backbone"], view: ViewSpec, source: ImageSource, backend: Backend): Promise<Section> {
  const attend = compile((x: Tensor) => withContext({ training: false }, () => backbone.attention?.(x) as Tensor), backend);
  const maps: Pixels[][] = [];
  for await (const { views } of openLoader(source, { views: [view], batch: source.length, shuffle: false })) {
    const attention: Host = await attend(views[0]);
    maps.push(...attentionMaps(attention, Math.max(1, Math.round(112 / attention.shape[3]))));
  }
  const shown = await pictures(source, { ...view, mean: undefined, std: undefined });
  const rows = maps.map((found, i) => ({
    query: shown[i],
    found: found.map((picture, h) => ({ picture, note: h ? `head ${h}` : "mean" })),
  }));
  const note = "What the class token of the last block attends to: mean over heads, then each head; yellow is most.";
  return gallerySection({ title: "Attention", note, rows }, 96);
}
