import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { Action } from "../../src/data/action.ts";
import { Augmenter, draw, drawBox, drawTensorflowBox } from "../../src/data/augment.ts";
import type { Picture } from "../../src/data/picture.ts";
import { randomStream } from "../../src/data/random.ts";
import {
  dinoViews,
  evaluationView,
  maeViews,
  mocoV1Views,
  mocoV2Views,
  rawView,
  simclrFloatEvaluationView,
  simclrFloatViews,
  simclrViews,
  type ViewSpec,
} from "../../src/data/views.ts";
import { fill } from "../fill.ts";

const augment = suite("augment");

const stream = (index: number) => ({ picture: randomStream(5, 0, 0, index), batch: randomStream(5, 1, 0, 0) });

function picture(width: number, height: number): Picture {
  return { width, height, data: Uint8Array.from(fill("augment/picture", [height, width, 3], "unit").data, (u) => Math.floor(256 * u)) };
}

function apply(view: ViewSpec, source: Picture, index = 0): Float32Array {
  const output = new Float32Array(view.size * view.size * 3);
  new Augmenter().apply(source, [view], () => stream(index), [output]);
  return output;
}

for (const [name, box] of Object.entries({ torchvision: drawBox, tensorflow: drawTensorflowBox })) {
  augment(`${name}'s box lies in the picture, and its area and aspect in their ranges`, () => {
    for (let i = 0; i < 2000; i++) {
      const [width, height] = [61 + (i % 40), 47 + (i % 31)];
      const { top, left, width: w, height: h } = box(randomStream(1, 0, 0, i), width, height, [0.2, 0.9]);
      assert.ok(top >= 0 && left >= 0 && w > 0 && h > 0 && top + h <= height && left + w <= width);
      const [area, aspect] = [(w * h) / (width * height), w / h];
      assert.ok(area > 0.19 && area < 0.91, `area ${area}`);
      assert.ok(aspect > 0.72 && aspect < 1.39, `aspect ${aspect}`);
    }
  });
}

augment("a box that never fits becomes the middle of the picture with its aspect clamped", () => {
  assert.equal(drawBox(randomStream(1, 0, 0, 0), 200, 10, [0.99, 1]), { top: 0, left: 93, height: 10, width: 13 });
  assert.equal(drawBox(randomStream(1, 0, 0, 0), 9, 100, [0.99, 1]), { top: 44, left: 0, height: 12, width: 9 });
});

augment("steps are applied as often as their probabilities say", () => {
  const counts: Record<string, number> = {};
  const n = 4000;
  for (let i = 0; i < n; i++) for (const [name] of draw(dinoViews(224)[1], 500, 375, stream(i))) counts[name] = (counts[name] ?? 0) + 1;
  const want = { crop: 1, flip: 0.5, brightness: 0.8, contrast: 0.8, saturation: 0.8, hue: 0.8, grayscale: 0.2, blur: 0.1, solarize: 0.2 };
  for (const [name, p] of Object.entries(want)) {
    assert.ok(Math.abs(counts[name] / n - p) <= 4 * Math.sqrt((p * (1 - p)) / n), `${name}: ${counts[name] / n} for ${p}`);
  }
});

augment("jitter draws its factors from its ranges, in every order", () => {
  const orders = new Set<string>();
  const seen: Record<string, number[]> = { brightness: [], contrast: [], saturation: [], hue: [] };
  for (let i = 0; i < 2000; i++) {
    const colors = draw(mocoV1Views(224)[0], 99, 77, stream(i)).filter(([name]) => name in seen) as [string, number][];
    orders.add(colors.map(([name]) => name).join());
    for (const [name, value] of colors) seen[name].push(value);
  }
  assert.is(orders.size, 24);
  for (const [name, values] of Object.entries(seen)) {
    const [low, high] = name === "hue" ? [-0.4, 0.4] : [0.6, 1.4];
    assert.ok(Math.min(...values) >= low && Math.min(...values) < low + 0.02, name);
    assert.ok(Math.max(...values) <= high && Math.max(...values) > high - 0.02, name);
  }
});

