import { suite } from "uvu";
import * as assert from "uvu/assert";
import { openBackend } from "../../src/backend/open.ts";
import { type ConvJob, jobs, type MatmulJob, outputSide, permuted, values } from "./jobs.ts";
import { type Contender, disagreement, inTurn, spreadOf } from "./measure.ts";
import { runner } from "./ours.ts";

const measure = suite("measure");

measure("contenders take turns, and the stretch that warms up does not count", async () => {
  const turns: string[] = [];
  const contender = (name: string): Contender => ({
    name,
    result: async () => new Float32Array(1),
    measure: async () => [turns.push(name)],
    close: async () => {},
  });
  const times = await inTurn([contender("a"), contender("b")], { rounds: 2, stretchMs: 1 });
  assert.is(turns.join(""), "ababab");
  assert.equal(times, [
    [3, 5],
    [4, 6],
  ]);
});

measure("the spread of a list is its median and the quartiles", () => {
  assert.equal(spreadOf([5, 1, 4, 2, 3]), { median: 3, low: 2, high: 4, runs: 5 });
});

measure("results disagree by their largest difference over the largest entry, and always when one is not a number", () => {
  assert.is(disagreement(Float32Array.of(1, 2), Float32Array.of(1, 4)), 0.5);
  assert.is(disagreement(Float32Array.of(Number.NaN, 2), Float32Array.of(1, 4)), Number.POSITIVE_INFINITY);
  assert.is(disagreement(Float32Array.of(1), Float32Array.of(1, 4)), Number.POSITIVE_INFINITY);
});

measure("axes are exchanged as asked", () => {
  const x = { data: Float32Array.from({ length: 24 }, (_, i) => i), shape: [1, 2, 3, 4] };
  const { data, shape } = permuted(x, [0, 3, 1, 2]);
  assert.equal(shape, [1, 4, 2, 3]);
  assert.equal([...data.subarray(0, 7)], [0, 4, 8, 12, 16, 20, 1]);
  assert.equal(permuted({ data, shape }, [0, 2, 3, 1]).data, x.data);
});

for (const job of [
  { op: "matmul", name: "batched", batch: 2, m: 3, k: 5, n: 4 },
  { op: "matmul", name: "weight", m: 3, k: 5, n: 4, weight: true },
  { op: "matmul", name: "both transposed", m: 3, k: 5, n: 4, ta: true, tb: true },
  { op: "conv", name: "stride", batch: 2, side: 5, inputs: 3, outputs: 4, kernel: 3, stride: 2 },
] satisfies (MatmulJob | ConvJob)[]) {
  measure(`${job.name}: our contender computes what plain loops do`, async () => {
    const backend = await openBackend({ backend: "wasm", threads: 1 });
    try {
      assert.ok(disagreement(await runner(job, backend)(), plain(job)) < 1e-5);
    } finally {
      await backend.close();
    }
  });
}

measure("names of jobs are different", () => assert.is(new Set(jobs.map(({ name }) => name)).size, jobs.length));

function plain(job: MatmulJob | ConvJob): Float32Array {
  const { a, b } = values(job);
  if (job.op === "matmul") {
    const { batch = 1, m, k, n, ta, tb } = job;
    return Float32Array.from({ length: batch * m * n }, (_, i) => {
      const [matrix, row, column] = [Math.floor(i / (m * n)), Math.floor(i / n) % m, i % n];
      let sum = 0;
      for (let t = 0; t < k; t++) {
        const [left, right] = [ta ? t * m + row : row * k + t, tb ? column * k + t : t * n + column];
        sum += a.data[matrix * m * k + left] * b.data[matrix * k * n + right];
      }
      return sum;
    });
  }
  const { batch, side, inputs, outputs, kernel, stride } = job;
  const to = outputSide(job);
  return Float32Array.from({ length: batch * to * to * outputs }, (_, i) => {
    const [o, x, y, image] = [
      i % outputs,
      Math.floor(i / outputs) % to,
      Math.floor(i / outputs / to) % to,
      Math.floor(i / outputs / to / to),
    ];
    let sum = 0;
    for (let v = 0; v < kernel; v++) {
      for (let u = 0; u < kernel; u++) {
        const [row, column] = [y * stride + v - (kernel - 1) / 2, x * stride + u - (kernel - 1) / 2];
        if (row < 0 || row >= side || column < 0 || column >= side) continue;
        for (let c = 0; c < inputs; c++) {
          sum += a.data[((image * side + row) * side + column) * inputs + c] * b.data[((o * kernel + v) * kernel + u) * inputs + c];
        }
      }
    }
    return sum;
  });
}

measure.run();
