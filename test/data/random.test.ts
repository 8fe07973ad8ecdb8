import { suite } from "uvu";
import * as assert from "uvu/assert";
import { permutation, randomStream, whole } from "../../src/data/random.ts";

const random = suite("random");

random("a stream depends on each of seed, stream, epoch and index", () => {
  const first = (...place: [number, number, number, number]) => randomStream(...place)();
  const draws = [first(1, 2, 3, 4), first(2, 2, 3, 4), first(1, 3, 3, 4), first(1, 2, 4, 4), first(1, 2, 3, 5)];
  assert.is(new Set(draws).size, draws.length);
  assert.is(first(1, 2, 3, 4), draws[0]);
});

random("draws are uniform in [0, 1)", () => {
  const uniform = randomStream(7, 0, 0, 0);
  const counts = new Array(10).fill(0);
  for (let i = 0; i < 20000; i++) counts[whole(uniform, 10)]++;
  for (const count of counts) assert.ok(Math.abs(count - 2000) < 5 * Math.sqrt(2000 * 0.9), `${counts}`);
});

random("a permutation holds every number once, and every order is about as likely", () => {
  const counts = new Map<string, number>();
  const uniform = randomStream(3, 1, 4, 1);
  for (let i = 0; i < 6000; i++) {
    const order = permutation(uniform, 3);
    assert.equal([...order].sort(), [0, 1, 2]);
    counts.set(order.join(), (counts.get(order.join()) ?? 0) + 1);
  }
  assert.is(counts.size, 6);
  for (const count of counts.values()) assert.ok(Math.abs(count - 1000) < 150, `${[...counts.values()]}`);
});

random.run();
