// Which values of a program are stored in half precision, where the plan puts them, and what stays float32.
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { Backend } from "../../src/backend/backend.ts";
import { ReferenceBackend } from "../../src/backend/reference.ts";
import { viewsRead, writes } from "../../src/tape/assign.ts";
import { grad } from "../../src/tape/grad.ts";
import { lower } from "../../src/tape/lower.ts";
import { concat } from "../../src/tape/ops/move.ts";
import { batchNorm } from "../../src/tape/ops/normalize.ts";
import type { Program, Step } from "../../src/tape/program.ts";
import { withScope } from "../../src/tape/scope.ts";
import { Parameter, type Tensor } from "../../src/tape/tensor.ts";
import { assign, compile, type Host, type Lowered } from "../../src/tape/trace.ts";

const precision = suite("precision");

const host = (...shape: number[]): Host => ({ data: new Float32Array(shape.reduce((a, b) => a * b, 1)), shape });

/** The program of a function of inputs of these shapes. */
async function programOf(f: (...x: Tensor[]) => unknown, shapes: number[][], how: Lowered = { precision: "f16" }): Promise<Program> {
  let program: Program | undefined;
  const backend: Backend = Object.assign(Object.create(new ReferenceBackend()), {
    halves: true,
    load: (trace: Parameters<Backend["load"]>[0]) => {
      program = lower(trace, { align: 16, halvesFirst: true });
      return { arenaBytes: 0, steps: 0, run: async () => [], dispose() {} };
    },
  });
  await compile(f, backend, how).prepare(...shapes.map((shape) => host(...shape)));
  return program as Program;
}

const inModule = <T>(f: () => T): T => withScope({ module: "encoder" }, f);
const written = (step: Step) => writes(step).map(({ buffer: { kind, dtype } }) => (kind === "arena" ? (dtype ?? "f32") : kind));
const of = ({ steps }: Program, op: string) => steps.filter((step) => step.op === op).map(written);

precision("what a module computes is f16, what is computed outside and what leaves the program is f32", async () => {
  const w = new Parameter([5, 7]);
  const program = await programOf(
    (x) => {
      const y = inModule(() => x.matmul(w).softmax().matmul(w.t()));
      return y.matmul(w).logSoftmax();
    },
    [[4, 5]],
  );
  assert.equal(of(program, "matmul"), [["f16"], ["f16"], ["f32"]]);
  assert.equal([of(program, "softmax"), of(program, "logSoftmax")], [[["f32"]], [["f32"]]]);
  assert.equal(
    program.steps.filter(({ op }) => op === "matmul").map((step) => step.precision),
    ["f16", "f16", undefined],
  );
});

precision("gradients of weights are f32 also where several are added up, gradients of values are f16", async () => {
  const [v, w] = [new Parameter([5, 5]), new Parameter([5, 5])];
  const program = await programOf(
    (x) => {
      const layer = (t: Tensor) => inModule(() => t.matmul(v).tanh().matmul(w));
      const [dv, dw] = grad(
        layer(x)
          .add(layer(x.mul(2)))
          .square()
          .sum(),
        [v, w],
      );
      withScope({ module: "", pass: "update" }, () => {
        assign(v, v.sub((dv as Tensor).mul(0.1)));
        assign(w, w.sub((dw as Tensor).mul(0.1)));
      });
      return x.sum();
    },
    [[4, 5]],
  );
  const products = program.steps.filter(({ op, scope }) => op === "matmul" && scope?.pass === "backward");
  const ofWeights = products.filter(({ attrs }) => attrs.ta);
  assert.is(ofWeights.length, 4);
  for (const step of ofWeights) assert.not.ok(written(step).includes("f16"), step.label);
  const ofValues = products.filter(({ attrs }) => !attrs.ta);
  assert.ok(ofValues.length > 0);
  for (const step of ofValues) assert.ok(written(step).includes("f16"), step.label);
});

