import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { encodePng, sheet } from "../../src/data/encode-png.ts";
import { decodePng } from "../../src/data/png.ts";
import { attentionMaps, filterSheet, heatMap } from "../../src/evaluate/looks.ts";
import { chart, thinned, tickLabel, ticks } from "../../src/train/report/chart.ts";
import { curves } from "../../src/train/report/sections.ts";
import { report } from "../../src/train/report.ts";
import type { Metric } from "../../src/train/run.ts";
import { train } from "../../src/train/train.ts";
import { uniform } from "../fill.ts";
import { pictures } from "./pictures.ts";

const picture = (width: number, height: number, name = "p") => ({
  width,
  height,
  data: Uint8Array.from(uniform(name, width * height * 3), (u) => Math.floor(256 * u)),
});

test("a PNG holds the pixels that went into it", () => {
  for (const [width, height] of [
    [1, 1],
    [7, 3],
    [13, 5],
  ]) {
    const { data } = decodePng(encodePng(picture(width, height)));
    assert.equal([...data], [...picture(width, height).data]);
  }
});

test("a sheet holds pictures left to right and down", () => {
  const parts = ["a", "b", "c"].map((name) => picture(3, 2, name));
  const whole = sheet(parts, 2);
  assert.equal([whole.width, whole.height], [6, 4]);
  const row = (x: number, y: number) => [...whole.data.subarray((y * 6 + x) * 3, (y * 6 + x + 3) * 3)];
  assert.equal(row(3, 1), [...parts[1].data.subarray(9, 18)]);
  assert.equal(row(0, 2), [...parts[2].data.subarray(0, 9)]);
  assert.equal(row(3, 3), new Array(9).fill(0));
});

test("ticks are round numbers within their range", () => {
  assert.equal(ticks(0, 10, 5), [0, 2, 4, 6, 8, 10]);
  assert.equal(ticks(-0.13, 0.32, 4), [0, 0.2]);
  assert.equal(ticks(3, 3, 4), [3]);
  assert.equal([0, 1500, 25000, 3.2e6, 0.00012, -0.5].map(tickLabel), ["0", "1500", "25k", "3.2M", "1.2e-4", "−0.5"]);
});

test("thinning keeps the mean and the number of points bounded", () => {
  const points = Array.from({ length: 1000 }, (_, i) => [i, i] as const);
  const few = thinned(points, 100);
  assert.is(few.length, 100);
  assert.equal(few[0], [4.5, 4.5]);
  assert.is(thinned(points.slice(0, 9), 100).length, 9);
});

test("a chart draws what is finite, escapes names, and is nothing without points", () => {
  const series = (points: [number, number][]) => [{ name: "<loss>", points }];
  const html = chart({
    title: "a & b",
    x: "epoch",
    y: "loss",
    series: series([
      [0, 1],
      [1, Number.NaN],
      [2, 3],
    ]),
  });
  assert.not.match(html, /NaN|<loss>/);
  assert.match(html, /a &#38; b/);
  assert.is(chart({ title: "none", x: "epoch", y: "loss", series: series([[0, Number.NaN]]) }), "");
  assert.not.match(chart({ title: "one", x: "x", y: "y", series: series([[5, 2]]) }), /NaN|Infinity/);
});

test("curves show every number that changes, each once, and no constant", () => {
  const metrics = [0, 1, 2].map(
    (step): Metric => ({ kind: "step", step, epoch: step, loss: 3 - step, lr: 0.1, momentum: 0.9, teacherTemperature: step }),
  );
  const html = curves(metrics, 1)
    .map((section) => section.html)
    .join("");
  assert.is(html.match(/<h3>Teacher temperature<\/h3>/g)?.length, 1);
  assert.match(html, /<h3>Loss<\/h3>/);
  assert.not.match(html, /Momentum/);
});

test("a heat map is darkest at its least and yellow at its greatest value", () => {
  const { data, width } = heatMap([0, 5, 1, 2], 2, 2, 3);
  assert.is(width, 6);
  assert.equal([...data.subarray(0, 3)], [68, 1, 84]);
  assert.equal([...data.subarray(9, 12)], [253, 231, 37]);
});

test("attention shows the mean and each head; a single head stands alone", () => {
  const maps = (heads: number) => attentionMaps({ data: new Float32Array(uniform("maps", 2 * heads * 6)), shape: [2, heads, 2, 3] }, 4);
  assert.equal(
    maps(3).map((row) => row.length),
    [4, 4],
  );
  assert.equal(
    maps(1).map((row) => row.length),
    [1, 1],
  );
  assert.equal([maps(3)[0][0].width, maps(3)[0][0].height], [12, 8]);
});

test("filters stand in cells with a border", () => {
  const { width, height } = filterSheet({ data: new Float32Array(8 * 27), shape: [8, 3, 3, 3] }, 5);
  assert.equal([width, height], [4 * 17, 2 * 17]);
});

test("a report is one page that asks nothing of the network, with every part that the run allows", async () => {
  const root = await mkdtemp(join(tmpdir(), "autodidact-report-"));
  const run = join(root, "stripes");
  const source = pictures(5);
  const set = { outputs: "32", hidden: "16", locals: "1" };
  const request = { method: "dino", images: "", backbone: "vit-tiny-4", size: 8, batch: 6, steps: 2, set };
  await train(request, { run, source, settings: { threads: 1, k: 3, healthEvery: 1, report: false } });
  const gallery = {
    title: "Searches",
    rows: [{ query: picture(4, 4), found: [{ picture: picture(4, 4, "q"), note: "0.9 <", right: true }] }],
  };
  const html = await readFile(await report(run, { source, threads: 1, galleries: [gallery] }), "utf8");
  await rm(root, { recursive: true });
  const loaded = html.replaceAll("http://www.w3.org/2000/svg", "");
  assert.not.match(loaded, /https?:|<link|src="(?!data:)|url\((?!data:)|@import/);
  const titles = [...html.matchAll(/<h2>([^<]*)<\/h2>/g)].map(([, title]) => title);
  assert.equal(titles, [
    "Searches",
    "Training",
    "Health",
    "Embedding map",
    "Nearest neighbours",
    "Attention",
    "First layer",
    "Configuration",
  ]);
  assert.is(html.match(/<i class="thumb" style="[^"]*left:/g)?.length, 15);
  assert.match(html, /kNN top-1/);
  assert.match(html, /0\.9 &#60;/);
});

test.run();
