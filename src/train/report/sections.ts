// The parts of a report, from numbers and pictures to HTML.

import { dataUri, type Pixels, sheet } from "../../data/encode-png.ts";
import type { Metric } from "../run.ts";
import { type Chart, chart, type Series } from "./chart.ts";
import { escapeHtml } from "./html.ts";
import type { Section } from "./page.ts";

/** A row of pictures: one that was asked about, and what was found for it. */
export interface GalleryRow {
  readonly query: Pixels;
  readonly found: readonly { readonly picture: Pixels; readonly note?: string; readonly right?: boolean }[];
}

export interface Gallery {
  readonly title: string;
  readonly note?: string;
  readonly rows: readonly GalleryRow[];
}

/** Curves of one kind of measurement over epochs. */
const points = (metrics: readonly Metric[], kind: Metric["kind"], name: string, epochs: (step: number) => number): Series["points"] =>
  metrics.flatMap((m) => (m.kind === kind && typeof m[name] === "number" ? [[epochs(m.step), m[name]] as const] : []));

const health: readonly (Omit<Chart, "x" | "series"> & { name: string })[] = [
  {
    name: "std",
    title: "Feature standard deviation",
    note: "1 when features point everywhere, 0 when all images look the same.",
    y: "std × √d",
    from: 0,
  },
  {
    name: "rank",
    title: "Effective rank",
    note: "How many directions the features use (RankMe). A lasting fall means collapse.",
    y: "directions",
    from: 0,
  },
  {
    name: "alignment",
    title: "Alignment",
    note: "Squared distance between two views of an image: lower is closer.",
    y: "distance²",
    from: 0,
  },
  { name: "uniformity", title: "Uniformity", note: "How evenly features cover the sphere: lower is more even.", y: "log mean exp(−2 d²)" },
];

/** Numbers of a step that have charts of their own or none. */
const common = ["kind", "step", "epoch", "loss", "lr", "imagesPerSecond", "memoryBytes"];

/** `embeddingStd` -> `Embedding std` */
const words = (name: string): string => {
  const text = name.replace(/([a-z0-9])([A-Z])/g, "$1 $2").toLowerCase();
  return text[0].toUpperCase() + text.slice(1);
};

/** All curves of a run. */
export function curves(metrics: readonly Metric[], stepsPerEpoch: number): Section[] {
  const of = (kind: Metric["kind"], name: string) => points(metrics, kind, name, (step) => step / stepsPerEpoch);
  const line = (title: string, name: string, y: string, more: Partial<Chart> = {}): Chart => ({
    ...{ title, x: "epoch", y },
    series: [{ name, points: of("step", name), smooth: name !== "lr" }],
    ...more,
  });
  const knn: Chart = {
    ...{
      title: "kNN accuracy",
      note: "Weighted nearest neighbours on frozen features, against the bare pixels.",
      x: "epoch",
      y: "per cent",
    },
    series: [
      { name: "features, top-1", points: of("knn", "top1") },
      { name: "pixels, top-1", points: of("knn", "pixelsTop1"), reference: true },
    ],
  };
  const steps = metrics.filter(({ kind }) => kind === "step");
  const others = [...new Set(steps.flatMap(Object.keys))].filter((name) => !common.includes(name) && changes(steps, name));
  const grid = (charts: string[]) => `<div class="charts">${charts.join("\n")}</div>`;
  const sections = [
    {
      title: "Training",
      html: grid([
        chart(line("Loss", "loss", "loss", { note: "What training makes small; the strong line is a running mean." })),
        chart(knn),
        chart(line("Learning rate", "lr", "learning rate", { from: 0, note: "Its schedule, as scaled by the batch." })),
        ...others.map((name) => chart(line(words(name), name, words(name).toLowerCase()))),
        chart(line("Speed", "imagesPerSecond", "images per second", { from: 0 })),
      ]),
    },
    {
      title: "Health",
      note: "Measured without labels, on the same few pictures throughout.",
      html: grid(health.map(({ name, ...rest }) => chart({ ...rest, x: "epoch", series: [{ name, points: of("health", name) }] }))),
    },
  ];
  return sections.filter(({ html }) => html.includes("<svg"));
}

