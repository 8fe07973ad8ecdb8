// Products on shapes that leave remainders everywhere: odd sizes, several blocks of the inner axis, more than one tile, chunks.
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { Backend } from "../../src/backend/backend.ts";
import { WasmBackend } from "../../src/backend/wasm.ts";
import { attention } from "../../src/tape/ops/attention.ts";
import type { ConvOptions } from "../../src/tape/ops/conv.ts";
import type { Shape } from "../../src/tape/shape.ts";
import { compile } from "../../src/tape/trace.ts";
import { difference, type Input, make, outputsAndGradients, outputsOf, type Run, reference } from "../support.ts";

const products = suite("products");
let wasm: WasmBackend;
products.before(async () => {
  wasm = await WasmBackend.open({ threads: 2 });
});
products.after(() => wasm.close());

/** Largest relative difference of results and gradients from plain loops in float64. */
async function gap(name: string, run: Run, inputs: readonly Input[]): Promise<number> {
  const made = make(inputs, name);
  const expected = await outputsAndGradients(run, made, reference);
  const got = await outputsAndGradients(run, made, wasm);
  return Math.max(...got.map((host, i) => difference(host, expected[i])));
}

async function close(name: string, run: Run, inputs: readonly Input[]): Promise<void> {
  const worst = await gap(name, run, inputs);
  assert.ok(worst < 1e-5, `${JSON.stringify(inputs)}: relative difference ${worst}`);
}

const matmuls: [m: number, n: number, k: number][] = [
  [1, 1, 1],
  [1, 67, 3],
  [2, 16, 1],
  [3, 15, 33],
  [7, 17, 64],
  [8, 32, 9],
  [9, 48, 5],
  [31, 1, 65],
  [67, 3, 2],
  [130, 33, 7],
  [65, 130, 321],
  [11, 40, 1300],
  [1, 600, 20],
  [600, 10, 13],
];

const transposed = (shape: Shape, yes: boolean): Shape => (yes ? [...shape].reverse() : shape);
for (const ta of [false, true]) {
  for (const tb of [false, true]) {
    products(`matmul equals plain loops on every shape, ${ta ? "a" : "no a"} and ${tb ? "b" : "no b"} transposed`, async () => {
      for (const [m, n, k] of matmuls) {
        const run: Run = (a, b) => (ta ? a.t() : a).matmul(tb ? b.t() : b);
        await close("matmul", run, [transposed([m, k], ta), transposed([k, n], tb)]);
      }
    });
  }
}

const convolutions: [x: Shape, w: Shape, options: ConvOptions][] = [
  [[1, 1, 1, 1], [1, 1, 1, 1], {}],
  [[2, 5, 7, 1], [3, 3, 3, 1], { padding: 1 }],
  [[1, 7, 6, 17], [5, 2, 3, 17], { stride: 2, padding: 1 }],
  [[2, 8, 9, 13], [16, 3, 3, 13], { stride: 3 }],
  [[1, 9, 9, 4], [33, 3, 3, 4], { stride: 2, padding: 2, dilation: 2 }],
  [[1, 5, 4, 340], [7, 3, 3, 340], { padding: 1 }], // channels of one tap in two blocks
  [[1, 6, 5, 7], [20, 1, 1, 7], { stride: 2 }], // most input pixels reach no output
  [[2, 6, 6, 3], [5, 3, 3, 3], { stride: 3 }], // rows of a filter are one run
  [[1, 9, 7, 6], [9, 3, 2, 2], { groups: 3, padding: 1 }],
  [[1, 8, 7, 19], [19, 5, 3, 1], { groups: 19, padding: 2, stride: 2 }],
  [[1, 8, 7, 16], [16, 3, 3, 1], { groups: 16, padding: 2, dilation: 2 }],
  [[2, 6, 11, 20], [20, 3, 3, 1], { groups: 20, padding: 1 }],
  [[1, 5, 3, 32], [32, 7, 7, 1], { groups: 32, padding: 3 }], // no pixel has all taps of a row in the image
  [[1, 9, 10, 16], [16, 3, 3, 1], { groups: 16, padding: 1, stride: 2 }],
  [[2, 7, 8, 17], [17, 2, 2, 1], { groups: 17, stride: 3 }], // some phases have no taps
  [[1, 4, 4, 3], [6, 3, 3, 1], { groups: 3, padding: 1 }],
  [[3, 13, 12, 5], [18, 3, 3, 5], { padding: 1 }],
  [[2, 17, 15, 20], [28, 3, 3, 20], { padding: 1, algorithm: "winograd" }],
  [[5, 11, 14, 32], [16, 3, 3, 32], { algorithm: "winograd" }],
  [[9, 6, 5, 16], [36, 3, 3, 16], { padding: 2, algorithm: "winograd" }],
  [[8, 32, 33, 16], [16, 3, 3, 16], { padding: 1, algorithm: "winograd" }], // patches in four chunks
];
products("conv2d and both of its gradients equal plain loops on every shape", async () => {
  for (const [x, w, options] of convolutions) await close("conv2d", (a, b) => a.conv2d(b, options), [x, w]);
});

