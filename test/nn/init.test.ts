import { test } from "uvu";
import * as assert from "uvu/assert";
import * as init from "../../src/nn/init.ts";
import { Linear } from "../../src/nn/linear.ts";
import { uniform } from "../../src/tape/ops/random.ts";
import { philox, Random } from "../../src/tape/philox.ts";
import type { Tensor } from "../../src/tape/tensor.ts";
import { compile } from "../../src/tape/trace.ts";
import { reference } from "../support.ts";

/** Known answers of Random123 (kat_vectors, philox4x32 10): counter, key, words. */
const answers = [
  [
    [0, 0, 0, 0],
    [0, 0],
    [0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8],
  ],
  [
    [0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff],
    [0xffffffff, 0xffffffff],
    [0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd],
  ],
  [
    [0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344],
    [0xa4093822, 0x299f31d0],
    [0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1],
  ],
];
test("philox gives the known answers of the reference implementation", () => {
  const out = new Uint32Array(4);
  for (const [counter, [k, l], words] of answers) {
    philox(Uint32Array.from(counter), k, l, out);
    assert.equal([...out], words);
  }
});

test("host and tape draw the same numbers", async () => {
  const [seed, stream, step] = [0x12345678, 9, 0x1000f];
  const draws = compile((key: Tensor) => uniform(key, stream, [3, 7]), reference);
  const { data } = await draws({ data: Float32Array.of(seed & 0xffff, seed >>> 16, step & 0xffff, step >>> 16), shape: [4] });
  const random = new Random(seed, stream, step);
  assert.equal(
    data,
    Float32Array.from({ length: 21 }, () => random.uniform()),
  );
});

test("the same seed gives the same weights, another seed others, and no two parameters share numbers", () => {
  const make = (seed: number) => init.withSeed(seed, () => [new Linear(5, 5), new Linear(5, 5)].map(({ weight }) => [...weight.data]));
  assert.equal(make(3), make(3));
  assert.not.equal(make(3), make(4));
  const [first, second] = make(3);
  assert.not.equal(first, second);
});

interface Row {
  name: string;
  make: init.Initializer;
  shape: number[];
  std: number;
  most: number;
}

const rows: Row[] = [
  { name: "normal(0.3)", make: init.normal(0.3), shape: [300, 100], std: 0.3, most: Number.POSITIVE_INFINITY },
  { name: "uniform(0.3)", make: init.uniform(0.3), shape: [300, 100], std: 0.3 / Math.sqrt(3), most: 0.3 },
  { name: "truncNormal(0.02)", make: init.truncNormal(0.02), shape: [300, 100], std: 0.02, most: 2 },
  { name: "truncNormal(1, 1)", make: init.truncNormal(1, 1), shape: [300, 100], std: 0.5396, most: 1 },
  { name: "kaimingNormal", make: init.kaimingNormal, shape: [64, 3, 3, 50], std: Math.sqrt(2 / (64 * 9)), most: Number.POSITIVE_INFINITY },
  { name: "kaimingUniform", make: init.kaimingUniform, shape: [64, 3, 3, 50], std: 1 / Math.sqrt(3 * 450), most: 1 / Math.sqrt(450) },
  { name: "xavierUniform", make: init.xavierUniform(), shape: [300, 100], std: Math.sqrt(2 / 400), most: Math.sqrt(6 / 400) },
  { name: "xavierUniform(100)", make: init.xavierUniform(100), shape: [300, 100], std: Math.sqrt(2 / 200), most: Math.sqrt(6 / 200) },
];

for (const { name, make, shape, std, most } of rows) {
  test(`${name} has mean 0, deviation ${std.toFixed(4)} and no entry beyond ${most.toFixed(3)}`, () => {
    const data = init.withSeed(1, () => init.parameter(shape, make)).data;
    const mean = data.reduce((a, b) => a + b) / data.length;
    const found = Math.sqrt(data.reduce((sum, x) => sum + (x - mean) ** 2, 0) / data.length);
    assert.ok(Math.abs(mean) < 0.02 * std, `mean ${mean}`);
    assert.ok(Math.abs(found / std - 1) < 0.02, `deviation ${found}`);
    assert.ok(data.every((x) => Math.abs(x) <= most * (1 + 1e-6)));
  });
}

test.run();
