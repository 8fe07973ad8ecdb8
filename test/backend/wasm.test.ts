import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { WasmExecutable } from "../../src/backend/wasm/executable.ts";
import { WasmBackend } from "../../src/backend/wasm.ts";
import { apply1 } from "../../src/tape/op.ts";
import { batchNorm } from "../../src/tape/ops/normalize.ts";
import type { Elementwise, Instruction, Step, View } from "../../src/tape/program.ts";
import type { Shape } from "../../src/tape/shape.ts";
import { Parameter, type Tensor } from "../../src/tape/tensor.ts";
import { assign, compile, type Host } from "../../src/tape/trace.ts";
import { contiguous } from "../../src/tape/view.ts";
import { rows } from "../op-rows.ts";
import { difference, type Made, make, outputsAndGradients, outputsOf, reference } from "../support.ts";

const wasm = suite("wasm");
let one: WasmBackend;
let three: WasmBackend;
let relaxed: WasmBackend;

wasm.before(async () => {
  one = await WasmBackend.open({ threads: 1, build: "plain" });
  three = await WasmBackend.open({ threads: 3, build: "plain" });
  relaxed = await WasmBackend.open({ threads: 2, build: "relaxed" });
});

wasm.after(async () => {
  await one.close();
  await three.close();
  await relaxed.close();
});

/** Every result within 1e-5 of the largest entry. */
function close(got: Host[], expected: Host[], what: string): void {
  assert.is(got.length, expected.length);
  for (const [i, host] of got.entries()) {
    const gap = difference(host, expected[i]);
    assert.ok(gap < 1e-5, `${what}: result ${i} differs by ${gap}`);
  }
}

for (const { name, run, inputs, gradient } of rows) {
  const made = make(inputs, name);
  const evaluate = gradient === false ? outputsOf : outputsAndGradients;
  wasm(`${name}: both builds equal the reference, with the same bits on 1 and 3 threads`, async () => {
    const expected = await evaluate(run, made, reference);
    const got = await evaluate(run, made, one);
    close(got, expected, "plain");
    close(await evaluate(run, made, relaxed), expected, "relaxed");
    const again = await evaluate(run, made, three);
    for (const [i, host] of again.entries()) assert.equal(host.data, got[i].data, `result ${i}`);
  });
}

const corners = [0, -0, 1, -1, 1e-40, -1e-40, 1e-6, 88.5, 89, -87, -103, -104, 1e10, 3e38, -3e38, Infinity, -Infinity, Number.NaN];

/** Numbers of all magnitudes at which a function is looked at, and the corners of float32. */
const probes = Float32Array.from([...corners, ...Array.from({ length: 4001 }, (_, i) => ((i - 2000) / 2000) ** 3 * 30)]);

/** What float32 allows each function: relative error, or absolute where the result is small. */
const precision: Record<string, { relative: number; absolute: number }> = {
  exp: { relative: 4e-7, absolute: 1e-44 },
  log: { relative: 4e-7, absolute: 0 },
  tanh: { relative: 4e-7, absolute: 0 },
  sigmoid: { relative: 4e-7, absolute: 1e-38 },
  gelu: { relative: 4e-7, absolute: 1e-6 },
  geluDerivative: { relative: 4e-7, absolute: 1e-6 },
  sqrt: { relative: 1e-7, absolute: 0 },
  rsqrt: { relative: 2e-7, absolute: 0 },
  relu: { relative: 0, absolute: 0 },
  floor: { relative: 0, absolute: 0 },
  abs: { relative: 0, absolute: 0 },
};

