import { test } from "uvu";
import * as assert from "uvu/assert";
import type { Features } from "../../src/evaluate/knn.ts";
import { collapseWarning, effectiveRank, health } from "../../src/train/health.ts";
import { fill } from "../fill.ts";

const [count, dim] = [24, 8];
const spread: Features = { data: fill("spread", [count, dim], "input").data, count, dim };
const mapped = (f: (x: number, i: number) => number): Features => ({ ...spread, data: spread.data.map(f) });

test("orthogonal features use every direction, copies of one row use one", () => {
  const n = 6;
  const identity = Float32Array.from({ length: n * n }, (_, i) => (i % (n + 1) === 0 ? 3 : 0));
  assert.ok(Math.abs(effectiveRank({ data: identity, count: n, dim: n }) - n) < 1e-9);
  assert.ok(Math.abs(effectiveRank(mapped((_, i) => spread.data[i % dim])) - 1) < 1e-5);
});

test("the effective rank of two directions with singular values 3 and 1 is exp(H(3/4, 1/4))", () => {
  const data = Float32Array.of(3, 0, 0, 1);
  const expected = Math.exp(-0.75 * Math.log(0.75) - 0.25 * Math.log(0.25));
  assert.ok(Math.abs(effectiveRank({ data, count: 2, dim: 2 }) - expected) < 1e-9);
});

test("spread features read healthy and constant ones collapsed", () => {
  const healthy = health(spread, spread);
  assert.ok(healthy.std > 0.9 && healthy.std <= 1, `std ${healthy.std}`);
  assert.is(healthy.alignment, 0);
  const constant = mapped((x, i) => 1 + (i % dim) + 1e-4 * x);
  const collapsed = health(constant, constant);
  assert.ok(collapsed.std < 1e-3 && collapsed.uniformity > -1e-6 && healthy.uniformity < -1.5);
});

test("alignment of opposite views is 4, uniformity of a pair at a right angle -4", () => {
  const opposite = mapped((x) => -x);
  assert.ok(Math.abs(health(spread, opposite).alignment - 4) < 1e-6);
  const pair: Features = { data: Float32Array.of(2, 0, 0, 5), count: 2, dim: 2 };
  assert.ok(Math.abs(health(pair, pair).uniformity + 4) < 1e-6); // squared distance 2, log(exp(-2 * 2))
});

test("a warning comes once when features become constant, and again only after a recovery", () => {
  const well = { std: 0.8, rank: 20, alignment: 0.1, uniformity: -2 };
  const ill = { ...well, std: 0.001 };
  assert.is(collapseWarning([well, well]), undefined);
  assert.match(collapseWarning([well, ill]) ?? "", /collapsing: features hardly differ between images \(std 0\.0010/);
  assert.is(collapseWarning([well, ill, ill]), undefined);
  assert.ok(collapseWarning([well, ill, well, ill]));
  const ranks = (...list: number[]) => collapseWarning(list.map((rank) => ({ ...well, rank })));
  assert.is(ranks(20, 4, 5), undefined); // a dip
  assert.match(ranks(20, 12, 8, 4) ?? "", /effective rank fell from 20\.0 to 4\.0/);
  assert.is(collapseWarning([]), undefined);
});

test.run();
