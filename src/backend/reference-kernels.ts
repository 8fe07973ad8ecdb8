// One plain loop for each op. `Call` and its shapes are described below.
import { type Shape, size, strides } from "../tape/shape.ts";
import type { Attributes } from "../tape/tensor.ts";
import { halfKernels } from "./reference-half.ts";

export type Numbers = Float64Array;

/** What a reference kernel sees. Outputs are zeroed. */
export interface Call {
  inputs: readonly Numbers[];
  outputs: readonly Numbers[];
  shapes: readonly Shape[]; // of the inputs
  outShapes: readonly Shape[];
  attrs: Attributes;
}

type Kernel = (call: Call) => void;

/** Abramowitz & Stegun 7.1.26 is too coarse here: erf by its series near zero and a continued fraction beyond. */
export function erf(x: number): number {
  const a = Math.abs(x);
  if (a > 6) return Math.sign(x);
  if (a < 2.5) {
    let term = a;
    let sum = a;
    for (let n = 1; Math.abs(term) > 1e-17 * Math.abs(sum) && n < 200; n++) {
      term *= (-a * a) / n;
      sum += term / (2 * n + 1);
    }
    return (Math.sign(x) * 2 * sum) / Math.sqrt(Math.PI);
  }
  let fraction = 0;
  for (let n = 60; n > 0; n--) fraction = n / 2 / (a + fraction);
  return Math.sign(x) * (1 - Math.exp(-a * a) / (Math.sqrt(Math.PI) * (a + fraction)));
}

const phi = (x: number) => 0.5 * (1 + erf(x / Math.SQRT2)); // the normal distribution function
const f32 = Math.fround;

const elementwise: Record<string, (a: number, b: number, c: number) => number> = {
  neg: (x) => -x,
  exp: Math.exp,
  log: Math.log,
  sqrt: Math.sqrt,
  rsqrt: (x) => 1 / Math.sqrt(x),
  square: (x) => x * x,
  abs: Math.abs,
  floor: Math.floor,
  tanh: Math.tanh,
  sigmoid: (x) => 1 / (1 + Math.exp(-x)),
  relu: (x) => Math.max(x, 0),
  gelu: (x) => x * phi(x),
  geluDerivative: (x) => phi(x) + (x * Math.exp(-0.5 * x * x)) / Math.sqrt(2 * Math.PI),
  add: (a, b) => a + b,
  sub: (a, b) => a - b,
  mul: (a, b) => a * b,
  div: (a, b) => a / b,
  maximum: (a, b) => Math.max(a, b),
  minimum: (a, b) => Math.min(a, b),
  greater: (a, b) => Number(a > b),
  greaterEqual: (a, b) => Number(a >= b),
  equal: (a, b) => Number(f32(a) === f32(b)),
  where: (c, a, b) => (c !== 0 ? a : b),
};

/** Calls f(out, in...) for every element of `shape`, operands read with broadcasting. */
export function eachBroadcast(shape: Shape, operands: readonly Shape[], f: (at: number, from: number[]) => void): void {
  const steps = operands.map((s) => {
    const own = strides(s);
    return shape.map((_, i) => {
      const axis = i - (shape.length - s.length);
      return axis < 0 || s[axis] === 1 ? 0 : own[axis];
    });
  });
  const index = new Array<number>(shape.length).fill(0);
  const from = operands.map(() => 0);
  for (let at = 0, n = size(shape); at < n; at++) {
    f(at, from);
    for (let axis = shape.length - 1; axis >= 0; axis--) {
      for (let i = 0; i < from.length; i++) from[i] += steps[i][axis];
      if (++index[axis] < shape[axis]) break;
      for (let i = 0; i < from.length; i++) from[i] -= steps[i][axis] * shape[axis];
      index[axis] = 0;
    }
  }
}

/** Views a shape around one axis as [outer, n, inner]. */
function around(shape: Shape, axis: number): [outer: number, n: number, inner: number] {
  return [size(shape.slice(0, axis)), shape[axis], size(shape.slice(axis + 1))];
}

