import { spawnSync } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import type { Checkpoint } from "../../src/checkpoint/checkpoint.ts";
import { CheckpointError } from "../../src/checkpoint/error.ts";
import { openCheckpoint, readCheckpoint } from "../../src/checkpoint/open.ts";
import { sourceOf } from "../../src/checkpoint/source.ts";
import { encodeZip } from "../../src/checkpoint/write-zip.ts";

/** An .npy file with any header. */
function npy(header: string, body: ArrayBuffer | Uint8Array, version = 1): Uint8Array {
  const text = new TextEncoder().encode(header);
  const length = version === 1 ? [text.length & 255, text.length >> 8] : [text.length & 255, text.length >> 8, 0, 0];
  return Uint8Array.from(
    Buffer.concat([Uint8Array.of(0x93, ...new TextEncoder().encode("NUMPY"), version, 0, ...length), text, new Uint8Array(body)]),
  );
}
const header = (descr: string, shape: string, fortran = "False") =>
  `{'descr': '${descr}', 'fortran_order': ${fortran}, 'shape': ${shape}, }\n`;
const open = (bytes: Uint8Array) => readCheckpoint(sourceOf(bytes, "file"));
const numbers = async (checkpoint: Checkpoint, name = "array") => [...((await checkpoint.tensors.get(name)?.read()) ?? [])].map(Number);

test("an .npy file of each order, byte order and version is read", async () => {
  const data = Float32Array.of(1, 2, 3, 4, 5, 6);
  assert.equal(await numbers(await open(npy(header("<f4", "(2, 3)"), data.buffer))), [1, 2, 3, 4, 5, 6]);
  assert.equal(await numbers(await open(npy(header("<f4", "(2, 3)", "True"), data.buffer))), [1, 3, 5, 2, 4, 6]);
  assert.equal(await numbers(await open(npy(header("<f4", "(6,)"), data.buffer, 2))), [1, 2, 3, 4, 5, 6]);
  assert.equal(await numbers(await open(npy(header(">i2", "(2,)"), Uint8Array.of(1, 0, 255, 255)))), [256, -1]);
  assert.equal(await numbers(await open(npy(header("|b1", "()"), Uint8Array.of(1)))), [1]);
});

const bad: [string, Uint8Array, RegExp][] = [
  ["objects", npy(header("|O", "(1,)"), new Uint8Array(8)), /dtype "O"/],
  ["too few numbers", npy(header("<f4", "(3,)"), new Uint8Array(8)), /8 bytes of numbers, expected 12/],
  ["too many numbers", npy(header("<f4", "(1,)"), new Uint8Array(8)), /8 bytes of numbers, expected 4/],
  ["a shape beyond all memory", npy(header("<f4", "(4611686018427387904, 4)"), new Uint8Array(8)), /bytes of numbers, expected/],
  ["no shape", npy("{'descr': '<f4'}", new Uint8Array(8)), /header does not say/],
  ["code in its header", npy(header("<f4", "__import__('os').system('echo')"), new Uint8Array(8)), /header does not say/],
];
for (const [what, bytes, message] of bad) {
  test(`an .npy file of ${what} is refused`, async () => {
    const error = await open(bytes).catch((e: unknown) => e);
    assert.instance(error, CheckpointError);
    assert.match((error as Error).message, message);
  });
}

test("an .npz file is its arrays by name", async () => {
  const array = (value: number) => npy(header("<f4", "(1,)"), Float32Array.of(value).buffer);
  const entries = ["w.npy", "layer/b.npy"].map((name, i) => ({ name, bytes: array(i) }));
  const checkpoint = await open(Uint8Array.from(Buffer.concat([...encodeZip(entries)])));
  assert.equal([...checkpoint.tensors.keys()], ["w", "layer/b"]);
  assert.equal(await numbers(checkpoint, "layer/b"), [1]);
});

const python = ["python3", "/usr/bin/python3"].find((name) => spawnSync(name, ["-c", "import numpy"]).status === 0);
if (!python) console.log("no Python with numpy here: its own files are left out");
(python ? test : test.skip)("what NumPy saves, packed and not, is read", async () => {
  const folder = await mkdtemp(join(tmpdir(), "numpy-"));
  const script = `
import sys, numpy as np
a = np.arange(24, dtype=np.float64).reshape(2, 3, 4)
for save, name in ((np.savez, "plain"), (np.savez_compressed, "packed")):
    save(sys.argv[1] + "/" + name + ".npz", a=a, t=a.T, i=np.array([-3, 2**40]), h=np.float16(0.5))`;
  spawnSync(python as string, ["-c", script, folder]);
  for (const name of ["plain", "packed"]) {
    const checkpoint = await openCheckpoint(join(folder, `${name}.npz`));
    assert.equal(
      [...checkpoint.tensors].map(([key, { dtype, shape }]) => [key, dtype, shape]),
      [
        ["a", "float64", [2, 3, 4]],
        ["t", "float64", [4, 3, 2]],
        ["i", "int64", [2]],
        ["h", "float16", []],
      ],
    );
    assert.equal(
      await numbers(checkpoint, "a"),
      Array.from({ length: 24 }, (_, i) => i),
    );
    assert.equal((await numbers(checkpoint, "t")).slice(0, 4), [0, 12, 4, 16]);
    assert.equal(await numbers(checkpoint, "i"), [-3, 2 ** 40]);
    await checkpoint.close();
  }
  await rm(folder, { recursive: true });
});

test.run();
