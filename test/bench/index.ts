// npm run bench -- [--only TEXT] [--threads 1,2] [--rounds N] [--seconds N] [--photos FOLDER] [--out FOLDER] [--offline]
//
// Measures products and convolutions against onnxruntime-web in turn, training steps, what walking a program costs, and the input
// pipeline, and writes bench.md and bench.json. The other runtime is fetched into .cache/peers for the occasion and is no dependency of anything.
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, writeFileSync } from "node:fs";
import { arch, availableParallelism, cpus, platform } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { flops, type Job, jobs } from "./jobs.ts";
import { type Contender, disagreement, inTurn, type Rounds, type Spread, spreadOf } from "./measure.ts";
import { autodidact } from "./ours.ts";
import { onnxruntime } from "./peers/onnxruntime.ts";
import { measureTraining, type TrainingResult, trainingJobs } from "./training.ts";

const ORT = "onnxruntime-web@1.30.0";

interface ProductResult {
  readonly name: string;
  readonly threads: number;
  readonly ours: Spread;
  /** Absent where the peer is missing. */
  readonly peer?: Spread;
  readonly ratio?: number;
  readonly disagreement?: number;
}

/** Folder with the peer's package, or why there is none. */
function fetchPeer(offline: boolean): { folder: string } | { missing: string } {
  const folder = fileURLToPath(new URL("../../.cache/peers", import.meta.url));
  if (existsSync(join(folder, "node_modules", "onnxruntime-web"))) return { folder };
  if (offline) return { missing: "not fetched (--offline)" };
  mkdirSync(folder, { recursive: true });
  const npm = ["install", "--no-save", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix", folder, ORT];
  const { status, stderr } = spawnSync("npm", npm, { encoding: "utf8", shell: platform() === "win32" });
  return status === 0 ? { folder } : { missing: `npm could not install ${ORT}: ${stderr.trim().split("\n").at(-1)}` };
}

async function measureProduct(job: Job, threads: number, folder: string | undefined, rounds: Rounds): Promise<ProductResult> {
  const contenders: Contender[] = [await autodidact(job, threads)];
  try {
    if (folder) contenders.push(await onnxruntime(job, threads, folder));
    const results = await Promise.all(contenders.map((contender) => contender.result()));
    const [ours, peer] = (await inTurn(contenders, rounds)).map(spreadOf);
    if (!peer) return { name: job.name, threads, ours };
    const gap = disagreement(results[0], results[1]);
    if (!(gap < 1e-4)) throw new Error(`Cannot compare "${job.name}": results differ by ${gap} of the largest entry`);
    return { name: job.name, threads, ours, peer, ratio: peer.median / ours.median, disagreement: gap };
  } finally {
    await Promise.all(contenders.map((contender) => contender.close()));
  }
}

const gigaflops = (job: Job, milliseconds: number) => flops(job) / milliseconds / 1e6;

function productRow(job: Job, { threads, ours, peer, ratio }: ProductResult): string {
  const speed = ({ median, low, high }: Spread) =>
    `${gigaflops(job, median).toFixed(1)} (${gigaflops(job, high).toFixed(1)} to ${gigaflops(job, low).toFixed(1)})`;
  return `| ${job.name} | ${threads} | ${speed(ours)} | ${peer ? speed(peer) : "skipped"} | ${ratio ? ratio.toFixed(2) : ""} |`;
}

function trainingRow({ name, threads, stepMs, imagesPerSecond, plannedBytes, residentBytes }: TrainingResult): string {
  const ms = `${stepMs.median.toFixed(0)} (${stepMs.low.toFixed(0)} to ${stepMs.high.toFixed(0)})`;
  const megabytes = (bytes: number) => (bytes / 1e6).toFixed(0);
  return `| ${name} | ${threads} | ${ms} | ${imagesPerSecond.toFixed(0)} | ${megabytes(plannedBytes)} | ${megabytes(residentBytes)} |`;
}

/** What a script beside this one prints. */
function outputOf(script: string, args: readonly string[]): string {
  const path = fileURLToPath(new URL(script, import.meta.url));
  const { stdout, stderr, status } = spawnSync(process.execPath, [...process.execArgv, path, ...args], { encoding: "utf8" });
  return status === 0 ? stdout.trim() : `skipped: ${stderr.trim().split("\n").at(-1)}`;
}

async function main(): Promise<void> {
  const { values: flags } = parseArgs({
    options: {
      only: { type: "string", default: "" },
      threads: { type: "string", default: availableParallelism() > 1 ? "1,2" : "1" },
      rounds: { type: "string", default: "5" },
      seconds: { type: "string", default: "5" },
      photos: { type: "string" },
      out: { type: "string", default: ".cache/bench" },
      offline: { type: "boolean", default: false },
    },
  });
  const threads = flags.threads.split(",").map(Number);
  const rounds = { rounds: Number(flags.rounds), stretchMs: 300 };
  const lines: string[] = [];
  const say = (line: string) => {
    lines.push(line);
    console.log(line);
  };
  const machine = `${cpus()[0].model.trim()}, ${cpus().length} cores, Node ${process.versions.node}, ${platform()} ${arch()}`;
  say(`# Benchmark\n\n${machine}, ${new Date().toISOString().slice(0, 10)}. Medians, quartiles in brackets.\n`);
  const wanted = ({ name }: { name: string }) => name.includes(flags.only);
  const products: ProductResult[] = [];
  const training: TrainingResult[] = [];
  if (jobs.some(wanted)) {
    const peer = fetchPeer(flags.offline);
    say(`## Products, GFLOP/s\n\nIn turn with ${ORT} in one run${"missing" in peer ? `, which is skipped: ${peer.missing}` : ""}.\n`);
    say("| product | threads | Autodidact | onnxruntime-web | times as fast |\n|---|---|---|---|---|");
    for (const job of jobs.filter(wanted)) {
      for (const count of threads) {
        products.push(await measureProduct(job, count, "folder" in peer ? peer.folder : undefined, rounds));
        say(productRow(job, products[products.length - 1]));
      }
    }
  }
  if (trainingJobs.some(wanted)) {
    say("\n## Training steps\n");
    say("| step | threads | ms | images/s | planned MB | resident MB |\n|---|---|---|---|---|---|");
    for (const job of trainingJobs.filter(wanted)) {
      for (const count of threads) {
        training.push(measureTraining(job, count, Number(flags.seconds)));
        say(trainingRow(training[training.length - 1]));
      }
    }
  }
  if ("dispatch".includes(flags.only)) say(`\n## Walking a program\n\n${outputOf("dispatch.ts", [])}`);
  if ("input".includes(flags.only)) {
    const missing = "skipped: no folder of photographs given (--photos FOLDER)";
    say(`\n## Input pipeline\n\n${flags.photos ? outputOf("input.ts", [flags.photos]) : missing}`);
  }
  mkdirSync(flags.out, { recursive: true });
  writeFileSync(join(flags.out, "bench.md"), `${lines.join("\n")}\n`);
  writeFileSync(join(flags.out, "bench.json"), `${JSON.stringify({ version: 1, machine, peer: ORT, products, training }, null, 2)}\n`);
  console.error(`\nwritten to ${flags.out}/bench.md and bench.json`);
}

await main();
