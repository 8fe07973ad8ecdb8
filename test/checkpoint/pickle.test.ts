import { test } from "uvu";
import * as assert from "uvu/assert";
import { tensorsIn } from "../../src/checkpoint/checkpoint.ts";
import { CheckpointError } from "../../src/checkpoint/error.ts";
import { Instance, PickleCutShort, Tuple, Unpickler, type Value } from "../../src/checkpoint/pickle.ts";
import { torchNames } from "../../src/checkpoint/torch.ts";

/** A pickle's body as text; `\x80\x02` goes before it and STOP behind. */
const load = (body: string): Value => {
  const bytes = Uint8Array.from(Buffer.from(`\x80\x02${body}.`, "latin1"));
  return new Unpickler(bytes, { where: "file", find: torchNames(bytes.length) }).load();
};

const values: [string, string, Value][] = [
  ["LONG1 of no bytes", "\x8a\x00", 0],
  ["LONG1 of one negative byte", "\x8a\x01\xff", -1],
  ["LONG1 beyond exact numbers", "\x8a\x09\0\0\0\0\0\0\0\0\x01", 2n ** 64n],
  ["BININT", "J\xfe\xff\xff\xff", -2],
  ["BINFLOAT, which is big-endian", "G\x3f\xf8\0\0\0\0\0\0", 1.5],
  ["a tuple of three", "K\x01K\x02K\x03\x87", Tuple.from([1, 2, 3])],
  ["a list from a mark on", "](K\x01K\x02e", [1, 2]],
  ["a dictionary with the key __proto__", "}(X\x09\0\0\0__proto__K\x07u", new Map([["__proto__", 7]])],
  ["a set", "\x8f(K\x01K\x02\x90", new Set([1, 2])],
  ["what was remembered", "]q\x05\x88ah\x050h\x05", [true]],
  ["OrderedDict, its metadata dropped", "ccollections\nOrderedDict\n)R}b", new Map()],
  ["bytes of Python 2 and of protocol 2", "c_codecs\nencode\nX\x02\0\0\0\xc3\xbfX\x06\0\0\0latin1\x86R", Uint8Array.of(255)],
];
for (const [what, body, want] of values) {
  test(`reads ${what}`, () => {
    assert.equal(load(body), want);
    assert.is(({} as Record<string, unknown>)["7"], undefined);
  });
}

test("an object is its class and its state, and nothing more", () => {
  const made = load("cargparse\nNamespace\n)\x81}(X\x02\0\0\0lrK\x01ub") as Instance;
  assert.instance(made, Instance);
  assert.equal([made.class, made.attributes], ["argparse.Namespace", new Map([["lr", 1]])]);
});

test("a list that holds itself is read and walked", () => {
  const list = load("]q\0h\0a") as Value[];
  assert.is(list[0], list);
  assert.throws(() => tensorsIn(list, "file"), /more than 100 deep/);
});

const refused: [string, string, RegExp][] = [
  ["os.system", "cos\nsystem\n", /os\.system is not allowed/],
  ["a name with dots below an allowed module", "X\x06\0\0\0numpy.X\x04\0\0\0core\x93", /is not allowed/],
  ["a name in an allowed module", "ctorch\nload\n", /torch\.load is not allowed/],
  ["a function of torch.nn", "ctorch.nn.functional\nrelu\n", /is not allowed/],
  ["INST", "(ios\nsystem\n", /opcode 0x69 is not allowed/],
  ["PERSID", "P0\n", /opcode 0x50 is not allowed/],
  ["a newer protocol", "\x80\x06", /protocol newer than 5/],
  ["a call of a number", "K\x01)R", /REDUCE of something that cannot be called/],
  ["a call of a record's class", "cargparse\nNamespace\n)R", /REDUCE of something that cannot be called/],
  ["a state for a list", "]}b", /BUILD of something that has no state/],
  ["items for a tuple", ")K\x01a", /no list/],
  ["an odd number of items", "}(K\x01u", /no dictionary/],
  ["an empty stack", "0", /the stack is empty/],
  ["a mark that is not there", "t", /there is no mark/],
  ["what was never remembered", "h\x07", /nothing is remembered under 7/],
  ["a negative length", "T\xff\xff\xff\xff", /a length of -1/],
  ["text that is not UTF-8", "X\x01\0\0\0\xff", /not UTF-8/],
  ["a persistent id outside PyTorch's files", "NQ", /persistent id/],
  [
    "an array with fewer bytes than its shape",
    "cnumpy.core.multiarray\n_reconstruct\n)R(K\x01K\x03\x85cnumpy\ndtype\nX\x02\0\0\0f4\x85R\x89U\x04abcdtb",
    /4 bytes, expected 12/,
  ],
];
for (const [what, body, message] of refused) {
  test(`refuses ${what}`, () =>
    assert.throws(
      () => load(body),
      (error: Error) => error instanceof CheckpointError && message.test(error.message),
    ));
}

test("a pickle that ends early says so, so that more of a file can be read", () => {
  for (const bytes of [[], [0x80], [0x80, 2, 0x58, 9, 0, 0, 0, 65], [0x80, 2, 0x63, 65]]) {
    assert.throws(
      () => new Unpickler(Uint8Array.from(bytes), { where: "file", find: () => undefined }).load(),
      (error: Error) => error instanceof PickleCutShort,
    );
  }
});

test.run();
