// The official code's numbers for the four methods, and for losses that they share, on the GPU. `npm run golden -- --backend gpu FILE...`
// runs others.
import { fileURLToPath } from "node:url";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { describe, runGolden } from "../../golden/run.ts";
import { onGpu } from "./support.ts";

const files = ["simclr-head", "simclr-loss", "moco-loss", "dino-head", "dino-loss", "mae-small", "losses"];
const goldens = suite("gpu golden");
const check = onGpu(goldens);

for (const name of files) {
  check(`${name}: equals the official code on the GPU`, async () => {
    const path = fileURLToPath(new URL(`../../golden/files/${name}.safetensors`, import.meta.url));
    const result = await runGolden(path, { backend: "gpu" });
    assert.ok(result.passed, describe(result));
  });
}

goldens.run();