/** Whether a number is more than a constant. */
const changes = (metrics: readonly Metric[], name: string): boolean => new Set(metrics.map((m) => m[name])).size > 1;

/** Thumbnails of one size in one picture, shown by their place in it. */
export class Sprites {
  readonly #pictures: readonly Pixels[];
  readonly #columns: number;

  constructor(pictures: readonly Pixels[]) {
    this.#pictures = pictures;
    this.#columns = Math.ceil(Math.sqrt(pictures.length));
  }

  get style(): string {
    if (!this.#pictures.length) return "";
    const { width, height } = this.#pictures[0];
    return `.thumb { width: ${width}px; height: ${height}px; background-image: url(${dataUri(sheet(this.#pictures, this.#columns))}); }`;
  }

  html(i: number, style = "", title = ""): string {
    const { width, height } = this.#pictures[i];
    const [x, y] = [(i % this.#columns) * width, Math.floor(i / this.#columns) * height];
    return `<i class="thumb" style="background-position:-${x}px -${y}px;${style}"${title ? ` title="${escapeHtml(title)}"` : ""}></i>`;
  }
}

/** The colour of a class among others. */
const hue = (i: number, count: number): string => `hsl(${Math.round((360 * i) / count)} 70% 50%)`;

/** Pictures at their places on a plane, framed by class where there are few. */
export function embeddingMap(
  places: Float64Array,
  sprites: Sprites,
  names: readonly string[],
  labels?: readonly number[],
  classes: readonly string[] = [],
): string {
  const axis = (at: 0 | 1) => {
    const values = Array.from({ length: places.length / 2 }, (_, i) => places[2 * i + at]);
    const [low, high] = [Math.min(...values), Math.max(...values)];
    return values.map((v) => 3 + (94 * (v - low)) / (high - low || 1));
  };
  const [x, y] = [axis(0), axis(1)];
  const framed = labels !== undefined && classes.length > 1 && classes.length <= 20;
  const thumbs = names.map((name, i) => {
    const frame = framed ? `outline:2px solid ${hue(labels[i], classes.length)}` : "";
    return sprites.html(i, `left:${x[i].toFixed(2)}%;top:${y[i].toFixed(2)}%;${frame}`, name);
  });
  const legend = framed
    ? `<p class="legend">${classes.map((name, i) => `<span style="--dot:${hue(i, classes.length)}" class="class">${escapeHtml(name)}</span>`).join("")}</p>`
    : "";
  return `<div class="map">${thumbs.join("")}</div>${legend}`;
}

/** Rows of a picture and its nearest, from one sheet of thumbnails. */
export function neighbourRows(
  rows: readonly { query: number; found: readonly { index: number; similarity: number }[] }[],
  sprites: Sprites,
  names: readonly string[],
  labels?: readonly number[],
): string {
  const cell = (kind: string, i: number, note: string) =>
    `<figure class="${kind}">${sprites.html(i, "", names[i])}<figcaption>${note}</figcaption></figure>`;
  const kind = (a: number, b: number) => (labels === undefined ? "" : labels[a] === labels[b] ? "same" : "other");
  const html = rows.map(({ query, found }) => {
    const cells = found.map(({ index, similarity }) => cell(kind(query, index), index, similarity.toFixed(2)));
    return `<div class="row">${cell("query", query, "query")}${cells.join("")}</div>`;
  });
  return `<div class="rows neighbours">${html.join("\n")}</div>`;
}

/** Rows of a picture and what was found, each picture by itself. */
export function gallerySection({ title, note, rows }: Gallery, side = 56): Section {
  const image = (picture: Pixels) => `<img src="${dataUri(picture)}" width="${side}" height="${side}" alt="">`;
  const html = rows.map(({ query, found }) => {
    const cells = found.map(({ picture, note: text = "", right }) => {
      const frame = right === undefined ? "" : right ? "same" : "other";
      return `<figure class="${frame}"><span class="frame">${image(picture)}</span><figcaption>${escapeHtml(text)}</figcaption></figure>`;
    });
    return `<div class="row"><figure class="query">${image(query)}</figure>${cells.join("")}</div>`;
  });
  return { title, note, html: `<div class="rows pictures">${html.join("\n")}</div>` };
}
