// Which backbone a checkpoint holds, by the shapes of its tensors.
import { methodOf, placeRank, type Tensors } from "../checkpoint/names.ts";
import { readings } from "../checkpoint/schemes.ts";
import type { StoredTensor } from "../checkpoint/stored.ts";
import { withoutNumbers } from "../nn/init.ts";
import { type Shape, sameShape, size } from "../tape/shape.ts";
import type { Parameter } from "../tape/tensor.ts";
import type { Backbone } from "./backbone.ts";
import { backboneError, backbones, makeBackbone, sizeOfTables } from "./backbones.ts";
import { canFit } from "./fit-tables.ts";
import { cifarResnets } from "./resnet-cifar.ts";

/** A tensor whose shape is not the one that a backbone of this name has. */
export interface Misfit {
  readonly name: string;
  readonly shape: Shape;
  readonly wanted: Shape;
}

/** A network found in a checkpoint. */
export interface Found {
  /** A name that `makeBackbone` knows. */
  readonly backbone: string;
  /** Side of the images that its tables were made for, where that shows. */
  readonly size?: number;
  /** What stands in front of its names. */
  readonly prefix: string;
  /** Whose names were changed into ours. */
  readonly scheme?: string;
  /** Its tensors under the backbone's own names. */
  readonly tensors: ReadonlyMap<string, StoredTensor>;
  /** Names that the backbone has and the checkpoint lacks. */
  readonly missing: readonly string[];
  /** Names behind the same prefix that the backbone has not: heads, mostly. */
  readonly extra: readonly string[];
  /** What has other shapes than the backbone's. */
  readonly misfits: readonly Misfit[];
  /** Names of tables that have to be resized, because another window was asked for than the checkpoint's. */
  readonly resized: readonly string[];
}

type ShapeOf = (name: string) => Shape | undefined;

/** Names that tell a family, the more telling first, and what its networks are called. */
const families: readonly (readonly [telling: string, names: RegExp])[] = [
  ["layer4.0.conv1.weight", /^(wide-)?resne[tx]/],
  ["layer1.0.conv1.weight", /^resnet/],
  ["conv2d.weight", /^simclr-/],
  ["encoder.0.0.weight", /^conv4$/],
  ["layers.0.blocks.0.norm1.weight", /^swin-/],
  ["stage0.0.proj.weight", /^cvt-/],
  ["layer1.0.proj.weight", /^vil-/],
  ["blocks.0.attn.temperature", /^xcit-/],
  ["blocks.0.ls1.gamma", /^dinov2-/],
  ["blocks.0.gamma_1", /^(beit|cae)-/],
  ["blocks.0.norm1.weight", /^(moco3-|)vit-|^deit-/],
];

/** State that a network computes by itself, so that a checkpoint may lack it. */
const computed = /(^|\.)(num_batches_tracked|relative_position_index|relative_coords_table|attn_mask|rel_pos_idx)$/;

/** A missing tensor of this name is no loss. */
export const isComputed = (name: string): boolean => computed.test(name);

/** Names of networks that might have such shapes: those of the family, in the width that a ResNet has. */
function candidates(shapeOf: ShapeOf, scheme?: string): string[] {
  const kind = families.find(([telling]) => shapeOf(telling))?.[1];
  const listed = backbones().filter(({ name }) => kind?.test(name));
  const of = (pattern: RegExp, channels = 64) =>
    listed.flatMap(({ name }) => (pattern.test(name) ? [channels === 64 ? name : `${name}-w${channels / 64}`] : []));
  const stem = shapeOf("conv1.weight");
  if (stem && !shapeOf("layer4.0.conv1.weight")) return Object.keys(cifarResnets);
  if (stem && stem[2] === 3) return of(/^resnet\d+-cifar$/, stem[0]);
  if (stem) return shapeOf("layer1.0.conv1.weight")?.[0] === stem[0] ? of(/^resnet\d+$/, stem[0]) : of(/^(wide-resnet|resnext)/);
  const first = shapeOf("conv2d.weight");
  const second = shapeOf("conv2d_1.weight");
  if (first && second) {
    if (second[2] === 3) return of(/-sk$/, 2 * first[0]); // three convolutions in front, as with selective kernels
    const names = of(/^simclr-[^-]*$/, first[0]);
    return first[2] === 3 ? names.map((name) => name.replace(/^simclr-[^-]*/, "$&-cifar")) : names;
  }
  const features = (shapeOf("norm.weight") ?? shapeOf("fc_norm.weight"))?.[0];
  const names = listed.filter((entry) => features === undefined || entry.features === features).map(({ name }) => name);
  return [...names, ...names.flatMap((name) => relativesOf(name, shapeOf))].filter(
    (name) => !scheme || !/^swin-[a-z]+(-w\d+)?$/.test(name),
  );
}

/** Names of the same network with what a checkpoint shows: another window, tables in each block, mean pooling. */
function relativesOf(name: string, shapeOf: ShapeOf): string[] {
  if (name.startsWith("swin-")) {
    const [rows] = shapeOf("layers.0.blocks.0.attn.relative_position_bias_table") ?? [];
    const window = (Math.sqrt(rows) + 1) / 2;
    return Number.isInteger(window) && !/-(192|w\d+)$/.test(name) ? [`${name}-w${window}`] : [];
  }
  const blocks = shapeOf("blocks.0.attn.relative_position_bias_table") ? "-blocks" : "";
  const mean = shapeOf("fc_norm.weight") && !shapeOf("norm.weight") ? "-mean" : "";
  return blocks || mean ? [name + blocks + mean] : [];
}

