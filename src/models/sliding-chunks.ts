// Which chunks of a map look at which, for attention in sliding chunks. Zhang et al. 2021, arXiv 2103.15358, section 3.2; numbers and
// corners as microsoft/esvit layers/slidingchunk_2d.py. A chunk and its neighbours are numbered row by row: 4 is the chunk itself, 0
// the one above to the left, 8 the one below to the right.
import { isTraining, randomStream } from "../nn/module.ts";
import { array } from "../tape/op.ts";
import { concat } from "../tape/ops/move.ts";
import { uniform } from "../tape/ops/random.ts";
import type { Tensor } from "../tape/tensor.ts";
import type { Host } from "../tape/trace.ts";

/**
 * Chunks that a chunk looks at: itself and all neighbours ("all"), itself alone ("own"), or, in training, itself and one neighbour: of
 * the eight in row order the i-th (1 to 8), or one drawn for each layer and step ("random"). Evaluation with one neighbour takes all.
 */
export type ChunkMode = "all" | "own" | "random" | 1 | 2 | 3 | 4 | 5 | 6 | 7 | 8;

/**
 * What is hidden in the chunks that a place looks at: what lies outside the map ("chunk"); also what is further away than a window,
 * so that the window slides with the place ("exact"); or nothing, since maps go on at the opposite edge ("cyclic").
 */
export type WindowEdge = "chunk" | "exact" | "cyclic";

export type Size = readonly [rows: number, columns: number];

const others = [0, 1, 2, 3, 5, 6, 7, 8];
const numbers = (list: readonly number[]) => array(Float32Array.from(list), [list.length]);

/** Numbers of the chunks that a layer looks at, itself included: [n] */
export function chunkSelection(mode: ChunkMode): Tensor {
  if (mode === "own") return numbers([4]);
  if (mode === "all" || !isTraining()) return numbers([0, 1, 2, 3, 4, 5, 6, 7, 8]);
  if (mode !== "random") return numbers([4, others[mode - 1]]);
  const { key, stream } = randomStream();
  return concat([numbers([4]), numbers(others).gather(uniform(key, stream, [1]).mul(8).floor())], 0);
}

/** Chunk numbers of the nine that surround each chunk of a map, going on at the opposite edge. -> [9, chunks] */
export function neighbourTable([rows, columns]: Size, side: number): Tensor {
  const [down, across] = [Math.ceil(rows / side), Math.ceil(columns / side)];
  const data = new Float32Array(9 * down * across);
  for (let at = 0, d = 0; d < 9; d++) {
    for (let y = 0; y < down; y++) {
      const row = (y + Math.floor(d / 3) - 1 + down) % down;
      for (let x = 0; x < across; x++) data[at++] = row * across + ((x + (d % 3) - 1 + across) % across);
    }
  }
  return array(data, [9, down * across]);
}

/** Scores so low that a softmax gives 0, whatever is added to them. */
const never = -1e9;

/** Whether a place on an axis of n places is hidden: `chunk` of `count` looks to `step` (-1, 0, 1), from place `query` of it to place `key`. */
function hidden(edge: WindowEdge, n: number, side: number, chunk: number, step: number, query: number, key: number): boolean {
  const [from, to] = [chunk * side + query, (chunk + step) * side + key];
  if (edge === "cyclic") return to >= n && chunk + step === Math.ceil(n / side) - 1; // padding, unless met around the edge
  return to < 0 || to >= n || (edge === "exact" && Math.abs(to - from) > side);
}

/** What is added to the scores of the places in nine chunks. -> [9, chunks, 1, side^2], with queries side^2 instead of 1 where edges are exact */
export function chunkMask([rows, columns]: Size, side: number, edge: WindowEdge): Tensor {
  const [down, across, places] = [Math.ceil(rows / side), Math.ceil(columns / side), side * side];
  const queries = edge === "exact" ? places : 1;
  const data = new Float32Array(9 * down * across * queries * places);
  const at = (place: number) => [Math.floor(place / side), place % side];
  let i = 0;
  for (let d = 0; d < 9; d++) {
    for (let chunk = 0; chunk < down * across; chunk++) {
      for (let q = 0; q < queries; q++) {
        for (let k = 0; k < places; k++) {
          const [[qy, qx], [ky, kx]] = [at(q), at(k)];
          const above = hidden(edge, rows, side, Math.floor(chunk / across), Math.floor(d / 3) - 1, qy, ky);
          data[i++] = above || hidden(edge, columns, side, chunk % across, (d % 3) - 1, qx, kx) ? never : 0;
        }
      }
    }
  }
  return array(data, [9, down * across, queries, places]);
}

/** Which row of a table of (4 side - 1)^2 distances a place of a chunk and one of the nine chunks use. -> [side^2, 9 side^2], whole numbers */
export function chunkIndex(side: number): Host {
  const places = side * side;
  const data = new Float32Array(places * 9 * places);
  const distance = (query: number, key: number, step: number) => query - (step * side + key) + 2 * side - 1;
  for (let i = 0, q = 0; q < places; q++) {
    for (let d = 0; d < 9; d++) {
      for (let k = 0; k < places; k++) {
        const rows = distance(Math.floor(q / side), Math.floor(k / side), Math.floor(d / 3) - 1);
        data[i++] = rows * (4 * side - 1) + distance(q % side, k % side, (d % 3) - 1);
      }
    }
  }
  return { data, shape: [places, 9 * places] };
}
