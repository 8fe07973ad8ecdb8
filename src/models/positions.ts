// Where a patch is: tables of positions, made and resized on the host. A table has one row a patch, row by row of the image.
import { array } from "../tape/op.ts";
import { concat } from "../tape/ops/move.ts";
import { type Shape, ShapeError } from "../tape/shape.ts";
import type { Tensor } from "../tape/tensor.ts";
import type { Host } from "../tape/trace.ts";

/**
 * Fixed sines and cosines of row and column, `extra` zero rows in front (class token). Each of both has dim / 2 numbers:
 * sin(p w_k), then cos(p w_k), w_k = 10000^(-k / (dim / 4)). MAE puts the column first (util/pos_embed.py), MoCo v3 the row
 * (vits.py) and rounds every number to float32 on the way. -> [extra + grid^2, dim]
 */
export function sincosTable(dim: number, grid: number, { extra = 1, first = "column" as "column" | "row" } = {}): Host {
  if (dim % 4) throw new RangeError(`Cannot make positions of ${dim} numbers: expected a multiple of 4`);
  const quarter = dim / 4;
  const rounded = first === "row" ? Math.fround : Number;
  const omegas = Array.from({ length: quarter }, (_, k) => rounded(1 / rounded(10000 ** rounded(k / quarter))));
  const data = new Float32Array((extra + grid * grid) * dim);
  for (let token = 0; token < grid * grid; token++) {
    const [row, column] = [Math.floor(token / grid), token % grid];
    const [a, b] = first === "column" ? [column, row] : [row, column];
    for (const [k, omega] of omegas.entries()) {
      const [x, y] = [rounded(a * omega), rounded(b * omega)];
      [Math.sin(x), Math.cos(x), Math.sin(y), Math.cos(y)].forEach((value, part) => {
        data[(extra + token) * dim + part * quarter + k] = value;
      });
    }
  }
  return { data, shape: [extra + grid * grid, dim] };
}

/** Keys' cubic kernel at distance x. */
function cubic(x: number, a: number): number {
  const d = Math.abs(x);
  if (d <= 1) return ((a + 2) * d - (a + 3)) * d * d + 1;
  return d < 2 ? (((d - 5) * d + 8) * d - 4) * a : 0;
}

/**
 * The matrix [to, from] of bicubic interpolation on one axis as torch.nn.functional.interpolate does it (align_corners false, no
 * antialias, borders repeated). `scale` is the factor that maps coordinates: to / from unless a caller gave its own.
 */
export function resampling(from: number, to: number, scale: number): Float64Array {
  const matrix = new Float64Array(to * from);
  for (let i = 0; i < to; i++) {
    const at = (i + 0.5) / scale - 0.5;
    const left = Math.floor(at);
    for (let tap = -1; tap <= 2; tap++) {
      matrix[i * from + Math.min(from - 1, Math.max(0, left + tap))] += cubic(at - (left + tap), -0.75);
    }
  }
  return matrix;
}

/**
 * The same with `antialias`, which is another interpolation at any scale: the kernel has a = -0.5 and is as wide as a new pixel where
 * that is wider than an old one, and borders are cut off instead of repeated.
 */
export function antialiased(from: number, to: number, scale: number): Float64Array {
  const matrix = new Float64Array(to * from);
  const stretch = Math.max(1, 1 / scale);
  for (let i = 0; i < to; i++) {
    const center = (i + 0.5) / scale;
    const first = Math.max(0, Math.floor(center - 2 * stretch + 0.5));
    const end = Math.min(from, Math.floor(center + 2 * stretch + 0.5));
    const row = matrix.subarray(i * from, (i + 1) * from);
    for (let j = first; j < end; j++) row[j] = cubic((j - center + 0.5) / stretch, -0.5);
    const sum = row.reduce((a, b) => a + b, 0);
    for (let j = first; j < end; j++) row[j] /= sum;
  }
  return matrix;
}

