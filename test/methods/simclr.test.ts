import { suite } from "uvu";
import * as assert from "uvu/assert";
import { openBackend } from "../../src/backend/open.ts";
import { multiViewNtXent, ntXent } from "../../src/methods/contrastive.ts";
import { resolveOptions } from "../../src/methods/options.ts";
import { simclr } from "../../src/methods/simclr.ts";
import { namedParameters } from "../../src/nn/module.ts";
import { concat } from "../../src/tape/ops/move.ts";
import type { Tensor } from "../../src/tape/tensor.ts";
import { compile, item } from "../../src/tape/trace.ts";
import { fill } from "../fill.ts";
import { reference } from "../support.ts";
import { lesson, pictures, TinyNet } from "./support.ts";

const test = suite("simclr");
const backend = await openBackend();
test.after(() => backend.close());
const close = (a: number, b: number, tolerance = 1e-5) => assert.ok(Math.abs(a - b) <= tolerance * Math.abs(b), `${a} instead of ${b}`);

for (const [head, directions] of [
  ["norm", "sum"],
  ["plain", "mean"],
]) {
  test(`the loss falls on a fixed batch (head ${head}, ${directions} of directions)`, async () => {
    const { losses } = lesson(simclr, { dim: 8, layers: 2, temperature: 0.5, head, directions }, backend);
    const values = await losses([pictures("a", 7, 9), pictures("b", 7, 9)], 20);
    assert.ok(values[19] < 0.8 * values[0], values.join(" "));
  });
}

test("embeddings that are all alike lose 2 log(2n - 1): every candidate is as good as the right one", async () => {
  const same = { data: new Float32Array(5 * 3).fill(3 ** -0.5), shape: [5, 3] };
  const loss = await compile((z: Tensor) => ntXent(z, z, 0.1).loss, reference)(same);
  close(item(loss), 2 * Math.log(9));
});

test("two views that agree and differ from all others lose nothing", async () => {
  const eye = { data: Float32Array.from({ length: 49 }, (_, i) => Number(i % 8 === 0)), shape: [7, 7] };
  const loss = await compile((z: Tensor) => ntXent(z, z, 0.05).loss, reference)(eye);
  assert.ok(item(loss) < 1e-6);
});

test("a batch of one image is refused: there is nothing to tell it from", async () => {
  const one = { data: Float32Array.of(1, 0), shape: [1, 2] };
  const refused = compile((z: Tensor) => ntXent(z, z, 0.1).loss, reference)(one);
  assert.match(await refused.then(() => "accepted", String), /expected a batch of at least 2/);
});

test("the mean over all anchors of two views is half of the official loss", async () => {
  const views = [fill("z1", [5, 7], "input"), fill("z2", [5, 7], "input")] as const;
  const both = await compile((a: Tensor, b: Tensor) => {
    const [z1, z2] = [a.normalize(), b.normalize()];
    return [ntXent(z1, z2, 0.2).loss, multiViewNtXent(concat([z1, z2], 0), 2, 0.2).loss];
  }, reference)(...views);
  close(item(both[1]), item(both[0]) / 2);
});

test("with three views, both others of an image share the logarithm", async () => {
  const [views, n, d, tau] = [3, 2, 4, 0.5];
  const z = fill("z", [views * n, d], "input");
  const loss = await compile((x: Tensor) => multiViewNtXent(x.normalize(), views, tau).loss, reference)(z);
  const row = (i: number) => [...z.data.slice(i * d, (i + 1) * d)];
  const cosine = (a: number[], b: number[]) => a.reduce((sum, x, k) => sum + x * b[k], 0) / Math.hypot(...a) / Math.hypot(...b);
  const all = [0, 1, 2, 3, 4, 5];
  const sum = (i: number, others: number[]) => others.reduce((total, j) => total + Math.exp(cosine(row(i), row(j)) / tau), 0);
  const losses = all.map((i) => {
    const others = all.filter((j) => j !== i);
    return -Math.log(
      sum(
        i,
        others.filter((j) => j % n === i % n),
      ) / sum(i, others),
    );
  });
  close(item(loss), losses.reduce((a, b) => a + b) / 6);
  const error = await compile((x: Tensor) => multiViewNtXent(x, 4, tau).loss, reference)(z).catch((e) => e);
  assert.match(error.message, /^Cannot contrast 6 rows: expected 4 views/);
});

test("workers with all rows as candidates together lose what one worker loses", async () => {
  const views = [fill("z1", [6, 7], "input"), fill("z2", [6, 7], "input")] as const;
  const [whole, ...parts] = await compile((a: Tensor, b: Tensor) => {
    const [z1, z2] = [a.normalize(), b.normalize()];
    const side = (offset: number) => ntXent(z1.slice(0, offset, offset + 3), z2.slice(0, offset, offset + 3), 0.2, { z1, z2, offset }).loss;
    return [ntXent(z1, z2, 0.2).loss, side(0), side(3)];
  }, reference)(...views);
  close((item(parts[0]) + item(parts[1])) / 2, item(whole));
});

test("parts carry the official names, and the last batch norm has no shift", () => {
  const parts = simclr.build(() => new TinyNet(), resolveOptions(simclr.options, { dim: 5, layers: 2 }));
  const names = [...namedParameters(parts)].filter(([, parameter]) => parameter.trainable).map(([name]) => name);
  assert.equal(names, [
    "base_model.conv.weight",
    "base_model.bn.weight",
    "base_model.bn.bias",
    "head_contrastive.nl_0.dense.weight",
    "head_contrastive.nl_0.bn.weight",
    "head_contrastive.nl_0.bn.bias",
    "head_contrastive.nl_1.dense.weight",
    "head_contrastive.nl_1.bn.weight",
  ]);
});

test("views follow the options: colours by their strength, no blur where it is off, the float pipeline without normalisation", () => {
  const steps = (changes: Record<string, unknown>) => simclr.views(resolveOptions(simclr.options, changes), 64)[1].steps;
  assert.ok(steps({}).some(({ step }) => step === "blur"));
  assert.not(steps({ blur: false }).some(({ step }) => step === "blur"));
  const jitter = steps({ strength: 0.5 }).find(({ step }) => step === "jitter");
  assert.is(jitter?.step === "jitter" && jitter.brightness, 0.4);
  const float = resolveOptions(simclr.options, { pipeline: "tensorflow" });
  assert.is(simclr.views(float, 64)[0].mean, undefined);
  assert.is(simclr.evaluationView(float, 64).mean, undefined);
});

test.run();