for (const algorithm of ["direct", "winograd"] as const) {
  products(`an epilogue meets every pixel of a convolution, ${algorithm}`, async () => {
    const run: Run = (x, w, bias) => x.conv2d(w, { padding: 1, algorithm }).add(bias).gelu();
    await close("epilogue", run, [[7, 9, 11, 20], [36, 3, 3, 20], [36]]);
    await close("epilogue, channels in tiles", run, [[3, 6, 7, 16], [140, 3, 3, 16], [140]]);
  });
}

products("a program that learns from few images convolves them directly, one that does not may transform them", async () => {
  const made = make(
    [
      [3, 56, 56, 32],
      [32, 3, 3, 32],
    ],
    "few images",
  );
  const by =
    (algorithm?: "direct" | "winograd"): Run =>
    (x, w) =>
      x.conv2d(w, { padding: 1, algorithm });
  const bits = (evaluate: typeof outputsOf, algorithm?: "direct" | "winograd") => evaluate(by(algorithm), made, wasm);
  const apart = async (evaluate: typeof outputsOf, algorithm: "direct" | "winograd") => {
    const [chosen, named] = [await bits(evaluate), await bits(evaluate, algorithm)];
    return Math.max(...chosen.map((host, i) => difference(host, named[i])));
  };
  assert.is(await apart(outputsAndGradients, "direct"), 0);
  assert.is(await apart(outputsOf, "winograd"), 0);
  assert.ok((await apart(outputsOf, "direct")) > 0);
});

const attentions: [heads: number, n: number, m: number, d: number][] = [
  [1, 1, 2, 1],
  [2, 2, 3, 3],
  [3, 5, 17, 5],
  [1, 33, 16, 17],
  [2, 67, 13, 16],
  [1, 131, 270, 8],
  [1, 140, 130, 33],
  [1, 9, 9, 200],
  [1, 300, 7, 4],
  [1, 3, 290, 500],
];
products("attention and its gradients equal plain loops on every shape", async () => {
  for (const [heads, n, m, d] of attentions) {
    const run: Run = (q, k, v) => attention(q, k, v, { heads, scale: 0.7 / Math.sqrt(d) });
    await close("attention", run, [
      [2, n, heads * d],
      [2, m, heads * d],
      [2, m, heads * d],
    ]);
  }
});

products("attention refuses heads that are too wide", async () => {
  const x = [1, 2, 600];
  const refused = gap("attention", (q, k, v) => attention(q, k, v, { heads: 1, scale: 1 }), [x, x, x]);
  assert.match(await refused.then(() => "accepted", String), /^RangeError: Cannot run attention with 600 channels a head/);
});

/** Runs one operation on given numbers. */
async function values(run: Run, inputs: { shape: Shape; data: number[] }[], backend: Backend): Promise<number[]> {
  const step = compile((...x) => [run(...(x as Parameters<Run>))].flat(), backend);
  const [y] = await step(...inputs.map(({ shape, data }) => ({ shape, data: Float32Array.from(data) })));
  return [...y.data];
}

products("products that are cut into chunks have the same bits on 1, 2 and 3 threads", async () => {
  const cases: [Run, Shape[]][] = [
    [
      (a, b) => a.t().matmul(b),
      [
        [3000, 40],
        [3000, 90],
      ],
    ],
    [
      (x, w) => x.conv2d(w, { padding: 1 }),
      [
        [4, 32, 33, 16],
        [20, 3, 3, 16],
      ],
    ],
    [
      (x, w) => x.conv2d(w, { stride: 2, padding: 1 }),
      [
        [4, 33, 32, 16],
        [20, 3, 3, 16],
      ],
    ],
    [
      (q, k, v) => attention(q, k, v, { heads: 3, scale: 0.2 }),
      [
        [1, 150, 48],
        [1, 270, 48],
        [1, 270, 48],
      ],
    ],
  ];
  for (const threads of [1, 3]) {
    const other = await WasmBackend.open({ threads });
    for (const [run, shapes] of cases) {
      const made = make(shapes, "threads");
      const expected = await outputsAndGradients(run, made, wasm);
      const got = await outputsAndGradients(run, made, other);
      for (const [i, { data }] of got.entries()) assert.equal(data, expected[i].data, `${JSON.stringify(shapes)}, result ${i}`);
    }
    await other.close();
  }
});

products("NaN and infinity reach the elements that they belong to and no others", async () => {
  const a = { shape: [3, 2], data: [1, Number.NaN, 2, 3, 0, Number.POSITIVE_INFINITY] };
  const b = { shape: [2, 3], data: [1, 2, 3, 4, 5, 0] };
  const expected = [Number.NaN, Number.NaN, Number.NaN, 14, 19, 6, Number.POSITIVE_INFINITY, Number.POSITIVE_INFINITY, Number.NaN];
  assert.equal(await values((x, y) => x.matmul(y), [a, b], wasm), expected);
  const q = { shape: [1, 2, 1], data: [1, Number.NaN] };
  const v = { shape: [1, 2, 1], data: [1, 1] };
  assert.equal(await values((x, y) => attention(x, y, y, { heads: 1, scale: 1 }), [q, v], wasm), [1, Number.NaN]);
});

products("scores that are large do not overflow", async () => {
  const q = { shape: [1, 1, 1], data: [1000] };
  const k = { shape: [1, 3, 1], data: [1, 0, -1] };
  assert.equal(await values((x, y) => attention(x, y, y, { heads: 1, scale: 1 }), [q, k], wasm), [1]);
});

products.run();
