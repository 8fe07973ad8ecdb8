// TensorFlow.js on its WebAssembly backend, which has one thread outside browsers.
import { createRequire } from "node:module";
import { join } from "node:path";

export async function prepare({ job, tensors, folder }) {
  const require = createRequire(join(folder, "package.json"));
  const tf = require("@tensorflow/tfjs");
  require("@tensorflow/tfjs-backend-wasm");
  await tf.setBackend("wasm");
  await tf.ready();
  const x = Object.fromEntries(Object.entries(tensors).map(([name, { data, shape }]) => [name, tf.tensor(data, shape)]));
  const compute = { matmul: () => tf.matMul(x.a, x.b, !!job.ta, !!job.tb), conv: convolution(tf, job, x), block: block(tf, job, x) }[
    job.op
  ];
  if (!compute) throw new Error("it reads no ONNX");
  return async () => {
    const y = tf.tidy(compute);
    const data = await y.data();
    y.dispose();
    return data;
  };
}

function convolution(tf, job, { a, b }) {
  if (job.op !== "conv") return undefined;
  const weight = tf.transpose(b, [1, 2, 3, 0]); // [kh, kw, in, out]
  return () => tf.conv2d(a, weight, job.stride, (job.kernel - 1) / 2);
}

/** The gradient of x, the parameters' beside it, of sum(block(x) * cotangent). */
function block(tf, { heads, batch, tokens, dim }, { x, cotangent, ...weights }) {
  const names = Object.keys(weights);
  const norm = (t, w, b) => {
    const { mean, variance } = tf.moments(t, -1, true);
    return t.sub(mean).div(variance.add(1e-6).sqrt()).mul(w).add(b);
  };
  const linear = (t, w, b) => tf.matMul(t.reshape([batch * tokens, -1]), w, false, true).add(b);
  const attention = (t, w) => {
    const qkv = linear(t, w["attn.qkv.weight"], w["attn.qkv.bias"]).reshape([batch, tokens, 3, heads, dim / heads]);
    const [q, k, v] = tf.unstack(qkv.transpose([2, 0, 3, 1, 4]), 0);
    const scores = tf.softmax(tf.matMul(q, k, false, true).mul(1 / Math.sqrt(dim / heads)));
    const out = tf.matMul(scores, v).transpose([0, 2, 1, 3]);
    return linear(out, w["attn.proj.weight"], w["attn.proj.bias"]).reshape([batch, tokens, dim]);
  };
  const gelu = (t) => t.mul(tf.erf(t.mul(Math.SQRT1_2)).add(1)).mul(0.5);
  const mlp = (t, w) => {
    const hidden = gelu(linear(t, w["mlp.fc1.weight"], w["mlp.fc1.bias"]));
    return linear(hidden, w["mlp.fc2.weight"], w["mlp.fc2.bias"]).reshape([batch, tokens, dim]);
  };
  const loss = (t, ...values) => {
    const w = Object.fromEntries(names.map((name, i) => [name, values[i]]));
    const y = t.add(attention(norm(t, w["norm1.weight"], w["norm1.bias"]), w));
    return y
      .add(mlp(norm(y, w["norm2.weight"], w["norm2.bias"]), w))
      .mul(cotangent)
      .sum();
  };
  return () => tf.grads(loss)([x, ...Object.values(weights)])[0];
}