for (const [name, { relative, absolute }] of Object.entries(precision)) {
  wasm(`${name}: holds its precision, and at zero, infinity and NaN does as the reference`, async () => {
    const x: Made = { data: probes, shape: [probes.length], fixed: true };
    const run = (t: Tensor) => apply1(name, [t]);
    const [expected] = await outputsOf(run, [x], reference);
    for (const backend of [one, relaxed]) {
      const [got] = await outputsOf(run, [x], backend);
      for (const [i, y] of expected.data.entries()) {
        const gap = Math.abs(got.data[i] - y);
        assert.ok(
          Object.is(got.data[i], y) || got.data[i] === y || gap <= Math.max(absolute, relative * Math.abs(y)),
          `${name}(${probes[i]}) = ${got.data[i]}, expected ${y}`,
        );
      }
    }
  });
}

/** The error that a promise ends in. */
const failure = (promise: Promise<unknown>): Promise<Error> =>
  promise.then(
    () => assert.unreachable("expected to fail"),
    (error) => error,
  );

const anyNumbers = (...shape: number[]): Made => make([shape], "numbers")[0];

wasm("NaN goes through maxima, pooling and clamps as in the reference", async () => {
  const x = anyNumbers(2, 6, 6, 20);
  for (const i of [0, 7, 333, 1000, 1439]) x.data[i] = Number.NaN;
  const run = (t: Tensor) => [
    t.max(-1),
    t.max([0, 1, 2]),
    t.maxPool({ kernel: 3, stride: 2, padding: 1 }),
    t.maximum(0).minimum(1),
    t.relu(),
    t.softmax(),
  ];
  const marked = (list: Host[]) => list.map(({ data, shape }): Host => ({ data: data.map((v) => (Number.isNaN(v) ? -99 : v)), shape }));
  const expected = marked(await outputsOf(run, [x], reference));
  for (const backend of [one, relaxed]) close(marked(await outputsOf(run, [x], backend)), expected, backend.describe().build);
});

/** Runs y = a + 1 over a's own memory, then a y into another buffer, with `a` read after y is written. */
async function overwrite(n: number): Promise<void> {
  const [own, other] = [0, 1].map((id) => contiguous({ id, size: n, kind: "arena", offset: 2048 * id }, [n]));
  const source = contiguous({ id: 2, size: n, kind: "input", slot: 0 }, [n]);
  const chain = (inputs: View[], code: Instruction[], outputs: Elementwise["outputs"], registers: number): Step => ({
    op: "elementwise",
    inputs,
    outputs: outputs.map(({ view }) => view),
    attrs: {},
    body: { shape: [n], inputs, code, outputs, registers },
    label: "chain",
  });
  const double = chain([source], [{ op: "add", to: 1, from: [0, 0] }], [{ view: own, register: 1 }], 2);
  const code: Instruction[] = [
    { op: "constant", to: 1, from: [], value: 1 },
    { op: "add", to: 1, from: [0, 1] }, // the constant's register, taken again
    { op: "mul", to: 2, from: [0, 1] },
  ];
  const both = chain(
    [own],
    code,
    [
      { view: own, register: 1 },
      { view: other, register: 2 },
    ],
    3,
  );
  const program = one.loadProgram({
    steps: [double, both],
    buffers: [own, other, source].map((v) => v.buffer),
    arena: 4096,
    outputs: [own, other],
  });
  const x = anyNumbers(n).data;
  const [y, product] = await program.run([x]);
  for (const [i, a] of x.entries()) {
    assert.is(y[i], Math.fround(2 * a + 1));
    assert.is(product[i], Math.fround(Math.fround(2 * a) * y[i]));
  }
}

wasm("a chain may write over its own input while it still reads it", async () => {
  for (const n of [1, 13, 64, 1000, 1024, 1600]) await overwrite(n);
});

wasm("batch statistics stay accurate where the mean is a thousand deviations", async () => {
  const x = anyNumbers(1500, 37);
  for (const [i, v] of x.data.entries()) x.data[i] = 1000 + v;
  const [scale, shift] = [make([{ shape: [37], role: "scale" }], "scale")[0], make([{ shape: [37], role: "bias" }], "bias")[0]];
  const run = (t: Tensor, gamma: Tensor, beta: Tensor) => Object.values(batchNorm(t, gamma, beta, 1e-5));
  const expected = await outputsOf(run, [x, scale, shift], reference);
  for (const backend of [one, relaxed]) {
    const got = await outputsOf(run, [x, scale, shift], backend);
    for (const [i, host] of got.entries()) assert.ok(difference(host, expected[i]) < 5e-5, `result ${i}: ${difference(host, expected[i])}`);
  }
});

