import { test } from "uvu";
import * as assert from "uvu/assert";
import { biasedAttention, biasedAttentionMap } from "../../src/nn/biased-attention.ts";
import { attention } from "../../src/tape/ops/attention.ts";
import type { Tensor } from "../../src/tape/tensor.ts";
import { compile } from "../../src/tape/trace.ts";
import { fill } from "../fill.ts";
import { gradientGap, make, reference } from "../support.ts";

const heads = 2;
const scale = 0.6;
const [q, k, v] = ["q", "k", "v"].map((name) => fill(name, [4, name === "q" ? 3 : 5, 6], "input"));

test("without biases it is attention", async () => {
  const bias = { data: new Float32Array(2 * 3 * 5), shape: [1, heads, 3, 5] };
  const { plain, biased } = await compile(
    (a: Tensor, b: Tensor, c: Tensor, d: Tensor) => ({
      plain: attention(a, b, c, { heads, scale }),
      biased: biasedAttention(a, b, c, { heads, scale, bias: d }),
    }),
    reference,
  )(q, k, v, bias);
  assert.equal(biased.shape, [4, 3, 6]);
  assert.ok(plain.data.every((x, i) => Math.abs(x - biased.data[i]) < 1e-6));
});

test("sample i takes the biases i mod g", async () => {
  // the second group hides all keys but the last
  const data = Float32Array.from({ length: 2 * heads * 3 * 5 }, (_, i) => (i >= heads * 15 && i % 5 < 4 ? -100 : 0));
  const map = await compile((a: Tensor, b: Tensor, c: Tensor) => biasedAttentionMap(a, b, { heads, scale, bias: c }), reference)(q, k, {
    data,
    shape: [2, heads, 3, 5],
  });
  const largestBeforeLast = (sample: number) => Math.max(...map.data.subarray(30 * sample, 30 * sample + 30).filter((_, i) => i % 5 < 4));
  assert.ok([1, 3].every((sample) => largestBeforeLast(sample) < 1e-30));
  assert.ok([0, 2].every((sample) => largestBeforeLast(sample) > 0.1));
});

test("its gradient equals finite differences, that of the biases included", async () => {
  const inputs = make(
    [
      [4, 3, 6],
      [4, 5, 6],
      [4, 5, 6],
      [2, heads, 3, 5],
    ],
    "biased",
  );
  const gap = await gradientGap((a, b, c, d) => biasedAttention(a, b, c, { heads, scale, bias: d }), inputs);
  assert.ok(gap < 1e-3, `gap ${gap}`);
});

test.run();
