// Tensors larger than what a kernel sees as one buffer: the limit is set to 64 KiB, so that small ones are too large.
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { type OpenDevice, openDevice } from "../../../src/backend/webgpu/device.ts";
import type { GpuExecutable } from "../../../src/backend/webgpu/executable.ts";
import { hull } from "../../../src/backend/webgpu/windows.ts";
import { GpuBackend } from "../../../src/backend/webgpu.ts";
import { attention } from "../../../src/tape/ops/attention.ts";
import { concat } from "../../../src/tape/ops/move.ts";
import { batchNorm, layerNorm } from "../../../src/tape/ops/normalize.ts";
import type { Shape } from "../../../src/tape/shape.ts";
import type { Tensor } from "../../../src/tape/tensor.ts";
import { compile, type Host } from "../../../src/tape/trace.ts";
import { difference, type Input, make, outputsAndGradients, outputsOf, type Run, reference } from "../../support.ts";
import { inHalves } from "./in-halves.ts";
import { onGpu, skipped } from "./support.ts";

const windows = suite("gpu windows");
const check = onGpu(windows);
const BINDING = 2 ** 16;
let open: OpenDevice;
let gpu: GpuBackend;
let whole: GpuBackend;

windows.before(async () => {
  if (skipped) return;
  open = await openDevice({ software: true });
  whole = new GpuBackend(open);
  gpu = new GpuBackend(open, {}, { binding: BINDING });
});
windows.after(async () => {
  if (!skipped) await open.close();
});

interface Row {
  name: string;
  run: Run;
  inputs: Input[];
  gradient?: false;
}

const rows: Row[] = [
  { name: "chain over a row and a column", run: (x, y, z) => x.mul(y).add(z).gelu(), inputs: [[181, 107], [107], [181, 1]] },
  { name: "permuted copy", run: (x) => x.permute([0, 2, 1]).exp(), inputs: [[31, 29, 23]] },
  {
    name: "concat and flip",
    run: (x, y) => concat([x, y.flip(0)], 1).square(),
    inputs: [
      [97, 101],
      [97, 90],
    ],
  },
  { name: "sums of rows, columns and all", run: (x) => [x.sum(0), x.sum(1), x.square().sum(), x.max(0)], inputs: [[37, 641]] },
  {
    name: "matmul with a chain behind",
    run: (x, w, b, r) => x.matmul(w).add(b).relu().add(r),
    inputs: [[301, 68], [68, 76], [76], [301, 76]],
  },
  {
    name: "matmul with both factors turned",
    run: (x, w) => x.t().matmul(w.t()),
    inputs: [
      [67, 263],
      [41, 67],
    ],
  },
  {
    name: "matmul over batches",
    run: (x, w) => x.matmul(w),
    inputs: [
      [2, 7, 45, 36],
      [2, 7, 36, 41],
    ],
  },
  { name: "softmax and its logarithm", run: (x) => [x.softmax(), x.logSoftmax()], inputs: [[131, 149]] },
  {
    name: "softmax of a small tensor beside a large one's",
    run: (x, y) => [y.softmax(), x.softmax()],
    inputs: [
      [131, 149],
      [7, 149],
    ],
  },
  { name: "layer norm and a residual beside it", run: (x, g, b) => layerNorm(x, g, b, 1e-6).add(x), inputs: [[157, 113], [113], [113]] },
  { name: "batch norm", run: (x, g, b) => batchNorm(x, g, b, 1e-5).y.relu(), inputs: [[7, 13, 13, 20], [20], [20]] },
  {
    name: "attention",
    run: (q, k, v) => attention(q, k, v, { heads: 3, scale: 0.25 }),
    inputs: [
      [9, 41, 48],
      [9, 37, 48],
      [9, 37, 48],
    ],
  },
  {
    name: "attention, sliced from one projection",
    run: (x) => {
      const [q, k, v] = x.split(2, 3);
      return attention(q, k, v, { heads: 3, scale: 0.25 });
    },
    inputs: [[9, 41, 144]],
  },
  {
    name: "convolution",
    run: (x, w) => x.conv2d(w, { stride: 2, padding: 1 }),
    inputs: [
      [9, 19, 17, 8],
      [12, 3, 3, 8],
    ],
  },
  {
    name: "convolution in groups",
    run: (x, w) => x.conv2d(w, { padding: 1, groups: 8 }),
    inputs: [
      [9, 17, 16, 8],
      [8, 3, 3, 1],
    ],
  },
  {
    name: "pooling",
    run: (x) => [x.maxPool({ kernel: 3, stride: 2, padding: 1 }), x.avgPool({ kernel: 2, stride: 2 })],
    inputs: [[9, 18, 16, 8]],
  },
];

