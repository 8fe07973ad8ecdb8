import { test } from "uvu";
import * as assert from "uvu/assert";
import { Attention } from "../../src/nn/attention.ts";
import { DropPath } from "../../src/nn/drop.ts";
import { Linear, WeightNormLinear } from "../../src/nn/linear.ts";
import { withContext } from "../../src/nn/module.ts";
import { BatchNorm } from "../../src/nn/norm.ts";
import { iota } from "../../src/tape/ops/reduce.ts";
import type { Tensor } from "../../src/tape/tensor.ts";
import { compile, type Host } from "../../src/tape/trace.ts";
import { fill } from "../fill.ts";
import { difference, reference } from "../support.ts";

const train = (f: (x: Tensor) => Tensor, x: Host) => compile((t: Tensor) => withContext({ training: true }, () => f(t)), reference)(x);
const evaluate = (f: (x: Tensor) => Tensor, x: Host) => compile(f, reference)(x);

/** Mean and variance (divided by n - correction) of each column. */
function moments({ data, shape: [n, c] }: Host, correction: number): { mean: number[]; variance: number[] } {
  const column = (j: number) => Array.from({ length: n }, (_, i) => data[i * c + j]);
  const mean = Array.from({ length: c }, (_, j) => column(j).reduce((a, b) => a + b) / n);
  const variance = mean.map((m, j) => column(j).reduce((sum, x) => sum + (x - m) ** 2, 0) / (n - correction));
  return { mean, variance };
}

const near = (a: ArrayLike<number>, b: ArrayLike<number>, limit = 1e-6) => {
  assert.is(a.length, b.length);
  for (let i = 0; i < a.length; i++)
    assert.ok(Math.abs(a[i] - b[i]) <= limit * Math.max(1, Math.abs(b[i])), `${a[i]} is not ${b[i]} at ${i}`);
};

for (const runningVariance of ["unbiased", "biased"] as const) {
  test(`batch norm keeps a running mean and a ${runningVariance} running variance`, async () => {
    const norm = new BatchNorm(3, { runningVariance });
    const x = fill("x", [7, 3], "input");
    await train((t) => norm.forward(t), x);
    const { mean, variance } = moments(x, runningVariance === "unbiased" ? 1 : 0);
    near(
      norm.running_mean.data,
      mean.map((m) => 0.1 * m),
    );
    near(
      norm.running_var.data,
      variance.map((v) => 0.9 + 0.1 * v),
    );
    assert.is(norm.num_batches_tracked.data[0], 1);
  });
}

test("batch norm normalises by the batch in training and by the running statistics otherwise", async () => {
  const norm = new BatchNorm(2, { scale: false, shift: false, eps: 0.5 });
  assert.equal(
    Array.from(norm.namedParameters(), ([name]) => name),
    ["running_mean", "running_var", "num_batches_tracked"],
  );
  const x = fill("x", [5, 2], "input");
  const { mean, variance } = moments(x, 0);
  const expected = (m: ArrayLike<number>, v: ArrayLike<number>) => x.data.map((value, i) => (value - m[i % 2]) / Math.sqrt(v[i % 2] + 0.5));
  near((await train((t) => norm.forward(t), x)).data, expected(mean, variance));
  near((await evaluate((t) => norm.forward(t), x)).data, expected(norm.running_mean.data, norm.running_var.data));
});

test("a batch norm that sees two views in a step moves its statistics twice", async () => {
  const norm = new BatchNorm(2);
  await train((t) => norm.forward(t).add(norm.forward(t.mul(3))), fill("x", [5, 2], "input"));
  const { mean } = moments(fill("x", [5, 2], "input"), 1);
  near(
    norm.running_mean.data,
    mean.map((m) => 0.9 * 0.1 * m + 0.1 * 3 * m),
  );
  assert.is(norm.num_batches_tracked.data[0], 2);
});

test("batch norm refuses a batch of one and says what would do", async () => {
  try {
    await train((t) => new BatchNorm(3).forward(t), fill("x", [1, 3]));
    assert.unreachable();
  } catch (error) {
    assert.match(
      (error as Error).message,
      /^Cannot batch-normalise \[1, 3\]: expected a batch of at least 2, since one value has no variance$/,
    );
  }
});

test("a weight-normed layer has rows of length |g| whatever the direction's length", async () => {
  const layer = new WeightNormLinear(4, 3);
  layer.weight_g.data.set([2, -1, 0.5]);
  const rows = await evaluate((t) => layer.forward(t), {
    data: Float32Array.from({ length: 16 }, (_, i) => Number(i % 5 === 0)),
    shape: [4, 4],
  });
  for (const [o, length] of [2, 1, 0.5].entries()) {
    near([Math.hypot(...[0, 1, 2, 3].map((i) => rows.data[i * 3 + o]))], [length]);
  }
});

test("drop path drops whole samples and keeps the mean", async () => {
  const layer = new DropPath(0.25);
  const x: Host = { data: new Float32Array(4000 * 3).fill(1), shape: [4000, 3] };
  const f = (t: Tensor, key: Tensor) => withContext({ training: true, key }, () => layer.forward(t));
  const y = await compile(f, reference)(x, { data: Float32Array.of(7, 0, 0, 0), shape: [4] });
  for (let i = 0; i < y.data.length; i += 3) assert.ok(y.data[i] === y.data[i + 1] && y.data[i] === y.data[i + 2]);
  assert.ok([...new Set(y.data)].every((v) => v === 0 || Math.abs(v - 4 / 3) < 1e-6));
  near([y.data.reduce((a, b) => a + b) / y.data.length], [1], 0.03);
  assert.equal(await evaluate((t) => layer.forward(t), x), x);
});

test("the attention map's rows are distributions and give the attention's output", async () => {
  const layer = new Attention(6, 2);
  const x = fill("x", [2, 5, 6], "input");
  const map = await evaluate((t) => layer.map(t), x);
  assert.equal(map.shape, [2, 2, 5, 5]);
  near((await evaluate((t) => layer.map(t).sum(-1), x)).data, new Float32Array(20).fill(1));
  const byHand = (t: Tensor) => {
    const v = layer.qkv.forward(t).slice(2, 12).reshape([2, 5, 2, 3]).permute([0, 2, 1, 3]);
    return layer.proj.forward(layer.map(t).matmul(v).permute([0, 2, 1, 3]).reshape([2, 5, 6]));
  };
  assert.ok(difference(await evaluate((t) => layer.forward(t), x), await evaluate(byHand, x)) < 1e-6);
});

test("attention refuses heads that do not divide the features", () => {
  assert.throws(() => new Attention(10, 4), /^Cannot split 10 features into 4 heads/);
});

test("a linear layer takes any leading axes", async () => {
  const layer = new Linear(3, 2, { bias: false });
  layer.weight.data.set([1, 10, 100, -1, 0, 2]);
  const y = await evaluate((t) => layer.forward(t.add(iota(3))), { data: new Float32Array(12), shape: [2, 2, 3] });
  assert.equal(y.shape, [2, 2, 2]);
  assert.equal([...y.data], [210, 4, 210, 4, 210, 4, 210, 4]);
});

test.run();
