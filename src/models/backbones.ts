// Backbones by name.
import { withSeed } from "../nn/init.ts";
import type { Shape } from "../tape/shape.ts";
import type { Backbone, BuildOptions, Family, Variant } from "./backbone.ts";
import { beitFamily } from "./beit.ts";
import { conv4Family } from "./conv4.ts";
import { cvtFamily } from "./cvt.ts";
import { dinov2Family } from "./dinov2.ts";
import { resnetFamily } from "./resnet.ts";
import { cifarResnetFamily } from "./resnet-cifar.ts";
import { simclrResNetFamily } from "./resnet-simclr.ts";
import { swinFamily } from "./swin.ts";
import { vilFamily } from "./vil.ts";
import { vitFamily } from "./vit.ts";
import { xcitFamily } from "./xcit.ts";

/** How `makeBackbone` builds one. */
export interface BackboneOptions extends BuildOptions {
  /** The same seed gives the same weights; without it they are drawn from the surrounding `withSeed`. */
  seed?: number;
}

const families: readonly Family[] = [
  resnetFamily,
  cifarResnetFamily,
  simclrResNetFamily,
  conv4Family,
  vitFamily,
  dinov2Family,
  beitFamily,
  swinFamily,
  cvtFamily,
  vilFamily,
  xcitFamily,
];

/** What `autodidact models` lists. */
export interface BackboneEntry {
  readonly name: string;
  readonly features: number;
  readonly about: string;
}

/** Every listed backbone. `makeBackbone` knows more names: a ResNet also takes a width, "resnet18-cifar-w0.25". */
export const backbones = (): BackboneEntry[] =>
  families.flatMap(({ variants }) => Object.entries(variants).map(([name, { features, about }]) => ({ name, features, about })));

/** The variant of a name, or why there is none. */
function find(name: string): Variant | string {
  for (const { variants, parse } of families) {
    const found = Object.hasOwn(variants, name) ? variants[name] : parse?.(name);
    if (found !== undefined) return found;
  }
  return `Unknown backbone "${name}"`;
}

/** Why a name is no backbone, or undefined if it is one. For usage errors; `makeBackbone` throws the same words. */
export function backboneError(name: string): string | undefined {
  const found = find(name);
  return typeof found === "string" ? found : undefined;
}

/** The variant that a name stands for. */
export function variantNamed(name: string): Variant {
  const found = find(name);
  if (typeof found === "string") throw new RangeError(found);
  return found;
}

/** Builds a backbone with fresh weights. */
export function makeBackbone(name: string, { seed, ...options }: BackboneOptions = {}): Backbone {
  const { build } = variantNamed(name);
  return seed === undefined ? build(options) : withSeed(seed, () => build(options));
}

/**
 * Side of the images that the tables of a checkpoint were made for, to build a backbone that it fits; undefined where no table
 * depends on it or the checkpoint has none. `shapeOf` gives the shape under a name of the backbone's, if the checkpoint has it.
 */
export const sizeOfTables = (name: string, shapeOf: (name: string) => Shape | undefined): number | undefined =>
  variantNamed(name).sizeOf?.(shapeOf);
