// Every golden file on the relaxed build of the kernels, which fuses multiply-adds and so rounds otherwise: golden.test.ts runs the build that wins
// on this machine, most often the plain one.
import { readdirSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { describe, runGolden } from "./golden/run.ts";

const folder = new URL("golden/files/", import.meta.url);
const goldens = suite("golden, relaxed kernels");

for (const name of readdirSync(folder).filter((file) => file.endsWith(".safetensors"))) {
  goldens(`${name.replace(".safetensors", "")}: equals the official code`, async () => {
    const check = await runGolden(fileURLToPath(new URL(name, folder)), { backend: "wasm", build: "relaxed" });
    assert.ok(check.passed, describe(check));
  });
}
goldens.run();
