// npx tsx test/bench/checkpoint.ts
// Inspecting a file of 4 GB (a ViT-B in front of one large tensor, a hole on disk): seconds and memory of the process. Loading a ViT-B
// from .safetensors and .pth: seconds, beside reading the same bytes; the smallest of five. Takes 700 MB in the temporary folder.
import { execFileSync } from "node:child_process";
import { mkdtemp, open, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { openCheckpoint } from "../../src/checkpoint/open.ts";
import { writeSafetensors } from "../../src/checkpoint/safetensors.ts";
import { writeTorch } from "../../src/checkpoint/write-torch.ts";
import { inspect } from "../../src/evaluate/inspect.ts";
import { makeBackbone } from "../../src/models/backbones.ts";
import { readBackbone } from "../../src/models/pretrained.ts";
import { withoutNumbers } from "../../src/nn/init.ts";
import { peakBytes } from "../peak.ts";

const LARGE = 4e9;

/** A safetensors file whose header is whole and whose numbers are a hole. */
async function writeHole(path: string): Promise<void> {
  const network = withoutNumbers(() => makeBackbone("vit-base-16"));
  const shapes = [...network.namedState()].map(([name, { officialShape }]): [string, readonly number[]] => [name, officialShape]);
  let end = 0;
  const entries = [...shapes, ["large", [LARGE / 4]] as const].map(([name, shape]) => {
    const begin = end;
    end += 4 * shape.reduce((product, n) => product * n, 1);
    return [name, { dtype: "F32", shape, data_offsets: [begin, end] }] as const;
  });
  const header = Buffer.from(JSON.stringify(Object.fromEntries(entries)));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(header.length));
  const file = await open(path, "w");
  await file.write(Buffer.concat([length, header]));
  await file.truncate(8 + header.length + end);
  await file.close();
}

/** Seconds and seconds of processor of the fastest of five. */
async function fastest(run: () => Promise<unknown>): Promise<{ wall: number; cpu: number }> {
  const times: { wall: number; cpu: number }[] = [];
  for (let i = 0; i < 5; i++) {
    const [from, used] = [performance.now(), process.cpuUsage()];
    await run();
    const { user, system } = process.cpuUsage(used);
    times.push({ wall: (performance.now() - from) / 1e3, cpu: (user + system) / 1e6 });
  }
  return { wall: Math.min(...times.map(({ wall }) => wall)), cpu: Math.min(...times.map(({ cpu }) => cpu)) };
}

async function inspectAlone(path: string): Promise<void> {
  const before = process.cpuUsage();
  const from = performance.now();
  const { network, bytes } = await inspect(path);
  const { user, system } = process.cpuUsage(before);
  const memory = peakBytes() / 1e6;
  const seconds = `${((performance.now() - from) / 1e3).toFixed(2)} s, processor ${((user + system) / 1e6).toFixed(2)} s`;
  console.log(`inspect ${(bytes / 1e9).toFixed(1)} GB: ${network?.backbone}, ${seconds}, ${memory.toFixed(0)} MB with tsx`);
}

async function load(path: string): Promise<void> {
  const read = await fastest(() => readFile(path));
  const loaded = await fastest(async () => {
    const checkpoint = await openCheckpoint(path);
    await readBackbone(checkpoint);
    await checkpoint.close();
  });
  const share = (100 * read.wall) / loaded.wall;
  const seconds = ({ wall, cpu }: { wall: number; cpu: number }) => `${wall.toFixed(3)} s (processor ${cpu.toFixed(3)})`;
  console.log(`load ${path.split(".").at(-1)}: ${seconds(loaded)}; reading it ${seconds(read)}; ${share.toFixed(0)} % of its speed`);
}

const [, , alone] = process.argv;
if (alone) await inspectAlone(alone);
else {
  const folder = await mkdtemp(join(tmpdir(), "checkpoint-bench-"));
  try {
    const large = join(folder, "large.safetensors");
    await writeHole(large);
    const itself = [...process.execArgv, fileURLToPath(import.meta.url), large];
    execFileSync(process.execPath, itself, { stdio: "inherit" });
    const state = makeBackbone("vit-base-16", { seed: 1 }).state();
    const [safetensors, torch] = ["vit.safetensors", "vit.pth"].map((name) => join(folder, name));
    await writeSafetensors(safetensors, state);
    await writeTorch(torch, state);
    for (const path of [safetensors, torch]) await load(path);
  } finally {
    await rm(folder, { recursive: true });
  }
}
