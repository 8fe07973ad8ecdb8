// Where a patch is: tables of positions, made and resized on the host. A table has one row a patch, row by row of the image.
import { array } from "../tape/op.ts";
import { concat } from "../tape/ops/move.ts";
import type { Shape } from "../tape/shape.ts";
import type { Tensor } from "../tape/tensor.ts";
import type { Host } from "../tape/trace.ts";

/**
 * Fixed sines and cosines of row and column, `extra` zero rows in front (class token). Each of both has dim / 2 numbers:
 * sin(p w_k), then cos(p w_k), w_k = 10000^(-k / (dim / 4)). MAE puts the column first (util/pos_embed.py), MoCo v3 the row
 * (vits.py). -> [extra + grid^2, dim]
 */
export function sincosTable(dim: number, grid: number, { extra = 1, first = "column" as "column" | "row" } = {}): Host {
  if (dim % 4) throw new RangeError(`Cannot make positions of ${dim} numbers: expected a multiple of 4`);
  const quarter = dim / 4;
  const data = new Float32Array((extra + grid * grid) * dim);
  for (let token = 0; token < grid * grid; token++) {
    const [row, column] = [Math.floor(token / grid), token % grid];
    const [a, b] = first === "column" ? [column, row] : [row, column];
    for (let k = 0; k < quarter; k++) {
      const omega = 10000 ** (-k / quarter);
      [Math.sin(a * omega), Math.cos(a * omega), Math.sin(b * omega), Math.cos(b * omega)].forEach((value, part) => {
        data[(extra + token) * dim + part * quarter + k] = value;
      });
    }
  }
  return { data, shape: [extra + grid * grid, dim] };
}

/** Keys' cubic kernel at distance x, with PyTorch's a = -0.75. */
function cubic(x: number): number {
  const a = -0.75;
  const d = Math.abs(x);
  if (d <= 1) return ((a + 2) * d - (a + 3)) * d * d + 1;
  return d < 2 ? (((d - 5) * d + 8) * d - 4) * a : 0;
}

/**
 * The matrix [to, from] of bicubic interpolation on one axis as torch.nn.functional.interpolate does it (align_corners false, no
 * antialias, borders repeated). `scale` is the factor that maps coordinates: to / from unless a caller gave its own.
 */
function resampling(from: number, to: number, scale: number): Float64Array {
  const matrix = new Float64Array(to * from);
  for (let i = 0; i < to; i++) {
    const at = (i + 0.5) / scale - 0.5;
    const left = Math.floor(at);
    for (let tap = -1; tap <= 2; tap++) {
      matrix[i * from + Math.min(from - 1, Math.max(0, left + tap))] += cubic(at - (left + tap));
    }
  }
  return matrix;
}

/** How a square table of `grid`^2 rows becomes one of height x width, as one matrix [height width, grid^2]. */
export function resizeMatrix(grid: number, [height, width]: readonly [number, number], scales: readonly [number, number]): Float32Array {
  const rows = resampling(grid, height, scales[0]);
  const columns = resampling(grid, width, scales[1]);
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
  if (!Number.isInteger(grid))
    throw new RangeError(`Cannot resize positions ${JSON.stringify(table)}: expected ${extra} and a square number of rows`);
  return grid;
};

/** Resizes the patch part of a table [1, extra + n^2, d] to [1, extra + height width, d] inside a trace. */
export function resizePositions(
  table: Tensor,
  size: readonly [number, number],
  { extra = 1, scales }: { extra?: number; scales?: readonly [number, number] } = {},
): Tensor {
  const grid = patchRows(table.shape, extra);
  const factors = scales ?? [size[0] / grid, size[1] / grid];
  const dim = table.shape[2];
  const matrix = array(resizeMatrix(grid, size, factors), [size[0] * size[1], grid * grid]);
  const patches = matrix.matmul(table.slice(1, extra).reshape([grid * grid, dim]));
  const rows = patches.reshape([1, size[0] * size[1], dim]);
  return extra ? concat([table.slice(1, 0, extra), rows], 1) : rows;
}