/** A network whose numbers nobody needs; undefined where there is none of that size or width. */
function outline(name: string, side: number | undefined): { network: Backbone; size?: number } | undefined {
  try {
    return { network: withoutNumbers(() => makeBackbone(name, { size: side })), size: side };
  } catch (error) {
    if (error instanceof RangeError) return undefined;
    throw error;
  }
}

/** PyTorch writes a scalar with shape [] and other writers as [1]. */
const fits = (a: Shape, b: Shape) => sameShape(a, b) || (size(a) === 1 && size(b) === 1);

/** A place in a file under the names of a scheme. */
interface Place {
  readonly prefix: string;
  readonly names: Tensors;
  readonly scheme?: string;
}

/** Compares what stands behind a prefix with a backbone: of the size that its tables show, or with `resize` of its usual size. */
function compare(backbone: string, { prefix, names, scheme }: Place, resize = false): Found | undefined {
  const shapeOf = (name: string) => names.get(prefix + name)?.shape;
  const made = outline(backbone, resize ? undefined : sizeOfTables(backbone, shapeOf));
  if (!made) return undefined;
  const tensors = new Map<string, StoredTensor>();
  const [missing, resized]: string[][] = [[], []];
  const misfits: Misfit[] = [];
  const seen = new Set<Parameter>(); // what layers share need only be there under its first name
  for (const [name, parameter] of made.network.namedState()) {
    const tensor = names.get(prefix + name);
    const isTable = resize && tensor && canFit(name, parameter.officialShape, tensor.shape);
    if (tensor && (isTable || fits(tensor.shape, parameter.officialShape))) tensors.set(name, tensor);
    else if (tensor && !isComputed(name)) misfits.push({ name, shape: tensor.shape, wanted: parameter.officialShape });
    else if (!isComputed(name) && !seen.has(parameter)) missing.push(name);
    if (isTable && !sameShape(tensor.shape, parameter.officialShape)) resized.push(name);
    seen.add(parameter);
  }
  const known = new Set([...tensors.keys(), ...misfits.map(({ name }) => name)]);
  const behind = [...names.keys()].flatMap((name) => (name.startsWith(prefix) ? [name.slice(prefix.length)] : []));
  const extra = behind.filter((name) => !known.has(name) && !isComputed(name));
  return { backbone, size: made.size, prefix, scheme, tensors, missing, extra, misfits, resized };
}

/** How many tensors are missing or have another shape. */
export const flaws = ({ missing, misfits }: Found): number => missing.length + misfits.length;

/** Fewest flaws, then most tensors: ViTs of 12 blocks are part of those of 24. */
const better = (a: Found, b: Found) => flaws(a) - flaws(b) || b.tensors.size - a.tensors.size;

export interface FindOptions {
  /**
   * The network that it must be, where shapes do not tell: heads show in none. It may have other windows than the checkpoint's; then
   * tables are resized.
   */
  backbone?: string;
}

/**
 * Finds the network that is evaluated: under the prefixes of official checkpoints or any other, in the names of this library, timm,
 * torchvision, transformers, mmselfsup, detectron2 or TensorFlow. Of a checkpoint that is nearly one, the nearest; undefined where nothing is alike.
 */
export function findBackbone(tensors: Tensors, { backbone }: FindOptions = {}): Found | undefined {
  if (backbone !== undefined) {
    const wrong = backboneError(backbone);
    if (wrong) throw new RangeError(wrong);
  }
  const isMoco3 = methodOf(tensors.keys()) === "MoCo v3";
  const found: Found[] = [];
  for (const { scheme, tensors: names } of readings(tensors)) {
    for (const prefix of prefixesIn(names)) {
      const shapeOf = (name: string) => names.get(prefix + name)?.shape;
      const place = { prefix, names, scheme };
      const tried = backbone === undefined ? candidates(shapeOf, scheme).filter((name) => !backboneError(name)) : [backbone];
      // MoCo v3's have the shapes of others and more heads
      const ordered = isMoco3 ? [...tried].sort((a, b) => Number(b.startsWith("moco3")) - Number(a.startsWith("moco3"))) : tried;
      const compared = ordered.flatMap((name) => compare(name, place) ?? []);
      if (backbone !== undefined && compared.every(flaws)) compared.push(...[compare(backbone, place, true) ?? []].flat());
      const alike = compared.filter((one) => flaws(one) < one.tensors.size);
      found.push(...alike.sort(better).slice(0, 1));
    }
  }
  const whole = (one: Found) => Number(flaws(one) > 0);
  return found.sort((a, b) => whole(a) - whole(b) || placeRank(a.prefix) - placeRank(b.prefix) || better(a, b))[0];
}

/** More networks than any checkpoint keeps. */
const mostPrefixes = 64;

function prefixesIn(names: Tensors): string[] {
  const prefixes = new Set<string>();
  for (const name of names.keys()) {
    for (const [anchor] of families) {
      if (!name.endsWith(anchor)) continue;
      const prefix = name.slice(0, -anchor.length);
      if (prefix === "" || /[./]$/.test(prefix)) prefixes.add(prefix);
    }
  }
  return [...prefixes].slice(0, mostPrefixes);
}
