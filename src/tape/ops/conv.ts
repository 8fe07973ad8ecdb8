// Convolution and pooling over images in NHWC. A weight is [out, kh, kw, in / groups] (the layout "OHWI" of a Parameter).
import { apply1, composed, defineOp } from "../op.ts";
import { type Shape, ShapeError } from "../shape.ts";
import type { Attributes, Tensor } from "../tensor.ts";

export interface ConvOptions {
  stride?: number;
  padding?: number;
  dilation?: number;
  groups?: number;
  /** How a backend computes it; by the sizes when not said. Winograd's transform is faster and rounds more. */
  algorithm?: "direct" | "winograd";
}

export interface PoolOptions {
  kernel: number;
  stride?: number;
  padding?: number;
}

declare module "../tensor.ts" {
  interface Tensor {
    /** [n, h, w, c] with weight [o, kh, kw, c / groups] -> [n, h', w', o]; h' = floor((h + 2 padding - dilation (kh - 1) - 1) / stride) + 1 */
    conv2d(weight: Tensor, options?: ConvOptions): Tensor;
    /** Padding counts as minus infinity. [n, h, w, c] -> [n, h', w', c] */
    maxPool(options: PoolOptions): Tensor;
    /** Padding counts as zero and is averaged in. */
    avgPool(options: PoolOptions): Tensor;
  }
}

const outSize = (n: number, kernel: number, attrs: Attributes) =>
  Math.floor(
    (n + 2 * (attrs.padding as number) - ((attrs.dilation as number | undefined) ?? 1) * (kernel - 1) - 1) / (attrs.stride as number),
  ) + 1;

defineOp({
  name: "conv2d", // attrs: stride, padding, dilation, groups
  shape([x, w], attrs) {
    if (x.length !== 4 || w.length !== 4)
      throw new ShapeError("conv2d", [x, w], "an image [n, h, w, c] and a weight [o, kh, kw, c / groups]");
    const groups = attrs.groups as number;
    if (x[3] !== w[3] * groups || w[0] % groups)
      throw new ShapeError("conv2d", [x, w], `${w[3] * groups} channels that ${groups} groups divide, got ${x[3]}`);
    const [h, v] = [outSize(x[1], w[1], attrs), outSize(x[2], w[2], attrs)];
    if (h < 1 || v < 1) throw new ShapeError("conv2d", [x, w], `an image of at least ${w[1]} x ${w[2]} with its padding`);
    return [[x[0], h, v, w[0]]];
  },
  vjp: ([g], { inputs: [x, w], attrs }) =>
    g
      ? [apply1("conv2dInputGrad", [g, w], { ...attrs, shape: x.shape }), apply1("conv2dWeightGrad", [x, g], { ...attrs, shape: w.shape })]
      : [],
});
defineOp({ name: "conv2dInputGrad", shape: (_, { shape }) => [shape as Shape] }); // g, w -> like x
defineOp({ name: "conv2dWeightGrad", shape: (_, { shape }) => [shape as Shape] }); // x, g -> like w
composed("conv2d", (x: Tensor, weight: Tensor, { stride = 1, padding = 0, dilation = 1, groups = 1, algorithm }: ConvOptions = {}) =>
  apply1("conv2d", [x, weight], { stride, padding, dilation, groups, ...(algorithm && { algorithm }) }),
);

function poolShape(name: string, x: Shape, attrs: Attributes): Shape[] {
  const kernel = attrs.kernel as number;
  if (x.length !== 4) throw new ShapeError(name, [x], "an image [n, h, w, c]");
  const [h, w] = [outSize(x[1], kernel, attrs), outSize(x[2], kernel, attrs)];
  if (h < 1 || w < 1) throw new ShapeError(name, [x], `an image of at least ${kernel} x ${kernel} with its padding`);
  return [[x[0], h, w, x[3]]];
}

defineOp({
  name: "maxPool", // attrs: kernel, stride, padding
  shape: ([x], attrs) => poolShape("maxPool", x, attrs),
  vjp: ([g], { inputs: [x], attrs }) => [g && apply1("maxPoolGrad", [g, x], attrs)],
});
defineOp({ name: "maxPoolGrad", shape: ([, x]) => [x] }); // g, x: to the first largest element of each window
defineOp({
  name: "avgPool",
  shape: ([x], attrs) => poolShape("avgPool", x, attrs),
  vjp: ([g], { inputs: [x], attrs }) => [g && apply1("avgPoolGrad", [g], { ...attrs, shape: x.shape })],
});
defineOp({ name: "avgPoolGrad", shape: (_, { shape }) => [shape as Shape] });
for (const name of ["maxPool", "avgPool"]) {
  composed(name, (x: Tensor, { kernel, stride = kernel, padding = 0 }: PoolOptions) => apply1(name, [x], { kernel, stride, padding }));
}
