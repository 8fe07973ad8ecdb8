// Attention of vision longformers, among all tokens or in sliding chunks, with global tokens and learned biases. Zhang et al. 2021,
// arXiv 2103.15358; layers, names and corners as microsoft/esvit models/vision_longformer.py and layers/longformer2d.py.
import { biasedAttention, biasedAttentionMap } from "../nn/biased-attention.ts";
import { parameter, truncNormal } from "../nn/init.ts";
import { Linear } from "../nn/linear.ts";
import { Buffer, Module } from "../nn/module.ts";
import { array } from "../tape/op.ts";
import { attention, attentionMap } from "../tape/ops/attention.ts";
import { concat } from "../tape/ops/move.ts";
import type { Parameter, Tensor } from "../tape/tensor.ts";
import type { Host } from "../tape/trace.ts";
import { resampling } from "./positions.ts";
import { windowIndex } from "./relative-position.ts";
import { type ChunkMode, chunkIndex, chunkMask, chunkSelection, neighbourTable, type Size, type WindowEdge } from "./sliding-chunks.ts";
import { cutWindows, joinWindows, padToWindows } from "./windows.ts";

const init = truncNormal(0.02);

export interface AttentionOptions {
  dim: number;
  heads: number;
  /** Tokens that see and are seen by all. */
  globals: number;
  /** Places on a side of the maps that tables of full attention are made for. */
  side: number;
  /** Side of a chunk. */
  window: number;
  /** Which neighbouring chunks sparse attention looks at. */
  mode: ChunkMode;
  /** What sparse attention sees at the edges of windows. */
  edge: WindowEdge;
  /** Positions are added to the tokens, so that attention has no biases. */
  absolute: boolean;
  /** Global tokens go through the layers of the local ones. */
  shareWeights: boolean;
}

/** Learned biases for distances between places and for pairs with a global token, and what both kinds of attention do with them. */
abstract class BiasedAttention extends Module {
  local_relative_position_bias_table?: Parameter;
  g2l_relative_position_bias?: Parameter;
  g2g_relative_position_bias?: Parameter;
  relative_position_index?: Buffer;
  readonly heads: number;
  readonly globals: number;
  readonly scale: number;

  constructor({ dim, heads, globals, absolute }: AttentionOptions, distances: number, index: () => Host) {
    super();
    if (!absolute) {
      this.local_relative_position_bias_table = parameter([distances, heads], init);
      if (globals) {
        this.g2l_relative_position_bias = parameter([2, heads, globals], init);
        this.g2g_relative_position_bias = parameter([heads, globals, globals], init);
      }
      const { data, shape } = index();
      this.relative_position_index = new Buffer(shape, data);
    }
    this.heads = heads;
    this.globals = globals;
    this.scale = (dim / heads) ** -0.5;
  }

  /** [b, globals + rows columns, dim] -> the same */
  abstract forward(x: Tensor, size: Size): Tensor;

  /** Where tokens look: of all [b, heads, tokens, tokens], or of the places in each chunk. */
  abstract map(x: Tensor, size: Size): Tensor;

  /** Queries of the global tokens, and keys and values that they look at. */
  protected abstract global(x: Tensor): { q: Tensor; k: Tensor; v: Tensor };

  /** Where the global tokens look. [b, tokens, dim] -> [b, heads, globals, tokens] */
  globalMap(x: Tensor): Tensor {
    const { q, k } = this.global(x);
    const bias = this.globalBias(x.shape[1] - this.globals);
    return bias ? biasedAttentionMap(q, k, this.options(bias)) : attentionMap(q, k, this.options());
  }

  protected options(): { heads: number; scale: number };
  protected options(bias: Tensor): { heads: number; scale: number; bias: Tensor };
  protected options(bias?: Tensor) {
    return { heads: this.heads, scale: this.scale, ...(bias && { bias }) };
  }

