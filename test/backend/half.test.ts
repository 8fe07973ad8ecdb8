import { suite } from "uvu";
import * as assert from "uvu/assert";
import { fromHalf } from "../../src/backend/reference-half.ts";
import { loadKernels } from "../../src/backend/wasm/kernels.ts";
import { Solo } from "../../src/backend/wasm/solo.ts";

const half = suite<{ narrow: (x: Float32Array) => Uint16Array; widen: (x: Uint16Array) => Float32Array }>("half precision");
half.before(async (context) => {
  const { module } = await loadKernels("plain");
  const words = (n: number) => Math.ceil(n / 2);
  context.narrow = (x) => {
    const count = x.length;
    const { inputs, outputs, run } = new Solo(module).prepare({
      op: "toHalf",
      shapes: [[count]],
      outShapes: [[words(count)]],
      attrs: { count },
    });
    inputs[0].set(x);
    run();
    return new Uint16Array(outputs[0].slice().buffer, 0, count);
  };
  context.widen = (x) => {
    const count = x.length;
    const { inputs, outputs, run } = new Solo(module).prepare({
      op: "fromHalf",
      shapes: [[words(count)]],
      outShapes: [[count]],
      attrs: { count },
    });
    new Uint16Array(inputs[0].buffer, inputs[0].byteOffset, count).set(x);
    run();
    return outputs[0].slice();
  };
});

const every = Uint16Array.from({ length: 65536 }, (_, i) => i);
const isNaNHalf = (bits: number) => (bits & 0x7fff) > 0x7c00;

/** The float32 next to a positive one. */
function beside(x: number, by: number): number {
  const bits = new Int32Array(Float32Array.of(x).buffer);
  bits[0] += by;
  return new Float32Array(bits.buffer)[0];
}

half("of every one of the 65,536 values widens to exactly its number", ({ widen }) => {
  const wide = widen(every);
  for (const bits of every) assert.ok(Object.is(wide[bits], fromHalf(bits)), `${bits.toString(16)}: ${wide[bits]}`);
});

half("of every one of the 65,536 values comes back with the same bits", ({ narrow, widen }) => {
  const back = narrow(widen(every));
  for (const bits of every) assert.ok(back[bits] === bits || (isNaNHalf(back[bits]) && isNaNHalf(bits)), bits.toString(16));
});

half("between any two neighbours rounds to the nearer, in the middle to the even one, of either sign", ({ narrow }) => {
  const middles = Array.from({ length: 0x7c00 - 1 }, (_, i) => (fromHalf(i) + fromHalf(i + 1)) / 2);
  for (const sign of [1, -1]) {
    const [at, below, above] = [0, -1, 1].map((by) => narrow(Float32Array.from(middles, (x) => sign * beside(x, by))));
    const bit = sign < 0 ? 0x8000 : 0;
    for (const i of middles.keys()) {
      assert.is(at[i], bit | (i + (i % 2)), `middle above ${i}`);
      assert.is(below[i], bit | i, `under the middle above ${i}`);
      assert.is(above[i], bit | (i + 1), `over the middle above ${i}`);
    }
  }
});

half("becomes infinite from 65,520 on, zero at and below half of the smallest, and NaN of NaN", ({ narrow }) => {
  const cases: [number, number][] = [
    [65504, 0x7bff],
    [beside(65520, -1), 0x7bff],
    [65520, 0x7c00],
    [3e38, 0x7c00],
    [-65520, 0xfc00],
    [Number.NEGATIVE_INFINITY, 0xfc00],
    [2 ** -25, 0],
    [-(2 ** -25), 0x8000],
    [1e-45, 0],
    [beside(2 ** -25, 1), 1],
    [-0, 0x8000],
  ];
  assert.equal(
    [...narrow(Float32Array.from(cases, ([x]) => x))].map((x) => x.toString(16)),
    cases.map(([, bits]) => bits.toString(16)),
  );
  assert.ok(isNaNHalf(narrow(Float32Array.of(Number.NaN))[0]));
});

half("of any count leaves nothing out", ({ narrow, widen }) => {
  for (const count of [1, 2, 7, 15, 16, 17, 31, 33, 1093]) {
    const x = Float32Array.from({ length: count }, (_, i) => (i - 9) / 8);
    assert.equal(widen(narrow(x)), x, `${count} numbers`);
  }
});

half.run();
