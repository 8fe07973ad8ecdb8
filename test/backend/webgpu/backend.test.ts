import { suite } from "uvu";
import * as assert from "uvu/assert";
import { WasmBackend } from "../../../src/backend/wasm.ts";
import { openDevice } from "../../../src/backend/webgpu/device.ts";
import type { GpuExecutable } from "../../../src/backend/webgpu/executable.ts";
import { GpuBackend } from "../../../src/backend/webgpu.ts";
import { concat } from "../../../src/tape/ops/move.ts";
import { uniform } from "../../../src/tape/ops/random.ts";
import { Parameter, type Tensor } from "../../../src/tape/tensor.ts";
import { assign, compile, type Host } from "../../../src/tape/trace.ts";
import { difference, make, outputsOf, reference } from "../../support.ts";
import { onGpu, skipped } from "./support.ts";

const backend = suite("gpu backend");
const check = onGpu(backend);
const open = () => GpuBackend.open({ software: true });
let gpu: GpuBackend;

backend.before(async () => {
  if (!skipped) gpu = await open();
});
backend.after(async () => {
  if (!skipped) await gpu.close();
});

const numbers = (...shape: number[]) => make([shape], "numbers")[0];
const failure = (promise: Promise<unknown>): Promise<Error> =>
  promise.then(
    () => assert.unreachable("expected to fail"),
    (error) => error,
  );

check(
  "parameters stay on the GPU: reading follows every run, new numbers of the host are seen, closing brings the last ones back",
  async () => {
    const own = await open();
    const count = new Parameter([3], Float32Array.of(1, 2, 3));
    const step = compile(() => {
      assign(count, count.add(1));
      return count.sum();
    }, own);
    assert.is((await step()).data[0], 9);
    assert.equal([...(await own.read(count))], [2, 3, 4]);
    await step();
    await own.write(count, Float32Array.of(10, 20, 30));
    assert.is((await step()).data[0], 63);
    count.data = Float32Array.of(0, 0, 1);
    assert.is((await step()).data[0], 4);
    await own.close();
    assert.equal([...count.data], [1, 1, 2]);
  },
);

check("two programs share parameters; the last one to go brings them home", async () => {
  const weight = new Parameter([5], new Float32Array(5).fill(2));
  const read = compile((x: Tensor) => x.mul(weight).sum(), gpu);
  const grow = compile(() => {
    assign(weight, weight.mul(2));
    return weight.sum();
  }, gpu);
  assert.is((await read(1)).data[0], 10);
  assert.is((await grow()).data[0], 20);
  assert.is((await read(1)).data[0], 20);
  (await grow.prepare()).dispose();
  assert.is((await read(3)).data[0], 60);
  (await read.prepare(1)).dispose();
  await gpu.read(new Parameter([1], new Float32Array(1))); // its turn comes after the disposal
  assert.equal([...weight.data], [4, 4, 4, 4, 4]);
  assert.match((await failure(read(1))).message, /disposed/);
});

check("runs that are asked for at once come one after the other", async () => {
  const count = new Parameter([], new Float32Array(1));
  const step = compile((x: Tensor) => {
    assign(count, count.mul(2).add(x));
    return count.mul(1);
  }, gpu);
  const results = await Promise.all([1, 2, 3, 4].map((x) => step(x)));
  assert.equal(
    results.map(({ data }) => data[0]),
    [1, 4, 11, 26],
  );
});

check("runs begin while others are under way: inputs may change once a run has begun, and outputs come in order", async () => {
  const count = new Parameter([2], new Float32Array(2));
  const step = compile((x: Tensor) => {
    assign(count, count.mul(2).add(x));
    return { whole: count.mul(1), first: count.slice(0, 0, 1), input: x };
  }, gpu);
  const x: Host = { data: new Float32Array(2), shape: [2] };
  const begun: Promise<{ whole: Host; first: Host; input: Host }>[] = [];
  for (let i = 1; i <= 7; i++) {
    x.data.set([i, -i]);
    begun.push((await step.start(x)).outputs);
  }
  x.data.fill(99);
  const [whole, first, input] = [[] as number[][], [] as number[], [] as number[]];
  for (const outputs of await Promise.all(begun)) {
    whole.push([...outputs.whole.data]);
    first.push(outputs.first.data[0]);
    input.push(outputs.input.data[0]);
  }
  assert.equal(
    whole,
    [1, 4, 11, 26, 57, 120, 247].map((v) => [v, -v]),
  );
  assert.equal(first, [1, 4, 11, 26, 57, 120, 247]);
  assert.equal(input, [1, 2, 3, 4, 5, 6, 7]);
  (await step.start(x)).outputs.catch(() => assert.unreachable("a program is freed when its runs have ended"));
  (await step.prepare(x)).dispose();
});

check("a grid of more than 65,535 workgroups reaches every element", async () => {
  const n = 65536 * 256 + 4099;
  const step = compile((x: Tensor) => {
    const y = x.expand([n]).add(1);
    return [y.sum(), y.slice(0, n - 3, n)];
  }, gpu);
  const [sum, last] = await step(1);
  assert.ok(Math.abs(sum.data[0] / (2 * n) - 1) < 1e-6, `${sum.data[0]}, expected ${2 * n}`);
  assert.equal([...last.data], [2, 2, 2]);
});

