import { suite } from "uvu";
import * as assert from "uvu/assert";
import { WasmBackend } from "../../src/backend/wasm.ts";
import { withContext } from "../../src/nn/module.ts";
import { BatchNorm } from "../../src/nn/norm.ts";
import { grad } from "../../src/tape/grad.ts";
import { dropout } from "../../src/tape/ops/random.ts";
import { recompute } from "../../src/tape/recompute.ts";
import { Parameter, type Tensor } from "../../src/tape/tensor.ts";
import { compile } from "../../src/tape/trace.ts";
import { fill } from "../fill.ts";

const parameter = (name: string, shape: number[]) => new Parameter(shape, fill(name, shape).data);
const depth = 4;

/** Blocks with a norm that keeps statistics, dropout and a shortcut; the loss, gradients and statistics of two steps. */
async function run(backend: WasmBackend, part: <T>(f: () => T) => T) {
  const weights = Array.from({ length: depth }, (_, i) => parameter(`w${i}`, [24, 24]));
  const norms = weights.map(() => new BatchNorm(24));
  const block = (x: Tensor, i: number, key: Tensor) =>
    x.add(dropout(norms[i].forward(x.matmul(weights[i])).gelu(), key, i, 0.3).matmul(weights[i].t()));
  const step = compile(
    (x: Tensor, key: Tensor) =>
      withContext({ training: true }, () => {
        const y = weights.reduce((z, _, i) => part(() => block(z, i, key)), x);
        const loss = y.square().mean();
        return { loss, gradients: grad(loss, weights) as Tensor[] };
      }),
    backend,
  );
  const x = fill("x", [517, 24]);
  const key = { data: Float32Array.of(3, 0, 1, 0), shape: [4] };
  const { arenaBytes } = await step.prepare(x, key);
  const values: Float32Array[] = [];
  for (let i = 0; i < 2; i++) {
    const { loss, gradients } = await step(x, key);
    values.push(loss.data, ...gradients.map(({ data }) => data));
  }
  for (const { running_mean, running_var, num_batches_tracked } of norms) {
    values.push(...[running_mean, running_var, num_batches_tracked].map(({ data }) => data.slice()));
  }
  return { values, arenaBytes };
}

const recomputed = suite<{ backend: WasmBackend }>("recompute");
recomputed.before(async (context) => {
  context.backend = await WasmBackend.open({ threads: 2, build: "plain" });
});
recomputed.after(({ backend }) => backend.close());

recomputed("gives the same bits in less memory: gradients through dropout, statistics counted once", async ({ backend }) => {
  const kept = await run(backend, (f) => f());
  const again = await run(backend, recompute);
  assert.is(again.values.length, kept.values.length);
  for (const [i, value] of kept.values.entries()) assert.equal(again.values[i], value, `value ${i}`);
  assert.ok(again.arenaBytes < 0.8 * kept.arenaBytes, `${again.arenaBytes} against ${kept.arenaBytes} bytes`);
});

recomputed("within itself changes nothing", async ({ backend }) => {
  const once = await run(backend, recompute);
  const twice = await run(backend, (f) => recompute(() => recompute(f)));
  assert.is(twice.arenaBytes, once.arenaBytes);
  assert.equal(twice.values, once.values);
});

recomputed.run();
