import { test } from "uvu";
import * as assert from "uvu/assert";
import { BARRIER, END, SKIP } from "../../assembly/opcodes.ts";
import { Emitter, type Range, type Stream } from "../../src/backend/wasm/emitter.ts";
import { encoders } from "../../src/backend/wasm/encoders.ts";
import type { Step, View } from "../../src/tape/program.ts";
import type { Shape } from "../../src/tape/shape.ts";
import { contiguous } from "../../src/tape/view.ts";

const emitter = () => new Emitter({ stream: 4096, temporaries: 2 ** 20, address: (buffer) => 1024 * buffer.id });

/** Opcodes of a stream, in order, behind the address of its counters. */
function opcodes({ words, counters }: Stream): number[] {
  const list: number[] = [];
  for (let at = 1; at < words.length - counters; at += words[at + 1]) list.push(words[at]);
  return list;
}

const a: Range = { start: 0, end: 64 };
const b: Range = { start: 64, end: 128 };
const OP = 99;

/** Where barriers fall among commands that read and write these ranges. */
function stream(...commands: [reads: Range[], writes: Range[]][]): number[] {
  const out = emitter();
  for (const [reads, writes] of commands) out.emit(OP, { reads, writes }, [1, 2]);
  return opcodes(out.finish());
}

test("commands wait for each other exactly where one writes what another touches", () => {
  assert.equal(stream([[a], [b]], [[a], [{ start: 128, end: 192 }]]), [OP, OP, END], "two readers");
  assert.equal(stream([[], [a]], [[a], [b]]), [OP, BARRIER, OP, END], "read after write");
  assert.equal(stream([[a], [b]], [[], [a]]), [OP, BARRIER, OP, END], "write after read");
  assert.equal(stream([[], [a]], [[], [a]]), [OP, BARRIER, OP, END], "write after write");
  assert.equal(stream([[], [a]], [[a], []], [[a], []]), [OP, BARRIER, OP, OP, END], "one barrier serves all that follow");
  assert.equal(stream([[], [a]], [[{ start: 60, end: 70 }], []]), [OP, BARRIER, OP, END], "overlap in part");
});

test("a view's range holds its strides, negative ones too", () => {
  const buffer = { id: 3, size: 20, kind: "arena" as const };
  const out = emitter();
  assert.equal(out.range({ buffer, offset: 0, shape: [4, 5], strides: [5, 1] }), { start: 3072, end: 3072 + 80 });
  assert.equal(out.range({ buffer, offset: 4, shape: [4, 5], strides: [5, -1] }), { start: 3072, end: 3072 + 80 });
  assert.equal(out.range({ buffer, offset: 2, shape: [7, 3], strides: [0, 1] }), { start: 3080, end: 3092 });
});

test("scratch lives for one step; the hungriest step is remembered", () => {
  const out = emitter();
  const first = out.temporary(100);
  assert.is(out.temporary(8), first + 128);
  out.nextStep();
  assert.is(out.temporary(8), first);
  assert.is(out.temporaryBytes, 192);
});

test("words that commands refer to are where their address says", () => {
  const out = emitter();
  out.emit(OP, { reads: [], writes: [] }, [7]);
  const address = out.data([11, 12]);
  const stream = out.finish();
  const { words, counters } = stream;
  assert.equal([...words.subarray((address - 4096) / 4, (address - 4096) / 4 + 2)], [11, 12]);
  assert.equal(opcodes(stream), [OP, SKIP, END]);
  assert.equal([words[0], counters], [4096 + 4 * (words.length - 2), 2], "a counter for each entry follows the stream");
});

test("float32 arguments are stored as their bits", () => {
  assert.is(emitter().f32(1), 0x3f800000);
  assert.is(emitter().f32(-0), 0x80000000);
});

test("every step waits for what it reads, though its commands write one output in parts", () => {
  const at = (id: number, shape: Shape): View => contiguous({ id, size: 64, kind: "arena" }, shape);
  const [x, y] = [at(1, [2, 3]), at(9, [9, 9])];
  const cases: [string, View[], View, Step["attrs"]][] = [
    ["concat", [at(2, [2, 2]), x], at(5, [2, 5]), { axis: 1 }],
    ["pad", [x], at(5, [4, 5]), { before: [1, 1], after: [1, 1], value: 0 }],
    ["sum", [x], at(5, [2, 1]), { axes: [1] }],
    ["batchNorm", [x, at(2, [3]), at(3, [3])], at(5, [2, 3]), { eps: 0.1 }],
  ];
  for (const [op, inputs, output, attrs] of cases) {
    const out = emitter();
    const outputs = [output, at(6, [3]), at(7, [3])];
    const run = (step: Omit<Step, "label">) => encoders[step.op]({ ...step, label: op }, out);
    run({ op: "copy", inputs: [at(8, x.shape)], outputs: [x], attrs: {} }); // writes what the step reads, in a concat last
    const before = opcodes(out.finish()).length - 1;
    run({ op, inputs, outputs, attrs });
    const after = opcodes(out.finish()).length - 1;
    run({ op: "copy", inputs: [{ ...output, shape: [1], strides: [1] }], outputs: [{ ...y, shape: [1], strides: [1] }], attrs: {} });
    const all = opcodes(out.finish());
    assert.ok(all.slice(before, after).includes(BARRIER), `${op} waits for its input`);
    assert.is(all[after], BARRIER, `the reader waits for ${op}`);
  }
});

test.run();
