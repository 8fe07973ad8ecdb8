import { test } from "uvu";
import * as assert from "uvu/assert";
import { eigenvalues, principalComponents, singularValues } from "../../src/evaluate/spectrum.ts";
import { fill } from "../fill.ts";

const near = (got: ArrayLike<number>, expected: number[], gap = 1e-9) => {
  assert.is(got.length, expected.length);
  expected.forEach((x, i) => assert.ok(Math.abs(got[i] - x) <= gap, `${got[i]} instead of ${x}`));
};

test("eigenvalues of the path's Laplacian are 2 - 2 cos(pi j / n)", () => {
  const n = 13;
  const a = Float64Array.from({ length: n * n }, (_, i) => {
    const [r, c] = [Math.floor(i / n), i % n];
    return r === c ? (r === 0 || r === n - 1 ? 1 : 2) : Math.abs(r - c) === 1 ? -1 : 0;
  });
  near(
    eigenvalues(a, n),
    Array.from({ length: n }, (_, j) => 2 - 2 * Math.cos((Math.PI * (n - 1 - j)) / n)),
  );
});

test("singular values of features and of their transpose agree and add up to the squared length", () => {
  const [count, dim] = [7, 13];
  const { data } = fill("features", [count, dim], "input");
  const turned = Float32Array.from({ length: data.length }, (_, i) => data[(i % count) * dim + Math.floor(i / count)]);
  const values = singularValues({ data, count, dim });
  near(singularValues({ data: turned, count: dim, dim: count }), [...values]);
  assert.ok(Math.abs(values.reduce((sum, s) => sum + s * s, 0) - data.reduce((sum, x) => sum + x * x, 0)) < 1e-9);
});

test("principal components of points on a line are their places on it", () => {
  const [count, dim] = [9, 5];
  const direction = [0.1, 0.7, -0.3, 0.2, 0.6];
  const length = Math.hypot(...direction);
  const data = Float32Array.from({ length: count * dim }, (_, i) => 4 + (Math.floor(i / dim) - 4) * direction[i % dim]);
  const found = principalComponents({ data, count, dim }, 2);
  for (let r = 0; r < count; r++) near(found.slice(2 * r, 2 * r + 2), [(r - 4) * length, 0], 1e-5);
});

test("principal components are uncorrelated and their variances descend", () => {
  const [count, dim] = [40, 6];
  const { data } = fill("cloud", [count, dim], "input");
  const stretched = data.map((x, i) => x * (1 + (i % dim)));
  const found = principalComponents({ data: stretched, count, dim }, 2);
  const product = (a: number, b: number) => {
    let sum = 0;
    for (let r = 0; r < count; r++) sum += found[2 * r + a] * found[2 * r + b];
    return sum;
  };
  assert.ok(product(0, 0) > product(1, 1));
  assert.ok(Math.abs(product(0, 1)) < 1e-3 * product(0, 0));
});

test.run();
