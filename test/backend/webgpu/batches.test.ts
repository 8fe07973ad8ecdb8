// Batches against the calls one after the other, on made-up memories: no GPU is needed.
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { FIRST_GROUP, type Kernel } from "../../../gpu/kernel.ts";
import { type Batch, batches } from "../../../src/backend/webgpu/batches.ts";
import { dispatches } from "../../../src/backend/webgpu/dispatch.ts";
import type { Call } from "../../../src/backend/webgpu/emitter.ts";
import type { Step } from "../../../src/tape/program.ts";
import { uniform } from "../../fill.ts";

const tests = suite("batches");

const kernel = (name: string, reads: number, writes: number, alone = false): Kernel => ({
  name,
  reads: Array.from({ length: reads }, (_, i) => `x${i}`),
  writes: Array.from({ length: writes }, (_, i) => `y${i}`),
  params: ["n: u32"],
  ...(!alone && { batches: true }),
  lanes: 64,
  code: "fn run(group: u32, lane: u32) {}",
});
const step: Step = { op: "made up", inputs: [], outputs: [], attrs: {}, label: "made up" };

type Range = readonly [offset: number, size: number];
const call = (of: Kernel, ranges: readonly Range[], set: number): Call => ({
  step,
  kernel: of,
  operands: ranges.map(([offset, size]) => ({ home: "arena", offset, size, at: offset })),
  params: { n: 1 },
  groups: 1,
  set,
});

const SIZE = 1 << 10;

/** What a call does to memory: every number that it writes tells of all that it read. In a set, each call writes numbers of its own. */
function work({ kernel, operands }: Call, from: Float64Array, to: Float64Array, [part, parts]: Range): void {
  let mark = kernel.name.length;
  for (const { offset, size } of operands.slice(0, kernel.reads.length)) {
    for (let i = offset; i < offset + size; i++) mark = (mark * 31 + from[i]) % 1_000_003;
  }
  for (const { offset, size } of operands.slice(kernel.reads.length)) {
    for (let i = offset; i < offset + size; i++) if (i % parts === part) to[i] = (mark * 17 + i) % 1_000_003;
  }
}

/** Which of its set a call is, and how many there are. */
function partsOf(calls: readonly Call[]): Map<Call, Range> {
  return new Map(
    calls.map((one) => {
      const all = calls.filter(({ set }) => set === one.set);
      return [one, [all.indexOf(one), all.length]];
    }),
  );
}

/** Some calls on ranges that start and end anywhere, now and then a set that writes one range. */
function madeUp(count: number, random: () => number): Call[] {
  const some = (n: number) => Math.floor(random() * n);
  const range = (): Range => [some(SIZE / 16) * 15, 1 + some(15)];
  const kernels = [kernel("a", 1, 1), kernel("bb", 2, 1), kernel("ccc", 1, 2), kernel("dddd", 1, 1, true)];
  const calls: Call[] = [];
  for (let set = 0; calls.length < count; set++) {
    const of = kernels[some(kernels.length)];
    const target = range();
    const ranges = () => [...of.reads.map(range), target, ...of.writes.slice(1).map(range)];
    if (random() < 0.2) for (let i = 0; i < 3; i++) calls.push(call(kernels[0], [range(), target], set));
    else calls.push(call(of, ranges(), set));
  }
  return calls;
}

tests("calls of a batch may run at once, and batches in their order leave what the calls leave one after the other", () => {
  const draws = uniform("batches", 60_000).values();
  const random = () => draws.next().value as number;
  let gathered = 0;
  for (let round = 0; round < 60; round++) {
    const calls = madeUp(80, random);
    const disjoint = calls.filter((one) => calls.every((two) => one === two || one.set !== two.set || !reads(one, two)));
    const parts = partsOf(disjoint);
    const start = Float64Array.from({ length: SIZE }, (_, i) => i);
    const [expected, got] = [start.slice(), start.slice()];
    for (const one of disjoint) work(one, expected.slice(), expected, parts.get(one) as Range);
    const list = batches(disjoint, ({ calls }) => calls.length <= 9);
    for (const { calls: together } of list) {
      const before = got.slice();
      for (const one of together.toReversed()) work(one, before, got, parts.get(one) as Range);
    }
    assert.equal(got, expected);
    assert.is(list.flatMap(({ calls }) => calls).length, disjoint.length);
    gathered += disjoint.length - list.length;
  }
  assert.ok(gathered > 500, `${gathered} calls joined others`);
});

