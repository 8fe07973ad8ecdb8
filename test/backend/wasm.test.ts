import { suite } from "uvu";
import * as assert from "uvu/assert";
import { WasmBackend } from "../../src/backend/wasm.ts";
import { rows } from "../op-rows.ts";
import { difference, make, outputsAndGradients, outputsOf, reference } from "../support.ts";

const wasm = suite("wasm");
let one: WasmBackend;
let three: WasmBackend;

wasm.before(async () => {
  one = await WasmBackend.open({ threads: 1 });
  three = await WasmBackend.open({ threads: 3 });
});

wasm.after(async () => {
  await one.close();
  await three.close();
});

for (const { name, run, inputs, gradient } of rows) {
  const made = make(inputs, name);
  const evaluate = gradient === false ? outputsOf : outputsAndGradients;
  wasm(`${name}: equals the reference, with the same bits on 1 and 3 threads`, async () => {
    const expected = await evaluate(run, made, reference);
    const got = await evaluate(run, made, one);
    assert.is(got.length, expected.length);
    for (const [i, host] of got.entries()) {
      const gap = difference(host, expected[i]);
      assert.ok(gap < 1e-5, `result ${i} differs by ${gap}`);
    }
    const again = await evaluate(run, made, three);
    for (const [i, host] of again.entries()) assert.equal(host.data, got[i].data, `result ${i}`);
  });
}

wasm.run();
