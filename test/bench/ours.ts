// This project as a library of peers/worker.mjs, through its public interface: compile() on the wasm backend.
import type { Backend } from "../../src/backend/backend.ts";
import { openBackend } from "../../src/backend/open.ts";
import type { Backbone } from "../../src/models/backbone.ts";
import { makeBackbone } from "../../src/models/backbones.ts";
import { Block } from "../../src/models/vit.ts";
import { Buffer, withContext } from "../../src/nn/module.ts";
import { grad } from "../../src/tape/grad.ts";
import { Parameter, type Tensor } from "../../src/tape/tensor.ts";
import { assign, compile, type Host } from "../../src/tape/trace.ts";
import { type BlockJob, type ConvJob, type Job, type MatmulJob, type NetworkJob, padding, values } from "./jobs.ts";

/** A job that is ready to run, with a backend of its own for as long as the process lives. */
export async function prepare({ job, threads }: { job: Job; threads: number }): Promise<() => Promise<Float32Array>> {
  return runner(job, await openBackend({ backend: "wasm", threads }));
}

export function runner(job: Job, backend: Backend): () => Promise<Float32Array> {
  switch (job.op) {
    case "matmul":
      return matmul(job, backend);
    case "conv":
      return conv(job, backend);
    case "block":
      return block(job, backend);
    case "network":
      return network(job, backend);
  }
}

/** An operand in the backend's memory, as TensorFlow.js and jax-js keep theirs; onnxruntime-web can only be given them anew. */
const kept = ({ shape, data }: Host) => new Parameter(shape, data);

/** The backbone of a job, with the same weights each time. */
export const backboneOf = ({ backbone, size }: NetworkJob): Backbone => makeBackbone(backbone, { size, seed: 1 });

function network(job: NetworkJob, backend: Backend): () => Promise<Float32Array> {
  const { images } = values(job);
  const backbone = backboneOf(job);
  const features = compile((x: Tensor) => withContext({ training: false }, () => ({ y: backbone.forward(x) })), backend);
  return async () => (await features(images)).y.data;
}

function matmul(job: MatmulJob, backend: Backend): () => Promise<Float32Array> {
  const { a, b } = values(job);
  const [x, y] = [kept(a), kept(b)];
  const product = compile(() => ({ y: (job.ta ? x.t() : x).matmul(job.tb ? y.t() : y) }), backend);
  return async () => (await product()).y.data;
}

function conv(job: ConvJob, backend: Backend): () => Promise<Float32Array> {
  const { a, b } = values(job);
  const x = kept(a);
  const weight = new Parameter(b.shape, b.data, { layout: "OHWI" });
  const layer = compile(() => ({ y: x.conv2d(weight, { stride: job.stride, padding: padding(job) }) }), backend);
  return async () => (await layer()).y.data;
}

/** The gradient of x comes back; those of the weights stay in buffers, as an optimiser would take them. */
function block(job: BlockJob, backend: Backend): () => Promise<Float32Array> {
  const { x, cotangent, ...weights } = values(job);
  const model = new Block(job.dim, job.heads);
  model.load(new Map(Object.entries(weights)));
  const parameters = model.parameters();
  const places = parameters.map(({ shape }) => new Buffer(shape));
  const [input, direction] = [kept(x), kept(cotangent)];
  const gradients = compile(() => {
    const [dx, ...rest] = grad(model.forward(input).mul(direction).sum(), [input, ...parameters]) as Tensor[];
    for (const [i, gradient] of rest.entries()) assign(places[i], gradient);
    return { y: dx };
  }, backend);
  return async () => (await gradients()).y.data;
}
