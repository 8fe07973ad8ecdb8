import { test } from "uvu";
import * as assert from "uvu/assert";
import { accuracy, classify, type Features, nearest, normalizeRows, votes } from "../../src/evaluate/knn.ts";
import { fill } from "../fill.ts";
import { reference } from "../support.ts";

const features = (name: string, count: number, dim: number): Features => ({ data: fill(name, [count, dim], "input").data, count, dim });

/** All similarities in float64, sorted with the lower index first among equals. */
function sorted(queries: Features, bank: Features, q: number): { index: number; similarity: number }[] {
  const dot = (r: number) =>
    bank.data.slice(r * bank.dim, (r + 1) * bank.dim).reduce((sum, x, i) => sum + x * queries.data[q * bank.dim + i], 0);
  return Array.from({ length: bank.count }, (_, index) => ({ index, similarity: Math.fround(dot(index)) })).sort(
    (a, b) => b.similarity - a.similarity || a.index - b.index,
  );
}

test("neighbours are those of a full sort, nearest first", async () => {
  const [queries, bank] = [features("queries", 13, 7), features("bank", 61, 7)];
  const { index, similarity } = await nearest(queries, bank, { k: 9 }, reference);
  for (let q = 0; q < queries.count; q++) {
    const expected = sorted(queries, bank, q).slice(0, 9);
    assert.equal(
      [...index.slice(q * 9, q * 9 + 9)],
      expected.map((n) => n.index),
    );
    for (let i = 0; i < 9; i++) assert.ok(Math.abs(similarity[q * 9 + i] - expected[i].similarity) < 1e-5);
  }
});

test("a bank of more than one block gives the neighbours of the whole", async () => {
  const count = 8192 + 300;
  const bank = features("long bank", count, 3);
  const queries = features("few queries", 5, 3);
  const { index } = await nearest(queries, bank, { k: 4 }, reference);
  for (let q = 0; q < 5; q++)
    assert.equal(
      [...index.slice(q * 4, q * 4 + 4)],
      sorted(queries, bank, q)
        .slice(0, 4)
        .map((n) => n.index),
    );
});

test("equal similarities keep the order of the bank", async () => {
  const bank: Features = { data: Float32Array.from([1, 0, 1, 0, 0, 1, 1, 0]), count: 4, dim: 2 };
  const { index } = await nearest({ data: Float32Array.from([1, 0]), count: 1, dim: 2 }, bank, { k: 3 }, reference);
  assert.equal([...index], [0, 1, 3]);
});

test("leave-one-out finds no image in itself", async () => {
  const bank = features("all", 17, 5);
  const { index } = await nearest(bank, bank, { k: 16, leaveOneOut: true }, reference);
  for (let q = 0; q < 17; q++) {
    const found = [...index.slice(q * 16, q * 16 + 16)];
    assert.not(found.includes(q));
    assert.is(new Set(found).size, 16);
  }
});

test("votes are sums of exp(similarity / tau) of the first k", () => {
  const found = { k: 3, index: Int32Array.of(0, 2, 1), similarity: Float32Array.of(0.5, 0.25, 0.125) };
  const scores = votes(found, [1, 0, 1], 3, { k: 2, tau: 0.5 });
  assert.equal([...scores], [0, Math.exp(1) + Math.exp(0.5), 0]);
});

test("classes with equal votes rank by number", () => {
  const scores = Float64Array.of(0, 2, 0, 0, 0, 0, 0, 2);
  const rank = (label: number, k = 5) => accuracy(scores, [label], 8, k);
  assert.equal(rank(1), { top1: 100, top5: 100 });
  assert.equal(rank(7), { top1: 0, top5: 100 }); // as many votes as class 1, which comes first
  assert.equal(rank(3), { top1: 0, top5: 100 }); // fifth after 1, 7, 0, 2
  assert.equal(rank(4), { top1: 0, top5: 0 });
  assert.equal(rank(3, 4), { top1: 0, top5: 0 }); // no more than k classes count
});

test("blobs around well separated centres are told apart, shuffled labels are not", async () => {
  const [classes, dim] = [5, 8];
  const centers = fill("centers", [classes, dim], "input").data;
  const blob = (name: string, count: number) => {
    const { data } = features(name, count, dim);
    const labels = Array.from({ length: count }, (_, i) => i % classes);
    return {
      features: { data: data.map((x, i) => 0.2 * x + 3 * centers[labels[Math.floor(i / dim)] * dim + (i % dim)]), count, dim },
      labels,
    };
  };
  const [train, other] = [blob("train", 50), blob("test", 25)];
  const options = { k: 5, tau: 0.07 };
  assert.is((await classify(train, other, classes, options, reference)).top1, 100);
  const wrong = { ...other, labels: other.labels.map((c) => (c + 1) % classes) };
  assert.is((await classify(train, wrong, classes, options, reference)).top1, 0);
});

test("impossible questions are refused with what would do", async () => {
  const bank = features("bank", 6, 4);
  const refused = (queries: Features, k: number, leaveOneOut = false) =>
    nearest(queries, bank, { k, leaveOneOut }, reference).then(() => "accepted", String);
  assert.match(await refused(bank, 7), /Cannot find 7 neighbours among 6 images: expected k from 1 to 6/);
  assert.match(await refused(bank, 6, true), /expected k from 1 to 5/);
  assert.match(await refused(features("wide", 2, 5), 1), /Cannot compare features of 5 and 4 numbers/);
  assert.match(await refused({ data: new Float32Array(4).fill(Number.NaN), count: 1, dim: 4 }, 1), /not finite/);
});

test("normalised rows have length 1, and a row of zeros stays", () => {
  const { data } = normalizeRows({ data: Float32Array.of(3, 4, 0, 0), count: 2, dim: 2 });
  assert.equal([...data], [...Float32Array.of(0.6, 0.8, 0, 0)]);
});

test.run();
