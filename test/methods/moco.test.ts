import { suite } from "uvu";
import * as assert from "uvu/assert";
import { openBackend } from "../../src/backend/open.ts";
import { moco } from "../../src/methods/moco.ts";
import { resolveOptions } from "../../src/methods/options.ts";
import { enqueue, randomQueue } from "../../src/methods/queue.ts";
import { Buffer, namedParameters, withContext } from "../../src/nn/module.ts";
import { Sgd } from "../../src/nn/optim/sgd.ts";
import { grad } from "../../src/tape/grad.ts";
import type { Tensor } from "../../src/tape/tensor.ts";
import { compile, item } from "../../src/tape/trace.ts";
import { fill } from "../fill.ts";
import { openGolden } from "../golden/golden.ts";
import { BnRelu, fillQueue } from "../golden/methods-moco.ts";
import { fillModule } from "../golden/models.ts";
import { difference, reference } from "../support.ts";
import { lesson, pictures } from "./support.ts";

const test = suite("moco");
const backend = await openBackend();
test.after(() => backend.close());
const small = { dim: 8, queue: 24, temperature: 0.2, groups: 1 };

const variants: Record<string, string | number | boolean>[] = [{}, { head: "linear" }, { groups: 3 }, { symmetric: true }];
for (const changes of variants) {
  test(`the loss falls on a fixed batch ${JSON.stringify(changes)}`, async () => {
    const { losses } = lesson(moco, { ...small, ...changes }, backend, { scalars: { momentum: 0.9 } });
    const values = await losses([pictures("a", 6, 9), pictures("b", 6, 9)], 20);
    // the queue holds keys of the same images, so the loss cannot vanish
    assert.ok(Math.min(...values.slice(10)) < 0.9 * Math.max(...values.slice(0, 5)), values.join(" "));
  });
}

test("the method's step equals the official code: losses, queue, pointer and weights of both encoders", async () => {
  const golden = await openGolden(new URL("../golden/files/moco-loss.safetensors", import.meta.url).pathname);
  const { prefix = "", dim, K, T, m, bs, steps, lr } = golden.config;
  const options = resolveOptions(moco.options, { dim, queue: K, temperature: T, groups: 1 });
  const parts = moco.build(() => new BnRelu(24), options);
  fillModule(parts.encoder_q, `${prefix}encoder_q.`);
  fillModule(parts.encoder_k, `${prefix}encoder_k.`);
  fillQueue(parts.queue, prefix);
  const optimizer = new Sgd(namedParameters(parts));
  const step = compile((views: Tensor[], momentum: Tensor) => {
    const { loss } = withContext({ training: true }, () => moco.loss(parts, views, { momentum }, options));
    optimizer.update(grad(loss, optimizer.parameters), { lr, weightDecay: 1e-4 });
    return loss;
  }, backend);
  for (let s = 0; s < steps; s++) {
    const loss = await step([fill(`${prefix}im_q${s}`, [bs, 24], "input"), fill(`${prefix}im_k${s}`, [bs, 24], "input")], m);
    assert.ok(difference(loss, golden.get(`step${s}/loss`)) < 1e-5);
  }
  for (const [name, parameter] of namedParameters(parts)) {
    const got = { data: await backend.read(parameter), shape: parameter.shape };
    assert.ok(difference(got, golden.get(`after/${name}`)) < 1e-4, name);
  }
});

test("keys come from an encoder that has moved towards the queries' before the step", async () => {
  const { parts, train } = lesson(moco, small, backend, { scalars: { momentum: 0.75 } });
  const [q, k] = [parts.encoder_q, parts.encoder_k].map(({ backbone }) => [...backbone.namedParameters()][0][1]);
  k.data.fill(0.5);
  const before = q.data.slice();
  await train([pictures("a", 6, 9), pictures("b", 6, 9)], 0);
  const want = { data: before.map((x) => 0.75 * 0.5 + 0.25 * x), shape: k.shape };
  assert.ok(difference({ data: await backend.read(k), shape: k.shape }, want) < 1e-6);
});

test("a queue takes batch after batch and writes over the oldest when it is full", async () => {
  const [queue, pointer] = [randomQueue([3, 8]), new Buffer([1])];
  const random = queue.data.slice();
  const push = compile((keys: Tensor) => {
    enqueue(queue, pointer, keys);
    return pointer;
  }, reference);
  const keys = (value: number) => ({ data: new Float32Array(4 * 3).fill(value), shape: [4, 3] });
  const row = () => [...queue.data.slice(8, 16)]; // of the second dimension
  assert.is(item(await push(keys(1))), 4);
  assert.equal(row(), [1, 1, 1, 1, ...random.slice(12, 16)]);
  assert.is(item(await push(keys(2))), 0);
  assert.is(item(await push(keys(3))), 4);
  assert.equal(row(), [3, 3, 3, 3, 2, 2, 2, 2]);
});

test("a queue begins with vectors of length 1 in its columns", () => {
  const { data } = randomQueue([2, 5, 7]);
  for (const part of [0, 35]) {
    for (let column = 0; column < 7; column++) {
      const square = [0, 1, 2, 3, 4].reduce((sum, i) => sum + data[part + i * 7 + column] ** 2, 0);
      assert.ok(Math.abs(square - 1) < 1e-6);
    }
  }
});

test("shuffling among groups gives each query the key of its own image", async () => {
  // without batch norm, groups must not change anything
  class Flat extends BnRelu {
    override forward(x: Tensor): Tensor {
      return x.mean([1, 2]);
    }
  }
  const losses = await Promise.all(
    [1, 3].map(async (groups) => {
      const { train } = lesson(moco, { ...small, groups }, backend, { backbone: () => new Flat(3), scalars: { momentum: 1 } });
      return (await train([pictures("a", 6, 5), pictures("b", 6, 5)], 0)).loss;
    }),
  );
  assert.ok(Math.abs(losses[0] - losses[1]) < 1e-5 * losses[0], losses.join(" "));
});

test("refuses batches that do not fit the groups or the queue, and says which would", async () => {
  const refuses = async (changes: Record<string, number>, words: RegExp) => {
    const { train } = lesson(moco, { ...small, ...changes }, backend, { scalars: { momentum: 0.9 } });
    const error = await train([pictures("a", 6, 9), pictures("b", 6, 9)], 0).catch((e) => e);
    assert.match(error.message, words);
  };
  await refuses({ groups: 4 }, /^Cannot cut a batch of 6 into 4 groups: expected a multiple of 4/);
  await refuses({ groups: 6 }, /2 images a group/);
  await refuses({ queue: 20 }, /^Cannot keep batches of 6 in a queue of 20: .* such as 18$/);
});

test("names are those of the official checkpoint", () => {
  const parts = moco.build(() => new BnRelu(4), resolveOptions(moco.options, { dim: 3, queue: 8 }));
  const names = new Set(Array.from(namedParameters(parts), ([name]) => name));
  for (const name of ["encoder_q.bn.weight", "encoder_q.fc.0.weight", "encoder_k.fc.2.bias", "queue", "queue_ptr"]) {
    assert.ok(names.has(name), name);
  }
});

test.run();
