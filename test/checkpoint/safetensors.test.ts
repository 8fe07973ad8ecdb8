import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { writeAtomically } from "../../src/checkpoint/atomic.ts";
import { writeNpy } from "../../src/checkpoint/npy.ts";
import {
  CheckpointError,
  decodeSafetensors,
  encodeSafetensors,
  readSafetensors,
  stateIn,
  writeSafetensors,
} from "../../src/checkpoint/safetensors.ts";
import type { Host } from "../../src/tape/trace.ts";
import { fill } from "../fill.ts";

const join8 = (chunks: Uint8Array[]): Uint8Array<ArrayBuffer> => new Uint8Array(Buffer.concat(chunks));

const tensors: [string, Host][] = [
  ["conv1.weight", fill("w", [3, 2, 1, 1])],
  ["bn1.num_batches_tracked", { data: Float32Array.of(12345), shape: [] }],
  ["attn.relative_position_index", { data: Float32Array.of(3, 0, 1), shape: [3, 1] }],
  ["empty", { data: new Float32Array(0), shape: [0, 4] }],
];

/** A file with any header, for what the writer never writes. */
function file(header: unknown, body: ArrayLike<number> = []): Uint8Array<ArrayBuffer> {
  const json = new TextEncoder().encode(typeof header === "string" ? header : JSON.stringify(header));
  const size = new Uint8Array(8);
  new DataView(size.buffer).setBigUint64(0, BigInt(json.length), true);
  return join8([size, json, Uint8Array.from(body)]);
}

const f32 = (shape: number[], begin: number, end: number) => ({ dtype: "F32", shape, data_offsets: [begin, end] });

test("what was written is read, with integers and metadata", async () => {
  const folder = await mkdtemp(join(tmpdir(), "safetensors-"));
  try {
    const path = join(folder, "a.safetensors");
    await writeSafetensors(path, tensors, { step: "7" });
    const archive = await readSafetensors(path, { checksum: "required" });
    assert.equal(archive.metadata, { step: "7" });
    assert.equal(archive.tensors.get("bn1.num_batches_tracked")?.data, BigInt64Array.of(12345n));
    assert.equal(archive.tensors.get("attn.relative_position_index")?.data, BigInt64Array.of(3n, 0n, 1n));
    assert.equal([...stateIn(archive)].sort(), [...tensors].sort());
    assert.equal(await readdir(folder), ["a.safetensors"]);
  } finally {
    await rm(folder, { recursive: true });
  }
});

test("a path that is missing or a folder is named", async () => {
  const folder = await mkdtemp(join(tmpdir(), "safetensors-"));
  try {
    for (const path of [join(folder, "none.safetensors"), folder]) {
      const error = await readSafetensors(path).catch((e: unknown) => e);
      assert.instance(error, CheckpointError);
      assert.ok((error as Error).message.startsWith(`Cannot read ${path}: `), String(error));
    }
  } finally {
    await rm(folder, { recursive: true });
  }
});

test("the same tensors give the same bytes", () => {
  assert.equal(join8(encodeSafetensors(tensors)), join8(encodeSafetensors(tensors)));
});

test("a file with any one byte changed is refused", () => {
  const good = join8(encodeSafetensors(tensors, { note: "x" }));
  for (let at = 0; at < good.length; at++) {
    for (const bit of [1, 128]) {
      const bad = good.slice();
      bad[at] ^= bit;
      try {
        decodeSafetensors(bad, { checksum: "required" });
        assert.unreachable(`byte ${at}, bit ${bit}`);
      } catch (error) {
        assert.instance(error, CheckpointError);
      }
    }
  }
});

test("a file cut short anywhere is refused", () => {
  const good = join8(encodeSafetensors(tensors));
  for (let length = 0; length < good.length; length++)
    assert.throws(
      () => decodeSafetensors(good.slice(0, length)),
      (e: Error) => e instanceof CheckpointError,
    );
});

