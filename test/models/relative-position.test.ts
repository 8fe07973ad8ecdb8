import { test } from "uvu";
import * as assert from "uvu/assert";
import { resizeBias, windowIndex } from "../../src/models/relative-position.ts";
import { fill } from "../fill.ts";

test("a window's index counts distances by row and then by column, from far above left on", () => {
  assert.equal(windowIndex(2), { data: Float32Array.of(4, 3, 1, 0, 5, 4, 2, 1, 7, 6, 4, 3, 8, 7, 5, 4), shape: [4, 4] });
});

for (const method of ["geometric", "bicubic"] as const) {
  test(`${method}: equal biases stay equal, and a table for the same window stays as it is`, () => {
    const flat = { data: new Float32Array(49 * 2).fill(0.7), shape: [49, 2] };
    assert.ok(resizeBias(flat, 7, method).data.every((x) => Math.abs(x - 0.7) < 1e-6));
    assert.equal(resizeBias(flat, 7, method).shape, [169, 2]);
    assert.equal(resizeBias(flat, 4, method), flat);
  });

  test(`${method}: a mirrored table gives a mirrored table`, () => {
    const table = fill("table", [49, 1], "input");
    const mirrored = { data: table.data.toReversed(), shape: table.shape };
    const [a, b] = [resizeBias(table, 6, method).data.toReversed(), resizeBias(mirrored, 6, method).data];
    assert.ok(a.every((x, i) => Math.abs(x - b[i]) < 1e-5));
  });
}

test("rows of the class token stay at the end", () => {
  const table = fill("table", [25 + 3, 2], "input");
  const out = resizeBias(table, 5, "geometric", 3);
  assert.equal(out.shape, [81 + 3, 2]);
  assert.equal(out.data.slice(-6), table.data.slice(-6));
});

test("a table that belongs to no window is refused", () => {
  assert.throws(() => resizeBias(fill("table", [36, 2]), 5, "geometric"), /^Cannot resize the biases \[36, 2\]: expected rows for/);
  assert.throws(() => resizeBias(fill("table", [9, 2]), 5, "geometric"), /a window of 3 x 3 or more/);
});

test.run();
