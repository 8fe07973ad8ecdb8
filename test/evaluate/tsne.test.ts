import { test } from "uvu";
import * as assert from "uvu/assert";
import { tsne } from "../../src/evaluate/tsne.ts";
import { fill } from "../fill.ts";

test("neighbours of a class are neighbours on the map, and the map is the same every time", () => {
  const [count, dim, classes] = [90, 12, 3];
  const centers = fill("centers", [classes, dim], "input").data;
  const noise = fill("noise", [count, dim], "input").data;
  const features = { data: noise.map((x, i) => 0.4 * x + 2 * centers[(Math.floor(i / dim) % classes) * dim + (i % dim)]), count, dim };
  const places = tsne(features, { iterations: 250 });
  const nearest = (i: number) => {
    let [best, at] = [Number.POSITIVE_INFINITY, -1];
    for (let j = 0; j < count; j++) {
      const d = (places[2 * i] - places[2 * j]) ** 2 + (places[2 * i + 1] - places[2 * j + 1]) ** 2;
      if (j !== i && d < best) [best, at] = [d, j];
    }
    return at;
  };
  const kept = Array.from({ length: count }, (_, i) => nearest(i) % classes === i % classes).filter(Boolean).length;
  assert.ok(kept > 0.95 * count, `${kept} of ${count}`);
  assert.equal(tsne(features, { iterations: 250 }), places);
});

test("equal features and very few of them give finite places", () => {
  for (const count of [2, 3, 8]) {
    const places = tsne({ data: new Float32Array(count * 4).fill(1), count, dim: 4 }, { iterations: 20 });
    assert.ok(places.every(Number.isFinite), `${count} points`);
  }
});

test.run();
