// Tiles of matrix products on a GPU: measured when it is first used, kept from then on.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { matmulOperands } from "../../gpu/matmul.ts";
import { product } from "../../gpu/product.ts";
import { gpuKey, recall, remember } from "./memo.ts";
import type { AdapterDescription, OpenDevice } from "./webgpu/device.ts";
import { type TileTable, tiles } from "./webgpu/tiles.ts";
import { tune } from "./webgpu/tune.ts";

const plain = <Along>(along: Along) => ({ along, fours: true });

/** What is measured: with other kernels or tiles it has to be measured again. */
const kernels = () => Object.values(tiles).map((tile) => product(matmulOperands(plain("k"), plain("column")), tile, undefined, false).code);

/** Version of Dawn's package, if it is what WebGPU comes from. */
function dawnVersion(): string {
  try {
    return JSON.parse(readFileSync(createRequire(import.meta.url).resolve("webgpu/package.json"), "utf8")).version;
  } catch {
    return "";
  }
}

/** What an adapter's tiles are kept under: the adapter with its driver, Dawn, and the kernels. */
export const keyOf = ({ identity }: AdapterDescription) => gpuKey([identity, dawnVersion(), ...kernels()]);

/** Tiles that have been measured on an adapter so far. */
export const knownTiles = async (adapter: AdapterDescription): Promise<TileTable> => (await recall(keyOf(adapter))).tiles ?? {};

/**
 * Tiles for a device: kept ones, and what is missing is measured in about three seconds. `measure`: whether to; by default where the device is no
 * software. Without it the fixed table serves.
 */
export async function tilesFor(open: OpenDevice, measure = !open.adapter.software): Promise<TileTable> {
  if (!measure) return {};
  const known = await knownTiles(open.adapter);
  const table = await tune(open, known);
  const measured = Object.keys(table).length > Object.keys(known).length;
  if (measured) await remember(keyOf(open.adapter), { tiles: table as Record<string, string> });
  return table;
}
