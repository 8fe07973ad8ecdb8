import { suite } from "uvu";
import * as assert from "uvu/assert";
import { type Command, command, parse, usage } from "../../cli/command.ts";

const bake: Command = command({
  name: "bake",
  summary: "Bake a cake",
  args: {
    cake: { help: "Which one" },
    tin: { help: "In what", optional: true, choices: async () => ["round", "square"], listedBy: "autodidact tins" },
  },
  flags: {
    minutes: { type: "number", default: 30, min: 0, help: "How long" },
    eggs: { type: "number", whole: true, min: 1, max: 12, help: "How many" },
    flour: { type: "choice", choices: ["wheat", "rye"], default: "wheat", help: "Which" },
    out: { type: "path", help: "Where to put it" },
    cream: { type: "boolean", help: "With cream" },
    set: { type: "pairs", help: "One thing more" },
  },
  examples: ["autodidact bake plum"],
  async run() {},
});

const read = (line: string) => parse(bake, line.split(" "));
const refusal = async (line: string) => {
  const error = await read(line).then(
    () => undefined,
    (thrown) => thrown,
  );
  return error && `${error.name}: ${error.message}${error.tip ? ` | ${error.tip}` : ""}`;
};

const test = suite("command");

test("values are read in their types, from both forms, among arguments in any place", async () => {
  const { args, flags } = await read("--eggs 3 plum --minutes=1.5e1 --cream round --out=a=b --set lr=0.1 --set name=x=y");
  assert.equal(args, { cake: "plum", tin: "round" });
  assert.equal(flags, {
    minutes: 15,
    eggs: 3,
    flour: "wheat",
    out: "a=b",
    cream: true,
    set: { lr: "0.1", name: "x=y" },
    help: false,
    verbose: false,
  });
});

test("flags that are not given have their defaults", async () => {
  const { args, flags } = await read("plum");
  assert.equal(args, { cake: "plum", tin: undefined });
  assert.equal([flags.minutes, flags.eggs, flags.flour, flags.cream, flags.set], [30, undefined, "wheat", false, {}]);
});

test("the last of a repeated flag counts, and --no- takes a switch back", async () => {
  const { flags } = await read("plum --eggs 2 --eggs 4 --cream --no-cream");
  assert.equal([flags.eggs, flags.cream], [4, false]);
});

test("after -- everything is an argument", async () => {
  assert.equal((await read("-- --eggs")).args.cake, "--eggs");
});

test("help is asked for in spite of other mistakes in values and arguments", async () => {
  assert.ok((await read("--eggs none --help")).help);
  assert.ok((await read("-h")).help);
});

const refusals: Record<string, string> = {
  "plum --egs 3": "UsageError: Unknown option --egs | did you mean --eggs?",
  "plum --no-egs": "UsageError: Unknown option --no-egs | to pass it as a value, write -- --no-egs",
  "plum -x": "UsageError: Unknown option -x | to pass it as a value, write -- -x",
  "plum --eggs": "UsageError: --eggs needs a value | write --eggs <number>",
  "plum --eggs --cream": "UsageError: --eggs needs a value | write --eggs <number>",
  "plum --eggs 0": 'UsageError: --eggs wants a whole number from 1 to 12, got "0"',
  "plum --eggs 1.5": 'UsageError: --eggs wants a whole number from 1 to 12, got "1.5"',
  "plum --minutes -1": 'UsageError: --minutes wants a number of at least 0, got "-1"',
  "plum --minutes=soon": 'UsageError: --minutes wants a number of at least 0, got "soon"',
  "plum --minutes=": 'UsageError: --minutes wants a number of at least 0, got ""',
  "plum --minutes 1e999": 'UsageError: --minutes wants a number of at least 0, got "1e999"',
  "plum --cream=yes": 'UsageError: --cream takes no value, got "yes"',
  "plum --flour ry": 'UsageError: Unknown flour "ry" | did you mean "rye"? known: wheat, rye',
  "plum --set lr": 'UsageError: --set wants key=value, got "lr"',
  "plum --set =1": 'UsageError: --set wants key=value, got "=1"',
  "plum rund": 'UsageError: Unknown tin "rund" | did you mean "round"? `autodidact tins` lists all of them',
  "plum round two": 'UsageError: Unexpected argument "two" | usage: autodidact bake <cake> [tin] [options]',
  "--cream": "UsageError: Missing <cake>: Which one | usage: autodidact bake <cake> [tin] [options]",
  "plum --constructor": "UsageError: Unknown option --constructor | to pass it as a value, write -- --constructor",
};
for (const [line, expected] of Object.entries(refusals)) {
  test(`refuses \`${line}\` and says what would do`, async () => assert.is(await refusal(line), expected));
}

test("the usage line marks what may be left out", () => assert.is(usage(bake), "autodidact bake <cake> [tin] [options]"));

test.run();
