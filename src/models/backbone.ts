// What a method may know of a backbone, and what a family says of its networks.
import type { Module } from "../nn/module.ts";
import type { Shape } from "../tape/shape.ts";
import type { Tensor } from "../tape/tensor.ts";
import type { BiasResize } from "./relative-position.ts";

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
