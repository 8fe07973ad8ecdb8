// The same seed gives the same bits with any number of threads: forward, gradients, noise, clipping, optimiser, running statistics.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { openBackend } from "../../src/backend/open.ts";
import type { Backbone } from "../../src/models/backbone.ts";
import { makeBackbone } from "../../src/models/backbones.ts";
import { Swin } from "../../src/models/swin.ts";
import { ViL } from "../../src/models/vil.ts";
import { ViT } from "../../src/models/vit.ts";
import { XCiT } from "../../src/models/xcit.ts";
import { withSeed } from "../../src/nn/init.ts";
import { withContext } from "../../src/nn/module.ts";
import { clipEach } from "../../src/nn/optim/clip.ts";
import { exceptVectors } from "../../src/nn/optim/optimizer.ts";
import { makeOptimizer, type OptimizerSpec } from "../../src/nn/optim/optimizers.ts";
import { grad } from "../../src/tape/grad.ts";
import type { Tensor } from "../../src/tape/tensor.ts";
import { compile, type Host, item } from "../../src/tape/trace.ts";
import { fill } from "../fill.ts";

interface Result {
  losses: number[];
  numbers: Float32Array[];
}

/** Weights, state and losses after three steps. */
async function threeSteps(model: Backbone, spec: OptimizerSpec, threads: number): Promise<Result> {
  const optimizer = makeOptimizer(spec, model.namedParameters(), exceptVectors);
  const backend = await openBackend({ backend: "wasm", threads });
  const loss = (x: Tensor, y: Tensor) => model.forward(x).normalize().matmul(y).square().mean();
  const step = compile((x: Tensor, y: Tensor, key: Tensor) => {
    const value = withContext({ training: true, key }, () => loss(x, y));
    optimizer.update(clipEach(grad(value, optimizer.parameters), 1), { lr: 0.01, weightDecay: 0.05 });
    return value;
  }, backend);
  const target = fill("y", [model.features, 9], "input");
  const losses: number[] = [];
  for (let i = 0; i < 3; i++) {
    const key: Host = { data: Float32Array.of(5, 0, i, 0), shape: [4] };
    losses.push(item(await step(fill(`x${i}`, [7, 20, 20, 3], "input"), target, key)));
  }
  const state = Array.from(optimizer.namedState(), ([, buffer]) => buffer);
  const numbers = await Promise.all([...model.parameters(), ...state].map((parameter) => backend.read(parameter)));
  await backend.close();
  return { losses, numbers };
}

const rows: { name: string; model: () => Backbone; optimizer: OptimizerSpec }[] = [
  {
    name: "a ViT with AdamW and drop path",
    model: () => withSeed(1, () => new ViT({ dim: 60, depth: 3, heads: 3, patch: 4, size: 20, dropPath: 0.3 })),
    optimizer: { name: "adamw" },
  },
  {
    name: "a Swin with biases by place, shifted windows and AdamW",
    model: () => withSeed(1, () => new Swin({ dim: 12, depths: [2, 1], heads: [2, 4], window: 3, size: 20, dropPath: 0.3 })),
    optimizer: { name: "adamw" },
  },
  {
    name: "a ViL with drawn neighbours and AdamW",
    model: () => {
      const arch = "l1,h2,d12,n2,s1,g1,p2,f3,a0_l2,h4,d24,n1,s0,g0,p2,f3,a0";
      return withSeed(1, () => new ViL({ arch, size: 20, mode: "random", dropPath: 0.3 }));
    },
    optimizer: { name: "adamw" },
  },
  {
    name: "an XCiT with AdamW and drop path",
    model: () => withSeed(1, () => new XCiT({ dim: 24, depth: 2, heads: 3, patch: 8, eta: 1, dropPath: 0.3 })),
    optimizer: { name: "adamw" },
  },
  { name: "a ResNet with LARS", model: () => makeBackbone("resnet18-cifar-w0.25", { seed: 1 }), optimizer: { name: "lars" } },
];
for (const { name, model, optimizer } of rows) {
  test(`${name} trains to the same bits on 1, 2 and 3 threads`, async () => {
    const one = await threeSteps(model(), optimizer, 1);
    assert.ok(one.losses.every(Number.isFinite) && one.losses[0] !== one.losses[1]);
    for (const threads of [2, 3]) assert.equal(await threeSteps(model(), optimizer, threads), one);
  });
}

test.run();