/** Calls f(element, slot) where the slot is the element's place after reducing `axes` to size 1. */
function eachReduced(shape: Shape, axes: readonly number[], f: (at: number, slot: number) => void): void {
  eachBroadcast(shape, [shape.map((n, i) => (axes.includes(i) ? 1 : n))], (at, [slot]) => f(at, slot));
}

/** Calls f(start) for each row of the last axis. */
function eachRow(shape: Shape, f: (start: number, n: number, row: number) => void): void {
  const n = shape[shape.length - 1];
  for (let row = 0, rows = size(shape) / n; row < rows; row++) f(row * n, n, row);
}

interface Window {
  from: number; // element of the image, channel 0
  to: number; // element of the output, channel 0
  ky: number;
  kx: number;
}

/** Calls f for every tap of a sliding window that lies inside the image. x and y are NHWC. */
function eachTap(x: Shape, y: Shape, kernel: [number, number], attrs: Call["attrs"], f: (tap: Window) => void): void {
  const { stride, padding, dilation = 1 } = attrs as { stride: number; padding: number; dilation?: number };
  const [n, oh, ow] = y;
  for (let b = 0; b < n; b++) {
    for (let oy = 0; oy < oh; oy++) {
      for (let ox = 0; ox < ow; ox++) {
        for (let ky = 0; ky < kernel[0]; ky++) {
          for (let kx = 0; kx < kernel[1]; kx++) {
            const iy = oy * stride - padding + ky * dilation;
            const ix = ox * stride - padding + kx * dilation;
            if (iy < 0 || iy >= x[1] || ix < 0 || ix >= x[2]) continue;
            f({ from: ((b * x[1] + iy) * x[2] + ix) * x[3], to: ((b * oh + oy) * ow + ox) * y[3], ky, kx });
          }
        }
      }
    }
  }
}

/** Calls f(image element, weight element, output element) for every product of a convolution. */
function eachProduct(x: Shape, w: Shape, y: Shape, attrs: Call["attrs"], f: (x: number, w: number, y: number) => void): void {
  const [o, kh, kw, ci] = w;
  const perGroup = o / (attrs.groups as number);
  eachTap(x, y, [kh, kw], attrs, ({ from, to, ky, kx }) => {
    for (let oc = 0; oc < o; oc++) {
      const first = Math.floor(oc / perGroup) * ci;
      for (let c = 0; c < ci; c++) f(from + first + c, ((oc * kh + ky) * kw + kx) * ci + c, to + oc);
    }
  });
}

function matmul({ inputs: [a, b], outputs: [y], shapes, outShapes, attrs }: Call): void {
  const [m, n] = outShapes[0].slice(-2);
  const k = shapes[0].at(attrs.ta ? -2 : -1) as number;
  const batch = size(outShapes[0].slice(0, -2));
  const aStep = shapes[0].length > 2 ? m * k : 0;
  const bStep = shapes[1].length > 2 ? k * n : 0;
  for (let s = 0; s < batch; s++) {
    for (let i = 0; i < m; i++) {
      for (let j = 0; j < n; j++) {
        let sum = 0;
        for (let l = 0; l < k; l++)
          sum += a[s * aStep + (attrs.ta ? l * m + i : i * k + l)] * b[s * bStep + (attrs.tb ? j * k + l : l * n + j)];
        y[(s * m + i) * n + j] = sum;
      }
    }
  }
}

interface Heads {
  b: number;
  h: number;
  n: number;
  m: number;
  d: number;
  scale: number;
}

const heads = ({ attrs }: Call, q: Shape, k: Shape): Heads => ({
  b: q[0],
  h: attrs.heads as number,
  n: q[1],
  m: k[1],
  d: q[2] / (attrs.heads as number),
  scale: attrs.scale as number,
});

