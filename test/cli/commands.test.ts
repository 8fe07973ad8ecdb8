import { readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { commands } from "../../cli/commands.ts";
import { Interrupted } from "../../cli/terminal.ts";
import { run } from "./support.ts";

const test = suite("commands");
const esc = "\x1b[";

test("without a command the help is shown, grouped, with an example a command", async () => {
  const { code, out, err } = await run("");
  assert.is(code, 0);
  assert.is(err, "");
  for (const { name, summary, examples } of commands) {
    assert.match(out, new RegExp(`^ {4}${name} +${summary.replace(/[.*+?^${}()|[\]\\]/g, "\\$&")}$`, "m"));
    assert.ok(out.includes(examples[0]), `${name}'s example`);
  }
  for (const words of ["--help", "-h", "help"]) assert.is((await run(words)).out, out, words);
});

for (const { name, summary, args, flags, examples } of commands) {
  test(`${name} explains itself, its arguments and its flags`, async () => {
    const { code, out } = await run([name, "--help"]);
    assert.is(code, 0);
    assert.ok(out.startsWith(`${summary}\n\n  ${examples[0]}\n`));
    assert.ok(!summary.endsWith("."));
    assert.ok(examples.every((example) => example.startsWith(`autodidact ${name}`)));
    assert.match(out, new RegExp(`^Usage: autodidact ${name} .*\\[options\\]$`, "m"));
    for (const argument of Object.keys(args)) assert.match(out, new RegExp(`^ {2}[<[]${argument}[>\\]] +\\S`, "m"));
    for (const flag of Object.keys(flags)) assert.match(out, new RegExp(`^ {2}--${flag}( <\\S+>)? {2,}\\S`, "m"));
    assert.match(out, /^ {2}-h, --help +Show this help$/m);
    assert.is((await run(["help", name])).out, out);
    assert.is((await run([name, "-h"])).out, out);
  });
  test(`${name}'s help fits into 120 columns`, async () => {
    const { out } = await run([name, "--help"]);
    assert.equal(
      out.split("\n").filter((line) => line.length > 120),
      [],
    );
  });
}

test("the version is the package's", async () => {
  const { version } = JSON.parse(readFileSync("package.json", "utf8"));
  for (const word of ["--version", "-V"]) assert.equal(await run(word), { code: 0, out: `autodidact ${version}\n`, err: "" });
});

const mistakes: [string, string][] = [
  ["dcotor", 'error: Unknown command "dcotor"\n  tip: did you mean "doctor"? `autodidact help` lists all commands\n'],
  ["--versoin", 'error: Unknown option "--versoin"\n  tip: did you mean "--version"? `autodidact help` lists all options\n'],
  ["doctor --jsno", "error: Unknown option --jsno\n  tip: did you mean --json?\n"],
  ["help docter", 'error: Unknown command "docter"\n  tip: did you mean "doctor"? `autodidact help` lists all of them\n'],
  ["doctor now", 'error: Unexpected argument "now"\n  tip: usage: autodidact doctor [options]\n'],
];
for (const [line, err] of mistakes) {
  test(`\`${line}\` is a usage error: code 2, all on stderr`, async () => assert.equal(await run(line), { code: 2, out: "", err }));
}

test("colours are for terminals, and NO_COLOR and FORCE_COLOR rule them", async () => {
  const colored = async (screen: Parameters<typeof run>[1]) => {
    const [help, error] = [await run("", screen), await run("dcotor", screen)];
    assert.is(help.out.includes(esc), error.err.includes(esc));
    return help.out.includes(esc);
  };
  assert.is(await colored({}), false);
  assert.is(await colored({ columns: 80 }), true);
  assert.is(await colored({ columns: 80, env: { NO_COLOR: "1" } }), false);
  assert.is(await colored({ columns: 80, env: { NO_COLOR: "1", FORCE_COLOR: "1" } }), false);
  assert.is(await colored({ columns: 80, env: { TERM: "dumb" } }), false);
  assert.is(await colored({ env: { FORCE_COLOR: "1" } }), true);
});

test("the stack of an error is shown only when asked for", async () => {
  assert.not.match((await run("doctor now")).err, /\n {4}at /);
  assert.match((await run("doctor now --verbose")).err, /\n {4}at /);
});

test("a signal gives the exit code that shells know", async () => {
  const stop = AbortSignal.abort(new Interrupted("SIGINT", 130));
  for (const line of ["data cifar10 --out no/such/folder", "models"]) {
    const { code, err } = await run(line, { stop });
    assert.is(code, 130, line);
    assert.not.match(err, /error/);
  }
});

test("a reader that goes away is no error", async () => {
  const stop = AbortSignal.abort(Object.assign(new Error("write EPIPE"), { code: "EPIPE" }));
  const { code, err } = await run("data cifar10 --out no/such/folder", { stop });
  assert.is(code, 0);
  assert.not.match(err, /error/);
});

/** Files that are loaded before a command runs. */
function loaded(file: string, found = new Set<string>()): Set<string> {
  if (found.has(file)) return found;
  found.add(file);
  const imports = readFileSync(file, "utf8").matchAll(/^import\s+(?!type\s)[^;]*?from\s+"(\.[^"]+)"/gm);
  for (const [, from] of imports) loaded(join(dirname(file), from), found);
  return found;
}

test("help loads nothing of the library, so that it stays quick", () => {
  const files = [...loaded(join("cli", "main.ts"))];
  assert.ok(files.length > commands.length);
  assert.equal(
    files.filter((file) => !file.startsWith("cli")),
    [],
  );
});

test.run();
