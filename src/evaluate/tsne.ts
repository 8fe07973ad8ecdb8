// A map of features on which neighbours stay neighbours. Van der Maaten & Hinton 2008, "Visualizing data using t-SNE", exact
// gradients: meant for up to about a thousand points.
import type { Features } from "./knn.ts";
import { principalComponents } from "./spectrum.ts";

export interface TsneOptions {
  /** How many neighbours a point attends to, about. */
  perplexity?: number;
  iterations?: number;
}

/** Squared distances of all pairs: [n, n]. */
function squaredDistances({ data, count, dim }: Features): Float64Array {
  const out = new Float64Array(count * count);
  for (let i = 0; i < count; i++) {
    for (let j = 0; j < i; j++) {
      let sum = 0;
      for (let c = 0; c < dim; c++) sum += (data[i * dim + c] - data[j * dim + c]) ** 2;
      out[i * count + j] = out[j * count + i] = sum;
    }
  }
  return out;
}

/** Conditional probabilities of row i whose entropy is that of `perplexity` equal neighbours, by bisection on the precision. */
function conditional(distances: Float64Array, i: number, n: number, perplexity: number, out: Float64Array): void {
  let [low, high, beta] = [0, Number.POSITIVE_INFINITY, 1];
  const row = distances.subarray(i * n, (i + 1) * n);
  const nearest = row.reduce((least, d, j) => (j === i ? least : Math.min(least, d)), Number.POSITIVE_INFINITY);
  for (let round = 0; round < 50; round++) {
    let [sum, weighted] = [0, 0];
    for (let j = 0; j < n; j++) {
      out[j] = j === i ? 0 : Math.exp(-beta * (row[j] - nearest));
      sum += out[j];
      weighted += out[j] * (row[j] - nearest);
    }
    for (let j = 0; j < n; j++) out[j] /= sum;
    const gap = Math.log(sum) + (beta * weighted) / sum - Math.log(perplexity);
    if (Math.abs(gap) < 1e-5) return;
    if (gap > 0) low = beta;
    else high = beta;
    beta = high === Number.POSITIVE_INFINITY ? 2 * beta : (low + high) / 2;
  }
}

/** Joint probabilities: (p(j|i) + p(i|j)) / 2n. */
function affinities(features: Features, perplexity: number): Float64Array {
  const n = features.count;
  const squared = squaredDistances(features);
  const scale = squared.reduce((a, b) => a + b, 0) / (n * n) || 1;
  const distances = squared.map((d) => d / scale);
  const rows = new Float64Array(n * n);
  for (let i = 0; i < n; i++) conditional(distances, i, n, perplexity, rows.subarray(i * n, (i + 1) * n));
  return rows.map((p, at) => Math.max((p + rows[(at % n) * n + Math.floor(at / n)]) / (2 * n), 1e-12));
}

/**
 * Coordinates [count, 2] of each row. Starts from the two principal components, so the same features always give the same map.
 */
export function tsne(features: Features, { perplexity = 20, iterations = 400 }: TsneOptions = {}): Float64Array {
  const n = features.count;
  const p = affinities(features, Math.min(perplexity, Math.max(1, (n - 1) / 3)));
  const y = principalComponents(features, 2);
  const spread = Math.sqrt(y.reduce((sum, v) => sum + v * v, 0) / n) || 1;
  for (let i = 0; i < y.length; i++) y[i] *= 1e-2 / spread;
  const [velocity, gain, slope] = [new Float64Array(2 * n), new Float64Array(2 * n).fill(1), new Float64Array(2 * n)];
  const rate = Math.max(50, n / 12);
  for (let t = 0; t < iterations; t++) {
    gradient(p, y, n, t < 100 ? 12 : 1, slope); // early exaggeration
    const momentum = t < 100 ? 0.5 : 0.8;
    for (let i = 0; i < 2 * n; i++) {
      gain[i] = Math.max(0.01, slope[i] > 0 === velocity[i] > 0 ? 0.8 * gain[i] : gain[i] + 0.2);
      velocity[i] = momentum * velocity[i] - rate * gain[i] * slope[i];
      y[i] += velocity[i];
    }
  }
  return y;
}

/** 4 sum_j (exaggeration p_ij - q_ij) (y_i - y_j) / (1 + |y_i - y_j|^2): equation 5 there. */
function gradient(p: Float64Array, y: Float64Array, n: number, exaggeration: number, out: Float64Array): void {
  let total = 0;
  for (let i = 0; i < n; i++) {
    for (let j = 0; j < i; j++) total += 2 / (1 + (y[2 * i] - y[2 * j]) ** 2 + (y[2 * i + 1] - y[2 * j + 1]) ** 2);
  }
  out.fill(0);
  for (let i = 0; i < n; i++) {
    for (let j = 0; j < i; j++) {
      const [dx, dy] = [y[2 * i] - y[2 * j], y[2 * i + 1] - y[2 * j + 1]];
      const near = 1 / (1 + dx * dx + dy * dy);
      const force = 4 * (exaggeration * p[i * n + j] - near / total) * near;
      out[2 * i] += force * dx;
      out[2 * i + 1] += force * dy;
      out[2 * j] -= force * dx;
      out[2 * j + 1] -= force * dy;
    }
  }
}
