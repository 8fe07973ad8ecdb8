// npm run bench -- [--only TEXT] [--threads 1,2] [--rounds N] [--seconds N] [--photos FOLDER] [--out FOLDER] [--offline]
//
// Measures products, convolutions, a transformer block and inference against other runtimes in turn, passes over memory, training steps, what
// walking a program costs, and the input pipeline, and writes bench.md and bench.json. The other runtimes are fetched into .cache/peers for the occasion; nothing
// else depends on them.
import { spawnSync } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import { arch, availableParallelism, cpus, platform } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { jobs } from "./jobs.ts";
import type { Spread } from "./measure.ts";
import { measurePasses, type PassResult, passMegabytes, passNames } from "./passes.ts";
import { memoryBandwidth } from "./peak.ts";
import { peers } from "./peers/peer.ts";
import { measureProduct, type ProductResult, productHead, productRow, skippedLines } from "./products.ts";
import { measureTraining, type TrainingResult, trainingJobs } from "./training.ts";

const trainingHead = `| step | threads | ms | images/s | in products | planned MB | peak MB | PyTorch ms | its peak MB | of PyTorch's speed | of its memory |
|---|---|---|---|---|---|---|---|---|---|---|`;

function trainingRow({ name, threads, stepMs, imagesPerSecond, productShare, plannedBytes, peakBytes, torch }: TrainingResult): string {
  const time = ({ median, low, high }: Spread) => `${median.toFixed(0)} (${low.toFixed(0)} to ${high.toFixed(0)})`;
  const megabytes = (bytes: number) => (bytes / 1e6).toFixed(0);
  const share = productShare.toFixed(2);
  const own = `| ${name} | ${threads} | ${time(stepMs)} | ${imagesPerSecond.toFixed(0)} | ${share} | ${megabytes(plannedBytes)} | ${megabytes(peakBytes)} |`;
  if (!torch) return `${own} | | | |`;
  if ("skipped" in torch) return `${own} skipped: ${torch.skipped} | | | |`;
  const ratios = [torch.stepMs.median / stepMs.median, peakBytes / torch.peakBytes].map((ratio) => ratio.toFixed(2));
  return `${own} ${time(torch.stepMs)} | ${megabytes(torch.peakBytes)} | ${ratios.join(" | ")} |`;
}

const passHead = `| pass over ${passMegabytes} MB | threads | ms | GB/s | of memory's |
|---|---|---|---|---|`;

function passRow({ name, threads, timeMs, bytes }: PassResult, bandwidth: number): string {
  const speed = bytes / timeMs / 1e6;
  return `| ${name} | ${threads} | ${timeMs.toFixed(0)} | ${speed.toFixed(1)} | ${(speed / bandwidth).toFixed(2)} |`;
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
  const rounds = { rounds: Number(flags.rounds), stretchMs: 200, offline: flags.offline };
  const lines: string[] = [];
  const say = (line: string) => {
    lines.push(line);
    console.log(line);
  };
  const machine = `${cpus()[0].model.trim()}, ${cpus().length} cores, Node ${process.versions.node}, ${platform()} ${arch()}`;
  say(`# Benchmark\n\n${machine}, ${new Date().toISOString().slice(0, 10)}. Medians, quartiles in brackets.\n`);
  const wanted = ({ name }: { name: string }) => name.includes(flags.only);
  const products: ProductResult[] = [];
  const passes: PassResult[] = [];
  const training: TrainingResult[] = [];
  if (jobs.some(wanted)) {
    const packages = peers.flatMap((peer) => peer.packages).join(", ");
    say(
      `## Products\n\nIn turn in one run, each in a process of its own: ${packages}, PyTorch. onnxruntime-node and PyTorch are native code.\n`,
    );
    for (const count of threads) {
      say(`- ${count === 1 ? "1 thread reads" : `${count} threads read`} ${(await memoryBandwidth(count)).toFixed(1)} GB/s from memory`);
    }
    say(`\n${productHead()}`);
    for (const job of jobs.filter(wanted)) {
      for (const count of threads) {
        products.push(await measureProduct(job, count, rounds));
        say(productRow(products[products.length - 1]));
      }
    }
    const skipped = skippedLines(products);
    if (skipped.length) say(`\nEmpty cells:\n\n${skipped.join("\n")}`);
  }
  const wantedPasses = passNames.filter((name) => wanted({ name }));
  if (wantedPasses.length) {
    say(`\n## Passes over memory\n\n${passHead}`);
    for (const count of threads) {
      const bandwidth = await memoryBandwidth(count);
      const measured = await measurePasses(count, wantedPasses);
      for (const pass of measured) say(passRow(pass, bandwidth));
      passes.push(...measured);
    }
  }
  if (trainingJobs.some(wanted)) {
    say("\n## Training steps\n");
    say(trainingHead);
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
  writeFileSync(join(flags.out, "bench.json"), `${JSON.stringify({ version: 1, machine, products, passes, training }, null, 2)}\n`);
  console.error(`\nwritten to ${flags.out}/bench.md and bench.json`);
}

await main();
