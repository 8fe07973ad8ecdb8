import { suite } from "uvu";
import * as assert from "uvu/assert";
import { methods } from "../../src/methods/methods.ts";
import { backbones } from "../../src/models/backbones.ts";
import { recipes } from "../../src/recipes/recipes.ts";
import { run } from "./support.ts";

const test = suite("lists");
const firstWords = (text: string) =>
  text
    .trimEnd()
    .split("\n")
    .map((line) => line.split(" ")[0]);

const tables: [string, string[]][] = [
  ["methods", Object.keys(methods)],
  ["recipes", Object.keys(recipes)],
  ["models", backbones().map(({ name }) => name)],
];
for (const [command, names] of tables) {
  test(`${command} lists every name on a line of its own`, async () => {
    const { code, out } = await run(command);
    assert.is(code, 0);
    assert.equal(firstWords(out), names);
  });
  test(`${command} --json is one object, version first`, async () => {
    const { out } = await run(`${command} --json`);
    assert.is(Object.keys(JSON.parse(out))[0], "version");
    assert.is(JSON.parse(out).version, 1);
    assert.equal(
      JSON.parse(out)[command].map(({ name }: { name: string }) => name),
      names,
    );
  });
}

for (const [name, { paper, options }] of Object.entries(methods)) {
  test(`methods ${name} shows its paper and each option with its default`, async () => {
    const { out } = await run(`methods ${name}`);
    assert.ok(out.includes(paper));
    for (const [key, option] of Object.entries(options)) {
      const line = out.split("\n").find((text) => text.startsWith(`  ${key} `));
      assert.ok(line?.includes(` ${String(option.default)} `) && line.includes(option.help), key);
    }
  });
}

for (const [name, recipe] of Object.entries(recipes)) {
  test(`recipes ${name} shows its source, its rate and what it reached`, async () => {
    const { out } = await run(`recipes ${name}`);
    assert.ok(out.includes(recipe.source));
    assert.match(out, new RegExp(`^ {2}optimizer\\.lr +${recipe.optimizer.lr}$`, "m"));
    for (const { top1, dataset } of recipe.reports ?? []) assert.ok(out.includes(`${top1} % on ${dataset}`));
  });
}

const mistakes: [string, RegExp][] = [
  ["methods simclar", /^error: Unknown method "simclar"\n {2}tip: did you mean "simclr"\? `autodidact methods` lists all of them\n$/],
  [
    "recipes simclr-smal",
    /^error: Unknown recipe "simclr-smal"\n {2}tip: did you mean "simclr-small".* `autodidact recipes` lists all of them\n$/,
  ],
  ["train simsaim photos", /^error: Unknown method "simsaim"\n {2}tip: .*`autodidact methods` lists all of them\n$/],
  [
    "train simclr photos --backbone resnet81",
    /^error: Unknown backbone "resnet81"\n {2}tip: did you mean "resnet18".* `autodidact models` lists all/,
  ],
  ["train simclr photos --backbone resnet18-w0.1", /^error: Cannot make "resnet18-w0\.1": expected a width of 0\.25 or more/],
  ["train simclr photos --recipe mae-smal", /^error: Unknown recipe "mae-smal"\n {2}tip: did you mean "mae-small"/],
  ["train simclr photos --bacth 3", /^error: Unknown option --bacth\n {2}tip: did you mean --batch\?\n$/],
  ["train simclr photos --batch 0", /^error: --batch wants a whole number of at least 1, got "0"\n$/],
  ["train simclr photos --knn-train here", /^error: --knn-train needs --knn-test\n/],
  ["train simclr", /^error: Missing <images>: /],
  ["embed runs/x photos", /^error: Missing --out: .*\n {2}tip: write --out <file>\n$/],
];
for (const [line, err] of mistakes) {
  test(`\`${line}\` is a usage error that names what would do`, async () => {
    const said = await run(line);
    assert.match(said.err, err);
    assert.is(said.code, 2);
    assert.is(said.out, "");
  });
}

test("a width that no list has makes a backbone", async () => {
  assert.not.match((await run("knn no-run a b --backbone resnet18-cifar-w0.75")).err, /backbone/);
});

test.run();
