// ONNX files, read back by a reader of our own, and run by onnxruntime where a Python with it is on the machine.
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { onnxModel } from "../../src/export/backbone.ts";
import { encodeOnnx, type OnnxModel, writeOnnx } from "../../src/export/onnx.ts";
import type { Backbone } from "../../src/models/backbone.ts";
import { Module, withContext } from "../../src/nn/module.ts";
import { BatchNorm } from "../../src/nn/norm.ts";
import type { Tensor } from "../../src/tape/tensor.ts";
import { compile, type Host } from "../../src/tape/trace.ts";
import { fill } from "../fill.ts";
import { nchw, nhwc } from "../golden/models.ts";
import { difference, reference } from "../support.ts";
import { networks } from "./networks.ts";
import { readOnnx, runGraph } from "./reader.ts";

const SIDE = 32;

interface Values {
  features: Host;
  map: Host;
}

/** What the network itself gives, its map with channels first. */
async function ours(network: Backbone, images: Host): Promise<Values> {
  const pass = (x: Tensor) => withContext({ training: false }, () => ({ features: network.forward(x), map: network.map(x) }));
  const { features, map } = await compile(pass, reference)(nhwc(images));
  return { features, map: nchw(map) };
}

const bytesOf = (model: OnnxModel) => Buffer.concat([...encodeOnnx(model).chunks()]);

for (const [name, make] of networks) {
  test(`${name} gives the same features and maps from its file, for batches of 3 and 1`, async () => {
    const network = make();
    const graph = readOnnx(bytesOf(await onnxModel(network, { size: SIDE, map: true })));
    for (const batch of [3, 1]) {
      const images = fill("images", [batch, 3, SIDE, SIDE], "input");
      const want = await ours(network, images);
      const got = await compile(
        (x: Tensor) => runGraph(graph, { images: x }) as unknown as { features: Tensor; map: Tensor },
        reference,
      )(images);
      assert.equal(got.features.shape, want.features.shape);
      assert.equal(got.map.shape, want.map.shape);
      assert.ok(difference(got.features, want.features) < 1e-5, `features of ${batch}: ${difference(got.features, want.features)}`);
      assert.ok(difference(got.map, want.map) < 1e-5, `map of ${batch}: ${difference(got.map, want.map)}`);
    }
  });
}

const small = (name: string) => (networks.find(([other]) => other === name) as (typeof networks)[number])[1]();

test("a file says what goes in and out and how images are prepared, and keeps official names and shapes", async () => {
  const network = small("a ViT at another size than its table's");
  const graph = readOnnx(bytesOf(await onnxModel(network, { size: SIDE, map: true, metadata: { mean: "0.5,0.4,0.3" } })));
  assert.is(graph.opset, 17);
  assert.equal(graph.inputs, { images: ["batch", 3, SIDE, SIDE] });
  assert.equal(graph.outputs, { features: ["batch", 12], map: ["batch", 12, 4, 4] });
  assert.equal(graph.metadata, { mean: "0.5,0.4,0.3" });
  const state = network.state();
  for (const name of [
    "patch_embed.proj.weight",
    "patch_embed.proj.bias",
    "blocks.1.attn.qkv.weight",
    "blocks.1.mlp.fc1.bias",
    "norm.weight",
  ]) {
    const [inFile, inState] = [graph.tensors.get(name), state.get(name)];
    assert.equal(inFile?.shape, inState?.shape, name);
    assert.equal(inFile?.data, inState?.data, name);
  }
});

test("a convolutional network stays with channels first, and turns round only what is pooled", async () => {
  const { nodes } = await onnxModel(small("a ResNet of basic blocks with a CIFAR stem"), { size: SIDE });
  assert.is(nodes.filter(({ op }) => op === "Transpose").length, 1);
  assert.is(nodes.filter(({ op }) => op === "Conv").length, 14);
});

test("the same network gives the same bytes", async () => {
  const bytes = async () => bytesOf(await onnxModel(small("a ViL"), { size: SIDE }));
  assert.equal(await bytes(), await bytes());
});

test("a model beyond what protobuf holds is refused with the way out", () => {
  const data = new Float32Array(2 ** 27);
  const tensors = new Map(Array.from({ length: 4 }, (_, i) => [`w${i}`, { shape: [data.length], data }] as const));
  const model: OnnxModel = { name: "large", nodes: [], tensors, inputs: [], outputs: [], metadata: {} };
  assert.throws(
    () => encodeOnnx(model, "big.onnx"),
    /^Cannot write big\.onnx: the model has 2\.1 GB and an ONNX file holds .*\.safetensors and \.pth/,
  );
});

/** A network of one function. */
class Odd extends Module implements Backbone {
  readonly features = 2;
  readonly #f: (x: Tensor) => Tensor;
  norm = new BatchNorm(3);