const dot = (a: Numbers, i: number, b: Numbers, j: number, n: number) => {
  let sum = 0;
  for (let l = 0; l < n; l++) sum += a[i + l] * b[j + l];
  return sum;
};

/** Calls f for each query row of each head with its offsets. */
function eachQuery({ b, h, n, m, d }: Heads, f: (q: number, key: (j: number) => number, stat: number) => void): void {
  const c = h * d;
  for (let s = 0; s < b; s++) {
    for (let g = 0; g < h; g++) {
      for (let i = 0; i < n; i++) f((s * n + i) * c + g * d, (j) => (s * m + j) * c + g * d, (s * h + g) * n + i);
    }
  }
}

function attention(call: Call): void {
  const {
    inputs: [q, k, v],
    outputs: [y, lse],
    shapes,
  } = call;
  const size = heads(call, shapes[0], shapes[1]);
  eachQuery(size, (i, key, stat) => {
    const score = Array.from({ length: size.m }, (_, j) => size.scale * dot(q, i, k, key(j), size.d));
    const top = Math.max(...score);
    const sum = score.reduce((total, s) => total + Math.exp(s - top), 0);
    lse[stat] = top + Math.log(sum);
    score.forEach((s, j) => {
      const p = Math.exp(s - lse[stat]);
      for (let l = 0; l < size.d; l++) y[i + l] += p * v[key(j) + l];
    });
  });
}

function attentionGrad(call: Call): void {
  const {
    inputs: [g, q, k, v, y, lse],
    outputs: [dq, dk, dv],
    shapes,
  } = call;
  const size = heads(call, shapes[1], shapes[2]);
  eachQuery(size, (i, key, stat) => {
    const total = dot(g, i, y, i, size.d);
    for (let j = 0; j < size.m; j++) {
      const at = key(j);
      const p = Math.exp(size.scale * dot(q, i, k, at, size.d) - lse[stat]);
      const ds = size.scale * p * (dot(g, i, v, at, size.d) - total);
      for (let l = 0; l < size.d; l++) {
        dq[i + l] += ds * k[at + l];
        dk[at + l] += ds * q[i + l];
        dv[at + l] += p * g[i + l];
      }
    }
  });
}

function batchNorm({ inputs: [x, gamma, beta], outputs: [y, mean, variance], attrs }: Call): void {
  const c = gamma.length;
  const rows = x.length / c;
  x.forEach((v, i) => (mean[i % c] += v / rows));
  x.forEach((v, i) => (variance[i % c] += (v - mean[i % c]) ** 2 / rows));
  x.forEach((v, i) => (y[i] = ((v - mean[i % c]) / Math.sqrt(variance[i % c] + (attrs.eps as number))) * gamma[i % c] + beta[i % c]));
}

function batchNormGrad({ inputs: [g, x, gamma, mean, variance], outputs: [dx, dgamma, dbeta], attrs }: Call): void {
  const c = gamma.length;
  const rows = x.length / c;
  const scale = Array.from(variance, (v) => 1 / Math.sqrt(v + (attrs.eps as number)));
  const unit = (i: number) => (x[i] - mean[i % c]) * scale[i % c];
  g.forEach((v, i) => {
    dbeta[i % c] += v;
    dgamma[i % c] += v * unit(i);
  });
  g.forEach((v, i) => (dx[i] = gamma[i % c] * scale[i % c] * (v - dbeta[i % c] / rows - (unit(i) * dgamma[i % c]) / rows)));
}

function layerNorm({ inputs: [x, gamma, beta], outputs: [y, mean, rstd], shapes, attrs }: Call): void {
  eachRow(shapes[0], (start, n, row) => {
    const part = x.subarray(start, start + n);
    mean[row] = part.reduce((sum, v) => sum + v, 0) / n;
    rstd[row] = 1 / Math.sqrt(part.reduce((sum, v) => sum + (v - mean[row]) ** 2, 0) / n + (attrs.eps as number));
    for (let i = 0; i < n; i++) y[start + i] = (part[i] - mean[row]) * rstd[row] * gamma[i] + beta[i];
  });
}

