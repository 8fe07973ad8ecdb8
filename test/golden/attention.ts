// What attention maps say: masks by mass, their overlap with an object, entropy, the mean over heads.
import { enlarge, entropy, jaccard, massMask, meanMap, partsOf } from "../../src/evaluate/attention.ts";
import { fill } from "../fill.ts";
import type { Runner, Runners } from "./golden.ts";

/** Softmax of each row of [heads, 1 + n] without its first column. */
function softmaxRows(scores: Float32Array, heads: number, scale: number): Float32Array[] {
  return partsOf(scores, heads).map((row) => {
    const powers = Float64Array.from(row, (x) => Math.exp(scale * x));
    const sum = powers.reduce((total, x) => total + x, 0);
    return Float32Array.from(powers.subarray(1), (x) => x / sum);
  });
}

const evaluationAttention: Runner = (golden, check) => {
  const { prefix, heads, height, width, patch, thresholds, score_scale: scale } = golden.config;
  const scores = fill(`${prefix}scores`, [heads, height * width + 1], "input");
  const maps = softmaxRows(scores.data, heads, scale);
  const object = golden.get("gt");
  check.leave("gt", "the object that the masks are compared with");
  check.close("heatmap_mean", meanMap(maps), 1e-5);
  check.close("entropy", maps.map(entropy), 1e-5);
  for (const mass of thresholds) {
    const masks = maps.map((map) => massMask(map, mass));
    check.exact(
      `mask${mass}`,
      masks.flatMap((mask) => [...mask]),
    );
    check.close(
      `jaccard${mass}`,
      masks.map((mask) => jaccard(enlarge(mask, width, patch), object.data)),
      1e-6,
    );
  }
};

export const runners: Runners = { "evaluation-attention": evaluationAttention };
