import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { Backend } from "../../src/backend/backend.ts";
import { grad } from "../../src/tape/grad.ts";
import type { Abilities, lower } from "../../src/tape/lower.ts";
import { array } from "../../src/tape/op.ts";
import { attention } from "../../src/tape/ops/attention.ts";
import { batchNorm, layerNorm } from "../../src/tape/ops/normalize.ts";
import { Parameter, type Tensor } from "../../src/tape/tensor.ts";
import { assign, compile, type Trace } from "../../src/tape/trace.ts";
import { fill } from "../fill.ts";
import { rows } from "../op-rows.ts";
import { difference, make, outputsAndGradients, outputsOf, reference } from "../support.ts";
import { PlannedBackend } from "./interpret.ts";

const able = { carry: ["layerNormGrad"], writeParts: ["attentionGrad"], gather: ["sum"] }; // all that a backend can be
const planned = { "the planned program": new PlannedBackend(), "the program for able kernels": new PlannedBackend(able) };
const lowering = suite("lower");

for (const { name, run, inputs, gradient } of rows) {
  const results = gradient === false ? outputsOf : outputsAndGradients;
  for (const [program, backend] of Object.entries(planned)) {
    lowering(`${name}: ${program} computes what the trace says`, async () => {
      const made = make(inputs, name);
      const expected = await results(run, made, reference);
      const got = await results(run, made, backend);
      for (const [i, y] of expected.entries()) assert.ok(difference(got[i], y) < 1e-6, `output ${i}`);
    });
  }
}

/** The program of a function of parameters filled by name. */
function programOf(f: (...p: Parameter[]) => Tensor | Tensor[], shapes: number[][], abilities?: Abilities) {
  let program: ReturnType<typeof lower> | undefined;
  const backend = new PlannedBackend(abilities);
  const load = backend.load.bind(backend);
  backend.load = (trace: Trace) => {
    const executable = load(trace);
    program = executable.program;
    return executable;
  };
  const parameters = shapes.map((shape, i) => new Parameter(shape, fill(`p${i}`, shape).data));
  const step = compile(() => f(...parameters), backend);
  return step.prepare().then(() => ({ program: program as ReturnType<typeof lower>, parameters, step }));
}

lowering("a chain of elementwise ops is one step", async () => {
  const { program } = await programOf((x, b) => x.add(b).mul(2).tanh().square(), [[5, 7], [7]]);
  assert.equal(
    program.steps.map((s) => s.op),
    ["elementwise"],
  );
});

lowering("bias, activation and residual ride on the product", async () => {
  const { program } = await programOf(
    (x, w, b) => x.reshape([6, 5]).matmul(w.t()).reshape([2, 3, 5]).add(b).gelu().add(x),
    [[2, 3, 5], [5, 5], [5]],
  );
  assert.equal(
    program.steps.map((s) => s.op),
    ["matmul"],
  );
  assert.equal(program.steps[0].epilogue?.code.length, 3);
});

lowering("activation and residual ride on batch normalisation, a mask on the gradient of a convolution's image", async () => {
  const residual = await programOf((x, g, b, r) => batchNorm(x, g, b, 1e-5).y.add(r).relu(), [[6, 5], [5], [5], [6, 5]]);
  assert.equal(
    residual.program.steps.map((s) => [s.op, s.epilogue?.code.length]),
    [["batchNorm", 2]],
  );
  const masked = await programOf(
    (x, w) => {
      const y = x.relu();
      return grad(y.conv2d(w, { padding: 1 }).square().sum(), [x]) as Tensor[];
    },
    [
      [1, 4, 4, 3],
      [2, 3, 3, 3],
    ],
  );
  assert.equal(
    masked.program.steps.filter((s) => s.op === "conv2dInputGrad").map((s) => s.epilogue?.code.map(({ op }) => op)),
    [["constant", "greater", "where"]],
  );
});

lowering("a factor for each sample rides on the product, whose rows then count through samples", async () => {
  const { program } = await programOf(
    (x, w, f, r) => x.reshape([6, 5]).matmul(w.t()).reshape([2, 3, 5]).mul(f).add(r),
    [
      [2, 3, 5],
      [5, 5],
      [2, 1, 1],
      [2, 3, 5],
    ],
  );
  assert.equal(
    program.steps.map((s) => [s.op, s.epilogue?.shape]),
    [["matmul", [2, 3, 5]]],
  );
});

/** The steps of gradients with respect to the first parameter, by kernels that can more than others and by others. */
async function gradientSteps(f: (...p: Parameter[]) => Tensor, shapes: number[][]): Promise<string[][]> {
  const gradient = (...p: Parameter[]) =>
    grad(
      f(...p)
        .square()
        .sum(),
      p,
    ) as Tensor[];
  const programs = await Promise.all([able, undefined].map((abilities) => programOf(gradient, shapes, abilities)));
  return programs.map(({ program }) => program.steps.map(({ op }) => op));
}

