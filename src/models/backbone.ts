// What a method may know of a backbone, and backbones by name.
import { withSeed } from "../nn/init.ts";
import type { Module } from "../nn/module.ts";
import type { Shape } from "../tape/shape.ts";
import type { Tensor } from "../tape/tensor.ts";
import { beitFamily } from "./beit.ts";
import { conv4Family } from "./conv4.ts";
import { cvtFamily } from "./cvt.ts";
import { dinov2Family } from "./dinov2.ts";
import type { BiasResize } from "./relative-position.ts";
import { resnetFamily } from "./resnet.ts";
import { cifarResnetFamily } from "./resnet-cifar.ts";
import { simclrResNetFamily } from "./resnet-simclr.ts";
import { swinFamily } from "./swin.ts";
import { vilFamily } from "./vil.ts";
import { vitFamily } from "./vit.ts";
import { xcitFamily } from "./xcit.ts";

/** A network from images to features. Images are [b, h, w, 3], normalised. */
export interface Backbone extends Module {
  /** Length of a feature vector. */
  readonly features: number;
  /** [b, h, w, 3] -> [b, features] */
  forward(x: Tensor): Tensor;
  /** Features by place: [b, h', w', c] (a transformer's patch tokens, a ResNet's last map before pooling). */
  map(x: Tensor): Tensor;
  /** The map that each stage ends in, the finest first: [b, h', w', c] each. A plain transformer is one stage. */
  stages(x: Tensor): Tensor[];
  /** Tokens (or pixels in rows) after each of the last n blocks, the earliest first: [b, tokens, c] each, normed as the features are. */
  intermediateLayers(x: Tensor, n: number): Tensor[];
  /** Self-attention among all tokens in the last block: [b, heads, tokens, tokens]; by window where it is. Transformers only. */
  lastAttention?(x: Tensor): Tensor;
  /** Where the class token looks in the last block: [b, heads, h', w']. Transformers with a class token only. */
  attention?(x: Tensor): Tensor;
}

/** What a backbone is built with, beside its name. */
export interface BuildOptions {
  /** Side of the images that position tables are made for; without it the family's usual one. */
  size?: number;
  /** Stochastic depth of the last block; earlier blocks have proportionally less. Transformers only. */
  dropPath?: number;
}

export interface BackboneOptions extends BuildOptions {
  /** The same seed gives the same weights; without it they are drawn from the surrounding `withSeed`. */
  seed?: number;
}

/** One network of a family. */
export interface Variant {
  readonly features: number;
  /** Architecture in a few words. */
  readonly about: string;
  build(options: BuildOptions): Backbone;
  /** Only images of the size that its tables are made for can be encoded. */
  readonly oneSize?: boolean;
  /** Side of the images that its authors evaluate it with, where its tables are made for others. */
  readonly evaluatedAt?: number;
  /** How its authors resize tables of relative biases; "geometric" where nothing is said. */
  readonly resize?: BiasResize;
  /** Side of the images that a checkpoint's tables were made for, by the shapes under its names; undefined where nothing depends on it. */
  sizeOf?(shapeOf: (name: string) => Shape | undefined): number | undefined;
}

/** Networks of one kind. */
export interface Family {
  /** By name, as `autodidact models` lists them. */
  readonly variants: Readonly<Record<string, Variant>>;
  /** A variant that is not listed, such as one with a width of its own; or why a name that is nearly one is none. */
  parse?(name: string): Variant | string | undefined;
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
