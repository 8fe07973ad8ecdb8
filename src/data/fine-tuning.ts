// Draws of supervised fine-tuning pipelines: timm's crop, RandAugment's arguments and random erasing, and MAE's probe crop.
// github.com/rwightman/pytorch-image-models 0.3.2, timm/data/{transforms,auto_augment,random_erasing}.py
import { drawBox } from "./augment.ts";
import { type Box, roundHalfEven } from "./picture.ts";
import { between, type Uniform, whole } from "./random.ts";
import type { Range } from "./views.ts";

const RATIO: Range = [3 / 4, 4 / 3];

/** timm's RandomResizedCropAndInterpolation: torchvision's box with draws in float64. */
export const drawTimmBox = (uniform: Uniform, width: number, height: number, scale: Range, ratio: Range = RATIO): Box =>
  drawBox(uniform, width, height, scale, ratio, (x) => x);

/** The crop of MAE's linear probe: one draw, cut down to the picture where it does not fit. github.com/facebookresearch/mae, util/crop.py */
export function drawClampedBox(uniform: Uniform, width: number, height: number, scale: Range = [0.08, 1], ratio: Range = RATIO): Box {
  const area = width * height * Math.fround(between(uniform, scale[0], scale[1]));
  const [low, high] = ratio.map((r) => Math.fround(Math.log(r)));
  const aspect = Math.fround(Math.exp(Math.fround(between(uniform, low, high))));
  const w = Math.min(width, roundHalfEven(Math.sqrt(area * aspect)));
  const h = Math.min(height, roundHalfEven(Math.sqrt(area / aspect)));
  const top = whole(uniform, height - h + 1);
  return { top, left: whole(uniform, width - w + 1), height: h, width: w };
}

export interface Erasing {
  /** How often a picture is erased. */
  p: number;
  /** Fractions of the area. */
  area?: Range;
  /** Height over width, drawn log-uniformly. */
  aspect?: Range;
}

/** The box that random erasing fills with noise, smaller than the picture; undefined where it does nothing. Zhong et al. 2017, arXiv 1708.04896 */
export function drawErasing(
  uniform: Uniform,
  width: number,
  height: number,
  { p, area = [0.02, 1 / 3], aspect = [0.3, 1 / 0.3] }: Erasing,
): Box | undefined {
  if (uniform() > p) return undefined;
  for (let attempt = 0; attempt < 10; attempt++) {
    const pixels = between(uniform, area[0], area[1]) * width * height;
    const ratio = Math.exp(between(uniform, Math.log(aspect[0]), Math.log(aspect[1])));
    const h = roundHalfEven(Math.sqrt(pixels * ratio));
    const w = roundHalfEven(Math.sqrt(pixels / ratio));
    if (w >= width || h >= height) continue;
    const top = whole(uniform, height - h + 1);
    return { top, left: whole(uniform, width - w + 1), height: h, width: w };
  }
  return undefined;
}

const enhance = (level: number, sign: number) => 1 + sign * 0.9 * level;
const shear = (level: number, sign: number) => sign * 0.3 * level;
const shift = (level: number, sign: number) => sign * 0.45 * level;

/** What each "increasing" operation of RandAugment makes of a level in [0, 1] and a sign. Cubuk et al. 2019, arXiv 1909.13719 */
export const randAugmentArguments = {
  Rotate: (level: number, sign: number) => sign * 30 * level,
  PosterizeIncreasing: (level: number) => 4 - Math.trunc(level * 4),
  SolarizeIncreasing: (level: number) => 256 - Math.trunc(level * 256),
  SolarizeAdd: (level: number) => Math.trunc(level * 110),
  ColorIncreasing: enhance,
  ContrastIncreasing: enhance,
  BrightnessIncreasing: enhance,
  SharpnessIncreasing: enhance,
  ShearX: shear,
  ShearY: shear,
  TranslateXRel: shift,
  TranslateYRel: shift,
};