lowering("the gradient beside a layer norm rides on its gradient, where kernels carry one", async () => {
  const [steps, others] = await gradientSteps((x, g, b) => layerNorm(x, g, b, 1e-6).add(x), [[6, 5], [5], [5]]);
  assert.equal(steps, ["layerNorm", "elementwise", "layerNormGrad"]);
  assert.equal(others, ["layerNorm", "elementwise", "layerNormGrad", "elementwise"]);
});

lowering("gradients of queries, keys and values are written into that of their projection, where kernels can", async () => {
  const run = (x: Tensor) => {
    const [q, k, v] = x.split(2, 3);
    return attention(q, k, v, { heads: 2, scale: 0.5 });
  };
  const [steps, others] = await gradientSteps(run, [[2, 3, 12]]);
  assert.equal(steps, ["attention", "elementwise", "attentionGrad"]);
  assert.equal(others, ["attention", "elementwise", "attentionGrad", "concat"]);
});

lowering("gradients of biases wait for each other, where kernels can be gathered", async () => {
  const layers = (x: Tensor, w: Tensor, a: Tensor, b: Tensor, c: Tensor) => [a, b, c].reduce((y, bias) => y.matmul(w).add(bias).tanh(), x);
  const [steps, others] = await gradientSteps(layers, [[6, 5], [5, 5], [5], [5], [5]]);
  const sums = (list: string[]) => list.flatMap((op, i) => (op === "sum" ? i : []));
  assert.equal(
    sums(steps),
    [0, 1, 2].map((i) => sums(steps)[0] + i),
  );
  assert.ok(sums(others).some((at, i) => at > sums(others)[0] + i));
});

lowering("equal nodes are computed once and unused ones never", async () => {
  const { program } = await programOf(
    (x, w) => {
      x.matmul(w.t()).exp();
      return x.matmul(w).add(x.matmul(w));
    },
    [
      [4, 4],
      [4, 4],
    ],
  );
  assert.equal(
    program.steps.map((s) => s.op),
    ["matmul"],
  );
});

lowering("tables of the same numbers are one", async () => {
  const table = () => array(Float32Array.of(1, 2, 3, 4), [2, 2]);
  const { program } = await programOf((x) => x.matmul(table()).add(x.matmul(table())), [[3, 2]]);
  assert.equal(
    program.steps.map((s) => s.op),
    ["matmul"],
  );
});

lowering("an update is stored over the old value when nothing needs that any more", async () => {
  const { program, parameters, step } = await programOf(
    (w, m) => {
      const next = m.mul(0.9).add(w);
      assign(m, next);
      assign(w, w.sub(next.mul(0.1)));
      return w.sum();
    },
    [[6], [6]],
  );
  assert.not.ok(program.steps.some((s) => s.op === "copy"));
  const [w, m] = parameters.map((p) => [...p.data]);
  await step();
  const next = m.map((v, i) => v * 0.9 + w[i]);
  assert.ok(parameters[1].data.every((v, i) => Math.abs(v - next[i]) < 1e-6));
  assert.ok(parameters[0].data.every((v, i) => Math.abs(v - (w[i] - 0.1 * next[i])) < 1e-6));
});

lowering("two parameters swap their values", async () => {
  const { parameters, step } = await programOf(
    (a, b) => {
      const old = a.value;
      assign(a, b.value);
      assign(b, old);
      return a.sum();
    },
    [[5], [5]],
  );
  const [a, b] = parameters.map((p) => [...p.data]);
  await step();
  assert.equal([...parameters[0].data], b);
  assert.equal([...parameters[1].data], a);
});

lowering("a later read sees the assigned value, an earlier one the old", async () => {
  const run = async (backend: Backend) => {
    const w = new Parameter([3, 3], fill("w", [3, 3]).data);
    const k = new Parameter([3, 3], fill("k", [3, 3]).data);
    const x = fill("x", [5, 3], "input");
    const step = compile((x: Tensor, m: Tensor) => {
      const before = x.matmul(k);
      assign(k, k.mul(m).add(w.mul(m.rsub(1))));
      const loss = x.matmul(w).mul(x.matmul(k).add(before).stopGradient()).sum();
      const [g] = grad(loss, [w]);
      assign(w, w.sub((g as Tensor).mul(0.1)));
      return { loss, before };
    }, backend);
    const results = [await step(x, 0.9), await step(x, 0.9)];
    return [...results.flatMap((r) => [r.loss, r.before]), { data: w.data, shape: w.shape }, { data: k.data, shape: k.shape }];
  };
  const [expected, got] = [await run(reference), await run(new PlannedBackend())];
  for (const [i, y] of expected.entries()) assert.ok(difference(got[i], y) < 1e-6, `value ${i}`);
});

lowering("the plan reuses memory", async () => {
  const { program } = await programOf(
    (x) => {
      let y: Tensor = x;
      for (let i = 0; i < 20; i++) y = y.softmax().mul(3);
      return y.sum();
    },
    [[16, 64]],
  );
  assert.ok(program.arena <= 3 * 1024, `${program.arena} floats for tensors of 1024`);
});

lowering.run();
