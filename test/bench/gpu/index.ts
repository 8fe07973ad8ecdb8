// npm run bench:gpu -- [FLAGS]; --help lists them.
//
// Measures a GPU: products, convolutions, a transformer block and a training step of DINO with ViT-S/16, in float32 and in half precision, against
// PyTorch on the same card in turn if a Python has it. Measures what a step costs the host, and counts what it computes and moves and the least time that this takes a
// card; these two need no GPU. Writes gpu.md and gpu.json.
import { mkdirSync, writeFileSync } from "node:fs";
import { arch, cpus, platform } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { tilesFor } from "../../../src/backend/gpu-tiles.ts";
import { openDevice } from "../../../src/backend/webgpu/device.ts";
import { GpuBackend } from "../../../src/backend/webgpu.ts";
import type { Precision } from "../../../src/tape/trace.ts";
import { flops } from "../jobs.ts";
import { type Contender, inTurn, type Spread, spreadOf, timesOf } from "../measure.ts";
import { growth, hostCost, hostSteps } from "./host.ts";
import { type Card, cards, ledger, ledgerHead, ledgerRow, programOf, total } from "./ledger.ts";
import { type GpuJob, gpuJobs, openJob, sampledError } from "./products.ts";
import { dinoSmall, openSteps } from "./step.ts";
import { type DinoJob, Torch } from "./torch.ts";

const usage = `Usage: bench [--gpu NAME] [--software] [--no-tune] [--only TEXT] [--batch N] [--side N] [--rounds N] [--seconds N]
             [--steps N] [--card NAME] [--out FOLDER]

  --gpu NAME    a part of the card's name  [the first]
  --software    take a driver that computes on the CPU, too
  --no-tune     do not measure which tiles are fastest
  --only TEXT   what has this in its name, "host" and "paper" too
  --batch N     images of convolutions and training steps  [64]
  --side N      rows and columns of the products  [4096]
  --rounds N    turns of each rival  [5]
  --seconds N   time of each rival, all its turns together  [1]
  --steps N     steps over which memory may grow  [5000]
  --card NAME   whose numbers bound the step on paper  [H200 SXM]
  --out FOLDER  where gpu.md and gpu.json go  [.cache/bench]`;

const { values: flags } = parseArgs({
  options: {
    help: { type: "boolean", default: false },
    gpu: { type: "string" },
    software: { type: "boolean", default: false },
    "no-tune": { type: "boolean", default: false },
    only: { type: "string", default: "" },
    batch: { type: "string", default: "64" },
    side: { type: "string", default: "4096" },
    rounds: { type: "string", default: "5" },
    seconds: { type: "string", default: "1" },
    steps: { type: "string", default: "5000" },
    card: { type: "string", default: "H200 SXM" },
    out: { type: "string", default: ".cache/bench" },
  },
});
if (flags.help) {
  console.log(usage);
  process.exit();
}
const batch = Number(flags.batch);
const rounds = { rounds: Number(flags.rounds), stretchMs: (1000 * Number(flags.seconds)) / Number(flags.rounds) };

interface Row {
  readonly name: string;
  readonly ours: Spread;
  readonly torch?: Spread;
  /** Why there is no `torch`. */
  readonly missing?: string;
  /** Of a product: largest error of some entries, over the largest of them. */
  readonly error?: number;
}

const lines: string[] = [];
const say = (line: string) => {
  lines.push(line);
  console.log(line);
};
const reason = (error: unknown) => (error as Error).message;
const wanted = (name: string) => name.toLowerCase().includes(flags.only.toLowerCase());

let torch: Torch | Error | undefined;

/** The rival on a job, or why there is none. */
async function rival(job: GpuJob | DinoJob): Promise<Contender | Error> {
  try {
    torch ??= new Torch();
    return torch instanceof Error ? torch : await torch.open(job);
  } catch (error) {
    torch ??= error as Error;
    return error as Error;
  }
}

/** Measures one of ours, and the rival in turn. */
async function compare(name: string, ours: Contender, other: Contender | Error): Promise<Row> {
  const [mine, theirs] = await inTurn(other instanceof Error ? [ours] : [ours, other], rounds);
  return { name, ours: spreadOf(mine), ...(theirs ? { torch: spreadOf(theirs) } : { missing: reason(other) }) };
}

const ms = ({ median, low, high }: Spread) => `${median.toFixed(2)} (${low.toFixed(2)} to ${high.toFixed(2)})`;
const ratio = ({ ours, torch }: Row) => (torch ? (torch.median / ours.median).toFixed(2) : "");

/** Largest error of a product over its largest entry; operands in half precision are rounded by 2^-11. */
const tolerance = { f32: 1e-4, f16: 2e-3 };

const precisions = ["f32", "f16"] as const;
const has = (backend: GpuBackend, precision: Precision) => precision === "f32" || backend.halves;

async function products(backend: GpuBackend): Promise<Row[]> {
  say("\n## Products\n\n| job | ms | GFLOP/s | error | PyTorch ms | speed over PyTorch's |\n|---|---|---|---|---|---|");
  const rows: Row[] = [];
  for (const job of gpuJobs(Number(flags.side), batch).filter(({ name, precision }) => wanted(name) && has(backend, precision))) {
    try {
      const ours = openJob(job, backend);
      const error = sampledError(job, await ours.result());
      if (!(error < tolerance[job.precision])) throw new Error(`wrong numbers: some are off by ${error}`);
      const row = { ...(await compare(job.name, ours, await rival(job))), error };
      const rate = (flops(job) / row.ours.median / 1e6).toPrecision(3);
      say(`| ${row.name} | ${ms(row.ours)} | ${rate} | ${error.toExponential(1)} | ${row.torch ? ms(row.torch) : ""} | ${ratio(row)} |`);
      rows.push(row);
    } catch (error) {
      say(`| ${job.name} | failed: ${reason(error)} | | | | |`);
    }
  }
  return rows;
}

