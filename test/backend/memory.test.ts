import { test } from "uvu";
import * as assert from "uvu/assert";
import { Memory } from "../../src/backend/wasm/memory.ts";

test("blocks begin at multiples of 64 and do not overlap", () => {
  const memory = new Memory();
  const blocks = [1, 64, 65, 1000, 7].map((bytes) => ({ start: memory.allocate(bytes), bytes }));
  for (const { start } of blocks) assert.is(start % 64, 0);
  const sorted = [...blocks].sort((a, b) => a.start - b.start);
  for (const [i, { start, bytes }] of sorted.entries()) if (i + 1 < sorted.length) assert.ok(start + bytes <= sorted[i + 1].start);
});

test("a block that is given back is taken again, and joins its neighbours", () => {
  const memory = new Memory();
  const [a, b] = [memory.allocate(1000), memory.allocate(1000)];
  memory.allocate(64);
  memory.release(a);
  memory.release(b);
  assert.is(memory.allocate(2000), a);
});

test("the memory grows under a view, which stays valid", () => {
  const memory = new Memory();
  const view = memory.floats(memory.allocate(16), 4);
  view.set([1, 2, 3, 4]);
  const far = memory.floats(memory.allocate(64 * 2 ** 20), 16 * 2 ** 20);
  far[far.length - 1] = 5;
  assert.equal([...view], [1, 2, 3, 4]);
});

test("addresses above 2 GiB stay positive", () => {
  const memory = new Memory();
  memory.allocate(2.5 * 2 ** 30);
  const high = memory.allocate(64);
  assert.ok(high > 2 ** 31);
  memory.floats(high, 2).set([1, 2]);
  assert.equal([...memory.floats(high, 2)], [1, 2]);
});

test("more than there is gets refused, and what was there can still be taken", () => {
  const memory = new Memory(2 ** 20);
  const available = memory.largest();
  assert.throws(() => memory.allocate(2 ** 20), /Cannot take 1.0 MiB of memory: the largest free part has 0\.\d MiB/);
  memory.allocate(available);
  assert.is(memory.largest(), 0);
});

test.run();
