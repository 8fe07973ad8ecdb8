// A job as an ONNX model, for runtimes that want one.
import { onnxModel as networkModel } from "../../../src/export/backbone.ts";
import { encodeOnnx, type OnnxModel, type OnnxNode } from "../../../src/export/onnx.ts";
import type { Host } from "../../../src/tape/trace.ts";
import { type Job, outputSide, padding, permuted, values } from "../jobs.ts";
import { backboneOf } from "../ours.ts";

/** A model of one node, whose inputs are the run's in their order and then the constants, and whose output is "y". */
function oneNode(
  node: Pick<OnnxNode, "op" | "attributes">,
  inputs: Readonly<Record<string, readonly number[]>>,
  constants: Readonly<Record<string, Host>>,
  output: readonly number[],
): OnnxModel {
  return {
    name: node.op,
    nodes: [{ ...node, inputs: [...Object.keys(inputs), ...Object.keys(constants)], outputs: ["y"] }],
    tensors: new Map(Object.entries(constants)),
    inputs: Object.entries(inputs).map(([name, shape]) => ({ name, shape })),
    outputs: [{ name: "y", shape: output }],
    metadata: {},
  };
}

/** Images are [n, c, h, w] in it and weights [o, i, kh, kw]; a known weight is a constant, which a runtime may lay out as it likes. */
async function modelOf(job: Job): Promise<OnnxModel> {
  if (job.op === "block") throw new Error("it does not train");
  if (job.op === "network") return networkModel(backboneOf(job), { size: job.size });
  const { a, b } = values(job);
  if (job.op === "matmul") {
    const inputs: Record<string, readonly number[]> = job.weight ? { a: a.shape } : { a: a.shape, b: b.shape };
    const constants: Record<string, Host> = job.weight ? { b } : {};
    const output = [...a.shape.slice(0, -2), job.m, job.n];
    const transposes = { transA: Number(!!job.ta), transB: Number(!!job.tb) };
    const node = job.ta || job.tb ? { op: "Gemm", attributes: transposes } : { op: "MatMul", attributes: {} };
    return oneNode(node, inputs, constants, output);
  }
  const { batch, outputs, kernel, stride } = job;
  const [pad, side] = [padding(job), outputSide(job)];
  const attributes = { kernel_shape: [kernel, kernel], pads: [pad, pad, pad, pad], strides: [stride, stride] };
  const [n, h, w, c] = a.shape;
  return oneNode({ op: "Conv", attributes }, { a: [n, c, h, w] }, { b: permuted(b, [0, 3, 1, 2]) }, [batch, outputs, side, side]);
}

/** The bytes of a model file. Throws if there is no such model. */
export const onnxModel = async (job: Job): Promise<Uint8Array> => Buffer.concat([...encodeOnnx(await modelOf(job)).chunks()]);
