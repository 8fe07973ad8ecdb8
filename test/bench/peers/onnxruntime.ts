// onnxruntime-web (wasm, SIMD, threads) as a contender.
import { fork } from "node:child_process";
import type { Host } from "../../../src/tape/trace.ts";
import { type Job, outputSide, padding, permuted, values } from "../jobs.ts";
import type { Contender } from "../measure.ts";
import { type Node, oneNodeModel } from "./onnx.ts";

/** What its process answers. */
interface Reply {
  readonly error?: string;
  readonly result?: Float32Array;
  readonly times?: number[];
}

interface Prepared {
  readonly node: Node;
  readonly feeds: Readonly<Record<string, Host>>;
  /** Puts a result in our order of axes. */
  order(y: Float32Array): Float32Array;
}

/** `folder` is where the package has been installed. */
export async function onnxruntime(job: Job, threads: number, folder: string): Promise<Contender> {
  const { node, feeds, order } = prepared(job);
  const child = fork(new URL("./onnxruntime.mjs", import.meta.url), [folder], {
    execArgv: [],
    serialization: "advanced",
    stdio: ["ignore", "ignore", "inherit", "ipc"],
  });
  const ask = (request: object) =>
    new Promise<Reply>((resolve, reject) => {
      const onExit = () => reject(new Error("onnxruntime-web's process ended"));
      child.once("exit", onExit);
      child.once("message", (reply: Reply) => {
        child.off("exit", onExit);
        if (reply.error) reject(new Error(reply.error));
        else resolve(reply);
      });
      child.send(request);
    });
  try {
    const { result } = await ask({ model: oneNodeModel(node), feeds, threads });
    return {
      name: "onnxruntime-web",
      result: async () => order(result as Float32Array),
      measure: async (stretchMs) => (await ask({ stretchMs })).times as number[],
      close: async () => void child.kill(),
    };
  } catch (error) {
    child.kill();
    throw error;
  }
}

/** It wants images [n, c, h, w] and weights [o, i, kh, kw]; a known weight is a constant, which it may lay out as it likes. */
function prepared(job: Job): Prepared {
  const { a, b } = values(job);
  if (job.op === "matmul") {
    const output = [...a.shape.slice(0, -1), job.n];
    const node: Node = job.weight
      ? { type: "MatMul", inputs: { a: a.shape }, constants: { b }, output }
      : { type: "MatMul", inputs: { a: a.shape, b: b.shape }, output };
    return { node, feeds: job.weight ? { a } : { a, b }, order: (y) => y };
  }
  const x = permuted(a, [0, 3, 1, 2]);
  const { batch, outputs, kernel, stride } = job;
  const [pad, side] = [padding(job), outputSide(job)];
  const output = [batch, outputs, side, side];
  const attributes = { kernel_shape: [kernel, kernel], pads: [pad, pad, pad, pad], strides: [stride, stride] };
  const node: Node = { type: "Conv", inputs: { x: x.shape }, constants: { w: permuted(b, [0, 3, 1, 2]) }, attributes, output };
  return { node, feeds: { x }, order: (y) => permuted({ data: y, shape: output }, [0, 2, 3, 1]).data };
}
