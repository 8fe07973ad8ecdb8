import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { writeSafetensors } from "../../src/checkpoint/safetensors.ts";
import { openEncoder } from "../../src/evaluate/encoder.ts";
import { exportEncoder } from "../../src/export/export.ts";
import { makeBackbone } from "../../src/models/backbones.ts";
import { withContext } from "../../src/nn/module.ts";
import type { Tensor } from "../../src/tape/tensor.ts";
import { compile } from "../../src/tape/trace.ts";
import { run } from "../cli/support.ts";
import { fill } from "../fill.ts";
import { nhwc } from "../golden/models.ts";
import { difference, reference } from "../support.ts";
import { readOnnx, runGraph } from "./reader.ts";

const test = suite("export");
const name = "resnet18-cifar-w0.25";
let folder = "";
let checkpoint = "";

test.before(async () => {
  folder = mkdtempSync(join(tmpdir(), "autodidact-export-"));
  checkpoint = join(folder, "weights.safetensors");
  await writeSafetensors(checkpoint, makeBackbone(name, { seed: 3 }).state("module.encoder_q."));
});
test.after(() => rmSync(folder, { recursive: true, force: true }));

const images = fill("images", [2, 3, 16, 16], "input");
const featuresOf = async (path: string) => {
  const { backbone } = await openEncoder(path, { backbone: name });
  return compile((x: Tensor) => withContext({ training: false }, () => backbone.forward(x)), reference)(nhwc(images));
};

for (const ending of [".pth", ".safetensors"]) {
  test(`weights go out as ${ending} under official names without prefixes, and come back to the same features`, async () => {
    const out = join(folder, `out${ending}`);
    const done = await exportEncoder(checkpoint, out, { backbone: name });
    assert.is(done.features, 128);
    assert.equal((await featuresOf(out)).data, (await featuresOf(checkpoint)).data);
    assert.ok(readFileSync(out).includes("layer1.0.conv1.weight"));
    assert.not(readFileSync(out).includes("encoder_q"));
  });
}

test("a graph goes out at the size asked for, and says how images are prepared", async () => {
  const out = join(folder, "out.onnx");
  await exportEncoder(checkpoint, out, { backbone: name, size: 16 });
  const graph = readOnnx(new Uint8Array(readFileSync(out)));
  assert.equal(graph.inputs, { images: ["batch", 3, 16, 16] });
  assert.equal(Object.keys(graph.outputs), ["features"]);
  assert.equal(graph.metadata, { about: name, channels: "RGB", size: "16", mean: "0.485,0.456,0.406", std: "0.229,0.224,0.225" });
  const { features } = await compile((x: Tensor) => runGraph(graph, { images: x }), reference)(images);
  assert.ok(difference(features, await featuresOf(checkpoint)) < 1e-5);
});

test("the command says what it wrote and how images are prepared", async () => {
  const out = join(folder, "said.onnx");
  const { code, out: said } = await run(`export ${checkpoint} --backbone ${name} --size 16 --map --out ${out}`);
  assert.is(code, 0);
  assert.match(
    said,
    /said\.onnx: resnet18-cifar-w0\.25, 128 features, 700,176 parameters\nimages: 16 x 16, RGB in \[0, 1\], less 0\.485, 0\.456, 0\.406, /,
  );
  assert.ok("map" in readOnnx(new Uint8Array(readFileSync(out))).outputs);
});

const mistakes: [string, RegExp][] = [
  ["export runs/x --out x.h5", /^error: Cannot write "x\.h5": expected a name that ends in \.onnx, \.safetensors, \.pth\n$/],
  ["export runs/x --out x.pth --map", /^error: Cannot write a map into "x\.pth": expected a name that ends in \.onnx\n$/],
];
for (const [line, message] of mistakes) {
  test(`\`${line}\` is a usage error`, async () => {
    const { code, err } = await run(line);
    assert.is(code, 2);
    assert.match(err, message);
  });
}

test.run();
