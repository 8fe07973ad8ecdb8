import { test } from "uvu";
import * as assert from "uvu/assert";
import { untilChanged } from "../../src/backend/wasm/wait.ts";

const turn = () => new Promise((resolve) => setTimeout(resolve, 5));

test("a wait goes on after a wake-up that belongs to an earlier change, and ends with its own", async () => {
  const words = new Int32Array(new SharedArrayBuffer(8));
  let over = false;
  const waiting = untilChanged(words, 1, 0).then(() => {
    over = true;
  });
  for (let i = 0; i < 2; i++) {
    assert.is(Atomics.notify(words, 1), 1);
    await turn();
    assert.is(over, false);
  }
  Atomics.add(words, 1, 1);
  Atomics.notify(words, 1);
  await waiting;
});

test("a wait for what has changed already is none", async () => {
  await untilChanged(new Int32Array(new SharedArrayBuffer(4)).fill(7), 0, 6);
});

test.run();