function layerNormGrad({ inputs: [g, x, gamma, mean, rstd], outputs: [dx, dgamma, dbeta], shapes }: Call): void {
  eachRow(shapes[1], (start, n, row) => {
    const unit = (i: number) => (x[start + i] - mean[row]) * rstd[row];
    let sum = 0;
    let along = 0;
    for (let i = 0; i < n; i++) {
      const v = g[start + i] * gamma[i];
      sum += v / n;
      along += (v * unit(i)) / n;
      dbeta[i] += g[start + i];
      dgamma[i] += g[start + i] * unit(i);
    }
    for (let i = 0; i < n; i++) dx[start + i] = rstd[row] * (g[start + i] * gamma[i] - sum - unit(i) * along);
  });
}

/** Philox 4x32-10: four words from a counter and a key. Salmon et al. 2011, table 2 and figure 2. */
export function philox(counter: readonly number[], key: readonly number[]): number[] {
  let [a, b, c, d] = counter.map((v) => v >>> 0);
  let [k, l] = key.map((v) => v >>> 0);
  const product = (x: number, y: number): [number, number] => {
    const p = BigInt(x) * BigInt(y);
    return [Number(p >> 32n), Number(p & 0xffffffffn)];
  };
  for (let round = 0; round < 10; round++) {
    const [h0, l0] = product(0xd2511f53, a);
    const [h1, l1] = product(0xcd9e8d57, c);
    [a, b, c, d] = [(h1 ^ b ^ k) >>> 0, l1, (h0 ^ d ^ l) >>> 0, l0];
    k = (k + 0x9e3779b9) >>> 0;
    l = (l + 0xbb67ae85) >>> 0;
  }
  return [a, b, c, d];
}

function uniform({ inputs: [key], outputs: [y], attrs }: Call): void {
  const [seed, step] = [key[0] + key[1] * 65536, key[2] + key[3] * 65536];
  for (let i = 0; i < y.length; i += 4) {
    philox([i / 4, attrs.stream as number, step, 0], [seed, 0]).forEach((word, j) => {
      if (i + j < y.length) y[i + j] = (word >>> 8) / 16777216;
    });
  }
}

function maxPoolGrad({ inputs: [g, x], outputs: [dx], shapes, attrs }: Call): void {
  const best = new Float64Array(g.length).fill(-Infinity);
  const where = new Int32Array(g.length).fill(-1);
  eachTap(shapes[1], shapes[0], [attrs.kernel as number, attrs.kernel as number], attrs, ({ from, to }) => {
    for (let c = 0; c < shapes[1][3]; c++) {
      if (where[to + c] < 0 || x[from + c] > best[to + c]) {
        best[to + c] = x[from + c];
        where[to + c] = from + c;
      }
    }
  });
  g.forEach((v, i) => (dx[where[i]] += v));
}

