import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { type Command, command } from "../../cli/command.ts";
import { candidates } from "../../cli/completions.ts";
import { run } from "./support.ts";

const test = suite("completions");

const table: Command[] = [
  command({
    name: "bake",
    summary: "Bake a cake",
    args: { cake: { help: "Which", choices: async () => ["plum", "apple"] }, folder: { help: "Where", optional: true } },
    flags: {
      flour: { type: "choice", choices: ["wheat", "rye"], help: "Which" },
      eggs: { type: "number", help: "How many" },
      cream: { type: "boolean", help: "With cream" },
    },
    examples: ["autodidact bake plum"],
    async run() {},
  }),
  command({ name: "boil", summary: "Boil an egg", examples: ["autodidact boil"], async run() {} }),
];
const words = async (line: string) => (await candidates(table, line.split(" "))).map(({ word }) => word);

const rows: [string, string[]][] = [
  ["", ["bake", "boil", "--help", "--version"]],
  ["bo", ["boil"]],
  ["--v", ["--version"]],
  ["bake ", ["plum", "apple"]],
  ["bake pl", ["plum"]],
  ["bake plum ", []], // a folder: the shell's own files
  ["bake --cream ", ["plum", "apple"]],
  ["bake --eggs 3 ", ["plum", "apple"]],
  ["bake --eggs ", []],
  ["bake --flour ", ["wheat", "rye"]],
  ["bake plum --flour r", ["rye"]],
  ["bake --c", ["--cream"]],
  ["bake --", ["--flour", "--eggs", "--cream", "--help", "--verbose"]],
  ["cook ", []],
];
for (const [line, expected] of rows) {
  test(`\`${line}\` is completed by ${expected.join(", ") || "the shell"}`, async () => assert.equal(await words(line), expected));
}

test("scripts get a word and its meaning a line", async () => {
  const { out } = await run(["complete", "--", "doc"]);
  assert.match(out, /^doctor\t\S.*\n$/);
});

test("the bash script completes a command, and falls back to files", async () => {
  const { out: script } = await run("completions bash");
  const { out } = await run(["complete", "--", "do"]);
  const fake = `autodidact() { printf '%b' ${JSON.stringify(out)}; }`;
  const ask = `COMP_WORDS=(autodidact do); COMP_CWORD=1; _autodidact; printf "%s;" "\${COMPREPLY[@]}"; complete -p autodidact`;
  const { stdout, stderr, status } = spawnSync("bash", ["-c", `${fake}\n${script}\n${ask}`], { encoding: "utf8" });
  assert.is(stderr, "");
  assert.is(status, 0);
  assert.is(stdout, "doctor;complete -o default -F _autodidact autodidact\n");
});

for (const shell of ["zsh", "fish"]) {
  const missing = spawnSync(shell, ["--version"]).error !== undefined;
  (missing ? test.skip : test)(`the ${shell} script has no syntax error`, async () => {
    const { out: script } = await run(["completions", shell]);
    const folder = mkdtempSync(join(tmpdir(), "autodidact-"));
    writeFileSync(join(folder, "script"), script);
    const { stderr, status } = spawnSync(shell, ["-n", join(folder, "script")], { encoding: "utf8" });
    rmSync(folder, { recursive: true });
    assert.is(stderr, "");
    assert.is(status, 0);
  });
}

test.run();
