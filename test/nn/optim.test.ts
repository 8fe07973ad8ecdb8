import { test } from "uvu";
import * as assert from "uvu/assert";
import { Accumulator } from "../../src/nn/optim/accumulate.ts";
import { AdamW } from "../../src/nn/optim/adamw.ts";
import { clipEach, clipGlobal } from "../../src/nn/optim/clip.ts";
import { layerDecay } from "../../src/nn/optim/layer-decay.ts";
import { exceptVectors } from "../../src/nn/optim/optimizer.ts";
import { makeOptimizer, type OptimizerSpec } from "../../src/nn/optim/optimizers.ts";
import { cosine, multistep, perEpoch, ramp } from "../../src/nn/optim/schedule.ts";
import { Sgd } from "../../src/nn/optim/sgd.ts";
import { Parameter, type Tensor } from "../../src/tape/tensor.ts";
import { compile, type Host } from "../../src/tape/trace.ts";
import { fill } from "../fill.ts";
import { reference } from "../support.ts";

const parameters = (): [string, Parameter][] => [
  ["fc.weight", new Parameter([3, 5], fill("w", [3, 5]).data)],
  ["fc.bias", new Parameter([3], fill("b", [3]).data)],
];
const gradients = (): Host[] => [fill("gw", [3, 5], "input"), fill("gb", [3], "input")];

const specs: OptimizerSpec[] = [
  { name: "sgd", momentum: 0.9, nesterov: true },
  { name: "adamw" },
  { name: "adam" },
  { name: "lamb" },
  { name: "lars" },
  { name: "lars", form: "tensorflow" },
  { name: "lars", form: "tensorflowPopular" },
  { name: "lars", form: "solo", clip: true },
];

for (const spec of specs) {
  const title = spec.name + ("form" in spec ? ` ${spec.form}` : "");
  test(`${title}: a parameter without gradient keeps its value and state`, async () => {
    const named = parameters();
    const optimizer = makeOptimizer(spec, named);
    const step = compile((g: Tensor) => optimizer.update([undefined, g], { lr: 0.1, weightDecay: 0.1 }), reference);
    await step(gradients()[1]);
    assert.equal(named[0][1].data, fill("w", [3, 5]).data);
    assert.not.equal(named[1][1].data, fill("b", [3]).data);
    for (const [name, buffer] of optimizer.namedState()) {
      if (name.startsWith("fc.weight"))
        assert.ok(
          buffer.data.every((x) => x === 0),
          name,
        );
    }
  });

  test(`${title}: two steps at once equal one step, state saved and loaded, and another`, async () => {
    const runOn = async (steps: number, from?: { weights: Float32Array[]; state: Map<string, Float32Array> }) => {
      const named = parameters();
      const optimizer = makeOptimizer(spec, named);
      from?.weights.forEach((data, i) => named[i][1].data.set(data));
      for (const [name, buffer] of optimizer.namedState()) if (from) buffer.data.set(from.state.get(name) as Float32Array);
      const step = compile((g: Tensor[], lr: Tensor) => optimizer.update(g, { lr, weightDecay: 0.1 }), reference);
      for (let i = 0; i < steps; i++) await step(gradients(), 0.01);
      return { weights: named.map(([, p]) => p.data), state: new Map(Array.from(optimizer.namedState(), ([name, p]) => [name, p.data])) };
    };
    assert.equal(await runOn(1, await runOn(1)), await runOn(2));
  });
}

test("vectors and biases are spared weight decay, matrices are not", async () => {
  const named = parameters();
  const optimizer = new Sgd(named, { momentum: 0 }, exceptVectors);
  const zero = named.map(([, { shape }]) => ({ data: new Float32Array(shape.reduce((a, b) => a * b)), shape }));
  await compile((g: Tensor[]) => optimizer.update(g, { lr: 1, weightDecay: 0.5 }), reference)(zero);
  assert.equal(
    named[0][1].data,
    fill("w", [3, 5]).data.map((x) => x / 2),
  );
  assert.equal(named[1][1].data, fill("b", [3]).data);
});

test("a rule scales the rate of some parameters and takes another scalar for others", async () => {
  const named = parameters();
  const optimizer = new Sgd(named, { momentum: 0 }, (name) => (name === "fc.bias" ? { lr: "constantLr" } : { lrScale: 0.5 }));
  const ones = named.map(([, { shape }]) => ({ data: new Float32Array(shape.reduce((a, b) => a * b)).fill(1), shape }));
  await compile((g: Tensor[]) => optimizer.update(g, { lr: 0.5, constantLr: 2 }), reference)(ones);
  assert.equal(
    named[0][1].data,
    fill("w", [3, 5]).data.map((x) => x - 0.25),
  );
  assert.equal(
    named[1][1].data,
    fill("b", [3]).data.map((x) => x - 2),
  );
  assert.throws(
    () => new Sgd(parameters(), {}, () => ({ lr: "other" })).update([undefined, fill("b", [3]) as never], { lr: 1 }),
    /Cannot update without "other"/,
  );
});

