// onnxruntime-web in a process of its own. The argument is its folder. Plain JavaScript without a loader in front: under one that
// translates TypeScript its threads do not start, without a word, and it would run on one.
import { createRequire } from "node:module";
import { join } from "node:path";
import { pathToFileURL } from "node:url";

const main = createRequire(join(process.argv[2], "package.json")).resolve("onnxruntime-web");
const { env, InferenceSession, Tensor } = await import(pathToFileURL(join(main, "..", "ort.node.min.mjs")).href);

let run;

async function prepare({ model, feeds, threads }) {
  env.wasm.numThreads = threads;
  env.logLevel = "error";
  const session = await InferenceSession.create(model, { executionProviders: ["wasm"], graphOptimizationLevel: "all" });
  const tensors = Object.entries(feeds).map(([name, { data, shape }]) => [name, new Tensor("float32", data, shape)]);
  run = async () => (await session.run(Object.fromEntries(tensors))).y.data;
  return { result: await run() };
}

async function measure(stretchMs) {
  const times = [];
  const end = performance.now() + stretchMs;
  for (let begin = performance.now(); begin < end; ) {
    await run();
    const now = performance.now();
    times.push(now - begin);
    begin = now;
  }
  return { times };
}

process.on("message", (request) => {
  const answer = "stretchMs" in request ? measure(request.stretchMs) : prepare(request);
  answer.catch((error) => ({ error: String(error?.message ?? error) })).then((reply) => process.send(reply));
});
