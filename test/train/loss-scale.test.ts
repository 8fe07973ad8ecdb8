// Dynamic loss scaling in whole steps. It needs no half precision to be tested: the CPU stands for a GPU here.
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { Backend } from "../../src/backend/backend.ts";
import { ReferenceBackend } from "../../src/backend/reference.ts";
import { WasmBackend } from "../../src/backend/wasm.ts";
import type { Method } from "../../src/methods/method.ts";
import { ema } from "../../src/nn/ema.ts";
import { Buffer, Module, namedParameters, stateOf } from "../../src/nn/module.ts";
import { AdamW } from "../../src/nn/optim/adamw.ts";
import { LossScale, type LossScaleOptions } from "../../src/nn/optim/loss-scale.ts";
import { Parameter, type Tensor } from "../../src/tape/tensor.ts";
import { assign, type Host } from "../../src/tape/trace.ts";
import { namedState, restore, snapshot } from "../../src/train/learner.ts";
import { type Learner, notFinite, TrainStep } from "../../src/train/step.ts";
import { fill } from "../fill.ts";

const wasm = await WasmBackend.open({ threads: 1, build: "plain" });
/** As if they had half precision: nothing here has the name of a module, so nothing is stored in it. */
const backends = [new ReferenceBackend(), wasm].map((backend) => Object.assign(backend, { halves: true }));
let backend: Backend;

class Line extends Module {
  weight = new Parameter([3, 2], fill("weight", [3, 2]).data);
  bias = new Parameter([2], fill("bias", [2]).data);
}

/** A line, one that follows it, and the rows that it saw last. The scalar `bend` is added to a gradient and leaves the loss alone. */
const method = {
  options: {},
  loss({ line, seen }: { line: Line; seen: Buffer }, [x]: Tensor[], { bend }: { bend: Tensor }) {
    const rows = x.reshape([-1, 3]);
    assign(seen, rows.slice(0, 0, 1).add(seen.mul(0.5)));
    const y = rows.matmul(line.weight).add(line.bias);
    return { loss: y.square().mean().add(line.bias.sub(line.bias.stopGradient()).mul(bend).sum()) };
  },
  update: ({ line, target }: { line: Line; target: Line }) => ema(target, line, 0.9),
} as unknown as Method;

function lesson(options: LossScaleOptions = {}, more: Partial<Learner> = {}) {
  const parts = { line: new Line(), target: new Line().freeze(), seen: new Buffer([1, 3]) };
  const lossScale = new LossScale(options);
  const optimizer = new AdamW(namedParameters(parts));
  const learner: Learner = { method, options: {}, parts, optimizer, accumulate: 1, lossScale, ...more };
  const step = new TrainStep(learner, backend);
  let at = 0;
  const run = (bend = 0) => {
    const views: Host[][] = Array.from({ length: learner.accumulate }, (_, i) => [{ ...fill(`x${at}-${i}`, [4, 1, 1, 3], "input") }]);
    return step.run(views, { lr: 0.1, weightDecay: 0.01, bend }, { seed: 1, step: at++, epoch: 0 });
  };
  /** line.weight, line.bias, target.weight, target.bias, seen, moments */
  const state = () => [...stateOf(namedState(learner))].filter(([name]) => !name.startsWith("lossScale")).map(([, { data }]) => [...data]);
  const scale = () => Object.fromEntries(lossScale.namedState().map(([name, { data }]) => [name.slice(10), data[0]]));
  return { learner, run, state, scale };
}

const scaling = suite("loss scale");
scaling.after(() => wasm.close());

/** Adds a test for each backend. */
function test(name: string, body: () => Promise<void>): void {
  for (const each of backends) {
    scaling(`${each.name}: ${name}`, () => {
      backend = each;
      return body();
    });
  }
}

const OVERFLOW = 3e38; // two of them together are longer than the largest float32

test("the scale begins at 65,536, doubles after so many good steps and halves after a bad one, which begins the count anew", async () => {
  const { run, scale } = lesson({ interval: 3 });
  assert.equal(scale(), { scale: 65536, goodSteps: 0 });
  const seen: number[][] = [];
  for (const bend of [0, 0, 0, 0, OVERFLOW, 0, 0, OVERFLOW, OVERFLOW, 0, 0, 0]) {
    await run(bend);
    seen.push([scale().scale / 65536, scale().goodSteps]);
  }
  assert.equal(seen, [
    [1, 1],
    [1, 2],
    [2, 0],
    [2, 1],
    [1, 0],
    [1, 1],
    [1, 2],
    [0.5, 0],
    [0.25, 0],
    [0.25, 1],
    [0.25, 2],
    [0.5, 0],
  ]);
});