/** As many indices below n, in no order. */
const indices = (count: number, n: number): Input => ({ shape: [count], data: Array.from({ length: count }, (_, i) => (i * 7919) % n) });

/** What moves numbers, or adds them in one order whatever is seen at once. */
const exactRows: Row[] = [
  { name: "transposed copy", run: (x) => x.t(), inputs: [[181, 107]] },
  { name: "a matrix and its transpose", run: (x) => x.add(x.t()), inputs: [[151, 151]] },
  { name: "transposed pair of columns", run: (x) => x.t().exp(), inputs: [[17011, 2]] },
  { name: "all axes turned", run: (x) => x.permute([2, 1, 0]).exp(), inputs: [[31, 29, 23]] },
  { name: "heads of a projection", run: (x) => x.reshape([9, 41, 3, 3, 16]).permute([2, 0, 3, 1, 4]).neg(), inputs: [[9, 41, 144]] },
  { name: "a row longer than the limit, for each row", run: (x, y) => x.mul(y), inputs: [[3, 1], [17011]] },
  { name: "sums and maxima over long rows", run: (x) => [x.sum(1), x.max(1)], inputs: [[2, 3, 17011]] },
  { name: "a vector and its flip", run: (x) => x.flip(0).sub(x), inputs: [[17011]] },
  {
    name: "concat of long parts with short ones",
    run: (x, y) => concat([x, y, x], 1),
    inputs: [
      [2, 3001, 5],
      [2, 4, 5],
    ],
  },
  {
    name: "updateSlice of a few columns",
    run: (x, piece, at) => x.updateSlice(piece, at.reshape([]), 1),
    inputs: [[181, 107], [181, 3], { shape: [1], data: [101] }],
    gradient: false,
  },
  {
    name: "updateSlice of rows behind the end",
    run: (x, piece, at) => x.updateSlice(piece, at.reshape([]), 0),
    inputs: [[281, 107], [181, 107], { shape: [1], data: [1000] }],
    gradient: false,
  },
  { name: "gather from a table", run: (x, i) => x.gather(i), inputs: [[1031, 17], indices(97, 1031)] },
  { name: "gather of many rows", run: (x, i) => x.gather(i), inputs: [[11, 83], indices(230, 11)] },
  { name: "gather of slices", run: (x, i) => x.gather(i.reshape([7, 9])), inputs: [[307, 3, 23], indices(63, 307)] },
  { name: "gather of rows longer than the limit", run: (x, i) => x.gather(i), inputs: [[3, 17011], indices(2, 3)], gradient: false },
  { name: "scatterAdd from and into many rows", run: (x, i) => x.scatterAdd(i, 2003), inputs: [[1031, 37], indices(1031, 41)] },
  { name: "scatterAdd by more indices than are seen", run: (x, i) => x.scatterAdd(i, 17029), inputs: [[17011, 1], indices(17011, 97)] },
  { name: "scatterAdd of a few numbers into many", run: (x, i) => x.scatterAdd(i, 17029), inputs: [[61, 1], indices(61, 17029)] },
];

function closeTo(expected: readonly Host[], got: readonly Host[], tolerance: number): void {
  assert.is(got.length, expected.length);
  for (const [i, host] of got.entries()) {
    const gap = difference(host, expected[i]);
    assert.ok(gap < tolerance, `result ${i} differs by ${gap}`);
  }
}

