import { suite } from "uvu";
import * as assert from "uvu/assert";
import { methods } from "../../src/methods/methods.ts";
import { resolveOptions } from "../../src/methods/options.ts";
import { backboneError, makeBackbone } from "../../src/models/backbones.ts";
import type { Recipe } from "../../src/recipes/recipe.ts";
import { defaultRecipe, recipes } from "../../src/recipes/recipes.ts";
import { peakRate, recipeSchedules } from "../../src/recipes/schedules.ts";

const test = suite("recipes");
const near = (a: number, b: number) => assert.ok(Math.abs(a - b) <= 1e-9 + 1e-6 * Math.abs(b), `${a} instead of ${b}`);

for (const [name, recipe] of Object.entries(recipes)) {
  test(`${name}: names a method and a backbone that there are, and options that fit it`, () => {
    const { options } = methods[recipe.method];
    assert.is(backboneError(recipe.backbone), undefined);
    const values = resolveOptions(options, recipe.options) as Record<string, number>;
    if (values.queue) assert.is(values.queue % recipe.batch, 0);
    if (values.groups) assert.is(recipe.batch % values.groups, 0);
    assert.ok(recipe.source && recipe.summary);
    if (!recipe.published) assert.ok(recipe.source.startsWith("this project") && !recipe.reports);
  });
}

for (const name of Object.keys(methods)) {
  test(`${name}: its default recipe builds its parts at the recipe's size`, () => {
    const recipe = recipes[defaultRecipe(name)];
    const method = methods[name];
    const options = resolveOptions(method.options, recipe.options);
    const parts = method.build(({ dropPath } = {}) => makeBackbone(recipe.backbone, { size: recipe.size, dropPath, seed: 1 }), options);
    assert.ok(method.encoder(parts).features > 0);
    assert.ok(method.views(options, recipe.size).every(({ size }) => size <= recipe.size));
  });
}

/** The learning rate at the steps of a recipe, with the weight decay of the last. */
function rates({ optimizer, schedule, epochs, batch }: Recipe, at: number[], { stepsPerEpoch = 10, length = epochs } = {}) {
  const { lr, weightDecay } = recipeSchedules(optimizer, schedule, { epochs: length, stepsPerEpoch }, batch);
  return { lr: at.map(lr), weightDecay: at.map(weightDecay) };
}

test("rates grow with the batch as each source says", () => {
  near(peakRate(recipes["simclr-r50-100"].optimizer, 4096), 4.8); // 0.075 sqrt(4096), as 0.3 for 256
  near(peakRate(recipes["moco-v2-r50-200"].optimizer, 128), 0.015);
  near(peakRate(recipes["mae-vitb16-1600"].optimizer, 4096), 2.4e-3);
  near(peakRate({ lr: 0.3, scaling: "none" }, 4096), 0.3);
});

test("MoCo v1 divides its rate by 10 at epochs 120 and 160, between epochs only", () => {
  const { lr } = rates(recipes["moco-v1-r50-200"], [0, 1199, 1200, 1599, 1600, 1999]);
  for (const [i, want] of [0.03, 0.03, 0.003, 0.003, 0.0003, 0.0003].entries()) near(lr[i], want);
});

test("MoCo v2 follows a cosine by epochs without warm-up", () => {
  const { lr } = rates(recipes["moco-v2-r50-200"], [0, 9, 10, 1000]);
  near(lr[1], 0.03);
  near(lr[2], 0.015 * (1 + Math.cos(Math.PI / 200)));
  near(lr[3], 0.015);
});

test("DINO warms up from 0 to its rate within the warm-up and raises its weight decay along a cosine", () => {
  const { lr, weightDecay } = rates(recipes["dino-vits16-100"], [0, 99, 100, 550, 999]);
  near(lr[0], 0);
  near(lr[1], 1e-3);
  near(lr[2], 1e-3);
  near(lr[3], 1e-6 + 0.5 * (1e-3 - 1e-6));
  near(weightDecay[0], 0.04);
  assert.ok(weightDecay[4] < 0.4 && weightDecay[4] > 0.3999);
});

test("MAE reaches its rate at the step after the warm-up and ends near 0", () => {
  const { lr } = rates(recipes["mae-vitb16-1600"], [0, 200, 400, 15999]);
  near(lr[0], 0);
  near(lr[1], 1.2e-3);
  near(lr[2], 2.4e-3);
  assert.ok(lr[3] < 1e-9);
});

test("a shortened run warms up for a quarter of it", () => {
  const { lr } = rates(recipes["mae-vitb16-1600"], [10, 20, 40], { length: 8 });
  near(lr[0], 1.2e-3);
  near(lr[1], 2.4e-3);
  assert.ok(lr[2] < 2.4e-3);
});

test.run();
