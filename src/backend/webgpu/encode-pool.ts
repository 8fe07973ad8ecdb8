// Pooling: gpu/pool.ts.
import type { Kernel } from "../../../gpu/kernel.ts";
import * as kernels from "../../../gpu/pool.ts";
import { type Shape, size } from "../../tape/shape.ts";
import type { Encode } from "./emitter.ts";
import { through } from "./windows.ts";

/** `images` and `windows`: which of a step's views has the shape of the pooled images, and which of the result. */
const pool =
  (kernel: Kernel, images: (shapes: Shapes) => Shape, windows: (shapes: Shapes) => Shape): Encode =>
  ({ inputs, outputs, attrs }, out) => {
    const shapes = { inputs: inputs.map(({ shape }) => shape), output: outputs[0].shape };
    const [, h, w, c] = images(shapes);
    const [, oh, ow] = windows(shapes);
    const total = size(shapes.output);
    const params = { h, w, c, oh, ow, window: attrs.kernel as number, stride: attrs.stride as number, padding: attrs.padding as number };
    const reaches = [...inputs, outputs[0]].map((view) => through(64, total / shapes.output[0], size(view.shape.slice(1)))); // whole ones
    out.dispatch(kernel, [...inputs, outputs[0]], { ...params, size: total }, Math.ceil(total / 64), reaches);
  };

interface Shapes {
  readonly inputs: readonly Shape[];
  readonly output: Shape;
}

const input = ({ inputs }: Shapes) => inputs[0];
const output = ({ output }: Shapes) => output;

export const poolEncoders: Record<string, Encode> = {
  maxPool: pool(kernels.maxPool, input, output),
  maxPoolGrad: pool(kernels.maxPoolGrad, output, input),
  avgPool: pool(kernels.avgPool, input, output),
  avgPoolGrad: pool(kernels.avgPoolGrad, output, input),
};
