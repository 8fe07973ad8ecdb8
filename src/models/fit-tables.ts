// Weights for images or windows of another size: everything fits but the tables of positions.
import { type Module, official, type State } from "../nn/module.ts";
import { type Shape, sameShape } from "../tape/shape.ts";
import type { Host } from "../tape/trace.ts";
import { resampling, resizeMatrix } from "./positions.ts";
import { type BiasResize, resizeBias } from "./relative-position.ts";

const SHARED = "rel_pos_bias.relative_position_bias_table";

/** What follows from the sizes of windows and images alone. */
const isConstant = (name: string) => /(^|\.)(relative_position_index|attn_mask)$/.test(name);

/** Rows of a table that belong to no place of a square grid, and the side of that grid. */
function gridOf(rows: number, extras: readonly number[]): { extra: number; side: number } {
  const extra = extras.find((n) => Number.isInteger(Math.sqrt(rows - n)));
  if (extra === undefined)
    throw new RangeError(`Cannot resize a table of ${rows} rows: expected a square number and ${extras.join(" or ")} more`);
  return { extra, side: Math.sqrt(rows - extra) };
}

/** Relative biases: (2 w - 1)^2 rows, in BEiT behind them three for the class token. */
function fitBiases(table: Host, [rows]: Shape, method: BiasResize): Host {
  const { extra, side } = gridOf(rows, [0, 3]);
  return resizeBias(table, (side + 1) / 2, method, extra);
}

/** Every new row as a weighted sum of old ones. matrix [to, from], data [from, dim] -> [to, dim] */
function weighted(matrix: ArrayLike<number>, to: number, data: Float32Array, dim: number): Float32Array {
  const from = data.length / dim;
  const out = new Float32Array(to * dim);
  for (let i = 0; i < to; i++) {
    for (let j = 0; j < from; j++) {
      const weight = matrix[i * from + j];
      if (weight) for (let c = 0; c < dim; c++) out[i * dim + c] += weight * data[j * dim + c];
    }
  }
  return out;
}

/** Absolute positions [1, n, d], in front of them perhaps the class token's (and a distillation token's): bicubic, as MAE's util/pos_embed.py. */
function fitPositions({ data, shape: [, rows, dim] }: Host, [, wanted]: Shape): Host {
  const { extra, side: to } = gridOf(wanted, [0, 1, 2]);
  const { side: from } = gridOf(rows, [extra]);
  const matrix = resizeMatrix(from, [to, to], [to / from, to / from]);
  const out = new Float32Array(wanted * dim);
  out.set(data.subarray(0, extra * dim));
  out.set(weighted(matrix, to * to, data.subarray(extra * dim), dim), extra * dim);
  return { data: out, shape: [1, wanted, dim] };
}

/** Positions of rows or of columns alone [1, n, d] (ViL), bicubic. */
const fitAxis = ({ data, shape: [, from, dim] }: Host, [, to]: Shape): Host => ({
  data: weighted(resampling(from, to, to / from), to, data, dim),
  shape: [1, to, dim],
});

/** How a tensor becomes the one that a parameter of this name and shape should have; undefined where nothing does that. */
function fitting(name: string, wanted: Shape, given: Shape): ((given: Host, method: BiasResize) => Host) | undefined {
  if (sameShape(wanted, given)) return (host) => host;
  if (name.endsWith("relative_position_bias_table") && wanted[1] === given[1]) return (host, method) => fitBiases(host, wanted, method);
  if (given.length !== 3 || wanted[2] !== given[2]) return undefined;
  if (/(^|\.)[xy]_pos_embed$/.test(name)) return (host) => fitAxis(host, wanted);
  return /(^|\.)(absolute_)?pos_embed$/.test(name) ? (host) => fitPositions(host, wanted) : undefined;
}

/** Whether a tensor is a table that can be resized to the shape of a parameter. */
export const canFit = (name: string, wanted: Shape, given: Shape): boolean => fitting(name, wanted, given) !== undefined;

/**
 * A checkpoint's tensors as `model` needs them when it was made for images or windows of another size, as SimMIM's utils.py and MAE's
 * util/pos_embed.py do before fine-tuning: tables of relative biases and of positions are resized, one that all blocks share is copied
 * to blocks with tables of their own, and index tables and masks are the model's. Everything else stays as it is.
 */
export function fitTables(model: Module, state: State, method: BiasResize = "geometric"): Map<string, Host> {
  const parameters = new Map(model.namedParameters());
  const shared = parameters.has(SHARED) ? undefined : state.get(SHARED);
  const fit = new Map([...state].filter(([name]) => !isConstant(name) && (name !== SHARED || !shared)));
  for (const [name, parameter] of parameters) {
    if (isConstant(name)) fit.set(name, official(parameter));
    const given = fit.get(name) ?? (name.endsWith(".relative_position_bias_table") ? shared : undefined);
    if (given) fit.set(name, fitting(name, parameter.officialShape, given.shape)?.(given, method) ?? given);
  }
  return fit;
}