/** Whether a call reads what another writes: a set of such calls would not be one. */
const reads = (one: Call, two: Call) =>
  one.operands
    .slice(0, one.kernel.reads.length)
    .some((x) => two.operands.slice(two.kernel.reads.length).some((y) => x.offset < y.offset + y.size && y.offset < x.offset + x.size));

const many = (count: number, of: (i: number) => Range[]) => {
  const add = kernel("add", 1, 1);
  return Array.from({ length: count }, (_, i) => call(add, of(i), i));
};
const everything = () => true;
const lengths = (list: readonly Batch[]) => list.map(({ calls }) => calls.length);

tests("calls gather over any distance, before and behind what does not touch them", () => {
  const loner = kernel("loner", 1, 1, true);
  const between = (i: number) =>
    call(
      loner,
      [
        [900, 4],
        [904, 4],
      ],
      1000 + i,
    ); // prettier-ignore
  const updates = many(200, (i) => [
    [8 * (i % 40), 4],
    [8 * i, 4],
  ]).slice(40); // prettier-ignore
  assert.equal(
    lengths(
      batches(
        updates.flatMap((update, i) => [update, between(i)]),
        everything,
      ),
    ).sort((a, b) => b - a),
    [160, ...Array(160).fill(1)],
  );
});

tests("a call of some groups of a kernel takes one number more, and does not join calls of all", () => {
  const [whole, ...others] = many(4, (i) => [
    [16 * i, 4],
    [16 * i + 8, 4],
  ]);
  const parts = others.map((one) => ({
    ...one,
    kernel: { ...one.kernel, params: [...one.kernel.params, FIRST_GROUP] },
    params: { ...one.params, first_group: 1 },
  }));
  assert.equal(lengths(batches([whole, ...parts], everything)), [1, 3]);
});

tests("a sum in two levels waits with its second level for the others", () => {
  const second = kernel("second", 1, 1);
  const calls = [0, 1, 2, 3].flatMap((i) => [
    call(
      kernel("first", 1, 1, true),
      [
        [0, 4],
        [64 + 8 * i, 8],
      ],
      2 * i,
    ), // prettier-ignore
    call(
      second,
      [
        [64 + 8 * i, 8],
        [256 + 4 * i, 4],
      ],
      2 * i + 1,
    ), // prettier-ignore
  ]);
  assert.equal(lengths(batches(calls, everything)), [1, 1, 1, 1, 4]);
});

tests("a sum in three levels waits with the second and the third, which move up together", () => {
  const kernels = [kernel("first", 1, 1, true), kernel("second", 1, 1), kernel("third", 1, 1)];
  const sum = (i: number) => {
    const places: Range[] = [
      [0, 4],
      [64 + 8 * i, 8],
      [256 + 8 * i, 8],
      [512 + 8 * i, 8],
    ]; // prettier-ignore
    return kernels.map((of, level) => call(of, places.slice(level, level + 2), 3 * i + level));
  };
  assert.equal(lengths(batches([0, 1, 2, 3].flatMap(sum), everything)), [1, 1, 1, 1, 4, 4]);
});

tests("where a window around all operands is too large, each operand has one, and calls far apart go separately", () => {
  const near = { buffers: 8, bytes: 256, segment: 2 ** 32, params: 65536 };
  const apart = (i: number): Range[] => [
    [16 * i, 16],
    [4096 + 16 * i, 16],
  ]; // prettier-ignore
  const [all] = dispatches(many(12, apart), near);
  assert.is(all.steps.length, 1);
  assert.equal(
    all.windows.map(({ offset, size }) => [offset, size]),
    [
      [0, 192],
      [4096, 192],
    ], // prettier-ignore
  );
  const cut = dispatches(many(40, apart), near);
  assert.is(cut.length, 3);
  for (const { windows } of cut) for (const { size } of windows) assert.ok(size <= 256);
});

tests("operands that more windows show than a kernel binds are an error with the op, the numbers and what would do", () => {
  const near = { buffers: 2, bytes: 256, segment: 2 ** 32, params: 65536 };
  const ranges: Range[] = [
    [0, 64],
    [192, 64],
    [4096, 64],
    [8192, 64],
  ];
  assert.is(dispatches([call(kernel("sum", 2, 1), ranges.slice(0, 3), 0)], near)[0].windows.length, 2);
  assert.throws(
    () => dispatches([call(kernel("sum", 3, 1), ranges, 0)], near),
    /^Cannot run made up on this GPU: .* at most 2 buffers of 256 bytes, this step's 4 operands .*; take a smaller batch$/,
  );
});

tests.run();
