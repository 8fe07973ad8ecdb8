// Pooling over windows of images in NHWC, and its gradients. A thread makes one element.
import { functionsFor } from "./functions.ts";
import type { Kernel } from "./kernel.ts";

const params = ["h", "w", "c", "oh", "ow", "window", "stride", "padding", "size"].map((name) => `${name}: u32`);

/** The element i of [n, rows, columns, c] as (n, row, column, c). */
const split = (rows: string, columns: string) =>
  `let c = i % p.c; let column = i / p.c % ${columns}; let row = i / p.c / ${columns} % ${rows}; let n = i / p.c / ${columns} / ${rows};`;

/** Goes through the window of output (n, row, column): `visit` sees `at`, an element's place in x. */
const eachTap = (visit: string) => `
  for (var v = 0u; v < p.window; v++) {
    for (var u = 0u; u < p.window; u++) {
      let y_at = row * p.stride + v; let x_at = column * p.stride + u;
      if (y_at < p.padding || y_at - p.padding >= p.h || x_at < p.padding || x_at - p.padding >= p.w) { continue; }
      let at = ((n * p.h + y_at - p.padding) * p.w + x_at - p.padding) * p.c + c;
      ${visit}
    }
  }`;

/** Goes through the outputs (row, column) whose windows hold the input (n, iy, ix): those between first and last. */
const eachWindow = (visit: string) => `
  let bottom = iy + p.padding; let right = ix + p.padding;
  let first_row = select(0u, (bottom - p.window) / p.stride + 1u, bottom >= p.window);
  let first_column = select(0u, (right - p.window) / p.stride + 1u, right >= p.window);
  for (var row = first_row; row <= min(bottom / p.stride, p.oh - 1u); row++) {
    for (var column = first_column; column <= min(right / p.stride, p.ow - 1u); column++) {
      ${visit}
    }
  }`;

const pool = (name: string, reads: string[], writes: string[], code: string): Kernel => ({
  name,
  reads,
  writes,
  params,
  lanes: 64,
  code: `${functionsFor(code)}
fn run(group: u32, lane: u32) {
  let i = group * LANES + lane;
  if (i >= p.size) { return; }
${code}
}`,
});

/** y [n, oh, ow, c] = the largest element of each window of x [n, h, w, c], NaN if one is; padding is never the largest. */
export const maxPool = pool(
  "max pool",
  ["x"],
  ["y"],
  `  ${split("p.oh", "p.ow")}
  var best = 0.0; var empty = true;${eachTap("best = select(larger(best, x(at)), x(at), empty); empty = false;")}
  set_y(i, best);`,
);

/** dx [n, h, w, c]: each g goes to the first largest element of its window; an element asks the windows that hold it. */
export const maxPoolGrad = pool(
  "max pool gradient",
  ["g", "x"],
  ["dx"],
  `  let c = i % p.c; let ix = i / p.c % p.w; let iy = i / p.c / p.w % p.h; let n = i / p.c / p.w / p.h;
  var sum = 0.0;${eachWindow(`var best = 0.0; var place = 0xffffffffu;${eachTap("if (place == 0xffffffffu || x(at) > best) { best = x(at); place = at; }")}
      if (place == i) { sum += g(((n * p.oh + row) * p.ow + column) * p.c + c); }`)}
  set_dx(i, sum);`,
);

/** y [n, oh, ow, c] = the mean of each window of x, padding counted as zeros. */
export const avgPool = pool(
  "average pool",
  ["x"],
  ["y"],
  `  ${split("p.oh", "p.ow")}
  var sum = 0.0;${eachTap("sum += x(at);")}
  set_y(i, sum / f32(p.window * p.window));`,
);

/** dx [n, h, w, c]: each g spread evenly over its window. */
export const avgPoolGrad = pool(
  "average pool gradient",
  ["g"],
  ["dx"],
  `  let c = i % p.c; let ix = i / p.c % p.w; let iy = i / p.c / p.w % p.h; let n = i / p.c / p.w / p.h;
  var sum = 0.0;${eachWindow("sum += g(((n * p.oh + row) * p.ow + column) * p.c + c);")}
  set_dx(i, sum / f32(p.window * p.window));`,
);
