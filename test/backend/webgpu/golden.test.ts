// The official code's numbers for the four methods, for losses that they share, and for networks that a GPU of software computes within
// seconds. `npm run golden -- --backend gpu FILE...` runs others.
import { fileURLToPath } from "node:url";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { describe, runGolden } from "../../golden/run.ts";
import { onGpu } from "./support.ts";

const methods = ["simclr-head", "simclr-loss", "moco-loss", "dino-head", "dino-loss", "mae-small", "losses"];
const backbones = ["backbone-vit-tiny8-dino", "backbone-vit-beit", "backbone-swin-simmim"];
const goldens = suite("gpu golden");
const check = onGpu(goldens);

for (const name of [...methods, ...backbones]) {
  check(`${name}: equals the official code on the GPU`, async () => {
    const path = fileURLToPath(new URL(`../../golden/files/${name}.safetensors`, import.meta.url));
    const result = await runGolden(path, { backend: "gpu" });
    assert.ok(result.passed, describe(result));
  });
}

goldens.run();
