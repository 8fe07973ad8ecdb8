// What a method may know of a backbone, and backbones by name.
import { withSeed } from "../nn/init.ts";
import type { Module } from "../nn/module.ts";
import type { Tensor } from "../tape/tensor.ts";
import { ResNet, resnets } from "./resnet.ts";
import { ViT, vits } from "./vit.ts";

/** A network from images to features. Images are [b, h, w, 3], normalised. */
export interface Backbone extends Module {
  /** Length of a feature vector. */
  readonly features: number;
  /** [b, h, w, 3] -> [b, features] */
  forward(x: Tensor): Tensor;
  /** Features by place: [b, h', w', c] (a ViT's patch tokens, a ResNet's last map before pooling). */
  map(x: Tensor): Tensor;
  /** Attention of the class token to the patches in the last block: [b, heads, h', w']. Transformers only. */
  attention?(x: Tensor): Tensor;
}

export interface BackboneOptions {
  /** Side of the images that position embeddings are made for; a multiple of the patch. */
  size?: number;
  /** Stochastic depth of the last block; earlier blocks have proportionally less. Transformers only. */
  dropPath?: number;
  /** The same seed gives the same weights; without it they are drawn from the surrounding `withSeed`. */
  seed?: number;
}

/** What `autodidact models` lists. */
export interface BackboneEntry {
  readonly name: string;
  readonly features: number;
  /** Architecture in a few words. */
  readonly about: string;
}

const widths = ["0.25", "0.5", "2", "4"];

/** Every name that `makeBackbone` knows. A ResNet also takes a width: "resnet18-cifar-w0.25". */
export function backbones(): BackboneEntry[] {
  const resnetEntries = Object.entries(resnets).flatMap(([name, { features, paper }]) => [
    { name, features, about: `${paper}; ImageNet stem` },
    { name: `${name}-cifar`, features, about: `${paper}; 3 x 3 stem without pooling, for images of 32 to 96` },
  ]);
  const vitEntries = Object.entries(vits).map(([name, { dim, depth, heads, patch }]) => ({
    name,
    features: dim,
    about: `ViT, ${depth} blocks of ${dim} with ${heads} heads, patch ${patch}`,
  }));
  return [...resnetEntries, ...vitEntries];
}

interface Parsed {
  family: string;
  cifar: boolean;
  width: number;
}

/** "resnet18-cifar-w0.25" -> family resnet18, CIFAR stem, width 0.25. */
function parse(name: string): Parsed | undefined {
  const match = /^(.*?)(-cifar)?(?:-w(\d+(?:\.\d+)?))?$/.exec(name);
  const [, family, cifar, width] = match as RegExpExecArray;
  if (family in vits && !cifar && !width) return { family, cifar: false, width: 1 };
  if (family in resnets) return { family, cifar: !!cifar, width: width === undefined ? 1 : Number(width) };
  return undefined;
}

/** Why a name is no backbone, or undefined if it is one. For usage errors; `makeBackbone` throws the same words. */
export function backboneError(name: string): string | undefined {
  const parsed = parse(name);
  if (!parsed) return `Unknown backbone "${name}"`;
  if (parsed.width < 0.25 || (64 * parsed.width) % 4)
    return `Cannot make "${name}": expected a width of 0.25 or more that gives whole channels, such as ${widths.join(", ")}`;
  return undefined;
}

/** Builds a backbone with fresh weights. */
export function makeBackbone(name: string, { size = 224, dropPath = 0, seed }: BackboneOptions = {}): Backbone {
  const error = backboneError(name);
  if (error) throw new RangeError(error);
  const { family, cifar, width } = parse(name) as Parsed;
  const build = () => {
    if (family in vits) return new ViT({ ...vits[family as keyof typeof vits], size, dropPath });
    return new ResNet({ ...resnets[family as keyof typeof resnets], cifarStem: cifar, width });
  };
  return seed === undefined ? build() : withSeed(seed, build);
}
