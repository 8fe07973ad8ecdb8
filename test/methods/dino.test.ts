import { suite } from "uvu";
import * as assert from "uvu/assert";
import { openBackend } from "../../src/backend/open.ts";
import { dino, dinoLoss } from "../../src/methods/dino.ts";
import { DinoHead } from "../../src/methods/heads.ts";
import { MultiCrop } from "../../src/methods/multi-crop.ts";
import { resolveOptions } from "../../src/methods/options.ts";
import { namedParameters, withContext } from "../../src/nn/module.ts";
import type { Parameter, Tensor } from "../../src/tape/tensor.ts";
import { compile, item } from "../../src/tape/trace.ts";
import { fill } from "../fill.ts";
import { difference, reference } from "../support.ts";
import { lesson, pictures, TinyNet, tinyViT } from "./support.ts";

const test = suite("dino");
const backend = await openBackend();
test.after(() => backend.close());
const small = { outputs: 16, hidden: 12, bottleneck: 6, locals: 2, freezeLastLayer: 1 };
const scalars = { momentum: 0.9, teacherTemperature: 0.04 };
const crops = [pictures("a", 5, 12), pictures("b", 5, 12), pictures("c", 5, 8), pictures("d", 5, 8)];
const optimizer = { name: "adamw" } as const;

test("the student learns what a teacher says that stands still, from crops of two sizes", async () => {
  const { losses } = lesson(dino, { ...small, centerMomentum: 1, dropPath: 0 }, backend, {
    backbone: ({ dropPath } = {}) => tinyViT(dropPath),
    scalars: { ...scalars, momentum: 1, lr: 1e-5 },
    optimizer,
  });
  // outputs of so narrow a head are tiny before they are normalised, so a small step goes far
  const values = await losses(crops, 20);
  assert.ok(values[19] < 0.9 * values[0], values.join(" "));
});

test("the teacher is the moving average of the student, prototypes and frozen lengths included, statistics excluded", async () => {
  const { parts, train } = lesson(dino, small, backend, { scalars: { ...scalars, momentum: 0.75 } });
  const weights = ({ student, teacher }: typeof parts) =>
    [...student.namedParameters()].map(([name, s], i): [string, Parameter, Parameter] => [name, s, teacher.parameters()[i]]);
  const before = weights(parts).map(([, , t]) => t.data.slice());
  await train(crops, 0, 1);
  for (const [i, [name, s, t]] of weights(parts).entries()) {
    if (/running|tracked/.test(name)) continue;
    const [student, teacher] = [await backend.read(s), await backend.read(t)];
    const want = before[i].map((x, j) => 0.75 * x + 0.25 * student[j]);
    assert.ok(difference({ data: teacher, shape: t.shape }, { data: want, shape: t.shape }) < 1e-6, name);
  }
  const mean = ({ backbone }: MultiCrop) => (backbone as TinyNet).bn.running_mean;
  assert.ok(
    difference(
      { data: await backend.read(mean(parts.teacher)), shape: [12] },
      { data: await backend.read(mean(parts.student)), shape: [12] },
    ) > 1e-3,
  );
});

test("the last layer stands still in the first epoch only, and lengths of 1 stand still for ever", async () => {
  const { parts, train } = lesson(dino, small, backend, { scalars: { ...scalars, weightDecay: 0.1 }, optimizer });
  const { weight_v, weight_g } = parts.student.head.last_layer;
  const start = { data: weight_v.data.slice(), shape: weight_v.shape };
  const moved = async () => difference({ data: await backend.read(weight_v), shape: weight_v.shape }, start);
  await train(crops, 0, 0);
  assert.is(await moved(), 0); // no weight decay either
  await train(crops, 1, 1);
  assert.ok((await moved()) > 1e-3);
  assert.ok((await backend.read(weight_g)).every((g) => g === 1));
});