wasm("long sums keep their precision", async () => {
  const x = anyNumbers(1, 3_000_017);
  for (const [i, v] of x.data.entries()) x.data[i] = 1 + 0.1 * v;
  const [expected] = await outputsOf((t) => t.sum(), [x], reference);
  for (const backend of [one, three, relaxed]) {
    const [got] = await outputsOf((t) => t.sum(), [x], backend);
    assert.ok(difference(got, expected) < 1e-6, `${got.data[0]}, expected ${expected.data[0]}`);
  }
});

/** Results of steps of several kinds whose buffers begin at an offset of the arena, in floats. */
async function placedAt(offset: number): Promise<Float32Array[]> {
  const at = (id: number, shape: Shape): View => contiguous({ id, size: 4096, kind: "arena", offset: offset + 4096 * id }, shape);
  const input = contiguous({ id: 9, size: 40 * 48, kind: "input", slot: 0 }, [40, 48]);
  const [x, transposed, product, rows, image, pooled] = [
    at(0, [40, 48]),
    at(1, [48, 40]),
    at(2, [40, 40]),
    at(3, [40, 40]),
    at(0, [2, 8, 6, 20]),
    at(4, [2, 4, 3, 20]),
  ];
  const total = at(5, [1, 40]);
  const step = (op: string, inputs: View[], outputs: View[], attrs: Step["attrs"] = {}): Step => ({
    op,
    inputs,
    outputs,
    attrs,
    label: op,
  });
  const steps = [
    step("copy", [input], [x]),
    step("copy", [{ ...x, shape: [48, 40], strides: [1, 48] }], [transposed]),
    step("matmul", [x, transposed], [product], { ta: false, tb: false }),
    step("softmax", [product], [rows]),
    step("sum", [rows], [total], { axes: [0] }),
    step("maxPool", [image], [pooled], { kernel: 2, stride: 2, padding: 0 }),
  ];
  const outputs = [transposed, product, rows, total, pooled];
  const buffers = [input, x, ...outputs].map(({ buffer }) => buffer);
  const backend = await WasmBackend.open({ threads: 2, build: "plain" });
  const program = backend.loadProgram({ steps, buffers, arena: offset + 6 * 4096, outputs });
  const results = await program.run([anyNumbers(40, 48).data]);
  await backend.close();
  return results;
}

wasm("addresses above 2 GiB give the same bits", async () => {
  const low = await placedAt(0);
  assert.ok(low.every((data) => data.some((v) => v !== 0)));
  assert.equal(await placedAt(640 * 2 ** 20), low);
});

wasm("a program too large for the memory is refused with both sizes, before anything runs", async () => {
  const small = await WasmBackend.open({ threads: 1, memory: 8 * 2 ** 20, build: "plain" });
  const huge = compile(
    (x: Tensor) =>
      x
        .reshape([1, 4096])
        .mul(x.reshape([4096, 1]))
        .sum(0)
        .sum(),
    small,
  );
  const error = await failure(huge(anyNumbers(4096)));
  assert.instance(error, RangeError);
  assert.match(error.message, /needs \d+ bytes .* \d+ bytes .* are available/);
  const fits = compile((x: Tensor) => x.mul(2).sum(), small);
  assert.ok(Number.isFinite((await fits(anyNumbers(64))).data[0]), "and smaller programs still run");
  await small.close();
});