  /** For queries of global tokens over these and n places: [1, heads, globals, globals + n] */
  protected globalBias(n: number): Tensor | undefined {
    const { globals: g, heads, g2g_relative_position_bias: among, g2l_relative_position_bias: between } = this;
    if (!among || !between) return undefined;
    const toPlaces = between.slice(0, 0, 1).reshape([1, heads, g, 1]).expand([1, heads, g, n]);
    return concat([among.reshape([1, heads, g, g]), toPlaces], 3);
  }

  /** For queries of n places over the global tokens: [groups, heads, n, globals] */
  protected toGlobalBias(groups: number, n: number): Tensor | undefined {
    const { globals: g, heads, g2l_relative_position_bias: between } = this;
    return between?.slice(0, 1, 2).reshape([1, heads, 1, g]).expand([groups, heads, n, g]);
  }
}

/** Among all tokens. */
export class FullAttention extends BiasedAttention {
  qkv: Linear;
  proj: Linear;
  readonly side: number;

  constructor(options: AttentionOptions) {
    const { side, dim } = options;
    super(options, (2 * side - 1) ** 2, () => windowIndex(side));
    this.qkv = new Linear(dim, 3 * dim, { init });
    this.proj = new Linear(dim, dim, { init });
    this.side = side;
  }

  override forward(x: Tensor, size: Size): Tensor {
    const [q, k, v] = this.qkv.forward(x).split(2, 3);
    const bias = this.#bias(size);
    return this.proj.forward(bias ? biasedAttention(q, k, v, this.options(bias)) : attention(q, k, v, this.options()));
  }

  override map(x: Tensor, size: Size): Tensor {
    const [q, k] = this.qkv.forward(x).split(2, 3);
    const bias = this.#bias(size);
    return bias ? biasedAttentionMap(q, k, this.options(bias)) : attentionMap(q, k, this.options());
  }

  protected override global(x: Tensor) {
    const [q, k, v] = this.qkv.forward(x).split(2, 3);
    return { q: q.slice(1, 0, this.globals), k, v };
  }

  /**
   * [1, heads, tokens, tokens]. For other maps than it was made for, the matrix of biases is resized as if it were an image of
   * queries by keys, bicubic.
   */
  #bias([rows, columns]: Size): Tensor | undefined {
    const { local_relative_position_bias_table: table, relative_position_index: index, heads, side } = this;
    if (!table || !index) return undefined;
    if (rows !== columns)
      throw new RangeError(`Cannot look among ${rows} x ${columns} places: expected a square image, which ViL's biases are made for`);
    const [n, made] = [rows * columns, side * side];
    const asMade = table.gather(index).permute([2, 0, 1]); // [heads, made, made]
    const matrix = () => array(Float32Array.from(resampling(made, n, n / made)), [n, made]);
    const local = (n === made ? asMade : matrix().matmul(asMade).matmul(matrix().t())).reshape([1, heads, n, n]);
    const [toGlobal, global] = [this.toGlobalBias(1, n), this.globalBias(n)];
    return toGlobal && global ? concat([global, concat([toGlobal, local], 3)], 2) : local;
  }
}

/**
 * Sliding chunks: the map is cut into chunks, and each place looks at the places of its own and of the neighbouring chunks and at
 * the global tokens, which look at all.
 */
export class SparseAttention extends BiasedAttention {
  query: Linear;
  kv: Linear;
  proj: Linear;
  query_global?: Linear;
  kv_global?: Linear;
  proj_global?: Linear;
  readonly window: number;
  readonly mode: ChunkMode;
  readonly edge: WindowEdge;

  constructor(options: AttentionOptions) {
    const { dim, globals, window, mode, edge, shareWeights } = options;
    super(options, (4 * window - 1) ** 2, () => chunkIndex(window));
    const layers = () => [new Linear(dim, dim, { init }), new Linear(dim, 2 * dim, { init }), new Linear(dim, dim, { init })];
    [this.query, this.kv, this.proj] = layers();
    if (globals) [this.query_global, this.kv_global, this.proj_global] = shareWeights ? [this.query, this.kv, this.proj] : layers();
    this.window = window;
    this.mode = mode;
    this.edge = edge;
  }