precision("statistics, vectors and sums of a module are f32, and so is what runs into parameters", async () => {
  const [gamma, beta, running, memory] = [new Parameter([6]), new Parameter([6]), new Parameter([6]), new Parameter([4, 6])];
  const program = await programOf(
    (x) => {
      const y = inModule(() => {
        const { y, mean } = batchNorm(x.mul(2), gamma, beta, 1e-5);
        assign(running, running.mul(0.9).add(mean.mul(0.1)));
        const kept = y.matmul(x.t()).matmul(x); // [4, 6], passed on to a parameter
        assign(memory, kept.relu());
        return y.sum(0);
      });
      return y.mul(3);
    },
    [[4, 6]],
  );
  assert.equal(of(program, "batchNorm"), [["f16", "f32", "f32"]]);
  assert.equal(of(program, "sum"), [["f32"]]);
  const [first, second] = program.steps.filter(({ op }) => op === "matmul");
  assert.equal(written(first), ["f16"]);
  assert.not.ok(written(second).includes("f16"));
});

precision("normalize is f32 in both directions, so that no square of a short row vanishes", async () => {
  const w = new Parameter([6, 6]);
  const program = await programOf(
    (x) =>
      grad(
        inModule(() => x.matmul(w).normalize().matmul(w))
          .square()
          .sum(),
        [w],
      )[0],
    [[4, 6]],
  );
  const chains = program.steps.filter(({ op, scope }) => op === "elementwise" && scope?.module);
  assert.ok(chains.some(({ scope }) => scope?.pass === "forward") && chains.some(({ scope }) => scope?.pass === "backward"));
  for (const step of chains) assert.not.ok(written(step).includes("f16"), step.label);
  assert.ok(of(program, "matmul").flat().includes("f16"));
});

/** Rows of a product that are chosen by indices which a chain computes, some products of them, and a gradient. */
const chosen = (x: Tensor, order: Tensor) => {
  const w = new Parameter([8, 8]);
  const y = inModule(() => {
    const index = concat([order.add(1), order.mul(2)], 1);
    let rows = x.matmul(w).gather(index.reshape([-1]));
    for (let i = 0; i < 6; i++) rows = rows.matmul(w).tanh();
    return rows;
  });
  return grad(y.square().sum(), [w])[0] as Tensor;
};

for (const how of [{ precision: "f16" }, { activations: "f16" }] as const) {
  precision(`indices are never rounded: ${JSON.stringify(how)}`, async () => {
    const { steps } = await programOf(
      chosen,
      [
        [40000, 8],
        [200, 100],
      ],
      how,
    );
    const index = steps.filter(({ op }) => op === "gather" || op === "scatterAdd").map(({ inputs }) => inputs[1].buffer);
    assert.is(index.length, 2);
    const halves = steps.filter(({ op }) => op === "fromHalf").map(({ outputs }) => outputs[0].buffer);
    for (const buffer of index) assert.ok(!buffer.dtype && !halves.includes(buffer));
    assert.ok(
      steps.some((step) => [...viewsRead(step), ...writes(step)].some(({ buffer }) => buffer.dtype === "f16")),
      "nothing is rounded",
    );
  });
}

precision("halves take half the memory, lie before all floats and share it with none of them", async () => {
  const w = new Parameter([64, 64]);
  const f = (x: Tensor) => {
    let y = x;
    for (let i = 0; i < 4; i++) y = inModule(() => y.matmul(w)).softmax();
    return y.sum();
  };
  const [half, whole] = [await programOf(f, [[32, 64]]), await programOf(f, [[32, 64]], {})];
  assert.is(whole.arena, 2 * 2048); // a product and its softmax
  assert.is(half.arena, 1024 + 2048 + 16); // and the sum, which may not take the place of the product
  const arena = half.buffers.filter(({ kind }) => kind === "arena");
  const ends = arena.filter(({ dtype }) => dtype).map(({ offset, size }) => (offset as number) + size / 2);
  const begins = arena.filter(({ dtype }) => !dtype).map(({ offset }) => offset as number);
  assert.ok(ends.length === 4 && Math.max(...ends) <= Math.min(...begins));
});

precision("a backend that stores no halves refuses, and says what would do", async () => {
  const refused = compile((x: Tensor) => x.add(1), new ReferenceBackend(), { precision: "f16" })(1);
  const message = await refused.then(() => "accepted", String);
  assert.match(message, /Cannot store values in half precision on the reference backend: expected a GPU with the feature shader-f16/);
});

precision.run();
