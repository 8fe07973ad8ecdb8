import { test } from "uvu";
import * as assert from "uvu/assert";
import { methods } from "../../src/methods/methods.ts";
import { recipes } from "../../src/recipes/recipes.ts";
import { configure, RequestError, type RunRequest } from "../../src/train/options.ts";

const asked: RunRequest = { method: "simclr", images: "photos/" };

function refusal(request: Partial<RunRequest>): RequestError {
  try {
    configure({ ...asked, ...request });
  } catch (error) {
    assert.instance(error, RequestError);
    return error as RequestError;
  }
  throw new Error(`accepted ${JSON.stringify(request)}`);
}

for (const name of Object.keys(methods)) {
  test(`${name} without further words is trained by its own recipe, all options resolved`, () => {
    const options = configure({ method: name, images: "photos/" });
    assert.is(recipes[options.recipe].method, name);
    assert.equal(Object.keys(options.options), Object.keys(methods[name].options));
    assert.equal(JSON.parse(JSON.stringify(options)), options);
  });
}

test("every recipe can be asked for by name", () => {
  for (const [recipe, { method, batch, epochs }] of Object.entries(recipes)) {
    const options = configure({ method, images: "photos/", recipe });
    assert.equal([options.batch, options.length], [batch, { epochs }], recipe);
  }
});

test("what is said replaces what the recipe says, and nothing else changes", () => {
  const plain = configure(asked);
  const changed = configure({
    ...asked,
    batch: 12,
    steps: 7,
    seed: 9,
    set: { temperature: "0.25", "optimizer.lr": "0.125", "schedule.lr": "constant" },
  });
  assert.equal(changed, {
    ...plain,
    batch: 12,
    length: { steps: 7 },
    seed: 9,
    options: { ...plain.options, temperature: 0.25 },
    optimizer: { ...plain.optimizer, lr: 0.125 },
    schedule: { ...plain.schedule, lr: "constant" },
  });
});

test("unknown names are refused with those that there are", () => {
  const method = refusal({ method: "simsaim" });
  assert.is(method.message, 'Unknown method "simsaim"');
  assert.equal([method.asked, method.known], ["simsaim", Object.keys(methods)]);
  assert.ok(refusal({ recipe: "none" }).known.includes("simclr-small"));
  assert.match(refusal({ backbone: "resnet19" }).message, /Unknown backbone "resnet19"/);
  assert.ok(refusal({ set: { temprature: "1" } }).known.includes("temperature"));
});

test("a recipe of another method is refused with the method's own", () => {
  const { message, known } = refusal({ recipe: "mae-small" });
  assert.is(message, 'Cannot train simclr by the recipe "mae-small": it is one for mae');
  assert.ok(known.length > 0 && known.every((name) => recipes[name].method === "simclr"));
});

for (const [request, says] of [
  [{ batch: 0 }, /Cannot set batch to 0: expected a whole number of 1 or more/],
  [{ batch: 2.5 }, /Cannot set batch to 2\.5/],
  [{ seed: 2 ** 32 }, /Cannot set seed to 4294967296/],
  [{ epochs: 0 }, /Cannot set epochs to 0: expected a number above 0/],
  [{ minutes: Number.NaN }, /Cannot set minutes to NaN/],
  [{ epochs: 1, steps: 1 }, /expected one of epochs, steps and minutes/],
  [{ batch: 10, accumulate: 3 }, /Cannot cut a batch of 10 into 3 equal parts/],
  [{ set: { temperature: "-1" } }, /Cannot set temperature to -1: expected a number above 0/],
  [{ set: { "optimizer.lr": "fast" } }, /Cannot set optimizer\.lr to fast/],
] as [Partial<RunRequest>, RegExp][]) {
  test(`${JSON.stringify(request)} is refused with what would do`, () => assert.match(refusal(request).message, says));
}

test.run();
