// A row for each family of kernels in half precision; halves.full.ts runs all.
import { inHalvesSuite } from "./halves.ts";

const families = [
  "gelu",
  "matmul, bias, gelu, residual",
  "conv2d, bias and relu",
  "batchNorm",
  "layerNorm",
  "attention",
  "maxPool",
  "gather",
];

inHalvesSuite((name) => families.includes(name)).run();
