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

const asksFor = ({ requiredFeatures = [] }: GPUDeviceDescriptor, name: string) => [...requiredFeatures].some((feature) => feature === name);

test("a driver that refuses one of its limits serves with the smallest of that one, and all else", async () => {
  const { notes, device, adapter, close } = await withDriver(
    ({ requiredLimits }) => "maxStorageBufferBindingSize" in (requiredLimits ?? {}),
    open,
  );
  assert.is(notes.length, 1);
  assert.match(notes[0], / refused the maxStorageBufferBindingSize of \d+ that it offers \(out of luck\)$/);
  assert.is(device.limits.maxStorageBufferBindingSize, 2 ** 27);
  assert.is(device.limits.maxBufferSize, adapter.limits.maxBufferSize);
  assert.ok(device.features.has("subgroups"));
  await close();
});

test("a driver that refuses one of its features is not said to refuse its limits, and serves with them", async () => {
  const { notes, device, adapter, close } = await withDriver((wish) => asksFor(wish, "shader-f16"), open);
  assert.is(notes.length, 1);
  assert.match(notes[0], / refused the shader-f16 that it offers \(out of luck\)$/);
  assert.not.ok(device.features.has("shader-f16"));
  assert.ok(device.features.has("subgroups"));
  assert.is(device.limits.maxStorageBufferBindingSize, adapter.limits.maxStorageBufferBindingSize);
  await close();
});

test("a driver that refuses a feature and a limit is said to refuse these two", async () => {
  const refuses = (wish: GPUDeviceDescriptor) => asksFor(wish, "subgroups") || "maxBufferSize" in (wish.requiredLimits ?? {});
  const { notes, close } = await withDriver(refuses, open);
  assert.equal(
    notes.map((note) => note.match(/refused the (\S+)/)?.[1]),
    ["subgroups", "maxBufferSize"],
  );
  await close();
});

test("a driver that refuses everything is an error that says so", async () => {
  const message = await withDriver(() => true, open).then(
    () => "no error",
    (error: Error) => error.message,
  );
  assert.match(message, /^Cannot compute on a GPU: .* refused a device \(out of luck\)$/);
});

test.run();
