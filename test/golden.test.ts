// Every golden file beside the runners, on the wasm backend. `npm run golden -- FILE...` runs others.
import { readdirSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { describe, runGolden } from "./golden/run.ts";

const folder = new URL("golden/files/", import.meta.url);
const goldens = suite("golden");

for (const name of readdirSync(folder).filter((file) => file.endsWith(".safetensors"))) {
  goldens(`${name.replace(".safetensors", "")}: equals the official code`, async () => {
    const check = await runGolden(fileURLToPath(new URL(name, folder)), { backend: "wasm" });
    assert.ok(check.passed, describe(check));
  });
}
goldens.run();