async function training(backend: GpuBackend): Promise<Row[]> {
  const steps = precisions.map((precision) => ({ name: `DINO, ViT-S/16, 224 pixels, batch ${batch}, ${precision}`, precision }));
  const chosen = steps.filter(({ name, precision }) => wanted(name) && has(backend, precision));
  if (!chosen.length) return [];
  say(`\n## Training\n\n| step | ms | images/s | PyTorch ms | speed over PyTorch's | planned GB |\n|---|---|---|---|---|---|`);
  const rows: Row[] = [];
  for (const { name, precision } of chosen) {
    try {
      const { run, arenaBytes } = await openSteps(dinoSmall(batch, precision), backend);
      const ours: Contender = {
        name: "Autodidact",
        result: async () => new Float32Array(),
        measure: (stretchMs) => timesOf(run, stretchMs),
        close: async () => {},
      };
      const row = await compare(name, ours, await rival({ op: "dino", batch, outputs: 65536, precision }));
      const rate = ((1000 * batch) / row.ours.median).toFixed(1);
      say(`| ${name} | ${ms(row.ours)} | ${rate} | ${row.torch ? ms(row.torch) : ""} | ${ratio(row)} | ${(arenaBytes / 1e9).toFixed(2)} |`);
      rows.push(row);
    } catch (error) {
      say(`| ${name} | failed: ${reason(error)} | | | | |`);
    }
  }
  return rows;
}

/** Everything that needs a GPU. */
async function onGpu(): Promise<{ adapter?: string; rows: Row[] }> {
  let backend: GpuBackend;
  try {
    const open = await openDevice({ name: flags.gpu, software: flags.software });
    const tiles = await tilesFor(open, flags["no-tune"] ? false : undefined);
    backend = new GpuBackend(open, tiles);
    for (const [products, tile] of Object.entries(tiles)) say(`Tile for ${products}: ${tile}`);
  } catch (error) {
    say(`\nNothing is measured on a GPU: ${reason(error)}`);
    return { rows: [] };
  }
  say(`\nGPU: ${backend.adapter.name}; features ${backend.adapter.features.join(", ")}`);
  if (!backend.halves) say("\nNothing is measured in half precision: this GPU lacks the feature shader-f16");
  const rows = [...(await products(backend)), ...(await training(backend))];
  const missing = new Set(rows.flatMap(({ missing }) => missing ?? []));
  for (const reason of missing) say(`\nNo comparison with PyTorch: ${reason}`);
  await backend.close();
  return { adapter: backend.adapter.name, rows };
}

async function host() {
  if (!wanted("host")) return {};
  say("\n## Host\n\n| step, on a device that computes nothing | dispatches | processor ms | microseconds a dispatch |\n|---|---|---|---|");
  const costs: Record<string, object> = {};
  for (const [name, prepare] of Object.entries(hostSteps)) {
    const cost = await hostCost(prepare);
    const each = (1000 * cost.stepMs) / cost.dispatches;
    say(`| ${name} | ${cost.dispatches} | ${cost.stepMs.toFixed(2)} | ${each.toFixed(2)} |`);
    costs[name] = cost;
  }
  const { steps, heapBytes, residentBytes } = await growth(Number(flags.steps));
  say(`\nMemory after ${steps} steps over that after ${steps / 10}: heap ${kilobytes(heapBytes)}, process ${kilobytes(residentBytes)}.`);
  return { costs, growth: { steps, heapBytes, residentBytes } };
}

const kilobytes = (bytes: number) => `${bytes < 0 ? "" : "+"}${(bytes / 1e3).toFixed(0)} kB`;

async function paper() {
  if (!wanted("paper")) return {};
  const card = cards[flags.card];
  if (!card) throw new RangeError(`Unknown card "${flags.card}": expected ${Object.keys(cards).join(", ")}`);
  const bounds: Record<string, object> = {};
  for (const precision of precisions) bounds[precision] = await bound(precision, card);
  return { card: flags.card, ...bounds };
}

/** The least time of a training step on a card, by what its program computes and moves. */
async function bound(precision: Precision, card: Card) {
  const rates = `${card.teraflops[precision]} TFLOP/s, ${card.gigabytesPerSecond} GB/s`;
  say(`\n## Paper roofline: DINO, ViT-S/16, batch ${batch}, ${precision} on ${flags.card} (${rates})\n`);
  say(ledgerHead);
  const lines = ledger(await programOf(dinoSmall(batch, precision)), card);
  const all = total(lines);
  for (const line of [...lines, all]) say(ledgerRow(line));
  const rate = (1000 * batch) / all.boundMs;
  say(`\nAt most ${rate.toFixed(0)} images/s, and 0.4 of that as a goal: ${(0.4 * rate).toFixed(0)}.`);
  return { lines, all };
}

const machine = `${cpus()[0].model.trim()}, ${cpus().length} cores, Node ${process.versions.node}, ${platform()} ${arch()}`;
say(`# GPU benchmark\n\n${machine}, ${new Date().toISOString().slice(0, 10)}. Medians, quartiles in brackets; runs that are waited for.`);
const measured = { ...(await onGpu()), host: await host(), paper: await paper() };
if (torch instanceof Torch) torch.close();
mkdirSync(flags.out, { recursive: true });
writeFileSync(join(flags.out, "gpu.md"), `${lines.join("\n")}\n`);
writeFileSync(join(flags.out, "gpu.json"), `${JSON.stringify({ version: 1, machine, ...measured }, null, 2)}\n`);
console.error(`\nwritten to ${flags.out}/gpu.md and gpu.json`);
