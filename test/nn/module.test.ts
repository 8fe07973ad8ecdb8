import { test } from "uvu";
import * as assert from "uvu/assert";
import { Conv2d } from "../../src/nn/conv.ts";
import { Dropout } from "../../src/nn/drop.ts";
import { ema } from "../../src/nn/ema.ts";
import { zeros } from "../../src/nn/init.ts";
import { Linear } from "../../src/nn/linear.ts";
import { Buffer, isTraining, Module, namedParameters, nameModules, withContext } from "../../src/nn/module.ts";
import { BatchNorm } from "../../src/nn/norm.ts";
import { Sequential } from "../../src/nn/sequential.ts";
import type { Tensor } from "../../src/tape/tensor.ts";
import { compile, type Host } from "../../src/tape/trace.ts";
import { fill } from "../fill.ts";
import { reference } from "../support.ts";

class Net extends Module {
  stem: Conv2d;
  blocks: Sequential[];
  head?: Linear;
  readonly depth = 2;

  constructor() {
    super();
    this.stem = new Conv2d(3, 5, 3, { bias: false });
    this.blocks = [new Sequential(new BatchNorm(5), (x) => x.relu(), new Linear(5, 7))];
  }
}

const names = (module: Module) => Array.from(module.namedParameters(), ([name]) => name);

test("names are field names and indices joined by dots, in field order, functions counted", () => {
  assert.equal(names(new Net()), [
    "stem.weight",
    "blocks.0.0.weight",
    "blocks.0.0.bias",
    "blocks.0.0.running_mean",
    "blocks.0.0.running_var",
    "blocks.0.0.num_batches_tracked",
    "blocks.0.2.weight",
    "blocks.0.2.bias",
  ]);
  assert.equal(
    Array.from(namedParameters({ centre: new Buffer([3]), encoder: new Linear(2, 1) }), ([name]) => name),
    ["centre", "encoder.weight", "encoder.bias"],
  );
});

test("a convolution's weight travels as [out, in, kh, kw] and comes back the same", () => {
  const conv = new Conv2d(2, 3, 5, { bias: false });
  const before = conv.weight.data.slice();
  const weight = conv.state().get("weight") as Host;
  assert.equal(weight.shape, [3, 2, 5, 5]);
  // element (o, i, y, x) = (2, 1, 4, 3)
  assert.is(weight.data[((2 * 2 + 1) * 5 + 4) * 5 + 3], before[((2 * 5 + 4) * 5 + 3) * 2 + 1]);
  conv.weight.data.fill(0);
  conv.load(new Map([["weight", weight]]));
  assert.equal(conv.weight.data, before);
});

/** Two fields, one layer. */
class Shared extends Module {
  query = new Linear(2, 1, { bias: false });
  query_global = this.query;
}

test("a shared layer is trained once and saved under both of its names; either is enough to load it, and the later one counts", () => {
  const net = new Shared();
  assert.equal(names(net), ["query.weight"]);
  assert.equal([...namedParameters({ a: net, b: net })].length, 1);
  assert.equal([...net.state().keys()], ["query.weight", "query_global.weight"]);
  const host = (...data: number[]): Host => ({ data: Float32Array.from(data), shape: [1, 2] });
  for (const name of ["query.weight", "query_global.weight"]) {
    net.query.weight.data.fill(0);
    assert.equal(net.load(new Map([[name, host(1, 2)]])), { missing: [], unexpected: [] });
    assert.equal([...net.query.weight.data], [1, 2]);
  }
  net.load(
    new Map([
      ["query.weight", host(3, 4)],
      ["query_global.weight", host(5, 6)],
    ]),
  );
  assert.equal([...net.query.weight.data], [5, 6]);
  assert.throws(() => net.load(new Map()), /^Cannot load "query\.weight": checkpoint has no such tensor \(and 1 more\)$/);
  assert.not.throws(() => nameModules({ net }));
});

