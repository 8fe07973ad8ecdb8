// Every command in the README is understood by the command line, and what listings print there is what they print.
import { readFileSync } from "node:fs";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { parse } from "../cli/command.ts";
import { commands } from "../cli/commands.ts";
import { methods } from "../src/methods/methods.ts";
import { run } from "./cli/support.ts";

const text = readFileSync(new URL("../README.md", import.meta.url), "utf8");
const blocks = [...text.matchAll(/^```console\n([\s\S]*?)^```/gm)].map(([, block]) => block.trimEnd());

/** What only looks things up prints the same on every machine. */
const listings = new Set(["methods", "models", "recipes", "help"]);

const readme = suite("README");

for (const block of blocks) {
  for (const [, line, output] of block.matchAll(/^\$ npx autodidact ?(.*)\n?((?:(?!\$ ).*\n?)*)/gm)) {
    const words = line.split(" ").filter(Boolean);
    readme(`\`autodidact ${line}\` is a command line that is understood`, async () => {
      const command = commands.find(({ name }) => name === words[0]);
      assert.ok(command, `no command "${words[0]}"`);
      if (command) await parse(command, words.slice(1));
    });
    if (listings.has(words[0]) && output) {
      readme(`\`autodidact ${line}\` prints what the README shows`, async () => {
        const { out } = await run(words);
        assert.is(out.trimEnd(), output.trimEnd());
      });
    }
  }
}

readme("has commands to try", () => assert.ok(blocks.length >= 3));

readme("names every method in its table", () => {
  for (const name of Object.keys(methods)) assert.match(text, new RegExp(`^\\| \`${name}\``, "m"));
});

readme.run();
