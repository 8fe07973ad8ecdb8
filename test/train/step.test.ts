import { test } from "uvu";
import * as assert from "uvu/assert";
import type { Method } from "../../src/methods/method.ts";
import { Module, namedParameters } from "../../src/nn/module.ts";
import { Sgd } from "../../src/nn/optim/sgd.ts";
import { Parameter, type Tensor } from "../../src/tape/tensor.ts";
import { assign, type Host } from "../../src/tape/trace.ts";
import { type Learner, notFinite, type StepNumbers, TrainStep } from "../../src/train/step.ts";
import { fill } from "../fill.ts";
import { reference } from "../support.ts";

/** y = x w + b, and a count of the steps that have updated it. */
class Line extends Module {
  weight = new Parameter([3, 2], fill("weight", [3, 2]).data);
  bias = new Parameter([2], new Float32Array(2));
  count = new Parameter([], new Float32Array(1), { trainable: false });

  forward(x: Tensor): Tensor {
    return x.reshape([-1, 3]).matmul(this.weight).add(this.bias);
  }
}

const toy = (frozen?: (name: string, epoch: number) => boolean) =>
  ({
    options: {},
    loss: ({ line }: { line: Line }, [x]: Tensor[]) => {
      const y = line.forward(x);
      return { loss: y.square().mean(), peak: y.max(), embedding: y };
    },
    update: ({ line }: { line: Line }, { lr }: { lr: Tensor }) => assign(line.count, line.count.add(lr.mul(0).add(1))),
    frozen,
  }) as unknown as Method;

function learner(more: Partial<Learner> = {}, frozen?: (name: string, epoch: number) => boolean) {
  const line = new Line();
  const parts = { line };
  const optimizer = new Sgd(namedParameters(parts), { momentum: 0 });
  return { line, learner: { method: toy(frozen), options: {}, parts, optimizer, accumulate: 1, ...more } as Learner };
}

const images = (name: string, n: number): Host => ({ ...fill(name, [n, 1, 1, 3], "input") });
const at = { seed: 1, step: 0, epoch: 0 };
const close = (a: ArrayLike<number>, b: ArrayLike<number>, gap = 1e-6) =>
  Array.from(a).forEach((x, i) => assert.ok(Math.abs(x - b[i]) <= gap, `${x} instead of ${b[i]}`));

test("a step gives loss, metrics and gradient lengths, and moves the weights by them", async () => {
  const { line, learner: one } = learner();
  const before = line.weight.data.slice();
  const bias = line.bias.data.slice();
  const { loss, metrics, gradients } = await new TrainStep(one, reference).run([[images("x", 5)]], { lr: 0.5, weightDecay: 0 }, at);
  const moved = (a: Float32Array, b: Float32Array) => Math.hypot(...a.map((x, i) => x - b[i])) / 0.5;
  close([moved(line.weight.data, before), moved(line.bias.data, bias)], [...gradients.values()]);
  assert.equal([...gradients.keys()], ["line.weight", "line.bias"]);
  close([metrics.gradientNorm], [Math.hypot(...gradients.values())]);
  assert.ok(loss > 0 && metrics.peak > 0 && metrics.embeddingStd > 0);
  assert.is(line.count.data[0], 1);
});

test("micro-batches of a mean loss step as the whole batch does", async () => {
  const [whole, parts] = [learner(), learner({ accumulate: 3 })];
  const x = images("x", 6);
  const pieces = [0, 1, 2].map((i) => [{ data: x.data.slice(6 * i, 6 * i + 6), shape: [2, 1, 1, 3] }]);
  const steps = [new TrainStep(whole.learner, reference), new TrainStep(parts.learner, reference)];
  for (let step = 0; step < 3; step++) {
    const a = await steps[0].run([[x]], { lr: 0.3, weightDecay: 0 }, { ...at, step });
    const b = await steps[1].run(pieces, { lr: 0.3, weightDecay: 0 }, { ...at, step });
    close([a.loss, ...a.gradients.values()], [b.loss, ...b.gradients.values()]);
  }
  close(whole.line.weight.data, parts.line.weight.data);
  assert.is(parts.line.count.data[0], 3);
});

