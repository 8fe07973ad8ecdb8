// Holds the direction in which the parts of the project may use each other.
import { readdirSync, readFileSync } from "node:fs";
import { dirname, join, normalize } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";

/** A file imports from its own room and from rooms after it. Rooms of one line do not import each other, but where named below. */
const order = [
  ["cli"],
  ["src"],
  ["src/demo"],
  ["src/train"],
  ["src/export"],
  ["src/evaluate"],
  ["src/recipes"],
  ["src/methods"],
  ["src/models"],
  ["src/nn"],
  ["src/data", "src/checkpoint"],
  ["src/backend", "src/backend/wasm", "src/tape", "src/tape/ops"],
  ["assembly", "gpu"],
];

const rank = (folder: string) => order.findIndex((rooms) => rooms.includes(folder));

function sources(folder: string): string[] {
  return readdirSync(folder, { withFileTypes: true }).flatMap((entry) => {
    const path = join(folder, entry.name);
    return entry.isDirectory() ? sources(path) : path.endsWith(".ts") ? [path] : [];
  });
}

const layers = suite("layers");

for (const file of [...sources("src"), ...sources("cli")]) {
  layers(`${file} imports only from its own room and from those below`, () => {
    const text = readFileSync(file, "utf8");
    for (const [, type, from] of text.matchAll(/^(?:import|export)\s+(type\s)?[^;]*?from\s+"(\.[^"]+)"/gm)) {
      if (type) continue;
      assert.ok(from.endsWith(".ts"), `${from} should end in .ts`);
      const here = room(dirname(file));
      const there = room(dirname(normalize(join(dirname(file), from))));
      assert.ok(here === there || rank(there) >= rank(here), `${file} (${here}) imports ${from} (${there})`);
    }
  });
}

/** The nearest folder that has a place in the order. */
function room(folder: string): string {
  let at = folder;
  while (rank(at) < 0 && at !== ".") at = dirname(at);
  return at;
}

layers.run();