check("a chain over more tensors than a kernel binds sees them through fewer windows", async () => {
  const parts = Array.from(
    { length: 24 },
    (_, i) =>
      new Parameter(
        [37],
        numbers(37).data.map((v) => v + i),
      ),
  );
  const made = numbers(37);
  const run = (x: Tensor) => parts.reduce((sum, part) => sum.mul(0.9).add(part), x);
  const [expected] = await outputsOf(run, [made], reference);
  const [got] = await outputsOf(run, [made], gpu);
  assert.ok(difference(got, expected) < 1e-5);
});

check("chains over many tensors are one dispatch, with the result of many", async () => {
  const parts = Array.from({ length: 30 }, (_, i) => new Parameter([37 + i], numbers(37 + i).data.slice()));
  const before = parts.map(({ data }) => data.slice());
  const decay = compile((rate: Tensor) => {
    for (const part of parts) assign(part, part.sub(part.mul(rate)));
    return rate.add(1);
  }, gpu);
  const { dispatches } = (await decay.prepare(0.5)) as GpuExecutable;
  assert.ok(dispatches.length <= 2, `${dispatches.length} dispatches`);
  await decay(0.25);
  for (const [i, part] of parts.entries()) {
    const expected = { data: before[i].map((v) => 0.75 * v), shape: part.shape };
    assert.ok(difference({ data: await gpu.read(part), shape: part.shape }, expected) < 1e-6);
  }
});

check("draws are the same bits as on the CPU", async () => {
  const wasm = await WasmBackend.open({ threads: 1 });
  const key: Host = { data: Float32Array.of(65535, 40000, 12345, 3), shape: [4] };
  const draw = (on: GpuBackend | WasmBackend) => compile((k: Tensor) => uniform(k, 9, [1031]), on)(key);
  assert.equal((await draw(gpu)).data, (await draw(wasm)).data);
  await wasm.close();
});

check("results repeat to the bit", async () => {
  const x = numbers(3, 40, 70);
  const index: Host = { data: Float32Array.from({ length: 120 }, (_, i) => (i * 7) % 11), shape: [120] };
  const step = compile((t: Tensor, at: Tensor) => {
    const rows = t.reshape([120, 70]);
    return [rows.t().matmul(rows), rows.softmax().sum(0), rows.scatterAdd(at, 11), concat([rows, rows], 0).max(0)];
  }, gpu);
  const first = await step(x, index);
  for (let i = 0; i < 3; i++) assert.equal(await step(x, index), first);
});

check("inputs of all sizes arrive, large ones on their own", async () => {
  const big = numbers(20_011);
  const step = compile((a: Tensor, b: Tensor, c: Tensor) => [a.sum(), b.mul(c)], gpu);
  for (const scale of [1, 3]) {
    const [sum, product] = await step(big, scale, { data: Float32Array.of(1, 2, 5), shape: [3] });
    const expected = big.data.reduce((total, v) => total + v, 0);
    assert.ok(Math.abs(sum.data[0] - expected) < 1e-3 * Math.max(1, Math.abs(expected)));
    assert.equal([...product.data], [scale, 2 * scale, 5 * scale]);
  }
});

check("a program larger than any buffer is refused with both sizes, before anything runs, and smaller ones still run", async () => {
  const huge = compile(
    (x: Tensor) =>
      x
        .expand([3, 2 ** 31])
        .add(1)
        .exp(),
    gpu,
  );
  const error = await failure(huge(1));
  assert.instance(error, RangeError);
  assert.match(error.message, /\d+ bytes/);
  assert.is((await compile((x: Tensor) => x.add(1), gpu)(1)).data[0], 2);
});

check("a GPU that is lost fails what waits and what comes later, with the reason", async () => {
  const opened = await openDevice({ software: true });
  const own = new GpuBackend(opened);
  const step = compile((x: Tensor) => x.add(1), own);
  assert.is((await step(1)).data[0], 2);
  opened.device.destroy();
  assert.match((await failure(step(1))).message, /^Cannot go on with the gpu backend: the GPU was lost/);
  assert.match((await failure(step(1))).message, /^Cannot go on with the gpu backend: the GPU was lost/);
  await own.close();
});

check("a closed backend refuses, with the reason", async () => {
  const own = await open();
  const step = compile((x: Tensor) => x.add(1), own);
  await step(1);
  await own.close();
  await own.close();
  assert.match((await failure(step(1))).message, /has been closed/);
});

check("a timed run gives the same bits and a time for every step, in order", async () => {
  const step = compile((x: Tensor) => x.reshape([40, 70]).softmax().sum(0).exp(), gpu);
  const x = numbers(2800);
  const { value, times } = await step.timed(x);
  assert.equal(value, await step(x));
  assert.equal(
    times.map(({ step: { op } }) => op),
    ["softmax", "sum", "elementwise"],
  );
  for (const [i, { beginMs, timeMs }] of times.entries())
    assert.ok(timeMs >= 0 && timeMs < 10_000 && beginMs >= (times[i - 1]?.beginMs ?? 0));
});

check("a part of a GPU's name will do, in any case; where none has it, the error names those that there are", async () => {
  const { message } = await failure(openDevice({ name: "no such GPU", software: true }));
  assert.match(message, /^Cannot compute on a GPU: no adapter is called "no such GPU"/);
  const name = message.match(/name: '([^']+)'/)?.[1] as string;
  for (const part of [name.slice(1).toUpperCase(), name.slice(0, -1).toLowerCase()]) {
    const named = await openDevice({ name: part, software: true });
    assert.is(named.adapter.name, gpu.adapter.name);
    await named.close();
  }
});

check("many devices may come and go", async () => {
  for (let i = 0; i < 4; i++) await (await openDevice({ software: true })).close();
});

backend.run();
