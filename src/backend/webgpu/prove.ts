// Whether a GPU multiplies rightly in a tile of subgroups: a driver may say that it has matrices and compute something else. Every kind
// of product is computed in that tile and in one of threads.
import type { Tile } from "../../../gpu/product.ts";
import type { Buffer, Elementwise, Program, Step, View } from "../../tape/program.ts";
import { size, strides } from "../../tape/shape.ts";

/**
 * How far sums may lie apart, of the largest. Factors are multiples of 1/64 from -1 to 1, so that halves hold them and float32 holds their
 * products and sums: only a GPU whose sums are less than float32 comes out with others. Sums in half precision are off by five times as much.
 */
export const TOLERANCE = 1e-4;

/** Largest difference, of the largest number expected; NaN where there is one. */
export function gap(got: Float32Array, expected: Float32Array): number {
  let [difference, largest] = [got.length === expected.length ? 0 : Number.NaN, 0];
  for (const [i, x] of expected.entries()) {
    difference = Math.max(difference, Math.abs(got[i] - x)); // NaN stays
    largest = Math.max(largest, Math.abs(x));
  }
  return difference / (largest || 1);
}

const whole = (buffer: Buffer, shape: readonly number[]): View => ({ buffer, offset: 0, shape, strides: strides(shape) });

/** Floats between places where a window onto the arena may begin, on any GPU. */
const ALIGNED = 64;

/** A program of products, being written. */
class Sheet {
  readonly names: string[] = [];
  readonly #steps: Step[] = [];
  readonly #arrays: Buffer[] = [];
  readonly #halves: Buffer[] = [];
  readonly #results: Buffer[] = [];
  #random = 1;

  /** Factors in float32. */
  single(...shape: number[]): View {
    const data = Float32Array.from({ length: size(shape) }, () => {
      this.#random = (Math.imul(this.#random, 1664525) + 1013904223) | 0; // Numerical Recipes, sec. 7.1
      return ((this.#random >>> 8) % 129) / 64 - 1;
    });
    const buffer: Buffer = { id: 0, size: data.length, kind: "array", data };
    this.#arrays.push(buffer);
    return whole(buffer, shape);
  }

  /** Factors that are stored in halves. */
  half(...shape: number[]): View {
    const buffer: Buffer = { id: 0, size: size(shape), kind: "arena", dtype: "f16" };
    this.#halves.push(buffer);
    const to = whole(buffer, shape);
    this.#steps.push({ op: "copy", inputs: [this.single(...shape)], outputs: [to], attrs: {}, label: "factors" });
    return to;
  }

  /** A product of two views. `bias`: it is added to each row, and what is below zero becomes zero. */
  product(name: string, op: string, inputs: readonly View[], shape: readonly number[], attrs: Step["attrs"], bias?: View): void {
    const buffer: Buffer = { id: 0, size: size(shape), kind: "arena" };
    this.#results.push(buffer);
    this.names.push(name);
    const to = whole(buffer, shape);
    const epilogue: Elementwise | undefined = bias && {
      shape,
      inputs: [to, { ...bias, shape, strides: [0, 1] }],
      code: [
        { op: "add", to: 2, from: [0, 1] },
        { op: "relu", to: 3, from: [2] },
      ],
      outputs: [{ view: to, register: 3 }],
      registers: 4,
    };
    this.#steps.push({ op, inputs, outputs: [to], attrs, epilogue, precision: "f16", label: name });
  }

  program(): Program {
    let arena = 0;
    for (const buffer of [...this.#halves, ...this.#results]) {
      buffer.offset = arena;
      arena += Math.ceil(buffer.size / ALIGNED) * ALIGNED;
    }
    const outputs = this.#steps.filter(({ op }) => op !== "copy").map((step) => step.outputs[0]);
    return { steps: this.#steps, buffers: [...this.#arrays, ...this.#halves, ...this.#results], arena, outputs };
  }
}

/** Matrix products in every layout, with edges in all directions: read in fours and one by one, with an ending, with k in parts, in batches. */
function matrixProducts(sheet: Sheet, { rows, columns }: Tile): void {
  const layouts = [
    { ta: false, tb: true },
    { ta: false, tb: false },
    { ta: true, tb: false },
    { ta: true, tb: true },
  ];
  for (const { ta, tb } of layouts) {
    for (const [m, n, k] of [
      [rows + 5, columns + 3, 71],
      [rows + 4, columns + 12, 100],
      [37, 29, 1060],
    ]) {
      const a = sheet.half(...(ta ? [k, m] : [m, k]));
      const b = ta ? sheet.half(...(tb ? [n, k] : [k, n])) : sheet.single(...(tb ? [n, k] : [k, n])); // a weight, but in its own gradient
      const name = `[${m}, ${k}]${ta ? " transposed" : ""} x [${k}, ${n}]${tb ? " transposed" : ""}`;
      sheet.product(name, "matmul", [a, b], [m, n], { ta, tb }, ta ? undefined : sheet.single(n));
    }
  }
  const batch = [sheet.half(3, 37, 29), sheet.half(3, 29, 41)];
  sheet.product("[3, 37, 29] x [3, 29, 41]", "matmul", batch, [3, 37, 41], { ta: false, tb: false });
}

/** A convolution and its gradients, with channels that are read in fours and others. */
function convolutions(sheet: Sheet): void {
  const attrs = { stride: 2, padding: 1, dilation: 1, groups: 1 };
  for (const [c, o] of [
    [4, 8],
    [3, 5],
  ]) {
    const [x, w, y] = [
      [3, 23, 19, c],
      [o, 3, 3, c],
      [3, 12, 10, o],
    ];
    const channels = `of ${c} to ${o} channels`;
    sheet.product(`convolution ${channels}`, "conv2d", [sheet.half(...x), sheet.single(...w)], y, attrs);
    sheet.product(`input's gradient of a convolution ${channels}`, "conv2dInputGrad", [sheet.half(...y), sheet.single(...w)], x, attrs);
    sheet.product(`weight's gradient of a convolution ${channels}`, "conv2dWeightGrad", [sheet.half(...x), sheet.half(...y)], w, attrs);
  }
}

/**
 * Proves a tile against the `usual` one, in which the GPU is trusted. `run` gives the outputs of a program that computes all its products in one
 * tile. Returns what is wrong with the tile, "" if nothing is.
 */
export async function prove(
  tile: Tile,
  usual: Tile,
  run: (program: Program, tile: Tile) => Promise<readonly Float32Array[]>,
): Promise<string> {
  const sheet = new Sheet();
  matrixProducts(sheet, tile);
  convolutions(sheet);
  const program = sheet.program();
  const expected = await run(program, usual);
  const got = await run(program, tile).catch((error: Error) => error);
  if (got instanceof Error) return got.message;
  const gaps = expected.map((numbers, i) => gap(got[i], numbers));
  const wrong = gaps.findIndex((gap) => !(gap <= TOLERANCE));
  return wrong < 0 ? "" : `${sheet.names[wrong]} is off by ${gaps[wrong].toPrecision(2)} of its largest number`;
}
