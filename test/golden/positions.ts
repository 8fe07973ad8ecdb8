// Kinds pos-embed and backbone-positions: tables of positions and their resizing.
import type { Backend } from "../../src/backend/backend.ts";
import { fourierTable, relativeIndex, resizePositions, sincosTable } from "../../src/models/positions.ts";
import type { Tensor } from "../../src/tape/tensor.ts";
import { compile, type Host } from "../../src/tape/trace.ts";
import { fill } from "../fill.ts";
import type { Check, Golden, Runner, Runners } from "./golden.ts";
import { permute } from "./models.ts";

/** Ten times what torch's own float32 is off, where that is more than the READMEs' 2e-6. */
const limitOf = (golden: Golden, name: string) => Math.max(2e-6, 10 * golden.spread(name));

const resize = (table: Host, grid: number, extra: number, backend: Backend): Promise<Host> =>
  compile((x: Tensor) => resizePositions(x, [grid, grid], { extra }), backend)(table);

const posEmbed: Runner = async (golden, check, backend) => {
  for (const { tensor, dim, grid, cls } of golden.config.sincos) {
    check.close(tensor, sincosTable(dim, grid, { extra: cls ? 1 : 0 }), limitOf(golden, tensor));
  }
  for (const { tensor, dim, from_grid: from, to_grid: to, extra_tokens: extra } of golden.config.interp) {
    const table = fill(golden.config.prefix + tensor, [1, extra + from * from, dim], "input");
    check.close(tensor, await resize(table, to, extra, backend), limitOf(golden, tensor));
  }
};

/** A table in full, or as a digest where `digest_shapes` says so. */
function compare(golden: Golden, check: Check, name: string, got: Host): void {
  if (name in golden.config.digest_shapes) check.digest(name, got, { sums: 2e-5, elements: 1e-4, own: 1e-5 });
  else check.close(name, got, 2e-6);
}

const batched = ({ data, shape }: Host): Host => ({ data, shape: [1, ...shape] });

const positions: Runner = async (golden, check, backend) => {
  const { interpolate, interpolate_dim: dim, mae, moco3, xcit_fourier: fourier, beit_index: beit } = golden.config;
  for (const [from, to] of interpolate) {
    check.close(
      `interpolate.${from}to${to}`,
      await resize(fill(`position${from}`, [1, from * from + 1, dim], "input"), to, 1, backend),
      2e-6,
    );
  }
  for (const { grid, dim: width } of mae) compare(golden, check, `mae.${grid}x${width}`, sincosTable(width, grid));
  for (const { grid, dim: width } of moco3)
    compare(golden, check, `moco3.${grid}x${width}`, batched(sincosTable(width, grid, { first: "row" })));
  for (const { hidden, height, width } of fourier) {
    const { data } = fourierTable(hidden, [height, width]);
    const name = `xcit.fourier.hidden${hidden}.${height}x${width}`;
    const table = permute({ data, shape: [1, height, width, 2 * hidden] }, [0, 3, 1, 2]);
    compare(golden, check, golden.tensors.has(name) ? name : `${name}.digest`, table);
  }
  for (const [height, width] of beit) check.exact(`beit.index.${height}x${width}`, relativeIndex(height, width));
};

export const runners: Runners = { "pos-embed": posEmbed, "backbone-positions": positions };
