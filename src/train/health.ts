// What a loss does not tell: whether features still differ from image to image. Measured on the same few images throughout.
import { type Features, normalizeRows } from "../evaluate/knn.ts";
import { meanRow, singularValues } from "../evaluate/spectrum.ts";

/** Health of an encoder's features, without labels. */
export interface Health {
  /**
   * Standard deviation of the normalised features over images, mean over dimensions, times sqrt(dim): 1 when directions are
   * spread evenly around 0, 0 when all images look the same. Chen & He 2021 (SimSiam), arXiv 2011.10566, figure 2.
   */
  readonly std: number;
  /** Effective rank: exp of the entropy of the singular values. Garrido et al. 2023 (RankMe), arXiv 2210.02885, eq. 1. */
  readonly rank: number;
  /** Mean squared distance between two views of an image; lower is closer. Wang & Isola 2020, arXiv 2005.10242, alpha 2. */
  readonly alignment: number;
  /** log of the mean of exp(-2 squared distance) between different images; lower is more uniform. The same paper, t 2. */
  readonly uniformity: number;
}

/** RankMe: how many directions the features use, between 1 and min(count, dim). */
export function effectiveRank(features: Features): number {
  const singular = singularValues(features);
  const sum = singular.reduce((a, b) => a + b, 0);
  if (sum === 0) return 1;
  return Math.exp(-singular.reduce((entropy, s) => entropy + (s > 0 ? (s / sum) * Math.log(s / sum) : 0), 0));
}

/** Health of features of two views, row i of both being the same image. */
export function health(first: Features, second: Features): Health {
  const [a, b] = [normalizeRows(first), normalizeRows(second)];
  const { data, count, dim } = a;
  const mean = meanRow(a);
  const variance = new Float64Array(dim);
  let apart = 0;
  for (let r = 0; r < count; r++) {
    for (let i = 0; i < dim; i++) {
      variance[i] += (data[r * dim + i] - mean[i]) ** 2 / count;
      apart += (data[r * dim + i] - b.data[r * dim + i]) ** 2;
    }
  }
  const std = (variance.reduce((sum, v) => sum + Math.sqrt(v), 0) / dim) * Math.sqrt(dim);
  return { std, rank: effectiveRank(first), alignment: apart / count, uniformity: uniformity(a) };
}

function uniformity({ data, count, dim }: Features): number {
  let sum = 0;
  for (let r = 0; r < count; r++) {
    for (let q = 0; q < r; q++) {
      let cosine = 0;
      for (let i = 0; i < dim; i++) cosine += data[r * dim + i] * data[q * dim + i];
      sum += Math.exp(-2 * (2 - 2 * cosine));
    }
  }
  return Math.log(sum / ((count * (count - 1)) / 2));
}

/**
 * Below `std` and `rank` an encoder tells images apart no better than a constant. A rank that fell through this many measurements
 * in a row to less than this share of its best is on the way there; early in training it often dips and recovers.
 */
const limits = { std: 0.02, rank: 1.5, falls: 4, share: 1 / 4 };

/** What looks wrong with the newest of a run's measurements, or undefined. Says it once, until the run has recovered. */
export function collapseWarning(history: readonly Health[]): string | undefined {
  const now = collapse(history);
  return now && !collapse(history.slice(0, -1)) ? now : undefined;
}

function collapse(history: readonly Health[]): string | undefined {
  const now = history.at(-1);
  if (!now) return undefined;
  const best = Math.max(...history.map(({ rank }) => rank));
  const last = history.slice(-limits.falls);
  const falling = last.length === limits.falls && last.every(({ rank }, i) => i === 0 || rank < last[i - 1].rank);
  const trouble =
    now.std < limits.std
      ? `features hardly differ between images (std ${now.std.toFixed(4)}; 0 is a constant)`
      : now.rank < limits.rank
        ? `features lie on a line (effective rank ${now.rank.toFixed(2)})`
        : falling && now.rank < limits.share * best
          ? `the effective rank fell from ${best.toFixed(1)} to ${now.rank.toFixed(1)}`
          : undefined;
  return trouble && `The run is collapsing: ${trouble}. A lower learning rate, a larger batch or a lower temperature may help`;
}
