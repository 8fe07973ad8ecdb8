// Matrix products on the GPU in every tile, read one by one and in fours.
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { type OpenDevice, openDevice } from "../../../src/backend/webgpu/device.ts";
import { type Amount, type ShapeClass, tiles } from "../../../src/backend/webgpu/tiles.ts";
import { GpuBackend } from "../../../src/backend/webgpu.ts";
import type { Tensor } from "../../../src/tape/tensor.ts";
import { compile } from "../../../src/tape/trace.ts";
import { difference, make, outputsAndGradients, outputsOf, reference } from "../../support.ts";
import { onGpu, skipped } from "./support.ts";

const products = suite("gpu products");
const check = onGpu(products);
let open: OpenDevice;

products.before(async () => {
  if (!skipped) open = await openDevice({ software: true });
});
products.after(async () => {
  if (!skipped) await open.close();
});

/** A backend that computes every product in one tile. */
function backendOf(tile: string): GpuBackend {
  const layouts = ["k column", "k k", "row column", "row k"] as const;
  const classes = layouts.flatMap((layout) => (["few", "some", "many"] as Amount[]).map((amount): ShapeClass => `${layout}, ${amount}`));
  return new GpuBackend(open, Object.fromEntries(classes.map((of) => [of, tile])));
}

/** Tails on all sides of every tile. */
const jobs = (x: Tensor, y: Tensor, z: Tensor) => [
  x.matmul(y).add(1).relu(), // [148, 1060] x [1060, 92]: both in fours, k in parts
  x.slice(1, 0, 150).t().matmul(z.t()), // [150, 148] x [148, 93], neither side along k or in fours
];
const operands = make(
  [
    [148, 1060],
    [1060, 92],
    [93, 148],
  ],
  "products",
);

let bits: Float32Array[] | undefined;
for (const name of Object.keys(tiles)) {
  check(`a product in tiles of ${name} is right, and has the bits of any other tile`, async () => {
    const got = await compile((...inputs: Tensor[]) => jobs(inputs[0], inputs[1], inputs[2]), backendOf(name))(...operands);
    if (!bits) {
      const expected = await outputsOf((x, y, z) => jobs(x, y, z), operands, reference);
      for (const [i, host] of got.entries()) assert.ok(difference(host, expected[i]) < 1e-5, `result ${i}`);
    }
    bits ??= got.map(({ data }) => data);
    assert.equal(
      got.map(({ data }) => data),
      bits,
    );
  });
}

for (const [channels, outputs] of [
  [4, 8],
  [4, 6], // 3 channels are in the op table
]) {
  check(`a convolution of ${channels} to ${outputs} channels and its gradients equal the reference`, async () => {
    const run = (x: Tensor, w: Tensor) => x.conv2d(w, { stride: 2, padding: 1 });
    const inputs = make(
      [
        [2, 13, 11, channels],
        [outputs, 3, 3, channels],
      ],
      "convolution",
    );
    const expected = await outputsAndGradients(run, inputs, reference);
    const got = await outputsAndGradients(run, inputs, backendOf("32x32x16"));
    for (const [i, host] of got.entries()) assert.ok(difference(host, expected[i]) < 1e-5, `result ${i}`);
  });
}

products.run();
