import { suite } from "uvu";
import * as assert from "uvu/assert";
import { methods } from "../../src/methods/methods.ts";
import { choice, expected, flag, number, type Option, resolveOptions, scale, whole } from "../../src/methods/options.ts";

const test = suite("options");
const table = {
  tau: number(0.1, "Temperature", { above: 0 }),
  ratio: number(0.75, "Share", { above: 0, below: 1 }),
  dim: whole(128, "Length"),
  blur: flag(true, "Blur"),
  head: choice("mlp", ["mlp", "linear"], "Head"),
  crop: scale([0.4, 1], "Crop"),
};

test("what is not changed keeps its default", () => {
  assert.equal(resolveOptions(table), { tau: 0.1, ratio: 0.75, dim: 128, blur: true, head: "mlp", crop: [0.4, 1] });
});

test("text stands for the value that it spells", () => {
  const values = resolveOptions(table, { tau: "0.2", dim: "64", blur: "false", head: "linear", crop: "0.14, 1" });
  assert.equal(values, { tau: 0.2, ratio: 0.75, dim: 64, blur: false, head: "linear", crop: [0.14, 1] });
});

const wrong: [string, unknown, RegExp][] = [
  ["tau", "0", /^Cannot set tau to 0: expected a number above 0$/],
  ["tau", "", /^Cannot set tau to : expected a number above 0$/],
  ["tau", "warm", /expected a number/],
  ["tau", Number.NaN, /expected a number/],
  ["tau", "Infinity", /expected a number/],
  ["ratio", 1, /expected a number above 0 and below 1$/],
  ["dim", "1.5", /^Cannot set dim to 1.5: expected a whole number of 1 or more$/],
  ["dim", 0, /expected a whole number/],
  ["blur", "yes", /^Cannot set blur to yes: expected true or false$/],
  ["blur", 1, /expected true or false/],
  ["head", "MLP", /^Cannot set head to MLP: expected mlp or linear$/],
  ["crop", "0.4", /^Cannot set crop to 0.4: expected two numbers above 0 and of at most 1/],
  ["crop", "1,0.4", /expected two numbers/],
  ["crop", "0,1", /expected two numbers/],
  ["crop", "0.4,", /expected two numbers/],
  ["crop", [0.2, 2], /expected two numbers/],
  ["temperature", "1", /^Unknown option "temperature": expected one of tau, ratio, dim/],
  ["toString", "1", /^Unknown option "toString"/],
];
for (const [name, value, message] of wrong) {
  test(`refuses ${name}=${JSON.stringify(value)}`, () => assert.throws(() => resolveOptions(table, { [name]: value }), message));
}

for (const [key, { name, summary, paper, options }] of Object.entries(methods)) {
  test(`${key}: describes itself and its options, whose defaults are allowed`, () => {
    assert.is(name, key);
    assert.ok(summary.length > 20 && /arXiv \d{4}\.\d{5}/.test(paper));
    for (const [key, option] of Object.entries(options) as [string, Option][]) {
      assert.ok(option.help.length > 3 && expected(option), key);
      assert.equal(resolveOptions(options, { [key]: option.default }), resolveOptions(options), key);
    }
  });
}

test.run();