test("a wrong number of micro-batches is refused", async () => {
  const { learner: one } = learner({ accumulate: 2 });
  const refused = new TrainStep(one, reference).run([[images("x", 2)]], { lr: 1, weightDecay: 0 }, at);
  assert.match(await refused.then(() => "accepted", String), /Cannot step on 1 micro-batches: expected 2/);
});

test("a frozen parameter stays until its epoch comes, without decay", async () => {
  const { line, learner: one } = learner({}, (name, epoch) => name === "line.weight" && epoch < 1);
  const step = new TrainStep(one, reference);
  const before = line.weight.data.slice();
  const first = await step.run([[images("x", 4)]], { lr: 0.1, weightDecay: 0.5 }, at);
  assert.equal([...line.weight.data], [...before]);
  assert.equal([...first.gradients.keys()], ["line.bias"]);
  await step.run([[images("x", 4)]], { lr: 0.1, weightDecay: 0.5 }, { ...at, step: 1, epoch: 1 });
  assert.not.equal([...line.weight.data], [...before]);
});

for (const of of ["each", "all"] as const) {
  test(`clipping of ${of} bounds what is taken, not what is reported`, async () => {
    const { line, learner: one } = learner({ clip: { norm: 0.01, of } });
    const before = [line.weight.data.slice(), line.bias.data.slice()];
    const { gradients } = await new TrainStep(one, reference).run([[images("x", 4)]], { lr: 1, weightDecay: 0 }, at);
    const taken = [line.weight.data, line.bias.data].map((now, i) => Math.hypot(...now.map((x, j) => x - before[i][j])));
    const lengths = [...gradients.values()];
    assert.ok(Math.min(...lengths) > 0.01);
    const all = Math.hypot(...lengths);
    close(
      taken,
      lengths.map((length) => (of === "each" ? 0.01 : (0.01 * length) / all)),
      1e-5,
    );
  });
}

test("the key of a step differs for every step and micro-batch and carries seeds of 32 bits", async () => {
  const { learner: one } = learner({ accumulate: 2 });
  const keys: string[] = [];
  const step = new TrainStep(one, {
    load(trace) {
      const executable = reference.load(trace);
      return {
        arenaBytes: 0,
        steps: 0,
        dispose() {},
        run(inputs) {
          keys.push(inputs.find((x) => x.length === 4)?.join(" ") ?? "");
          return executable.run(inputs);
        },
      };
    },
  } as typeof reference);
  for (const number of [0, 1])
    await step.run([[images("x", 2)], [images("y", 2)]], { lr: 0.1, weightDecay: 0 }, { seed: 0x12345678, step: number, epoch: 0 });
  assert.equal(keys, ["22136 4660 0 0", "22136 4660 1 0", "22136 4660 2 0", "22136 4660 3 0"]);
});

const numbers = (loss: number, gradients: Record<string, number>): StepNumbers => ({
  loss,
  metrics: {},
  gradients: new Map(Object.entries(gradients)),
});

test("what is not finite is named with its step", () => {
  const well = numbers(1, { "a.weight": 2, "b.weight": 30 });
  assert.is(notFinite(well, undefined, 7), undefined);
  assert.is(
    notFinite(numbers(Number.NaN, {}), well, 7),
    'The loss became NaN at step 7; the longest gradient of the step before was that of "b.weight", 30.0',
  );
  assert.is(notFinite(numbers(Number.POSITIVE_INFINITY, {}), undefined, 1), "The loss became infinite at step 1");
  const bad = numbers(0.5, { "a.weight": 1, "b.weight": Number.POSITIVE_INFINITY, "c.weight": Number.NaN });
  assert.is(notFinite(bad, well, 3), 'The gradient of "b.weight" became infinite at step 3, at a loss of 0.5000');
});

test.run();
