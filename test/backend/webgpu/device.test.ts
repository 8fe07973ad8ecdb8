// Drivers that give less than they say, made of Dawn's null device: this needs no GPU.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { create } from "webgpu";
import { openDevice } from "../../../src/backend/webgpu/device.ts";

const dawn = create(["backend=null"]);

/** Runs `work` where the runtime's own GPU refuses some wishes. */
async function withDriver<T>(refuses: (wish: GPUDeviceDescriptor) => boolean, work: () => Promise<T>): Promise<T> {
  const before = Object.getOwnPropertyDescriptor(globalThis, "navigator");
  const requestAdapter = async () => {
    const adapter = (await dawn.requestAdapter()) as GPUAdapter;
    const requestDevice = async (wish: GPUDeviceDescriptor = {}) => {
      if (refuses(wish)) throw new Error("out of\n  luck");
      return adapter.requestDevice(wish);
    };
    return { info: adapter.info, features: adapter.features, limits: adapter.limits, requestDevice };
  };
  Object.defineProperty(globalThis, "navigator", { configurable: true, value: { gpu: { requestAdapter } } });
  try {
    return await work();
  } finally {
    if (before) Object.defineProperty(globalThis, "navigator", before);
    else delete (globalThis as { navigator?: unknown }).navigator;
  }
}

const open = () => openDevice({ software: true });

test("a driver that keeps its word gets no remark", async () => {
  const { notes, device, adapter, close } = await withDriver(() => false, open);
  assert.equal(notes, []);
  assert.is(device.limits.maxStorageBufferBindingSize, adapter.limits.maxStorageBufferBindingSize);
  await close();
});

test("a driver that refuses its own limits serves with the smallest, and its features", async () => {
  const { notes, device, close } = await withDriver(({ requiredLimits }) => !!requiredLimits, open);
  assert.is(notes.length, 1);
  assert.match(notes[0], / refused its own limits; the smallest ones are used \(out of luck\)$/);
  assert.is(device.limits.maxStorageBufferBindingSize, 2 ** 27);
  assert.ok(device.features.has("subgroups"));
  await close();
});

test("a driver that refuses its own features serves without", async () => {
  const { notes, device, close } = await withDriver(({ requiredFeatures }) => !!requiredFeatures, open);
  assert.match(notes.join("\n"), /its own limits.*\n.*its own features; none are used/);
  assert.not.ok(device.features.has("shader-f16"));
  await close();
});

test("a driver that refuses everything is an error that says what it refused", async () => {
  const message = await withDriver(() => true, open).then(
    () => "no error",
    (error: Error) => error.message,
  );
  assert.match(message, /^Cannot compute on a GPU: .* its own limits.* its own features.* refused a device \(out of luck\)$/);
});

test.run();
