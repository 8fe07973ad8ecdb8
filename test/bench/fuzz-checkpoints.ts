// npx tsx test/bench/fuzz-checkpoints.ts [--from N] [--count N]
//
// Damages valid checkpoint files in every way that it knows and reads what comes out. Each input has to load or be refused with a
// CheckpointError, soon, and without asking the file for more bytes than it has. Input N is always the same one.
import { readdirSync, readFileSync } from "node:fs";
import { basename } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { CheckpointError } from "../../src/checkpoint/error.ts";
import { readCheckpoint } from "../../src/checkpoint/open.ts";
import { sourceOf } from "../../src/checkpoint/source.ts";
import { maskedCrc } from "../../src/checkpoint/tf-bundle.ts";
import { encodeZip } from "../../src/checkpoint/write-zip.ts";
import { Zip } from "../../src/checkpoint/zip.ts";
import { Random } from "../../src/tape/philox.ts";
import { peakBytes } from "../peak.ts";

interface Seed {
  name: string;
  bytes: Uint8Array;
  /** Entries, where the file is a zip: its pickle is damaged inside, and the checksums made anew. */
  entries?: { name: string; bytes: Uint8Array }[];
  /** Bytes of the first block, where the file is a TensorFlow index: it is damaged inside, and its checksum made anew. */
  block?: number;
}

export interface FuzzReport {
  inputs: number;
  loaded: number;
  refused: number;
  /** Inputs that did anything else: "12345 (file): what". */
  failures: string[];
  slowestMs: number;
}

const folder = new URL("../golden/files/checkpoints/", import.meta.url);

/** Valid and invalid files alike, each a start for others. */
async function loadSeeds(): Promise<Seed[]> {
  const names = readdirSync(folder).filter((name) => !/expected|\.data-/.test(name));
  const files = [...names, "tensors-zip.pth.expected.safetensors"];
  return Promise.all(
    files.map(async (name) => {
      const bytes = new Uint8Array(readFileSync(new URL(name, folder)));
      if (name.endsWith(".index")) return { name, bytes, block: firstBlock(bytes) };
      const zip = await Zip.open(sourceOf(bytes, name)).catch(() => undefined);
      if (!zip || name === "crc-mismatch.pth") return { name, bytes };
      const entries = await Promise.all(
        [...zip.entries.values()].map(async (entry) => ({ name: entry.name, bytes: await zip.read(entry) })),
      );
      return { name, bytes, entries };
    }),
  );
}

/** Where the first block ends: where its checksum fits. */
function firstBlock(bytes: Uint8Array): number {
  const view = new DataView(bytes.buffer, bytes.byteOffset);
  for (let size = 1; size + 5 <= bytes.length; size++) {
    if (maskedCrc(bytes.subarray(0, size + 1)) === view.getUint32(size + 1, true)) return size;
  }
  throw new Error("Cannot find the first block of the index");
}

/** Damages a block in place and gives it the checksum of what it is now. */
function damageBlock(bytes: Uint8Array, size: number, random: Random): Uint8Array {
  const damaged = bytes.slice();
  for (let times = 1 + random.below(4); times > 0; times--) damaged[random.below(size)] = random.below(256);
  new DataView(damaged.buffer).setUint32(size + 1, maskedCrc(damaged.subarray(0, size + 1)), true);
  return damaged;
}

/** Numbers at which counts and places go wrong. */
const awkward = [0, 1, 0x7f, 0x80, 0xff, 0xffff, 0x7fffffff, 0x80000000, 0xfffffffe, 0xffffffff];

type Mutation = (bytes: Uint8Array, at: number, random: Random, other: Uint8Array) => Uint8Array;

const splice = (bytes: Uint8Array, at: number, removed: number, added: Uint8Array): Uint8Array =>
  Uint8Array.from(Buffer.concat([bytes.subarray(0, at), added, bytes.subarray(at + removed)]));

const part = (bytes: Uint8Array, random: Random): Uint8Array => {
  const from = random.below(bytes.length);
  return bytes.slice(from, from + 1 + random.below(40));
};

