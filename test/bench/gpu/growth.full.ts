import { suite } from "uvu";
import * as assert from "uvu/assert";
import { growth } from "./host.ts";

const host = suite("gpu host");

host("5,000 training steps leave nothing behind", async () => {
  const { heapBytes, residentBytes } = await growth(5000);
  assert.ok(heapBytes < 1e6, `the heap grew by ${heapBytes} bytes`); // 200 bytes a step would show
  assert.ok(residentBytes < 20e6, `the process grew by ${residentBytes} bytes`);
});

host.run();
