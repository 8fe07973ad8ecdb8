import { suite } from "uvu";
import * as assert from "uvu/assert";
import { packedSource, readPicture } from "../../src/data/source.ts";
import { edited, firstOfSame, meanOf, search } from "../../src/demo/search.ts";
import type { Features } from "../../src/evaluate/knn.ts";
import { fill } from "../fill.ts";
import { reference } from "../support.ts";

const searching = suite("search");

const side = 9;
const count = 7;
const pixels = (name: string) => Uint8Array.from(fill(name, [count * side * side * 3], "unit").data, (x) => Math.floor(256 * x));
const source = packedSource({ width: side, height: side, data: pixels("pictures") });
const features = (name: string): Features => ({ data: fill(name, [count, 5], "input").data, count, dim: 5 });
const own = Int32Array.from({ length: count }, (_, i) => i);

searching("one seed gives one set of edited copies, another gives another, and neither leaves a picture alone", () => {
  const [a, again, b] = [edited(source, side, 1), edited(source, side, 1), edited(source, side, 2)];
  for (let i = 0; i < count; i++) {
    assert.equal(readPicture(a, i).data, readPicture(again, i).data);
    assert.not.equal(readPicture(a, i).data, readPicture(b, i).data);
    assert.not.equal(readPicture(a, i).data, readPicture(source, i).data);
  }
});

searching("an edited copy does not depend on the pictures around it", () => {
  const whole = edited(source, side, 3);
  const bytes = side * side * 3;
  const front = packedSource({ width: side, height: side, data: pixels("pictures").subarray(0, 3 * bytes) });
  assert.equal(readPicture(edited(front, side, 3), 2).data, readPicture(whole, 2).data);
});

searching("originals are found by themselves", async () => {
  const found = await search(features("a"), features("a"), own, reference);
  assert.is(found.top1, 100);
  assert.is(found.top5, 100);
});

searching("a query that is farther from its original than from one other is not found at once but within five", async () => {
  const bank: Features = { data: Float32Array.from({ length: count * count }, (_, i) => (i % (count + 1) ? 0 : 2)), count, dim: count };
  const queries = { ...bank, data: bank.data.slice() };
  queries.data.set([0.4, 1]); // between originals 0 and 1, nearer to 1
  const found = await search(queries, bank, own, reference);
  assert.is(found.top1.toFixed(3), ((100 * (count - 1)) / count).toFixed(3));
  assert.is(found.top5, 100);
  assert.equal([...found.neighbours.index.subarray(0, 2)], [1, 0]);
});

searching("pictures that are the same pixel by pixel count as one original", async () => {
  const bytes = side * side * 3;
  const data = pixels("pictures");
  data.set(data.slice(bytes, 2 * bytes), 5 * bytes); // 5 repeats 1
  const same = firstOfSame(packedSource({ width: side, height: side, data }));
  assert.equal([...same], [0, 1, 2, 3, 4, 1, 6]);
  const bank = features("a");
  bank.data.set(bank.data.slice(bank.dim, 2 * bank.dim), 5 * bank.dim);
  assert.is((await search(bank, bank, same, reference)).top1, 100);
  assert.ok((await search(bank, bank, own, reference)).top1 < 100);
});

searching("several looks at a picture count alike, however long their features are", () => {
  const look = (...data: number[]): Features => ({ data: Float32Array.from(data), count: 1, dim: 2 });
  assert.equal([...meanOf([look(3, 0), look(0, 0.5)]).data], [0.5, 0.5]);
});

searching.run();