wasm(
  "parameters live in the shared memory: reading follows every run, replacing their data is seen, closing keeps the last values",
  async () => {
    const backend = await WasmBackend.open({ threads: 2, build: "plain" });
    const count = new Parameter([3], Float32Array.of(1, 2, 3));
    const step = compile(() => {
      assign(count, count.add(1));
      return [];
    }, backend);
    await step();
    assert.equal([...(await backend.read(count))], [2, 3, 4]);
    count.data = Float32Array.of(10, 20, 30);
    await step();
    assert.equal([...count.data], [11, 21, 31]);
    await backend.write(count, Float32Array.of(0, 0, 0));
    await Promise.all([step(), step(), step()]);
    assert.equal([...count.data], [3, 3, 3]);
    await backend.close();
    assert.equal([...count.data], [3, 3, 3]);
  },
);

wasm("programs share one arena: a larger one in between does not disturb a smaller", async () => {
  const backend = await WasmBackend.open({ threads: 2, build: "plain" });
  const step = compile((x: Tensor) => x.t().matmul(x).exp().sum(0), backend);
  const [small, large] = [anyNumbers(3, 5), anyNumbers(200, 300)];
  const before = await step(small);
  await step(large);
  assert.equal((await step(small)).data, before.data);
  await backend.close();
});

wasm("disposing of a program gives its memory back and its parameters keep their numbers", async () => {
  const backend = await WasmBackend.open({ threads: 1, build: "plain" });
  const weight = new Parameter([100_000], new Float32Array(100_000).fill(2));
  const step = compile((x: Tensor) => x.mul(weight).sum(), backend);
  const used = backend.describe().memoryUsed;
  const program = await step.prepare(3);
  assert.is((await step(3)).data[0], 600_000);
  assert.ok(backend.describe().memoryUsed >= used + 400_000);
  program.dispose();
  assert.ok(backend.describe().memoryUsed < used + 400_000);
  assert.is(weight.data[99_999], 2);
  assert.match((await failure(step(3))).message, /disposed/);
  await backend.close();
});

wasm("a thread that traps makes the run fail, and later runs too, instead of hanging", async () => {
  const backend = await WasmBackend.open({ threads: 3, build: "plain" });
  const inside = contiguous({ id: 0, size: 4, kind: "arena", offset: 0 }, [4]);
  const outside = contiguous({ id: 1, size: 4, kind: "arena", offset: 2 ** 29 }, [4]); // behind the memory's end
  const copy: Step = { op: "copy", inputs: [outside], outputs: [inside], attrs: {}, label: "copy" };
  const sum: Step = { op: "sum", inputs: [inside], outputs: [inside], attrs: { axes: [0] }, label: "sum" }; // waits at a barrier
  const program = backend.loadProgram({ steps: [copy, sum], buffers: [inside.buffer, outside.buffer], arena: 16, outputs: [inside] });
  assert.match((await failure(program.run([]))).message, /Cannot go on with the wasm backend: thread \d stopped: .*out of bounds/);
  assert.match((await failure(program.run([]))).message, /Cannot go on/);
  await backend.close();
});

wasm("a closed backend refuses, with the reason", async () => {
  const backend = await WasmBackend.open({ threads: 1, build: "plain" });
  const step = compile((x: Tensor) => x.add(1), backend);
  await step(1);
  await backend.close();
  await backend.close();
  assert.match((await failure(step(1))).message, /has been closed/);
});

wasm("threads must be a whole number from 1 to 256", async () => {
  for (const threads of [0, 1.5, 257, Number.NaN])
    assert.match((await failure(WasmBackend.open({ threads }))).message, /Cannot run on .* threads/);
});

wasm("a profile names every step and its time", async () => {
  const step = compile((x: Tensor) => x.exp().sum(), one);
  const x = anyNumbers(500);
  const program = (await step.prepare(x)) as WasmExecutable;
  const times = await program.profile([x.data]);
  assert.equal(
    times.map(({ step }) => step.op),
    ["elementwise", "sum"],
  );
  assert.equal((await step.timed(x)).value.data, (await step(x)).data);
  assert.ok(times.every(({ timeMs }) => timeMs >= 0 && timeMs < 1000));
});

wasm.run();