const mutations: readonly Mutation[] = [
  (bytes, at, random) => splice(bytes, at, 1, Uint8Array.of((bytes[at] ?? 0) ^ (1 << random.below(8)))),
  (bytes, at, random) => splice(bytes, at, 1, Uint8Array.of(random.below(256))),
  (bytes, at, random) => splice(bytes, at, 4, new Uint8Array(Uint32Array.of(awkward[random.below(awkward.length)]).buffer)),
  (bytes, at, random) =>
    splice(bytes, at, 8, new Uint8Array(Uint32Array.of(awkward[random.below(awkward.length)], random.below(2)).buffer)),
  (bytes, at, random) => splice(bytes, at, 1 + random.below(40), new Uint8Array(0)),
  (bytes, at, random) => splice(bytes, at, 0, part(bytes, random)),
  (bytes, at, random, other) => splice(bytes, at, random.below(40), part(other, random)),
  (bytes, at) => bytes.slice(0, at),
];

function damage(bytes: Uint8Array, random: Random, other: Uint8Array): Uint8Array {
  let damaged = bytes;
  const times = 1 + random.below(3);
  for (let i = 0; i < times; i++) {
    // beginnings and ends hold the structure, the middle mostly numbers
    const place = random.uniform();
    const near = Math.min(damaged.length, 600);
    const at = place < 0.4 ? random.below(near) : place < 0.7 ? damaged.length - random.below(near) : random.below(damaged.length);
    damaged = mutations[random.below(mutations.length)](damaged, Math.max(0, at), random, other);
  }
  return damaged;
}

/** Input number n: a file, and what was done to it. */
function input(n: number, seeds: readonly Seed[]): { name: string; bytes: Uint8Array } {
  const random = new Random(n, 0);
  const seed = seeds[random.below(seeds.length)];
  const other = seeds[random.below(seeds.length)].bytes;
  const { name, entries, block } = seed;
  if (block && random.uniform() < 0.7) return { name, bytes: damageBlock(seed.bytes, block, random) };
  if (!entries || random.uniform() < 0.3) return { name, bytes: damage(seed.bytes, random, other) };
  const target = random.uniform() < 0.9 ? entries.findIndex((entry) => entry.name.endsWith("data.pkl")) : random.below(entries.length);
  const changed = entries.map((entry, i) => (i === target ? { ...entry, bytes: damage(entry.bytes, random, other) } : entry));
  return { name, bytes: Uint8Array.from(Buffer.concat([...encodeZip(changed)])) };
}

/** Reads a file and everything in it. */
async function readAll(bytes: Uint8Array): Promise<void> {
  const source = sourceOf(bytes, "input");
  const openShard = async () =>
    sourceOf(new Uint8Array(readFileSync(new URL("simclr-v2.ckpt-250228.data-00000-of-00001", folder))), "shard");
  const checkpoint = await readCheckpoint(source, openShard);
  const most = 1100 * (bytes.length + 100_000); // what a packed file can hold, or the bundle's other file
  for (const tensor of checkpoint.tensors.values()) {
    const numbers = await tensor.read();
    if (numbers.byteLength > most) throw new Error(`${numbers.byteLength} bytes of numbers from a file of ${bytes.length}`);
  }
}

export async function fuzz(from: number, count: number): Promise<FuzzReport> {
  const seeds = await loadSeeds();
  const report: FuzzReport = { inputs: count, loaded: 0, refused: 0, failures: [], slowestMs: 0 };
  for (let n = from; n < from + count; n++) {
    const { name, bytes } = input(n, seeds);
    const begin = process.cpuUsage();
    try {
      await readAll(bytes);
      report.loaded++;
    } catch (error) {
      if (error instanceof CheckpointError) report.refused++;
      else report.failures.push(`${n} (${name}): ${error}`);
    }
    const { user, system } = process.cpuUsage(begin); // a busy machine must not fail an input
    const ms = (user + system) / 1000;
    report.slowestMs = Math.max(report.slowestMs, ms);
    if (ms > 5000) report.failures.push(`${n} (${name}): took ${(ms / 1000).toFixed(1)} s`);
  }
  return report;
}

if (basename(process.argv[1] ?? "") === basename(fileURLToPath(import.meta.url))) {
  const { values } = parseArgs({ options: { from: { type: "string", default: "0" }, count: { type: "string", default: "100000" } } });
  const { inputs, loaded, refused, failures, slowestMs } = await fuzz(Number(values.from), Number(values.count));
  for (const failure of failures) console.log(failure);
  const memory = Math.round(peakBytes() / 1e6);
  console.log(
    `${inputs} inputs: ${loaded} loaded, ${refused} refused, ${failures.length} failed; slowest ${slowestMs.toFixed(0)} ms, peak ${memory} MB`,
  );
  process.exitCode = failures.length ? 1 : 0;
}
