import { test } from "uvu";
import * as assert from "uvu/assert";
import { WasmBackend } from "../../src/backend/wasm.ts";
import { makeBackbone } from "../../src/models/backbones.ts";
import { namedParameters, withContext } from "../../src/nn/module.ts";
import { AdamW } from "../../src/nn/optim/adamw.ts";
import { Sgd } from "../../src/nn/optim/sgd.ts";
import { grad } from "../../src/tape/grad.ts";
import type { Parameter, Tensor } from "../../src/tape/tensor.ts";
import { compile } from "../../src/tape/trace.ts";
import { fill } from "../fill.ts";

const key = { shape: [4], data: Float32Array.of(3, 0, 0, 0) };

/** Every number that a few training steps leave behind. */
async function train(name: string, size: number, threads: number): Promise<Map<string, Float32Array>> {
  const backend = await WasmBackend.open({ threads, build: "plain" });
  const model = makeBackbone(name, { size, dropPath: 0.1, seed: 1 });
  const parameters = [...namedParameters({ model })];
  const optimizer = name.startsWith("vit") ? new AdamW(parameters) : new Sgd(parameters);
  const step = compile(
    (x: Tensor, key: Tensor, lr: Tensor) =>
      withContext({ training: true, key }, () => {
        const loss = model
          .forward(x)
          .normalize()
          .square()
          .mul(x.mean([1, 2, 3]).reshape([-1, 1]))
          .sum();
        optimizer.update(grad(loss, optimizer.parameters as Parameter[]), { lr, weightDecay: 0.01 });
        return loss;
      }),
    backend,
  );
  const losses: number[] = [];
  for (let i = 0; i < 2; i++) losses.push((await step(fill(`images/${i}`, [5, size, size, 3], "input"), key, 0.01)).data[0]);
  await backend.close();
  return new Map([["losses", Float32Array.from(losses)], ...parameters.map(([path, { data }]) => [path, data] as const)]);
}

for (const [name, size] of [
  ["resnet18-cifar-w0.25", 16],
  ["vit-tiny-16", 32],
] as const) {
  test(`${name}: two training steps leave the same bits on 1, 2 and 5 threads`, async () => {
    const expected = await train(name, size, 1);
    const before = [...namedParameters({ model: makeBackbone(name, { size, seed: 1 }) })];
    const moved = before.filter(([path, { data }]) => data.some((v, i) => v !== expected.get(path)?.[i]));
    assert.ok(moved.length > 0.9 * before.length, `${moved.length} of ${before.length} parameters moved`);
    assert.ok(expected.get("losses")?.every(Number.isFinite));
    for (const threads of [2, 5]) {
      for (const [path, data] of await train(name, size, threads)) {
        assert.ok(Buffer.compare(bytes(data), bytes(expected.get(path) as Float32Array)) === 0, `${path} on ${threads} threads`);
      }
    }
  });
}

const bytes = (data: Float32Array) => new Uint8Array(data.buffer, data.byteOffset, data.byteLength);

test.run();
