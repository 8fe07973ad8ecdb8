// Deterministic tensors for tests: a pure function of a name, so that golden files need to hold results only.

import { type Shape, size } from "../src/tape/shape.ts";
import type { Host } from "../src/tape/trace.ts";

export type Role = "weight" | "scale" | "bias" | "input" | "unit";

/** `count` doubles in [0, 1): element i is fmix32(fnv1a32(name) ^ i * 0x9E3779B9) / 2^32. */
export function uniform(name: string, count: number): Float64Array {
  let hash = 0x811c9dc5;
  for (const byte of new TextEncoder().encode(name)) hash = Math.imul(hash ^ byte, 0x01000193);
  return Float64Array.from({ length: count }, (_, i) => {
    let x = hash ^ Math.imul(i, 0x9e3779b9);
    x = Math.imul(x ^ (x >>> 16), 0x85ebca6b);
    x = Math.imul(x ^ (x >>> 13), 0xc2b2ae35);
    return ((x ^ (x >>> 16)) >>> 0) / 4294967296;
  });
}

function defaultRole(name: string, shape: Shape): Role {
  if (shape.length >= 2) return "weight";
  return ["weight", "gamma", "running_var"].includes(name.split(".").at(-1) as string) ? "scale" : "bias";
}

/** The tensor that a name stands for. `weight` has variance 1 / fan-in, `input` unit variance, `unit` lies in [0, 1). */
export function fill(name: string, shape: Shape, role: Role = defaultRole(name, shape)): Host {
  const draws = uniform(name, size(shape));
  const scale = role === "weight" ? Math.sqrt(3 / Math.max(1, size(shape.slice(1)))) : Math.sqrt(3);
  const value = {
    weight: (u: number) => (2 * u - 1) * scale,
    input: (u: number) => (2 * u - 1) * scale,
    scale: (u: number) => 1 + 0.1 * (2 * u - 1),
    bias: (u: number) => 0.1 * (2 * u - 1),
    unit: (u: number) => u,
  }[role];
  return { data: Float32Array.from(draws, value), shape };
}

/**
 * Twelve numbers that stand for a tensor: sum, sum of |x|, sum of x w with w = fill("digest", [count], "input"), count, the first
 * four and the last four elements.
 */
export function digest({ data }: Host): Float32Array {
  const w = fill("digest", [data.length], "input").data;
  const out = new Float64Array(12);
  data.forEach((x, i) => {
    out[0] += x;
    out[1] += Math.abs(x);
    out[2] += x * w[i];
  });
  out[3] = data.length;
  data.slice(0, 4).forEach((x, i) => (out[4 + i] = x));
  data.slice(-4).forEach((x, i) => (out[8 + i] = x));
  return Float32Array.from(out);
}
