// Tiles of matrix products on a GPU: measured when it is first used, kept from then on.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { matmulOperands } from "../../gpu/matmul.ts";
import { product } from "../../gpu/product.ts";
import { gpuKey, recall, remember } from "./memo.ts";
import type { AdapterDescription, OpenDevice } from "./webgpu/device.ts";
import { allTiles, type TileTable, trusted } from "./webgpu/tiles.ts";
import { type Tuning, tune } from "./webgpu/tune.ts";

const plain = <Along>(along: Along) => ({ along, fours: true });

/** What is measured: with other kernels or tiles it has to be measured again. */
const kernels = ({ matrix }: AdapterDescription) =>
  Object.values(allTiles(matrix)).map((tile) => product(matmulOperands(plain("k"), plain("column")), tile, undefined, false).code);

/** Version of Dawn's package, if it is what WebGPU comes from. */
function dawnVersion(): string {
  try {
    return JSON.parse(readFileSync(createRequire(import.meta.url).resolve("webgpu/package.json"), "utf8")).version;
  } catch {
    return "";
  }
}

/** What an adapter's tiles are kept under: the adapter with its driver, Dawn, and the kernels. */
export const keyOf = (adapter: AdapterDescription) => gpuKey([adapter.identity, dawnVersion(), ...kernels(adapter)]);

/** What has been measured and proved on an adapter so far. */
export async function knownTiles(adapter: AdapterDescription): Promise<Tuning> {
  const { tiles = {}, tileProofs: proofs = {} } = await recall(keyOf(adapter));
  return { tiles: trusted(tiles, proofs), proofs };
}

/**
 * Tiles for a device: kept ones, and what is missing is measured in about three seconds, with subgroup matrices in about six. `measure`: whether
 * to; by default where the device is no software. Without it the fixed table serves, which has no subgroup matrices.
 */
export async function tilesFor(open: OpenDevice, measure = !open.adapter.software): Promise<TileTable> {
  if (!measure) return {};
  const known = await knownTiles(open.adapter);
  const { tiles, proofs } = await tune(open, known);
  const more = (now: object, before: object) => Object.keys(now).length > Object.keys(before).length;
  if (more(tiles, known.tiles) || more(proofs, known.proofs)) {
    await remember(keyOf(open.adapter), { tiles: tiles as Record<string, string>, tileProofs: proofs });
  }
  return tiles;
}