for (const row of [...rows, ...exactRows]) {
  const { name, run, inputs, gradient } = row;
  const evaluate = gradient === false ? outputsOf : outputsAndGradients;
  const exact = exactRows.includes(row);
  check(`${name}: tensors beyond the limit equal the reference${exact ? ", and to the bit what is computed without it" : ""}`, async () => {
    const made = make(inputs, name);
    const expected = await evaluate(run, made, reference);
    assert.ok([...made, ...expected].some(({ data }) => 4 * data.length > BINDING));
    const got = await evaluate(run, made, gpu);
    closeTo(expected, got, 1e-5);
    if (exact) assert.equal(got, await evaluate(run, made, whole));
  });
}

const halfRows: Row[] = [
  { name: "gather from a table", run: (x, i) => x.gather(i), inputs: [[2011, 17], indices(97, 2011)] },
  { name: "scatterAdd from and into many rows", run: (x, i) => x.scatterAdd(i, 2003), inputs: [[1031, 37], indices(1031, 41)] },
  { name: "all axes turned", run: (x) => x.permute([2, 1, 0]).exp(), inputs: [[31, 47, 23]] },
];

for (const { name, run, inputs } of halfRows) {
  check(`${name}: halves beyond the limit are to the bit what is computed without it`, async () => {
    const made = make(inputs, name);
    assert.ok(made.some(({ data }) => 2 * data.length > BINDING));
    const halves = inHalves(run, made);
    const got = await outputsAndGradients(halves, made, gpu, { precision: "f16" });
    closeTo(await outputsAndGradients(run, made, reference), got, 2e-2);
    assert.equal(got, await outputsAndGradients(halves, made, whole, { precision: "f16" }));
  });
}

check("what is in sight runs as it does without a limit", async () => {
  const run = (x: Tensor, i: Tensor) => x.gather(i).t().exp().t().scatterAdd(i, 19);
  const made = make([[19, 13], indices(31, 19)], "in sight");
  const dispatches = async (backend: GpuBackend) => {
    const { dispatches } = (await compile(run, backend).prepare(made[0], made[1])) as GpuExecutable;
    return dispatches.map(({ shader, params, grid }) => ({ shader, params, grid }));
  };
  assert.equal(await dispatches(gpu), await dispatches(whole));
});

check("intermediate values that no buffer holds together lie in several", async () => {
  const small = new GpuBackend(open, {}, { buffer: 2 ** 17 });
  const run = (x: Tensor) => {
    const kept = [1, 2, 3, 4, 5].map((scale) => x.mul(scale).softmax());
    return kept
      .reduce((product, part) => product.mul(part.exp()).softmax())
      .square()
      .sum();
  };
  const [x] = make([[131, 149]], "arena");
  const step = compile(run, small);
  assert.ok((await step.prepare(x)).arenaBytes > 4 * 2 ** 17);
  const [expected] = await outputsOf(run, [x], reference);
  assert.ok(difference(await step(x), expected) < 1e-5);
});

check("what cannot be cut is refused with the op, the sizes and what would do", async () => {
  const softmax = compile((x: Tensor) => x.softmax(), gpu);
  const error = await softmax(make([[2, 17011]], "softmax")[0]).catch((error: Error) => error);
  assert.instance(error, RangeError);
  assert.match(
    (error as Error).message,
    /^Cannot run softmax on this GPU: .* 65536 bytes at once, a tensor has 1360\d\d .* take a smaller batch/,
  );
});

windows("a hull holds every place of its elements and no more than the axis in which they differ", () => {
  const shape: Shape = [3, 4, 5];
  for (const strides of [
    [20, 5, 1],
    [1, 3, 12],
    [-20, 0, 7],
  ]) {
    const places = Array.from(
      { length: 60 },
      (_, i) => Math.floor(i / 20) * strides[0] + (Math.floor(i / 5) % 4) * strides[1] + (i % 5) * strides[2],
    );
    for (const [begin, end] of [
      [0, 60],
      [7, 8],
      [21, 24],
      [3, 19],
      [18, 43],
    ]) {
      const [low, high] = hull({ shape, strides }, begin, end);
      const touched = places.slice(begin, end);
      assert.ok(low <= Math.min(...touched) && high > Math.max(...touched));
      if (end - begin < 4) assert.equal([low, high], [Math.min(...touched), Math.max(...touched) + 1]);
    }
  }
});

windows.run();