  override forward(x: Tensor, size: Size): Tensor {
    const [b, , dim] = x.shape;
    const { q, k, v, bias } = this.#chunks(x, size);
    const attended = joinWindows(biasedAttention(q, k, v, this.options(bias)), this.window, size);
    const places = this.proj.forward(attended.reshape([b, size[0] * size[1], dim]));
    if (!this.proj_global) return places;
    const global = this.global(x);
    const globalBias = this.globalBias(size[0] * size[1]);
    const seen = globalBias
      ? biasedAttention(global.q, global.k, global.v, this.options(globalBias))
      : attention(global.q, global.k, global.v, this.options());
    return concat([this.proj_global.forward(seen), places], 1);
  }

  override map(x: Tensor, size: Size): Tensor {
    const { q, k, bias } = this.#chunks(x, size);
    return biasedAttentionMap(q, k, this.options(bias));
  }

  protected override global(x: Tensor) {
    if (!this.query_global || !this.kv_global) throw new TypeError("Cannot look from global tokens: expected a stage that has some (g1)");
    const [k, v] = this.kv_global.forward(x).split(2, 2);
    return { q: this.query_global.forward(x.slice(1, 0, this.globals)), k, v };
  }

  /** Queries of each chunk, [b chunks, w^2, dim], and what they look at, [b chunks, globals + n w^2, dim], with n chunks each. */
  #chunks(x: Tensor, [rows, columns]: Size): { q: Tensor; k: Tensor; v: Tensor; bias: Tensor } {
    const { window: side, globals } = this;
    const [b, , dim] = x.shape;
    const chunked = (t: Tensor) => cutWindows(padToWindows(t.reshape([b, rows, columns, dim]), side), side);
    const q = chunked(this.query.forward(x.slice(1, globals)));
    const chosen = chunkSelection(this.mode);
    const neighbours = neighbourTable([rows, columns], side).gather(chosen).t(); // [chunks, n]
    const [chunks, n] = neighbours.shape;
    const seen = (t: Tensor) => {
      const byChunk = chunked(t.slice(1, globals))
        .reshape([b, chunks, side * side * dim])
        .permute([1, 0, 2]);
      const places = byChunk
        .gather(neighbours)
        .reshape([chunks, n, b, side * side, dim])
        .permute([2, 0, 1, 3, 4]);
      const local = places.reshape([b * chunks, n * side * side, dim]);
      if (!globals) return local;
      const global = t.slice(1, 0, globals).reshape([b, 1, globals, dim]).expand([b, chunks, globals, dim]);
      return concat([global.reshape([b * chunks, globals, dim]), local], 1);
    };
    const [k, v] = this.kv.forward(x).split(2, 2).map(seen);
    return { q, k, v, bias: this.#bias([rows, columns], chosen) };
  }

  /** [chunks, heads, w^2, globals + n w^2] for the n chunks that are looked at; what may not be seen is hidden. */
  #bias(size: Size, chosen: Tensor): Tensor {
    const { local_relative_position_bias_table: table, relative_position_index: index, heads, window } = this;
    const [places, n] = [window * window, chosen.size];
    const mask = chunkMask(size, window, this.edge).gather(chosen).permute([1, 2, 0, 3]); // [chunks, 1 or places, n, places]
    const [chunks, queries] = mask.shape;
    const hidden = mask.reshape([chunks, 1, queries, n * places]);
    const distances = index?.reshape([places, 9, places]).permute([1, 0, 2]).gather(chosen).permute([1, 0, 2]); // [places, n, places]
    const biases = distances && table?.gather(distances.reshape([places, n * places])).permute([2, 0, 1]); // [heads, places, n places]
    const local = biases ? hidden.add(biases) : hidden.expand([chunks, heads, places, n * places]);
    if (!this.globals) return local;
    const toGlobal = this.toGlobalBias(chunks, places) ?? array(new Float32Array(1), [1]).expand([chunks, heads, places, this.globals]);
    return concat([toGlobal, local], 3);
  }
}