test("it takes 2,000 good steps by default", async () => {
  const { run, scale, learner } = lesson();
  for (const [name, { data }] of learner.lossScale?.namedState() ?? []) if (name.endsWith("goodSteps")) data[0] = 1998;
  await run();
  assert.equal(scale(), { scale: 65536, goodSteps: 1999 });
  await run();
  assert.equal(scale(), { scale: 131072, goodSteps: 0 });
});

test("the scale never becomes infinite", async () => {
  const { run, scale } = lesson({ initial: 2 ** 120, growth: 2 ** 10, interval: 1 });
  await run();
  assert.equal(scale(), { scale: 2 ** 120, goodSteps: 0 });
});

test("good steps are those without a scale", async () => {
  const [scaled, plain] = [lesson(), lesson({}, { lossScale: undefined })];
  for (let i = 0; i < 3; i++) {
    const [a, b] = [await scaled.run(), await plain.run()];
    assert.ok(Math.abs(a.loss - b.loss) < 1e-6);
    assert.is(a.metrics.lossScale, 65536);
    assert.is(b.metrics.lossScale, undefined);
    for (const [name, length] of b.gradients) assert.ok(Math.abs((a.gradients.get(name) as number) / length - 1) < 1e-5, name);
  }
  const [a, b] = [scaled.state().flat(), plain.state().flat()];
  a.forEach((x, i) => assert.ok(Math.abs(x - b[i]) < 1e-5, `${x} instead of ${b[i]}`));
});

for (const accumulate of [1, 2]) {
  test(`a bad step of ${accumulate} micro-batches leaves weights, moments, averages and memories alone, and the next is a good one`, async () => {
    const { run, state, scale, learner } = lesson({ initial: 1024 }, { accumulate });
    await run();
    const before = state();
    const bad = await run(OVERFLOW);
    assert.ok(bad.skipped);
    assert.equal([...bad.gradients], []);
    assert.is(bad.metrics.gradientNorm, undefined);
    const changed = [...state().keys()].filter((i) => state()[i].some((x, j) => x !== before[i][j]));
    assert.equal(changed, accumulate === 1 ? [] : [4]); // what the first micro-batch has seen stays seen
    assert.is(scale().scale, 512);
    const good = await run();
    assert.not.ok(good.skipped);
    assert.ok(state().flat().every(Number.isFinite));
    assert.not.equal([...(learner.parts.line as Line).weight.data], before[0]);
  });
}

test("a checkpoint keeps scale and count, and what goes on from it does as if nothing had been", async () => {
  const [whole, first, second] = [lesson({ interval: 4 }), lesson({ interval: 4 }), lesson({ interval: 4 })];
  const steps = [0, OVERFLOW, 0, 0, 0, 0, 0];
  for (const bend of steps) await whole.run(bend);
  for (const bend of steps.slice(0, 4)) await first.run(bend);
  const tensors = await snapshot(first.learner, backend);
  assert.equal([...tensors.keys()].slice(-2), ["lossScale.scale", "lossScale.goodSteps"]);
  const archive = { tensors: new Map([...tensors].map(([name, host]) => [name, { ...host, dtype: "F32" }])), metadata: {} };
  restore(second.learner, archive as unknown as Parameters<typeof restore>[1], "memory");
  assert.equal(second.scale(), { scale: 32768, goodSteps: 2 });
  for (const bend of steps.slice(4)) await first.run(bend);
  assert.equal(first.state(), whole.state());
  assert.equal(first.scale(), whole.scale());
});

test("steps that stay bad under a scale of less than 1 end the run", async () => {
  const { run } = lesson({ initial: 1 });
  const first = await run(OVERFLOW);
  assert.is(notFinite(first, undefined, 1), undefined);
  const second = await run(OVERFLOW);
  assert.is(notFinite(second, first, 2), "Gradients became infinite in half precision at step 2, although the loss was scaled by only 0.5");
});

scaling.run();