export const kernels: Record<string, Kernel> = {
  ...Object.fromEntries(
    Object.entries(elementwise).map(([name, f]): [string, Kernel] => [
      name,
      ({ inputs, outputs: [y], shapes, outShapes }) =>
        eachBroadcast(outShapes[0], shapes, (at, [i, j, k]) => (y[at] = f(inputs[0][i], inputs[1]?.[j], inputs[2]?.[k]))),
    ]),
  ),
  constant: ({ outputs: [y], attrs }) => y.fill(f32(attrs.value as number)),
  iota: ({ outputs: [y] }) => y.forEach((_, i) => (y[i] = i)),
  expand: ({ inputs: [x], outputs: [y], shapes, outShapes }) => eachBroadcast(outShapes[0], shapes, (at, [from]) => (y[at] = x[from])),
  permute({ inputs: [x], outputs: [y], shapes, outShapes, attrs }) {
    const axes = attrs.axes as number[];
    const own = strides(shapes[0]);
    const out = strides(outShapes[0]);
    y.forEach((_, at) => (y[at] = x[axes.reduce((from, axis, i) => from + (Math.floor(at / out[i]) % outShapes[0][i]) * own[axis], 0)]));
  },
  slice({ inputs: [x], outputs: [y], shapes, attrs }) {
    const [outer, n, inner] = around(shapes[0], attrs.axis as number);
    const [begin, end] = [attrs.begin as number, attrs.end as number];
    for (let i = 0; i < outer; i++) y.set(x.subarray((i * n + begin) * inner, (i * n + end) * inner), i * (end - begin) * inner);
  },
  pad({ inputs: [x], outputs: [y], shapes, outShapes, attrs }) {
    y.fill(attrs.value as number);
    const [own, out] = [strides(shapes[0]), strides(outShapes[0])];
    x.forEach(
      (v, at) =>
        (y[own.reduce((to, step, i) => to + ((Math.floor(at / step) % shapes[0][i]) + (attrs.before as number[])[i]) * out[i], 0)] = v),
    );
  },
  flip({ inputs: [x], outputs: [y], shapes, attrs }) {
    const [outer, n, inner] = around(shapes[0], attrs.axis as number);
    for (let i = 0; i < outer; i++) {
      for (let j = 0; j < n; j++) y.set(x.subarray((i * n + j) * inner, (i * n + j + 1) * inner), (i * n + n - 1 - j) * inner);
    }
  },
  split({ inputs: [x], outputs, shapes, outShapes, attrs }) {
    const [outer, n, inner] = around(shapes[0], attrs.axis as number);
    const part = outShapes[0][attrs.axis as number] * inner;
    for (const [p, y] of outputs.entries()) {
      for (let i = 0; i < outer; i++) y.set(x.subarray(i * n * inner + p * part, i * n * inner + (p + 1) * part), i * part);
    }
  },
  concat({ inputs, outputs: [y], shapes, outShapes, attrs }) {
    const [outer, total, inner] = around(outShapes[0], attrs.axis as number);
    let at = 0;
    inputs.forEach((x, part) => {
      const n = shapes[part][attrs.axis as number];
      for (let i = 0; i < outer; i++) y.set(x.subarray(i * n * inner, (i + 1) * n * inner), (i * total + at) * inner);
      at += n;
    });
  },
  updateSlice({ inputs: [x, part, start], outputs: [y], shapes, attrs }) {
    y.set(x);
    const [outer, n, inner] = around(shapes[0], attrs.axis as number);
    const m = shapes[1][attrs.axis as number];
    const first = Math.min(Math.max(start[0], 0), n - m);
    for (let i = 0; i < outer; i++) y.set(part.subarray(i * m * inner, (i + 1) * m * inner), (i * n + first) * inner);
  },
  sum: ({ inputs: [x], outputs: [y], shapes, attrs }) => eachReduced(shapes[0], attrs.axes as number[], (at, slot) => (y[slot] += x[at])),
  max({ inputs: [x], outputs: [y], shapes, attrs }) {
    y.fill(-Infinity);
    eachReduced(shapes[0], attrs.axes as number[], (at, slot) => (y[slot] = Math.max(y[slot], x[at])));
  },
  argmax: ({ inputs: [x], outputs: [y], shapes }) =>
    eachRow(shapes[0], (start, n, row) => {
      for (let i = 1; i < n; i++) if (x[start + i] > x[start + y[row]]) y[row] = i;
    }),
  argsort: ({ inputs: [x], outputs: [y], shapes }) =>
    eachRow(shapes[0], (start, n) =>
      y.set(
        Array.from({ length: n }, (_, i) => i).sort((a, b) => x[start + a] - x[start + b]),
        start,
      ),
    ),
  softmax: ({ inputs: [x], outputs: [y], shapes }) =>
    eachRow(shapes[0], (start, n) => {
      const part = x.subarray(start, start + n);
      const top = part.reduce((a, b) => Math.max(a, b));
      const sum = part.reduce((total, v) => total + Math.exp(v - top), 0);
      for (let i = 0; i < n; i++) y[start + i] = Math.exp(part[i] - top) / sum;
    }),
  softmaxGrad: ({ inputs: [g, y], outputs: [dx], shapes }) =>
    eachRow(shapes[0], (start, n) => {
      const total = dot(g, start, y, start, n);
      for (let i = start; i < start + n; i++) dx[i] = y[i] * (g[i] - total);
    }),
  logSoftmax: ({ inputs: [x], outputs: [y], shapes }) =>
    eachRow(shapes[0], (start, n) => {
      const part = x.subarray(start, start + n);
      const top = part.reduce((a, b) => Math.max(a, b));
      const lse = top + Math.log(part.reduce((total, v) => total + Math.exp(v - top), 0));
      for (let i = 0; i < n; i++) y[start + i] = part[i] - lse;
    }),
  logSoftmaxGrad: ({ inputs: [g, y], outputs: [dx], shapes }) =>
    eachRow(shapes[0], (start, n) => {
      const total = g.subarray(start, start + n).reduce((sum, v) => sum + v, 0);
      for (let i = start; i < start + n; i++) dx[i] = g[i] - Math.exp(y[i]) * total;
    }),
  matmul,
  conv2d: ({ inputs: [x, w], outputs: [y], shapes, outShapes, attrs }) =>
    eachProduct(shapes[0], shapes[1], outShapes[0], attrs, (i, j, k) => (y[k] += x[i] * w[j])),
  conv2dInputGrad: ({ inputs: [g, w], outputs: [dx], shapes, outShapes, attrs }) =>
    eachProduct(outShapes[0], shapes[1], shapes[0], attrs, (i, j, k) => (dx[i] += g[k] * w[j])),
  conv2dWeightGrad: ({ inputs: [x, g], outputs: [dw], shapes, outShapes, attrs }) =>
    eachProduct(shapes[0], outShapes[0], shapes[1], attrs, (i, j, k) => (dw[j] += x[i] * g[k])),
  maxPool({ inputs: [x], outputs: [y], shapes, outShapes, attrs }) {
    y.fill(-Infinity);
    eachTap(shapes[0], outShapes[0], [attrs.kernel as number, attrs.kernel as number], attrs, ({ from, to }) => {
      for (let c = 0; c < shapes[0][3]; c++) y[to + c] = Math.max(y[to + c], x[from + c]);
    });
  },
  maxPoolGrad,
  avgPool({ inputs: [x], outputs: [y], shapes, outShapes, attrs }) {
    const k = attrs.kernel as number;
    eachTap(shapes[0], outShapes[0], [k, k], attrs, ({ from, to }) => {
      for (let c = 0; c < shapes[0][3]; c++) y[to + c] += x[from + c] / (k * k);
    });
  },
  avgPoolGrad({ inputs: [g], outputs: [dx], shapes, outShapes, attrs }) {
    const k = attrs.kernel as number;
    eachTap(outShapes[0], shapes[0], [k, k], attrs, ({ from, to }) => {
      for (let c = 0; c < outShapes[0][3]; c++) dx[from + c] += g[to + c] / (k * k);
    });
  },
  batchNorm,
  batchNormGrad,
  layerNorm,
  layerNormGrad,
  attention,
  attentionGrad,
  gather({ inputs: [x, index], outputs: [y], shapes }) {
    const width = size(shapes[0].slice(1));
    index.forEach((row, i) => {
      const from = Math.min(Math.max(row, 0), shapes[0][0] - 1) * width;
      y.set(x.subarray(from, from + width), i * width);
    });
  },
  scatterAdd({ inputs: [x, index], outputs: [y], attrs }) {
    const width = x.length / index.length;
    index.forEach((row, i) => {
      const to = Math.min(Math.max(row, 0), (attrs.n as number) - 1) * width;
      for (let j = 0; j < width; j++) y[to + j] += x[i * width + j];
    });
  },
  uniform,
  ...halfKernels,
};
