import { execFile } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { crc32, deflateRawSync } from "node:zlib";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { crcOf } from "../../src/checkpoint/crc.ts";
import { CheckpointError } from "../../src/checkpoint/error.ts";
import { openSource, sourceOf } from "../../src/checkpoint/source.ts";
import { encodeZip } from "../../src/checkpoint/write-zip.ts";
import { Zip, type ZipEntry } from "../../src/checkpoint/zip.ts";

const bytesOf = (text: string) => new TextEncoder().encode(text);
const joined = (chunks: Iterable<Uint8Array>) => Uint8Array.from(Buffer.concat([...chunks]));
const entries = ["a", "b/π", "c"].map((name, i) => ({ name, bytes: bytesOf(`${name} ${"x".repeat(97 * i)}`) }));
const open = (bytes: Uint8Array) => Zip.open(sourceOf(bytes, "file.zip"));
const entry = (zip: Zip, name: string) => zip.entries.get(name) as ZipEntry;

const refusal = async (work: () => Promise<unknown>): Promise<string> => {
  const error = await work().catch((e: unknown) => e);
  assert.instance(error, CheckpointError);
  return (error as Error).message;
};

test("what is written is read, whole and in part, and aligned to 64 bytes", async () => {
  const file = joined(encodeZip(entries));
  const zip = await open(file);
  for (const { name, bytes } of entries) {
    assert.equal(await zip.read(entry(zip, name)), bytes);
    assert.equal(await zip.range(entry(zip, name), 1, 1), bytes.subarray(1, 2));
    assert.is(Buffer.from(file).indexOf(bytes) % 64, 0);
  }
});

test("more entries than 16 bits count are listed by ZIP64", async () => {
  const many = Array.from({ length: 65_537 }, (_, i) => ({ name: `e${i}`, bytes: Uint8Array.of(i & 255) }));
  const zip = await open(joined(encodeZip(many)));
  assert.is(zip.entries.size, many.length);
  assert.equal(await zip.read(entry(zip, "e65536")), Uint8Array.of(0));
});

/** One deflated entry, with what its headers say. */
function deflated(content: Uint8Array, says: { size?: number; crc?: number; method?: number; flags?: number; name?: string } = {}) {
  const { size = content.length, crc = crc32(content), method = 8, flags = 0, name = "e" } = says;
  const packed = method === 0 ? content : deflateRawSync(content);
  const common = (view: DataView, at: number) => {
    for (const [field, value] of [
      [2, flags],
      [4, method],
    ] as const)
      view.setUint16(at + field, value, true);
    for (const [field, value] of [
      [10, crc],
      [14, packed.length],
      [18, size],
    ] as const)
      view.setUint32(at + field, value, true);
    view.setUint16(at + 22, 1, true);
  };
  const file = new Uint8Array(31 + packed.length + 47 + 22);
  const view = new DataView(file.buffer);
  view.setUint32(0, 0x04034b50, true);
  common(view, 4);
  file.set(bytesOf(name), 30);
  file.set(packed, 31);
  const directory = 31 + packed.length;
  view.setUint32(directory, 0x02014b50, true);
  common(view, directory + 6);
  file.set(bytesOf("e"), directory + 46);
  const end = directory + 47;
  view.setUint32(end, 0x06054b50, true);
  for (const [field, value] of [
    [8, 1],
    [10, 1],
  ] as const)
    view.setUint16(end + field, value, true);
  for (const [field, value] of [
    [12, 47],
    [16, directory],
  ] as const)
    view.setUint32(end + field, value, true);
  return file;
}
const content = bytesOf("tensor ".repeat(40));
const read = async (file: Uint8Array) => {
  const zip = await open(file);
  return zip.read(entry(zip, "e"));
};

test("a deflated entry is unpacked and checked", async () => assert.equal(await read(deflated(content)), content));

const hostile: [string, Uint8Array, RegExp][] = [
  ["claims more than DEFLATE can pack", deflated(content, { size: 10_000_000 }), /claims 10000000 bytes from \d+ packed ones/],
  ["claims more than it has", deflated(content, { size: 300 }), /unpacks to 280 bytes, not 300/],
  ["claims less than it has", deflated(content, { size: 10 }), /cannot be unpacked/],
  ["has another checksum", deflated(content, { crc: 1 }), /fails its CRC-32/],
  ["is encrypted", deflated(content, { flags: 1 }), /is encrypted/],
  ["is packed in another way", deflated(content, { method: 14 }), /packed by method 14/],
  ["is stored with two sizes", deflated(content, { method: 0, size: 7 }), /stored in 280 bytes and says it has 7/],
  ["has two names", deflated(content, { name: "f" }), /the entry listed as "e" calls itself "f"/],
];
for (const [what, file, message] of hostile) {
  test(`an entry that ${what} is refused`, async () => assert.match(await refusal(() => read(file)), message));
}

test("two entries of one name are refused", async () => {
  const file = joined(encodeZip([entries[0], entries[0]]));
  assert.match(await refusal(() => open(file)), /two entries called "a"/);
});

test("a checksum in parts is that of the whole", () => {
  const bytes = bytesOf("123456789");
  assert.is(crcOf(bytes), 0xcbf43926); // the check value of CRC-32
  assert.is(crcOf(bytes.subarray(4), crcOf(bytes.subarray(0, 4))), 0xcbf43926);
});

test("a pipe is no file, and nobody waits for it", async () => {
  if (process.platform === "win32") return;
  const folder = await mkdtemp(join(tmpdir(), "pipe-"));
  const path = join(folder, "pipe");
  await promisify(execFile)("mkfifo", [path]);
  assert.match(await refusal(() => openSource(path)), /pipe: it is not a file$/);
  await rm(folder, { recursive: true });
});

test.run();
