import { suite } from "uvu";
import * as assert from "uvu/assert";
import { ops as table } from "../src/tape/op.ts";
import type { Tensor } from "../src/tape/tensor.ts";
import { compile } from "../src/tape/trace.ts";
import { rows } from "./op-rows.ts";
import { gradientGap, make, outputsOf, reference } from "./support.ts";

const ops = suite("ops");
for (const { name, run, inputs, bad, gradient } of rows) {
  const made = make(inputs, name);
  if (gradient !== false && made.some((x) => !x.fixed)) {
    ops(`${name}: gradient equals finite differences`, async () => {
      const gap = await gradientGap(run, made);
      assert.ok(gap < 1e-3, `gap ${gap}`);
    });
  }
  if (bad) {
    ops(`${name}: refuses ${JSON.stringify(bad)}`, async () => {
      const refused = outputsOf(run, make(bad, name), reference);
      assert.match(await refused.then(() => "accepted", String), /^ShapeError: Cannot/);
    });
  }
}

ops("every op has a row in the table", () => {
  const used = new Set<string>();
  for (const { name, run, inputs } of rows) {
    const made = make(inputs, name);
    const collect = compile((...x) => {
      const seen: Tensor[] = [run(...(x as Tensor[]))].flat();
      while (seen.length) {
        const t = seen.pop();
        if (!t) continue;
        used.add(t.node.op.name);
        seen.push(...t.node.inputs);
      }
      return [];
    }, reference);
    void collect(...made);
  }
  return new Promise<void>((done) => setTimeout(done, 0)).then(() => {
    const backward = /Grad$/;
    const missing = [...table.keys()].filter((name) => !used.has(name) && !backward.test(name) && !["parameter", "array"].includes(name));
    assert.equal(missing, []);
  });
});

ops.run();
