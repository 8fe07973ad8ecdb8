// Weighted nearest neighbours: what an encoder knows, without training anything on top of it. Wu et al. 2018,
// arXiv 1805.01978, section 3.4; the protocol is that of facebookresearch/dino, eval_knn.py.
import type { Backend } from "../backend/backend.ts";
import type { Tensor } from "../tape/tensor.ts";
import { compile } from "../tape/trace.ts";

/** One vector a picture: rows [count, dim], row-major. */
export interface Features {
  readonly data: Float32Array;
  readonly count: number;
  readonly dim: number;
}

/** The k nearest of each query, nearest first, [queries, k]; of equals the one that comes first in the bank. */
export interface Neighbours {
  readonly k: number;
  readonly index: Int32Array;
  readonly similarity: Float32Array;
}

export interface NeighbourOptions {
  /** How many neighbours of each query. */
  k: number;
  /** The queries are the bank, and nothing is its own neighbour. */
  leaveOneOut?: boolean;
}

export interface KnnOptions extends NeighbourOptions {
  /** Temperature: a neighbour's vote is exp(similarity / tau). */
  tau: number;
}

/** Accuracies in per cent. */
export interface Score {
  readonly top1: number;
  readonly top5: number;
}

const QUERIES = 512; // rows of one product
const BANK = 8192; // columns of one product: its result is 16 MB

/** Rows of length 1: x / max(|x|, 1e-12), as torch.nn.functional.normalize. */
export function normalizeRows({ data, count, dim }: Features): Features {
  const out = new Float32Array(data.length);
  for (let r = 0; r < count; r++) {
    let square = 0;
    for (let i = r * dim; i < (r + 1) * dim; i++) square += data[i] * data[i];
    const length = Math.max(Math.sqrt(square), 1e-12);
    for (let i = r * dim; i < (r + 1) * dim; i++) out[i] = data[i] / length;
  }
  return { data: out, count, dim };
}

/** Finds neighbours by dot product; of normalised rows that is the cosine. */
export async function nearest(queries: Features, bank: Features, options: NeighbourOptions, backend: Backend): Promise<Neighbours> {
  const { k, leaveOneOut = false } = options;
  const most = leaveOneOut ? bank.count - 1 : bank.count;
  if (queries.dim !== bank.dim) {
    throw new RangeError(`Cannot compare features of ${queries.dim} and ${bank.dim} numbers: expected one encoder for both`);
  }
  if (!Number.isInteger(k) || k < 1 || k > most) {
    throw new RangeError(`Cannot find ${k} neighbours among ${bank.count} images: expected k from 1 to ${most}`);
  }
  const found: Neighbours = {
    k,
    index: new Int32Array(queries.count * k).fill(-1),
    similarity: new Float32Array(queries.count * k).fill(Number.NEGATIVE_INFINITY),
  };
  const products = compile((q: Tensor, b: Tensor) => ({ similarity: q.matmul(b.t()) }), backend);
  for (let b = 0; b < bank.count; b += BANK) {
    const part = rows(bank, b, b + BANK);
    for (let q = 0; q < queries.count; q += QUERIES) {
      const { similarity } = await products(rows(queries, q, q + QUERIES), part);
      keepNearest(found, similarity.data, { query: q, bank: b, columns: part.shape[0], leaveOneOut });
    }
  }
  if (found.index.includes(-1)) throw new RangeError("Cannot find neighbours of features that are not finite: expected numbers only");
  return found;
}

const rows = ({ data, count, dim }: Features, begin: number, end: number) => {
  const stop = Math.min(end, count);
  return { data: data.subarray(begin * dim, stop * dim), shape: [stop - begin, dim] };
};

/** Merges a block of similarities into the lists of the nearest, which stay sorted; an equal one goes behind. */
function keepNearest(
  { k, index, similarity }: Neighbours,
  block: Float32Array,
  at: { query: number; bank: number; columns: number; leaveOneOut: boolean },
): void {
  for (let r = 0; r * at.columns < block.length; r++) {
    const first = (at.query + r) * k;
    const last = first + k - 1;
    const self = at.leaveOneOut ? at.query + r - at.bank : -1;
    for (let c = 0; c < at.columns; c++) {
      const value = block[r * at.columns + c];
      if (!(value > similarity[last]) || c === self) continue;
      let to = last;
      for (; to > first && similarity[to - 1] < value; to--) {
        similarity[to] = similarity[to - 1];
        index[to] = index[to - 1];
      }
      similarity[to] = value;
      index[to] = at.bank + c;
    }
  }
}

/** Votes of the first k neighbours for each class, sum of exp(similarity / tau): [queries, classes]. */
export function votes(
  { k: kept, index, similarity }: Neighbours,
  labels: ArrayLike<number>,
  classes: number,
  { k, tau }: { k: number; tau: number },
): Float64Array {
  const queries = index.length / kept;
  const scores = new Float64Array(queries * classes);
  for (let q = 0; q < queries; q++) {
    for (let i = q * kept; i < q * kept + k; i++) scores[q * classes + labels[index[i]]] += Math.exp(similarity[i] / tau);
  }
  return scores;
}

/**
 * Share of queries whose class has the most votes, and share where it is among the first five (min(5, k) of them). Classes
 * with equal votes, such as those without any, rank in the order of their numbers.
 */
export function accuracy(scores: Float64Array, labels: ArrayLike<number>, classes: number, k: number): Score {
  let [first, among] = [0, 0];
  for (let q = 0; q < labels.length; q++) {
    const own = scores[q * classes + labels[q]];
    let ahead = 0;
    for (let c = 0; c < classes; c++) {
      const other = scores[q * classes + c];
      if (other > own || (other === own && c < labels[q])) ahead++;
    }
    if (ahead < 1) first++;
    if (ahead < Math.min(5, k)) among++;
  }
  return { top1: (100 * first) / labels.length, top5: (100 * among) / labels.length };
}

/** Pictures with their classes, numbered from 0. */
export interface Labelled {
  readonly features: Features;
  readonly labels: ArrayLike<number>;
}

/**
 * Scores features by their neighbours: every test picture is given the class for which its k nearest training pictures vote.
 *
 *     const { top1 } = await classify(train, test, 10, { k: 20, tau: 0.07 }, backend)
 */
export async function classify(train: Labelled, test: Labelled, classes: number, options: KnnOptions, backend: Backend): Promise<Score> {
  const found = await nearest(normalizeRows(test.features), normalizeRows(train.features), options, backend);
  return accuracy(votes(found, train.labels, classes, options), test.labels, classes, options.k);
}
