import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { Backend } from "../../src/backend/backend.ts";
import { ReferenceBackend } from "../../src/backend/reference.ts";
import { cost } from "../../src/tape/cost.ts";
import { grad } from "../../src/tape/grad.ts";
import { lower } from "../../src/tape/lower.ts";
import { attention } from "../../src/tape/ops/attention.ts";
import type { Step } from "../../src/tape/program.ts";
import { withScope } from "../../src/tape/scope.ts";
import type { Shape } from "../../src/tape/shape.ts";
import { Parameter, type Tensor } from "../../src/tape/tensor.ts";
import { compile } from "../../src/tape/trace.ts";
import { uniform } from "../fill.ts";

/** The lowered steps of a function of one tensor. */
async function stepsOf(f: (x: Tensor) => unknown, shape: Shape): Promise<readonly Step[]> {
  const reference = new ReferenceBackend();
  let steps: readonly Step[] = [];
  const backend: Backend = {
    name: "lowering",
    load: (trace) => {
      steps = lower(trace).steps;
      return reference.load(trace);
    },
    read: (parameter) => reference.read(parameter),
    write: (parameter, data) => reference.write(parameter, data),
    close: () => reference.close(),
  };
  await compile(f as (x: Tensor) => Tensor, backend).prepare({ data: new Float32Array(), shape });
  return steps;
}

const weight = (name: string, shape: number[]) => {
  const numbers = uniform(
    name,
    shape.reduce((a, b) => a * b),
  );
  return new Parameter(shape, Float32Array.from(numbers));
};
const of = (steps: readonly Step[], name: string) => steps.filter(({ op }) => op === name).map((step) => cost(step).flops);

const test = suite("cost");

test("of a small network: products count two operations a multiply-add, forward and both gradients", async () => {
  const conv = weight("conv", [5, 3, 3, 4]);
  const linear = weight("linear", [5, 7]);
  const steps = await stepsOf(
    (x) => {
      const y = x.conv2d(conv, { stride: 2, padding: 1 }).sum([1, 2]).matmul(linear);
      return { loss: y.sum(), gradients: grad(y.sum(), [x, conv, linear]) };
    },
    [2, 9, 9, 4],
  );
  const map = 2 * 5 * 5; // places of the output
  assert.equal(of(steps, "conv2d"), [2 * map * 5 * 36]);
  assert.equal(of(steps, "conv2dInputGrad"), [2 * map * 5 * 36]);
  assert.equal(of(steps, "conv2dWeightGrad"), [2 * map * 5 * 36]);
  assert.equal(of(steps, "matmul").sort(), [2 * 2 * 5 * 7, 2 * 2 * 5 * 7, 2 * 2 * 5 * 7].sort());
});

test("of grouped convolution counts the channels of a group, of attention two products, of its gradient five", async () => {
  const depthwise = weight("depthwise", [6, 3, 3, 1]);
  const grouped = await stepsOf((x) => x.conv2d(depthwise, { padding: 1, groups: 6 }), [1, 4, 4, 6]);
  assert.equal(of(grouped, "conv2d"), [2 * 16 * 6 * 9]);
  const heads = await stepsOf((x) => grad(attention(x, x.mul(2), x.mul(3), { heads: 2, scale: 1 }).sum(), [x])[0], [3, 5, 8]);
  assert.equal(of(heads, "attention"), [4 * 3 * 5 * 5 * 8]);
  assert.equal(of(heads, "attentionGrad"), [10 * 3 * 5 * 5 * 8]);
});

test("of a chain counts its instructions, and the bytes of each operand once, however often it is stretched", async () => {
  const row = weight("row", [7]);
  const [step] = await stepsOf((x) => x.add(row).mul(x).relu(), [5, 7]);
  assert.equal(cost(step), { flops: 3 * 35, bytes: 4 * (35 + 7 + 35) });
});

test("belongs to the module and the pass in which a step was traced", async () => {
  const a = weight("a", [7, 7]);
  const steps = await stepsOf(
    (x) => {
      const y = withScope({ module: "encoder.fc" }, () => x.matmul(a));
      return withScope({ pass: "update" }, () => grad(y.square().sum(), [a])[0]?.exp());
    },
    [5, 7],
  );
  assert.equal(
    steps.filter(({ op }) => op === "matmul").map(({ scope }) => scope),
    [
      { module: "encoder.fc", pass: "forward" },
      { module: "encoder.fc", pass: "backward" },
    ],
  );
});

test.run();
