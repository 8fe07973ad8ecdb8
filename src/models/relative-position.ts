// Relative positions: which row of a table of biases a pair of tokens uses, and tables for windows of another size. A table for
// windows of height x width has one row for every distance, (2 height - 1)(2 width - 1) of them, by row and then by column.
import { ShapeError } from "../tape/shape.ts";
import type { Tensor } from "../tape/tensor.ts";
import type { Host } from "../tape/trace.ts";
import { resampling } from "./positions.ts";

/** How a table is stretched: as SimMIM's utils.py (geometric) or as EsViT's swin_transformer.py (bicubic). */
export type BiasResize = "geometric" | "bicubic";

/** Which row of a table each pair of tokens in a window of side w uses (Swin). -> [w^2, w^2], whole numbers */
export function windowIndex(side: number): Host {
  const n = side * side;
  const data = new Float32Array(n * n);
  const distance = (query: number, key: number) => query - key + side - 1;
  for (let q = 0; q < n; q++) {
    for (let k = 0; k < n; k++) {
      const rows = distance(Math.floor(q / side), Math.floor(k / side));
      data[q * n + k] = rows * (2 * side - 1) + distance(q % side, k % side);
    }
  }
  return { data, shape: [n, n] };
}

/** The bias of every pair of tokens. table [rows, heads], index [n, n] -> [1, heads, n, n] */
export function pairBiases(table: Tensor, index: Tensor): Tensor {
  const biases = table.gather(index).permute([2, 0, 1]);
  return biases.reshape([1, ...biases.shape]);
}

/**
 * Places where the entries of a table for the old window lie on the axis of the new: dense in the middle, each gap q times the one
 * before: 0, 1, 1 + q, 1 + q + q^2 ... on both sides. q lies between 1.01 and 1.5 and is chosen so that the last comes near the new
 * table's edge.
 */
function geometricPlaces(from: number, to: number): Float64Array {
  const [steps, edge] = [Math.floor(from / 2), Math.floor(to / 2)];
  let [low, high, q] = [1.01, 1.5, 1.5];
  while (high - low > 1e-6) {
    q = (low + high) / 2;
    if ((1 - q ** steps) / (1 - q) > edge) high = q;
    else low = q;
  }
  const places = new Float64Array(2 * steps + 1);
  for (let i = 1, at = 0; i <= steps; i++) {
    at += q ** (i - 1);
    places[steps + i] = at;
    places[steps - i] = -at;
  }
  return places;
}

/** Solves a x = b for square a by elimination with row pivots; both are overwritten, and b becomes x. a [n, n], b [n, m] */
function solve(a: Float64Array[], b: Float64Array[]): Float64Array[] {
  for (let i = 0; i < a.length; i++) {
    let pivot = i;
    for (let r = i + 1; r < a.length; r++) if (Math.abs(a[r][i]) > Math.abs(a[pivot][i])) pivot = r;
    [a[i], a[pivot], b[i], b[pivot]] = [a[pivot], a[i], b[pivot], b[i]];
    for (let r = 0; r < a.length; r++) {
      const factor = a[r][i] / a[i][i];
      if (r === i || factor === 0) continue;
      for (let c = i; c < a.length; c++) a[r][c] -= factor * a[i][c];
      for (let c = 0; c < b[i].length; c++) b[r][c] -= factor * b[i][c];
    }
  }
  return b.map((row, i) => row.map((x) => x / a[i][i]));
}

/**
 * The matrix [to, from] that maps values at `places` (ascending, at least 4) to the values at `targets` of the cubic spline through
 * them whose third derivative is continuous at the second and the last but one place ("not a knot"). Targets outside take the
 * nearest end.
 */
function splineMatrix(places: Float64Array, targets: Float64Array): Float64Array[] {
  const n = places.length;
  const gap = (i: number) => places[i + 1] - places[i];
  const rows = () => Array.from({ length: n }, () => new Float64Array(n));
  const [a, b] = [rows(), rows()]; // a (second derivatives) = b (values)
  for (let i = 1; i < n - 1; i++) {
    a[i].set([gap(i - 1), 2 * (gap(i - 1) + gap(i)), gap(i)], i - 1);
    b[i].set([6 / gap(i - 1), -6 / gap(i - 1) - 6 / gap(i), 6 / gap(i)], i - 1);
  }
  a[0].set([gap(1), -gap(0) - gap(1), gap(0)]);
  a[n - 1].set([gap(n - 2), -gap(n - 3) - gap(n - 2), gap(n - 3)], n - 3);
  const second = solve(a, b);
  return Array.from(targets, (target) => {
    const x = Math.min(places[n - 1], Math.max(places[0], target));
    const i = Math.min(
      n - 2,
      Math.max(
        0,
        places.findLastIndex((place) => place <= x),
      ),
    );
    const [h, left, right] = [gap(i), x - places[i], places[i + 1] - x];
    const row = second[i].map((m, j) => (m * (right ** 3 / h - h * right) + second[i + 1][j] * (left ** 3 / h - h * left)) / 6);
    row[i] += right / h;
    row[i + 1] += left / h;
    return row;
  });
}

const range = (n: number) => Float64Array.from({ length: n }, (_, i) => i - Math.floor(n / 2));

/** The matrix [to, from] of one axis, as rows. */
function axisMatrix(from: number, to: number, method: BiasResize): Float64Array[] {
  if (method === "geometric") return splineMatrix(geometricPlaces(from, to), range(to));
  const flat = resampling(from, to, to / from);
  return Array.from({ length: to }, (_, i) => flat.subarray(i * from, (i + 1) * from));
}

/**
 * A square table of biases for windows of another side. `extra` rows at the end belong to the class token and stay.
 * Geometric: entries are taken to lie at places that grow like a geometric series away from the middle, and a bicubic spline goes
 * through them (SimMIM, utils.py, remap_pretrained_keys_swin). Bicubic: as an image (EsViT, swin_transformer.py, init_weights).
 * table [(2 w - 1)^2 + extra, heads] -> [(2 side - 1)^2 + extra, heads]
 */
export function resizeBias({ data, shape }: Host, side: number, method: BiasResize, extra = 0): Host {
  const [rows, heads] = shape;
  const [from, to] = [Math.sqrt(rows - extra), 2 * side - 1];
  if (from % 2 !== 1) throw new ShapeError("resize the biases", [shape], `rows for an odd number squared of distances and ${extra} more`);
  if (from === to) return { data, shape };
  if (from < 4 && method === "geometric")
    throw new ShapeError("resize the biases", [shape], "a window of 3 x 3 or more for a cubic spline");
  const matrix = axisMatrix(from, to, method);
  const out = new Float32Array((to * to + extra) * heads);
  for (let head = 0; head < heads; head++) {
    const across = Array.from({ length: from }, (_, y) =>
      matrix.map((row) => row.reduce((sum, w, x) => sum + w * data[(y * from + x) * heads + head], 0)),
    );
    for (let y = 0; y < to; y++) {
      for (let x = 0; x < to; x++) out[(y * to + x) * heads + head] = matrix[y].reduce((sum, w, i) => sum + w * across[i][x], 0);
    }
  }
  out.set(data.subarray(from * from * heads), to * to * heads);
  return { data: out, shape: [to * to + extra, heads] };
}