  constructor(f: (x: Tensor) => Tensor) {
    super();
    this.#f = f;
  }

  forward(x: Tensor): Tensor {
    return this.#f(this.norm.forward(x));
  }

  map(x: Tensor): Tensor {
    return x;
  }

  stages(x: Tensor): Tensor[] {
    return [x];
  }

  intermediateLayers(): Tensor[] {
    return [];
  }
}

test("a parameter that is used beside a map and by itself has its own name and shape once", async () => {
  const network: Odd = new Odd((x) =>
    x
      .mul(network.norm.weight as Tensor)
      .mean([1, 2])
      .add(network.norm.weight as Tensor),
  );
  network.norm.load(new Map([["weight", fill("weight", [3], "input")]]), { strict: false });
  const graph = readOnnx(bytesOf(await onnxModel(network, { size: 8 })));
  const images = fill("images", [2, 3, 8, 8], "input");
  const got = await compile((x: Tensor) => runGraph(graph, { images: x }), reference)(images);
  assert.equal(graph.tensors.get("norm.weight")?.shape, [3]);
  assert.equal(graph.tensors.get("norm.weight.channels")?.shape, [3, 1, 1]);
  assert.ok(difference(got.features, await compile((x: Tensor) => network.forward(x), reference)(nhwc(images))) < 1e-6);
});

const refused: [string, (x: Tensor) => Tensor, RegExp][] = [
  ["an operation that ONNX has not", (x) => x.argsort(), /^Cannot export "argsort" to ONNX: expected the operations of a backbone/],
  ["numbers that depend on the batch", (x) => x.mean(0), /^Cannot export this network: it has numbers that depend on the batch$/],
  [
    "two sizes that depend on the batch",
    (x) => x.reshape([3, x.shape[0], 1, -1]).expand([3, x.shape[0], x.shape[0], 64]).reshape([3, x.shape[0], x.shape[0], 8, 8]),
    /^Cannot export "reshape": expected no more than one size/,
  ],
  [
    "a size that is no multiple of the batch",
    (x) => x.slice(0, -2),
    /^Cannot export "slice": a size of 1007 for a batch of 1009 and 1011 for 1013 is no multiple of it$/,
  ],
];
for (const [what, f, message] of refused) {
  test(`${what} is refused`, async () => {
    const error = await onnxModel(new Odd(f), { size: 8 }).catch((error: Error) => error);
    assert.instance(error, RangeError);
    assert.match((error as Error).message, message);
  });
}

/** A Python with onnxruntime, named by PYTHON or found on the path. */
function pythonWithRuntime(): string | undefined {
  const python = process.env.PYTHON ?? "python3";
  return spawnSync(python, ["-c", "import onnxruntime, numpy"], { stdio: "ignore" }).status === 0 ? python : undefined;
}

const script = `
import sys, json, numpy, onnxruntime
worst = []
for path in json.loads(sys.argv[1]):
    session = onnxruntime.InferenceSession(path + ".onnx", providers=["CPUExecutionProvider"])
    for batch in (3, 1):
        images = numpy.fromfile(path + ".images", numpy.float32).reshape(3, 3, ${SIDE}, ${SIDE})[:batch]
        for name, got in zip(("features", "map"), session.run(["features", "map"], {"images": images})):
            want = numpy.fromfile(path + "." + name, numpy.float32).reshape(3, *got.shape[1:])
            worst.append(float(abs(got - want[:batch]).max() / abs(want).max()))
print(json.dumps(worst))
`;

const python = pythonWithRuntime();
const whereRuntimeIs = python ? test : test.skip;
whereRuntimeIs("onnxruntime computes what the network itself does, in every family, within 1e-4", async () => {
  const folder = mkdtempSync(join(tmpdir(), "autodidact-onnx-"));
  try {
    const paths: string[] = [];
    for (const [i, [, make]] of networks.entries()) {
      const network = make();
      const path = join(folder, String(i));
      const images = fill("images", [3, 3, SIDE, SIDE], "input");
      await writeOnnx(`${path}.onnx`, await onnxModel(network, { size: SIDE, map: true }));
      for (const [name, { data }] of Object.entries({ images, ...(await ours(network, images)) })) writeFileSync(`${path}.${name}`, data);
      paths.push(path);
    }
    const { stdout, stderr } = spawnSync(python as string, ["-c", script, JSON.stringify(paths)], { encoding: "utf8" });
    const worst: number[] = JSON.parse(stdout || `"${stderr}"`);
    assert.is(worst.length, 4 * networks.length);
    assert.ok(
      worst.every((gap) => gap < 1e-4),
      worst.join(" "),
    );
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});
if (!python) console.log("skipped: no Python with onnxruntime (PYTHON names one)");

test.run();