augment("published pipelines keep their order", () => {
  const order = (view: ViewSpec) => view.steps.map(({ step }) => step).join(" ");
  assert.is(order(mocoV1Views()[0]), "resizedCrop grayscale jitter flip");
  assert.is(order(mocoV2Views()[0]), "resizedCrop jitter grayscale blur flip");
  assert.is(order(simclrViews()[0]), "resizedCrop flip jitter grayscale blur");
  assert.is(order(simclrViews(32)[0]), "resizedCrop flip jitter grayscale");
  assert.is(order(simclrFloatViews()[0]), "resizedCrop flip jitter grayscale blur");
  assert.is(order(maeViews()[0]), "resizedCrop flip");
  assert.equal(
    dinoViews(224, { locals: 2 }).map(({ size, steps }) => [size, steps.length]),
    [
      [224, 5],
      [224, 6],
      [96, 5],
      [96, 5],
    ],
  );
  for (const view of dinoViews(32, { blurred: false })) assert.is(order(view), "resizedCrop flip jitter grayscale");
});

augment("a batch shares one sigma of the float blur", () => {
  const sigmas = [0, 1, 2, 3, 4, 5, 6, 7].flatMap((i) =>
    draw(simclrFloatViews(96)[0], 99, 99, stream(i)).filter(([name]) => name === "blur"),
  );
  assert.ok(sigmas.length > 1);
  assert.is(new Set(sigmas.map((action: Action) => action[1])).size, 1);
});

for (const view of [
  mocoV2Views(17)[0],
  dinoViews(15)[1],
  simclrFloatViews(33, { blurred: true })[0],
  { ...mocoV2Views(17)[0], arithmetic: "torch" as const },
]) {
  augment(`${view.arithmetic} ${view.size}: the same draws give the same view, others another`, () => {
    const source = picture(41, 29);
    const views = [0, 0, 1].map((index) => apply(view, source, index));
    assert.equal(views[0], views[1]);
    assert.not.equal(views[0], views[2]);
    assert.ok(views[0].every(Number.isFinite));
  });
}

augment("views leave the picture as it was", () => {
  const source = picture(31, 31);
  const before = source.data.slice();
  const views = [...mocoV2Views(13), ...dinoViews(13), ...simclrFloatViews(13)];
  const outputs = views.map(({ size }) => new Float32Array(size * size * 3));
  const augmenter = new Augmenter();
  augmenter.apply(source, views, (view) => stream(view), outputs);
  assert.equal(source.data, before);
  const alone = views.map((view, i) => {
    const output = new Float32Array(view.size * view.size * 3);
    augmenter.apply(source, [view], () => stream(i), [output]);
    return output;
  });
  assert.equal(outputs, alone);
});

augment("a raw view of a picture of its size is the picture", () => {
  const source = picture(8, 8);
  assert.equal(
    apply(rawView(8), source),
    Float32Array.from(source.data, (value) => value / 255),
  );
});

augment("evaluation views cut the middle out of the resized picture", () => {
  for (const view of [evaluationView(28), simclrFloatEvaluationView(28)]) {
    for (const [width, height] of [
      [61, 40],
      [33, 90],
      [5, 7],
    ]) {
      const flat = { width, height, data: new Uint8Array(width * height * 3).fill(102) };
      const want = [0, 1, 2].map((c) => (0.4 - (view.mean?.[c] ?? 0)) / (view.std?.[c] ?? 1));
      assert.ok(apply(view, flat).every((value, i) => Math.abs(value - want[i % 3]) < 1e-5));
    }
  }
});

augment("a middle that the picture does not have is refused", () => {
  const view: ViewSpec = { size: 9, steps: [{ step: "centerCrop" }], arithmetic: "pillow" };
  assert.throws(() => apply(view, picture(8, 12)), /^Cannot cut 9 x 9 out of the middle of 8 x 12 pixels$/);
});

augment("one pixel is enough for a view", () => {
  for (const view of [mocoV2Views(7)[0], simclrFloatViews(7)[0], evaluationView(7)]) {
    assert.ok(apply(view, { width: 1, height: 1, data: Uint8Array.of(10, 200, 90) }).every(Number.isFinite));
  }
});

augment.run();
