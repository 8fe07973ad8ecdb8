// A process that runs a library: node worker.mjs LIBRARY FOLDER [MORE]. The first line asks to prepare a job, the others to run it.
import { readFileSync, writeFileSync } from "node:fs";
import { createInterface } from "node:readline";
import { pathToFileURL } from "node:url";

console.log = console.error; // stdout is for answers
const [library, folder, ...more] = process.argv.slice(2);
const { prepare } = await import(pathToFileURL(library).href);

/** Runs the job and gives its result. */
let run;

function tensor({ file, shape }) {
  const bytes = readFileSync(file);
  return { shape, data: new Float32Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length)) };
}

async function begin({ job, threads, tensors, model, result }) {
  const loaded = Object.fromEntries(Object.entries(tensors).map(([name, entry]) => [name, tensor(entry)]));
  run = await prepare({ job, threads, tensors: loaded, model, folder, more });
  const data = await run();
  writeFileSync(result, new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
  return { result };
}

async function measure(stretchMs) {
  const times = [];
  const end = performance.now() + stretchMs;
  for (let from = performance.now(); from < end; ) {
    await run();
    const now = performance.now();
    times.push(now - from);
    from = now;
  }
  return { times };
}

for await (const line of createInterface({ input: process.stdin })) {
  const request = JSON.parse(line);
  const reply = await (request.job ? begin(request) : measure(request.stretchMs)).catch((error) => ({
    error: String(error?.message ?? error),
  }));
  process.stdout.write(`${JSON.stringify(reply)}\n`);
}