const bad: [string, Uint8Array<ArrayBuffer>, RegExp][] = [
  ["a header that is no JSON", file("{nonsense"), /header is not a JSON object/],
  ["a header that is a list", file("[]"), /header is not a JSON object/],
  ["a tensor that is null", file({ a: null }), /"a" has dtype undefined/],
  ["metadata that is no text", file({ __metadata__: { a: 1 } }), /metadata is not a record of texts/],
  ["an unknown dtype", file({ a: { dtype: "F8", shape: [1], data_offsets: [0, 1] } }, [0]), /"a" has dtype "F8"/],
  ["a dtype named like a method", file({ a: { dtype: "toString", shape: [1], data_offsets: [0, 1] } }, [0]), /"a" has dtype "toString"/],
  ["a negative size", file({ a: f32([-1], 0, 4) }, [0, 0, 0, 0]), /"a" has shape \[-1\]/],
  ["offsets that go backwards", file({ a: f32([1], 4, 0) }, [0, 0, 0, 0]), /"a" lies at bytes 4 to 0/],
  ["a tensor beyond the end", file({ a: f32([2], 0, 8) }, [0, 0, 0, 0]), /"a" lies at bytes 0 to 8 of 4/],
  ["a size that does not fit the shape", file({ a: f32([2], 0, 4) }, [0, 0, 0, 0]), /"a" has 4 bytes, expected 8 for F32 \[2\]/],
  ["tensors that overlap", file({ a: f32([1], 0, 4), b: f32([1], 2, 6) }, [0, 0, 0, 0, 0, 0]), /"b" begins at byte 2, expected 4/],
  ["a hole between tensors", file({ a: f32([1], 0, 4), b: f32([1], 5, 9) }, new Array(9).fill(0)), /"b" begins at byte 5, expected 4/],
  ["bytes after the last tensor", file({ a: f32([1], 0, 4) }, [0, 0, 0, 0, 0]), /1 bytes after the last tensor/],
];
for (const [what, bytes, message] of bad) {
  test(`refuses ${what}`, () => assert.throws(() => decodeSafetensors(bytes), message));
}

test("a checksum is asked for only where it is required", () => {
  const plain = file({ a: f32([1], 0, 4) }, [0, 0, 128, 63]);
  assert.equal(decodeSafetensors(plain).tensors.get("a")?.data, Float32Array.of(1));
  assert.throws(
    () => decodeSafetensors(plain, { where: "x.safetensors", checksum: "required" }),
    /^Cannot read x\.safetensors: it has no checksum/,
  );
});

test("half, bfloat and double precision become float32", () => {
  const cases: [string, ArrayBufferLike, number[]][] = [
    ["F16", Uint16Array.of(0x3c00, 0xc000, 0x7bff, 0x0001, 0x7c00, 0x8000).buffer, [1, -2, 65504, 2 ** -24, Number.POSITIVE_INFINITY, -0]],
    ["BF16", Uint16Array.of(0x3f80, 0xc040).buffer, [1, -3]],
    ["F64", Float64Array.of(0.1, -1e300).buffer, [Math.fround(0.1), Number.NEGATIVE_INFINITY]],
    ["I32", Int32Array.of(-5, 7).buffer, [-5, 7]],
    ["U8", Uint8Array.of(200, 1).buffer, [200, 1]],
    ["BOOL", Uint8Array.of(0, 1).buffer, [0, 1]],
  ];
  for (const [dtype, buffer, want] of cases) {
    const bytes = file({ a: { dtype, shape: [want.length], data_offsets: [0, buffer.byteLength] } }, new Uint8Array(buffer));
    assert.equal(stateIn(decodeSafetensors(bytes)).get("a")?.data, Float32Array.from(want), dtype);
  }
});

test("a write that fails leaves the old file and nothing else", async () => {
  const folder = await mkdtemp(join(tmpdir(), "safetensors-"));
  try {
    const path = join(folder, "a.bin");
    await writeFile(path, "old");
    const broken = (function* () {
      yield Uint8Array.of(1, 2, 3);
      throw new Error("no space left");
    })();
    let message = "";
    await writeAtomically(path, broken).catch((error: Error) => (message = error.message));
    assert.is(message, `Cannot write ${path}: no space left`);
    assert.is(await readFile(path, "utf8"), "old");
    assert.equal(await readdir(folder), ["a.bin"]);
  } finally {
    await rm(folder, { recursive: true });
  }
});

test("an .npy file has NumPy's header and begins its numbers at a multiple of 64", async () => {
  const folder = await mkdtemp(join(tmpdir(), "npy-"));
  try {
    for (const shape of [[3], [2, 3]]) {
      const path = join(folder, "a.npy");
      const host = fill("x", shape);
      await writeNpy(path, host);
      const bytes = new Uint8Array(await readFile(path));
      assert.equal([...bytes.slice(0, 8)], [0x93, 0x4e, 0x55, 0x4d, 0x50, 0x59, 1, 0]);
      const end = 10 + bytes[8] + 256 * bytes[9];
      assert.is(end % 64, 0);
      const header = new TextDecoder().decode(bytes.slice(10, end));
      assert.match(header, shape.length === 1 ? "'shape': (3,)" : "'shape': (2, 3)");
      assert.ok(header.endsWith("\n"));
      assert.equal(new Float32Array(bytes.slice(end).buffer), host.data);
    }
  } finally {
    await rm(folder, { recursive: true });
  }
});

test.run();
