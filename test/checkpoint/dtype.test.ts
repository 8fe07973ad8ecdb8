import { test } from "uvu";
import * as assert from "uvu/assert";
import { dtype, dtypes, type Numbers, swapBytes } from "../../src/checkpoint/dtype.ts";

const { POSITIVE_INFINITY: inf, NaN: nan } = Number;
const bytes = (buffer: ArrayBuffer) => new Uint8Array(buffer);

const rows: [string, ArrayBuffer, (number | bigint)[]][] = [
  ["float32", Float32Array.of(1.5, -0).buffer, [1.5, -0]],
  ["float64", Float64Array.of(0.1, -1e300).buffer, [Math.fround(0.1), -inf]],
  ["float16", Uint16Array.of(0x3c00, 0x7bff, 1, 0x83ff, 0xfc00, 0x8000).buffer, [1, 65504, 2 ** -24, -1023 * 2 ** -24, -inf, -0]],
  ["bfloat16", Uint16Array.of(0x3f80, 0xc040, 0x7f80).buffer, [1, -3, inf]],
  // Open Compute Project, OFP8, table 2
  ["float8_e4m3fn", Uint8Array.of(0x38, 0x7e, 0x01, 0x08, 0xb8, 0x7f).buffer, [1, 448, 2 ** -9, 2 ** -6, -1, nan]],
  ["float8_e5m2", Uint8Array.of(0x3c, 0x7b, 0x01, 0x04, 0x7c, 0x7d).buffer, [1, 57344, 2 ** -16, 2 ** -14, inf, nan]],
  // Noune et al. 2022, arXiv 2206.02915: no infinities, no minus zero
  ["float8_e4m3fnuz", Uint8Array.of(0x40, 0x7f, 0x01, 0x80).buffer, [1, 240, 2 ** -10, nan]],
  ["float8_e5m2fnuz", Uint8Array.of(0x40, 0x7f, 0x01, 0x80).buffer, [1, 57344, 2 ** -17, nan]],
  ["int64", BigInt64Array.of(-(2n ** 60n), 7n).buffer, [-(2n ** 60n), 7n]],
  ["uint64", BigUint64Array.of(2n ** 63n).buffer, [2n ** 63n]],
  ["int32", Int32Array.of(-5).buffer, [-5]],
  ["uint32", Uint32Array.of(2 ** 32 - 1).buffer, [2 ** 32 - 1]],
  ["int16", Int16Array.of(-300, 300).buffer, [-300, 300]],
  ["uint16", Uint16Array.of(65535).buffer, [65535]],
  ["int8", Int8Array.of(-128).buffer, [-128]],
  ["uint8", Uint8Array.of(255).buffer, [255]],
  ["bool", Uint8Array.of(0, 1).buffer, [0, 1]],
];

const same = (got: Numbers, want: readonly (number | bigint)[]) =>
  got.length === want.length && want.every((value, i) => Object.is(got[i], value));

for (const [name, buffer, want] of rows) {
  test(`${name} is decoded`, () => {
    const got = dtype(name).decode(bytes(buffer));
    assert.ok(same(got, want), `${[...got]} instead of ${want}`);
  });
  test(`${name} is decoded from any place and from big-endian bytes`, () => {
    const { size, decode } = dtype(name);
    const moved = new Uint8Array(buffer.byteLength + 1);
    moved.set(bytes(buffer), 1);
    assert.ok(same(decode(moved.subarray(1)), want));
    const swapped = bytes(buffer.slice(0));
    for (let at = 0; at < swapped.length; at += size) swapped.subarray(at, at + size).reverse();
    assert.ok(same(decode(swapBytes(swapped, size)), want));
  });
}

test("every dtype is in this table, and others are refused", () => {
  assert.equal(rows.map(([name]) => name).sort(), [...dtypes.keys()].sort());
  assert.throws(() => dtype("complex64"), /Unknown dtype "complex64"/);
});

test.run();