test("loading takes all or nothing, and says which tensor does not fit", () => {
  const net = new Net();
  const before = net.state();
  const good = new Map([...before].map(([name, { shape }]) => [name, fill(name, shape)]));
  const wrong = new Map(good).set("blocks.0.2.weight", fill("x", [1000, 5]));
  assert.throws(() => net.load(wrong), /^Cannot load "blocks\.0\.2\.weight": checkpoint has \[1000, 5\], model has \[7, 5\]$/);
  assert.throws(() => net.load(new Map([...good].slice(1))), /^Cannot load "stem\.weight": checkpoint has no such tensor$/);
  assert.throws(() => net.load(new Map(good).set("fc.weight", fill("x", [2]))), /^Cannot load "fc\.weight": model has no such parameter$/);
  assert.equal(net.state(), before);
  net.load(good);
  assert.equal(net.state().get("stem.weight"), good.get("stem.weight"));
});

test("a prefix chooses one network of a checkpoint, and non-strict loading reports what is left", () => {
  const linear = new Linear(3, 2);
  const state = new Map([
    ["teacher.weight", fill("a", [2, 3])],
    ["teacher.extra", fill("b", [1])],
    ["student.weight", fill("c", [2, 3])],
  ]);
  assert.equal(linear.load(state, { prefix: "teacher.", strict: false }), { missing: ["bias"], unexpected: ["extra"] });
  assert.equal(linear.weight.data, fill("a", [2, 3]).data);
});

test("old checkpoints without num_batches_tracked load", () => {
  const norm = new BatchNorm(2);
  const state = norm.state();
  state.delete("num_batches_tracked");
  assert.equal(norm.load(state).missing, []);
});

test("contexts nest, and end when a trace throws", () => {
  assert.not(isTraining());
  withContext({ training: true }, () => {
    assert.ok(isTraining());
    withContext({ training: false }, () => assert.not(isTraining()));
    assert.ok(isTraining());
  });
  const failing = () => {
    throw new RangeError("inside");
  };
  assert.throws(() => withContext({ training: true }, failing), /inside/);
  assert.not(isTraining());
});

test("two random layers of one trace draw different numbers, and the same ones in the next trace of the same key", async () => {
  const key: Host = { data: Float32Array.of(1, 0, 2, 0), shape: [4] };
  const run = () => {
    const [first, second] = [new Dropout(0.5), new Dropout(0.5)];
    const f = (x: Tensor, k: Tensor) => withContext({ training: true, key: k }, () => [first.forward(x), second.forward(x)]);
    return compile(f, reference)({ data: new Float32Array(64).fill(1), shape: [64] }, key);
  };
  const [a, b] = await run();
  assert.not.equal(a.data, b.data);
  assert.equal(await run(), [a, b]);
});

test("random layers without a key say what is missing", async () => {
  const f = compile((x: Tensor) => withContext({ training: true }, () => new Dropout(0.5).forward(x)), reference);
  try {
    await f({ data: new Float32Array(3), shape: [3] });
    assert.unreachable();
  } catch (error) {
    assert.match((error as Error).message, /^Cannot draw random numbers here: expected withContext/);
  }
});

test("ema moves weights, frozen ones too, and leaves buffers alone", async () => {
  const make = (value: number) => {
    const net = new Sequential(new Linear(1, 1, { init: zeros }), new BatchNorm(1));
    for (const parameter of net.parameters()) parameter.data.fill(value);
    return net;
  };
  const [target, online] = [make(1).freeze(), make(5)];
  await compile((momentum: Tensor) => ema(target, online, momentum), reference)(0.75);
  assert.equal(
    Array.from(target.namedParameters(), ([name, parameter]) => [name, parameter.data[0]]),
    [
      ["0.weight", 2],
      ["0.bias", 2],
      ["1.weight", 2],
      ["1.bias", 2],
      ["1.running_mean", 1],
      ["1.running_var", 1],
      ["1.num_batches_tracked", 1],
    ],
  );
});

test.run();
