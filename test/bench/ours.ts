// This project as a contender, through its public interface: compile() on the wasm backend.
import type { Backend } from "../../src/backend/backend.ts";
import { openBackend } from "../../src/backend/open.ts";
import { Parameter, type Tensor } from "../../src/tape/tensor.ts";
import { compile } from "../../src/tape/trace.ts";
import { type ConvJob, type Job, type MatmulJob, padding, values } from "./jobs.ts";
import { type Contender, timesOf } from "./measure.ts";

export async function autodidact(job: Job, threads: number): Promise<Contender> {
  const backend = await openBackend({ backend: "wasm", threads });
  const run = job.op === "matmul" ? matmul(job, backend) : conv(job, backend);
  return { name: "autodidact", result: run, measure: (stretchMs) => timesOf(run, stretchMs), close: () => backend.close() };
}

function matmul(job: MatmulJob, backend: Backend): () => Promise<Float32Array> {
  const { a, b } = values(job);
  if (job.weight) {
    const weight = new Parameter(b.shape, b.data);
    const layer = compile((x: Tensor) => ({ y: x.matmul(weight) }), backend);
    return async () => (await layer(a)).y.data;
  }
  const product = compile((x: Tensor, y: Tensor) => ({ y: x.matmul(y) }), backend);
  return async () => (await product(a, b)).y.data;
}

function conv(job: ConvJob, backend: Backend): () => Promise<Float32Array> {
  const { a, b } = values(job);
  const weight = new Parameter(b.shape, b.data, { layout: "OHWI" });
  const layer = compile((x: Tensor) => ({ y: x.conv2d(weight, { stride: job.stride, padding: padding(job) }) }), backend);
  return async () => (await layer(a)).y.data;
}
