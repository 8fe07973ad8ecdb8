import { fileURLToPath } from "node:url";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { makeBackbone } from "../../src/models/backbones.ts";
import { official } from "../../src/nn/module.ts";
import { describe, runGolden } from "../golden/run.ts";

test("ResNet-20 from its legacy .th gives the features and logits of its authors' code", async () => {
  const check = await runGolden(fileURLToPath(new URL("../golden/files/resnet-cifar10/golden-first64.json", import.meta.url)), {
    backend: "wasm",
  });
  assert.is(check.compared, 2);
  assert.ok(check.passed, describe(check));
});

test("the networks have the paper's numbers of weights", () => {
  const millions = { resnet20: 0.27, resnet32: 0.46, resnet44: 0.66, resnet56: 0.85, resnet110: 1.7 }; // table 6
  for (const [name, want] of Object.entries(millions)) {
    const parameters = [...makeBackbone(name, { seed: 0 }).namedParameters()].filter(([, { trainable }]) => trainable);
    const count = parameters.reduce((sum, [, parameter]) => sum + official(parameter).data.length, 0) + 650; // 64 x 10 + 10 of the last layer
    assert.ok(Math.abs(count / 1e6 - want) <= 0.05 * want, `${name}: ${count}`);
  }
});

test.run();
