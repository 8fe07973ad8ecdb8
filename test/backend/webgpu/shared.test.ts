import { suite } from "uvu";
import * as assert from "uvu/assert";
import { GpuBackend } from "../../../src/backend/webgpu.ts";
import type { Tensor } from "../../../src/tape/tensor.ts";
import { compile } from "../../../src/tape/trace.ts";
import { onGpu } from "./support.ts";

const inputs = suite("gpu inputs");

onGpu(inputs)("batches in memory that threads share reach the GPU, large and small, one after the other", async () => {
  const gpu = await GpuBackend.open({ software: true });
  const sums = compile((x: Tensor, y: Tensor) => ({ x: x.sum(), y: y.sum() }), gpu);
  const shared = (count: number) => new Float32Array(new SharedArrayBuffer(4 * count));
  const [large, small] = [shared(2 ** 15), shared(3)];
  for (const value of [1, 2]) {
    large.fill(value);
    small.fill(value);
    const { x, y } = await sums({ data: large, shape: [large.length] }, { data: small, shape: [3] });
    assert.equal([x.data[0], y.data[0]], [value * 2 ** 15, value * 3]);
  }
  await gpu.close();
});

inputs.run();
