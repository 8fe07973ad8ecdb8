import { test } from "uvu";
import * as assert from "uvu/assert";
import { avgPoolSame, maxPoolSame, SimclrResNet } from "../../src/models/resnet-simclr.ts";
import { withSeed } from "../../src/nn/init.ts";
import type { Tensor } from "../../src/tape/tensor.ts";
import { compile, type Host } from "../../src/tape/trace.ts";
import { fill } from "../fill.ts";
import { reference } from "../support.ts";

const image = (side: number): Host => ({ data: Float32Array.from({ length: side * side }, (_, i) => i), shape: [1, side, side, 1] });
const pooled = async (f: (x: Tensor) => Tensor, side: number) => Array.from((await compile(f, reference)(image(side))).data);

test("max pooling begins at the first row of even sides, and one before it of odd ones", async () => {
  assert.equal(await pooled(maxPoolSame, 4), [10, 11, 14, 15]);
  assert.equal(await pooled(maxPoolSame, 5), [6, 8, 9, 16, 18, 19, 21, 23, 24]);
});

test("average pooling of stride 2 counts the zeros behind an odd side, and of stride 1 leaves them out", async () => {
  assert.equal(await pooled((x) => avgPoolSame(x, 2), 3), [2, 7 / 4, 13 / 4, 2]);
  assert.equal(await pooled((x) => avgPoolSame(x, 2), 2), [1.5]);
  assert.equal(await pooled((x) => avgPoolSame(x, 1), 3), [2, 3, 3.5, 5, 6, 6.5, 6.5, 7.5, 8]);
});

test("blocks begin as their shortcuts, whose last norm begins at one", async () => {
  const model = withSeed(1, () => new SimclrResNet({ block: "bottleneck", layers: [2, 1, 1, 1], width: 0.25, selectiveKernels: 0.0625 }));
  const { stages } = await compile((x: Tensor) => model.outputs(x), reference)(fill("x", [1, 21, 20, 3], "unit"));
  assert.equal(stages[0][1].data, stages[0][0].data);
  assert.ok(stages[0][0].data.some((x) => x > 0));
  assert.equal(
    stages.map(([{ shape }]) => shape),
    [
      [1, 6, 5, 64],
      [1, 3, 3, 128],
      [1, 2, 2, 256],
      [1, 1, 1, 512],
    ],
  );
});

test.run();
