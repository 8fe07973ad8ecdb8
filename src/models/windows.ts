// Maps in square windows, for attention that looks no further.
import type { Tensor } from "../tape/tensor.ts";
import type { Host } from "../tape/trace.ts";

/** n rounded up to whole windows. */
export const padded = (n: number, side: number): number => Math.ceil(n / side) * side;

/** Adds zeros below and to the right, up to whole windows. [b, h, w, c] -> [b, padded h, padded w, c] */
export function padToWindows(x: Tensor, side: number): Tensor {
  const [, h, w] = x.shape;
  return x.pad([0, 0, 0, 0], [0, padded(h, side) - h, padded(w, side) - w, 0]);
}

/** Cuts a map of whole windows into them, row by row. [b, h, w, c] -> [b windows, side^2, c] */
export function cutWindows(x: Tensor, side: number): Tensor {
  const [b, h, w, c] = x.shape;
  return x
    .reshape([b, h / side, side, w / side, side, c])
    .permute([0, 1, 3, 2, 4, 5])
    .reshape([-1, side * side, c]);
}

/** Puts windows back where they lie in maps of h x w, without what padding added. [b windows, side^2, c] -> [b, h, w, c] */
export function joinWindows(windows: Tensor, side: number, [h, w]: readonly [number, number]): Tensor {
  const [rows, columns] = [padded(h, side), padded(w, side)];
  const c = windows.shape[2];
  return windows
    .reshape([-1, rows / side, columns / side, side, side, c])
    .permute([0, 1, 3, 2, 4, 5])
    .reshape([-1, rows, columns, c])
    .slice(1, 0, h)
    .slice(2, 0, w);
}

/**
 * What windows of a shifted map may not see: after the shift some hold pieces from opposite edges. -100 between places of
 * different pieces, 0 otherwise. rows and columns are whole windows. -> [windows, side^2, side^2]
 */
export function shiftMask(rows: number, columns: number, side: number, shift: number): Host {
  const piece = (i: number, n: number) => (i < n - side ? 0 : i < n - shift ? 1 : 2);
  const n = side * side;
  const [down, across] = [rows / side, columns / side];
  const data = new Float32Array(down * across * n * n);
  for (let at = 0, w = 0; w < down * across; w++) {
    const [top, left] = [Math.floor(w / across) * side, (w % across) * side];
    const pieces = Array.from({ length: n }, (_, i) => 3 * piece(top + Math.floor(i / side), rows) + piece(left + (i % side), columns));
    for (const query of pieces) for (const key of pieces) data[at++] = query === key ? 0 : -100;
  }
  return { data, shape: [down * across, n, n] };
}
