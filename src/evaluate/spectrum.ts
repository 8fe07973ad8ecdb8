// Eigenvalues and principal directions of small matrices, on the host in float64.
import { Random } from "../tape/philox.ts";
import type { Features } from "./knn.ts";

/**
 * Eigenvalues of a symmetric matrix [n, n], largest first, by Jacobi's rotations in cyclic order (Golub & Van Loan, Matrix
 * Computations, section 8.5). The matrix is overwritten. Meant for n up to a few hundred.
 */
export function eigenvalues(a: Float64Array, n: number): Float64Array {
  const total = a.reduce((sum, x) => sum + x * x, 0);
  for (let sweep = 0; sweep < 30 && offDiagonal(a, n) > 1e-28 * total; sweep++) {
    for (let p = 0; p < n - 1; p++) for (let q = p + 1; q < n; q++) rotate(a, n, p, q);
  }
  return Float64Array.from({ length: n }, (_, i) => a[i * n + i]).sort((x, y) => y - x);
}

/** Sum of squares beside the diagonal. */
function offDiagonal(a: Float64Array, n: number): number {
  let sum = 0;
  for (let i = 0; i < n; i++) for (let j = i + 1; j < n; j++) sum += 2 * a[i * n + j] * a[i * n + j];
  return sum;
}

/** a <- R^T a R, with the rotation R of axes p and q that makes a[p, q] zero. */
function rotate(a: Float64Array, n: number, p: number, q: number): void {
  const apq = a[p * n + q];
  if (apq === 0) return;
  const theta = (a[q * n + q] - a[p * n + p]) / (2 * apq);
  const t = (theta < 0 ? -1 : 1) / (Math.abs(theta) + Math.sqrt(theta * theta + 1));
  const c = 1 / Math.sqrt(t * t + 1);
  const s = t * c;
  for (let i = 0; i < n; i++) {
    const [x, y] = [a[p * n + i], a[q * n + i]];
    a[p * n + i] = c * x - s * y;
    a[q * n + i] = s * x + c * y;
  }
  for (let i = 0; i < n; i++) {
    const [x, y] = [a[i * n + p], a[i * n + q]];
    a[i * n + p] = c * x - s * y;
    a[i * n + q] = s * x + c * y;
  }
}

/** Singular values of features [count, dim], largest first: roots of the eigenvalues of the smaller product with itself. */
export function singularValues({ data, count, dim }: Features): Float64Array {
  const n = Math.min(count, dim);
  const [outer, inner] = count <= dim ? [dim, 1] : [1, dim]; // steps to the next row or column, and along it
  const length = Math.max(count, dim);
  const product = new Float64Array(n * n);
  for (let i = 0; i < n; i++) {
    for (let j = 0; j <= i; j++) {
      let sum = 0;
      for (let l = 0; l < length; l++) sum += data[i * outer + l * inner] * data[j * outer + l * inner];
      product[i * n + j] = product[j * n + i] = sum;
    }
  }
  return eigenvalues(product, n).map((x) => Math.sqrt(Math.max(x, 0)));
}

/** Mean row of features: [dim]. */
export function meanRow({ data, count, dim }: Features): Float64Array {
  const mean = new Float64Array(dim);
  for (let r = 0; r < count; r++) for (let i = 0; i < dim; i++) mean[i] += data[r * dim + i] / count;
  return mean;
}

/**
 * Coordinates of each row along the directions of greatest variance, [count, components], by orthogonal iteration. The sign
 * of a direction is the one that makes its largest entry positive.
 */
export function principalComponents(features: Features, components: number): Float64Array {
  const { data, count, dim } = features;
  const mean = meanRow(features);
  const random = new Random(0, 0);
  const axes = Array.from({ length: Math.min(components, dim) }, () => Float64Array.from({ length: dim }, () => random.normal()));
  const project = (axis: Float64Array, r: number) => {
    let sum = 0;
    for (let i = 0; i < dim; i++) sum += (data[r * dim + i] - mean[i]) * axis[i];
    return sum;
  };
  for (let round = 0; round < 60; round++) {
    for (const [a, axis] of axes.entries()) {
      const next = new Float64Array(dim);
      for (let r = 0; r < count; r++) {
        const at = project(axis, r);
        for (let i = 0; i < dim; i++) next[i] += at * (data[r * dim + i] - mean[i]);
      }
      for (const before of axes.slice(0, a)) {
        const overlap = next.reduce((sum, x, i) => sum + x * before[i], 0);
        for (let i = 0; i < dim; i++) next[i] -= overlap * before[i];
      }
      const length = Math.sqrt(next.reduce((sum, x) => sum + x * x, 0));
      if (length > 0) axis.set(next.map((x) => x / length));
    }
  }
  const signs = axes.map((axis) => Math.sign(axis.reduce((most, x) => (Math.abs(x) > Math.abs(most) ? x : most), 0)) || 1);
  const out = new Float64Array(count * components);
  for (let r = 0; r < count; r++) axes.forEach((axis, a) => (out[r * components + a] = signs[a] * project(axis, r)));
  return out;
}