/** The matrix [to, from] of an interpolation on one axis. */
type Resampling = typeof resampling;

/** How a square table of `grid`^2 rows becomes one of height x width, as one matrix [height width, grid^2]. */
export function resizeMatrix(
  grid: number,
  [height, width]: readonly [number, number],
  scales: readonly [number, number],
  axis: Resampling = resampling,
): Float32Array {
  const rows = axis(grid, height, scales[0]);
  const columns = axis(grid, width, scales[1]);
  const matrix = new Float32Array(height * width * grid * grid);
  for (let y = 0, at = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      for (let i = 0; i < grid; i++) {
        for (let j = 0; j < grid; j++) matrix[at++] = rows[y * grid + i] * columns[x * grid + j];
      }
    }
  }
  return matrix;
}

const patchRows = (table: Shape, extra: number): number => {
  const grid = Math.sqrt(table[1] - extra);
  if (!Number.isInteger(grid)) throw new ShapeError("resize positions", [table], `${extra} and a square number of rows`);
  return grid;
};

/** Resizes the patch part of a table [1, extra + n^2, d] to [1, extra + height width, d] inside a trace. */
export function resizePositions(
  table: Tensor,
  size: readonly [number, number],
  { extra = 1, scales, axis }: { extra?: number; scales?: readonly [number, number]; axis?: Resampling } = {},
): Tensor {
  const grid = patchRows(table.shape, extra);
  const factors = scales ?? [size[0] / grid, size[1] / grid];
  const dim = table.shape[2];
  const matrix = array(resizeMatrix(grid, size, factors, axis), [size[0] * size[1], grid * grid]);
  const patches = matrix.matmul(table.slice(1, extra).reshape([grid * grid, dim]));
  const rows = patches.reshape([1, size[0] * size[1], dim]);
  return extra ? concat([table.slice(1, 0, extra), rows], 1) : rows;
}

/**
 * Fourier features of row and column, without parameters, for any size (XCiT, facebookresearch/xcit xcit.py): position
 * p = (i + 1) / (n + 1e-6) 2 pi on each axis; number k of an axis is sin or cos (even or odd k) of
 * p / 10000^(2 floor(k / 2) / hidden). Rows come first. -> [height width, 2 hidden]
 */
export function fourierTable(hidden: number, [height, width]: readonly [number, number]): Host {
  const data = new Float32Array(height * width * 2 * hidden);
  const place = (i: number, n: number) => ((i + 1) / (n + 1e-6)) * 2 * Math.PI;
  for (let token = 0, at = 0; token < height * width; token++) {
    for (const p of [place(Math.floor(token / width), height), place(token % width, width)]) {
      for (let k = 0; k < hidden; k++) {
        const angle = p / 10000 ** ((2 * Math.floor(k / 2)) / hidden);
        data[at++] = k % 2 ? Math.cos(angle) : Math.sin(angle);
      }
    }
  }
  return { data, shape: [height * width, 2 * hidden] };
}

/**
 * Which row of a table of (2 height - 1)(2 width - 1) + 3 relative positions each pair of tokens uses, class token first (BEiT,
 * microsoft/SimMIM models/vision_transformer.py). The last three rows are class to patch, patch to class, class to class.
 * -> [1 + height width, 1 + height width], whole numbers
 */
export function relativeIndex(height: number, width: number): Host {
  const n = height * width + 1;
  const rows = (2 * height - 1) * (2 * width - 1) + 3;
  const data = new Float32Array(n * n);
  for (let q = 0; q < n; q++) {
    for (let k = 0; k < n; k++) {
      const dy = Math.floor((q - 1) / width) - Math.floor((k - 1) / width);
      const dx = ((q - 1) % width) - ((k - 1) % width);
      const between = (dy + height - 1) * (2 * width - 1) + dx + width - 1;
      data[q * n + k] = q && k ? between : q ? rows - 2 : k ? rows - 3 : rows - 1;
    }
  }
  return { data, shape: [n, n] };
}