test("the centre moves a tenth of the way to the mean of the teacher's outputs", async () => {
  const { parts, train } = lesson(dino, { ...small, centerMomentum: 0.9 }, backend, { scalars });
  const copy = new MultiCrop(new TinyNet(), new DinoHead(12, 16, { hidden: 12, bottleneck: 6 }));
  copy.load(parts.teacher.state());
  const outputs = await compile(
    (views: Tensor[]) => withContext({ training: true }, () => copy.forward(views).mean(0)),
    backend,
  )(crops.slice(0, 2));
  await train(crops, 0);
  const want = { data: outputs.data.map((x) => 0.1 * x), shape: [1, 16] };
  assert.ok(difference({ data: await backend.read(parts.center), shape: [1, 16] }, want) < 1e-5);
});

test("a student that says what the teacher says loses its entropy, and pairs of one view do not count", async () => {
  const [t0, t1] = [fill("t0", [3, 5], "input"), fill("t1", [3, 5], "input")];
  const entropy = (of: Float32Array, by: Float32Array) => {
    const softmax = (x: number[]) => x.map((v) => Math.exp(v) / x.reduce((sum, u) => sum + Math.exp(u), 0));
    const row = (x: Float32Array, r: number, tau: number) => softmax([...x.slice(5 * r, 5 * r + 5)].map((v) => v / tau));
    return [0, 1, 2].reduce((sum, r) => sum - row(of, r, 0.5).reduce((s, p, i) => s + p * Math.log(row(by, r, 0.1)[i]), 0) / 3, 0);
  };
  const both = { data: Float32Array.from([...t0.data, ...t1.data]), shape: [6, 5] };
  const center = { data: new Float32Array(5), shape: [1, 5] };
  const loss = await compile(
    (s: Tensor, t: Tensor, c: Tensor) => dinoLoss(s, t, c, { studentTemperature: 0.1, teacherTemperature: 0.5 }),
    reference,
  )(both, both, center);
  const want = (entropy(t0.data, t1.data) + entropy(t1.data, t0.data)) / 2;
  assert.ok(Math.abs(item(loss) - want) < 1e-4, `${item(loss)} instead of ${want}`);
});

test("features come in the order of the views, whatever their sizes", async () => {
  const crop = new MultiCrop(tinyViT(), new DinoHead(16, 4, { hidden: 5, bottleneck: 3 }));
  const order = [crops[0], crops[2], crops[3], crops[1]];
  const [together, ...alone] = await compile(
    (views: Tensor[]) => [crop.features(views), ...views.map((v) => crop.backbone.forward(v))],
    reference,
  )(order);
  const joined = { data: Float32Array.from(alone.flatMap(({ data }) => [...data])), shape: together.shape };
  assert.ok(difference(together, joined) < 1e-6);
});

test("only the student drops paths, and both begin alike", () => {
  const asked: (number | undefined)[] = [];
  const parts = dino.build(
    (options) => {
      asked.push(options?.dropPath);
      return tinyViT(options?.dropPath);
    },
    resolveOptions(dino.options, { ...small, dropPath: 0.2 }),
  );
  assert.equal(asked, [0.2, undefined]);
  assert.equal(parts.teacher.state(), parts.student.state());
  assert.ok(parts.teacher.parameters().every(({ trainable }) => !trainable));
  const names = new Set(Array.from(namedParameters(parts), ([name]) => name));
  for (const name of ["student.backbone.cls_token", "teacher.head.mlp.4.bias", "student.head.last_layer.weight_g"])
    assert.ok(names.has(name), name);
});

test("schedules: the teacher warms by epochs, its momentum ends at 1", () => {
  const options = resolveOptions(dino.options, { teacherTemperature: 0.07, teacherWarmupEpochs: 3, momentum: 0.99 });
  const { momentum, teacherTemperature } = dino.schedules?.(options, { epochs: 10, stepsPerEpoch: 5 }) ?? {};
  const temperatures = [0, 4, 5, 9, 10, 49].map((step) => Number(teacherTemperature(step).toFixed(6)));
  assert.equal(temperatures, [0.04, 0.04, 0.055, 0.055, 0.07, 0.07]);
  assert.is(momentum(0), 0.99);
  assert.ok(momentum(49) > 0.9999 && momentum(49) < 1);
});

test("small views keep the proportion of 96 to 224 in whole patches", () => {
  const side = (size: number) => dino.views(resolveOptions(dino.options, {}), size)[2].size;
  assert.equal([224, 96, 64, 32].map(side), [96, 48, 32, 16]);
});

test.run();