test("frozen parameters are not the optimiser's, and one that has two names is moved once", () => {
  const [weight, bias] = parameters();
  bias[1].trainable = false;
  const optimizer = new AdamW([weight, bias, ["tied.weight", weight[1]]]);
  assert.equal(
    optimizer.slots.map(({ name }) => name),
    ["fc.weight"],
  );
  assert.throws(() => optimizer.update([], { lr: 1 }), /^Cannot update 1 parameters by 0 gradients/);
});

test("clipping shortens each gradient by its own length, or all by their common one", async () => {
  const g: Host[] = [
    { data: Float32Array.of(3, 4), shape: [2] },
    { data: Float32Array.of(0, 0.5), shape: [2] },
  ];
  const clip = (f: typeof clipEach) => compile((a: Tensor, b: Tensor) => [...f([a, undefined, b], 1)], reference)(g[0], g[1]);
  const close = (got: Host | undefined, want: number[]) => assert.ok(want.every((x, i) => Math.abs((got as Host).data[i] - x) < 1e-6));
  const each = await clip(clipEach);
  close(each[0], [0.6, 0.8]);
  assert.is(each[1], undefined);
  close(each[2], [0, 0.5]);
  const all = await clip(clipGlobal);
  const length = Math.hypot(3, 4, 0.5);
  close(all[0], [3 / length, 4 / length]);
  close(all[2], [0, 0.5 / length]);
});

test("accumulated gradients are the mean over the batches, and begin anew", async () => {
  const named = parameters();
  const accumulator = new Accumulator(named, 3);
  const add = compile((g: Tensor[]) => accumulator.add(g), reference);
  const take = compile((g: Tensor[]) => [...accumulator.take(g)], reference);
  const batches = [0, 1, 2].map((i) => named.map(([name, { shape }]) => fill(`${name}${i}`, shape, "input")));
  for (let round = 0; round < 2; round++) {
    await add(batches[0]);
    await add(batches[1]);
    const mean = await take(batches[2]);
    for (const [i, host] of mean.entries()) {
      const want = batches[0][i].data.map((x, j) => (x + batches[1][i].data[j] + batches[2][i].data[j]) / 3);
      assert.ok((host as Host).data.every((x, j) => Math.abs(x - want[j]) < 1e-6));
    }
  }
});

test("schedules take the official values at their corners", () => {
  const mae = cosine({ from: 2, steps: 10, warmup: 4 });
  assert.is(mae(0), 0);
  assert.is(mae(2), 1);
  assert.is(mae(4), 2);
  assert.ok(Math.abs(mae(7) - 1) < 1e-12);
  assert.ok(mae(9) > 0);
  const dino = cosine({ from: 2, steps: 10, warmup: 4, reach: "last" });
  assert.is(dino(0), 0);
  assert.is(dino(3), 2);
  assert.is(dino(4), 2);
  const temperature = perEpoch(ramp({ from: 0.04, to: 0.07, steps: 4, reach: "last" }), 5);
  assert.is(temperature(4), 0.04);
  assert.ok(Math.abs(temperature(5) - 0.05) < 1e-12);
  assert.is(temperature(15), 0.07);
  assert.is(temperature(500), 0.07);
  const drop = multistep({ base: 1, milestones: [3, 6] });
  assert.equal(
    [2, 3, 6].map((step) => drop(step).toFixed(2)),
    ["1.00", "0.10", "0.01"],
  );
  assert.is(cosine({ from: 0.996, to: 1, steps: 0 })(0), 0.996);
});

test("rates fall from block to block, and are lowest for what makes the first tokens", () => {
  const rules = layerDecay({ depths: 3, decay: 0.5 });
  const scales = [
    "head.weight",
    "norm.weight",
    "blocks.2.attn.qkv.weight",
    "blocks.0.ls1.gamma",
    "patch_embed.proj.bias",
    "register_tokens",
  ];
  assert.equal(
    scales.map((name) => rules(name, new Parameter([1, 1])).lrScale),
    [1, 1, 0.5, 0.125, 0.0625, 0.0625],
  );
});

test.run();
