// Views as data: what is done to a decoded picture, in order, before a network sees it. A method states its views with
// these types; `augment.ts` draws the random numbers and applies them.

/** A closed range of a uniform draw. */
export type Range = readonly [low: number, high: number];

export type Interpolation = "nearest" | "box" | "bilinear" | "bicubic" | "lanczos";

/**
 * Whose definitions of the steps hold. "pillow": 8-bit pictures, rounded after every step, as torchvision's transforms of PIL
 * images. "tensorflow": float32 in [0, 1] as the SimCLR and BYOL pipelines, without antialias. "torch": torchvision's transforms
 * of float tensors.
 */
export type Arithmetic = "pillow" | "tensorflow" | "torch";

/** One step of a view. `p` is the probability that the step is applied. */
export type Step =
  /** A random box of area fraction `scale` and aspect `ratio` (default 3/4 to 4/3), resized to the view's size. */
  | { readonly step: "resizedCrop"; readonly scale: Range; readonly ratio?: Range; readonly interpolation: Interpolation }
  /** Resizes the shorter side to `to` pixels and keeps the aspect. */
  | { readonly step: "resize"; readonly to: number; readonly interpolation: Interpolation }
  /** Resizes the whole picture to the view's size, whatever its aspect. */
  | { readonly step: "stretch"; readonly interpolation: Interpolation }
  /** Cuts the view's size out of the middle. */
  | { readonly step: "centerCrop" }
  /** Cuts a square of `proportion` of the shorter side out of the middle and resizes it to the view's size. */
  | { readonly step: "centralCrop"; readonly proportion: number; readonly interpolation: Interpolation }
  /** Mirrors left and right. */
  | { readonly step: "flip"; readonly p: number }
  /** Brightness, contrast and saturation by factors from [max(0, 1 - x), 1 + x], hue by up to ±`hue` turns, in random order. */
  | {
      readonly step: "jitter";
      readonly p: number;
      readonly brightness: number;
      readonly contrast: number;
      readonly saturation: number;
      readonly hue: number;
      /** Brightness adds a draw from ±`brightness` instead of multiplying (arithmetic "tensorflow" only: SimCLR v1, BYOL). */
      readonly additive?: boolean;
    }
  | { readonly step: "grayscale"; readonly p: number }
  /**
   * Gaussian blur. Without `kernel`, Pillow's approximation by three boxes, `sigma` being its radius; with `kernel`, a true
   * Gaussian of that many taps. `batch` draws one sigma for a whole batch, as SimCLR's TensorFlow code does.
   */
  | { readonly step: "blur"; readonly p: number; readonly sigma: Range; readonly kernel?: number; readonly batch?: boolean }
  /** Inverts values at or above `threshold`, counted in 1/256. */
  | { readonly step: "solarize"; readonly p: number; readonly threshold: number };

/** One view of a picture: [size, size, 3], float32. */
export interface ViewSpec {
  /** Side of the finished view in pixels. */
  readonly size: number;
  readonly steps: readonly Step[];
  readonly arithmetic: Arithmetic;
  /** Subtracted from values in [0, 1], one number a channel. Without it the view stays in [0, 1]. */
  readonly mean?: readonly [number, number, number];
  /** Divides what `mean` leaves. */
  readonly std?: readonly [number, number, number];
}

export const imagenet = { mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225] } as const;
export const cifar10 = { mean: [0.4914, 0.4822, 0.4465], std: [0.247, 0.2435, 0.2616] } as const;

const crop = (scale: Range, interpolation: Interpolation = "bilinear"): Step => ({ step: "resizedCrop", scale, interpolation });
const jitter = (p: number, brightness: number, contrast: number, saturation: number, hue: number): Step => ({
  step: "jitter",
  p,
  brightness,
  contrast,
  saturation,
  hue,
});
const flip: Step = { step: "flip", p: 0.5 };
const grayscale: Step = { step: "grayscale", p: 0.2 };
const blur = (p: number): Step => ({ step: "blur", p, sigma: [0.1, 2] });

const pillow = (size: number, steps: Step[]): ViewSpec => ({ size, steps, arithmetic: "pillow", ...imagenet });

/** The same view, drawn twice independently. */
const twice = (view: ViewSpec): ViewSpec[] => [view, view];

/** MoCo v1. github.com/facebookresearch/moco, main_moco.py: grayscale before the jitter, flip last. */
export const mocoV1Views = (size = 224): ViewSpec[] =>
  twice(pillow(size, [crop([0.2, 1]), grayscale, jitter(1, 0.4, 0.4, 0.4, 0.4), flip]));

/** MoCo v2, also SimSiam's. github.com/facebookresearch/moco, main_moco.py, `--aug-plus`. */
export const mocoV2Views = (size = 224): ViewSpec[] =>
  twice(pillow(size, [crop([0.2, 1]), jitter(0.8, 0.4, 0.4, 0.4, 0.1), grayscale, blur(0.5), flip]));

export interface SimclrChanges {
  strength?: number;
  blurred?: boolean;
  /** Share of the picture in a view. */
  scale?: Range;
  /** Probability that a view loses its colours. */
  grey?: number;
}

/**
 * SimCLR as PyTorch code does it (github.com/open-mmlab/mmselfsup, configs/selfsup/simclr). `strength` scales the jitter; small
 * pictures use 0.5 and no blur.
 */
export const simclrViews = (
  size = 224,
  { strength = 1, blurred = size > 32, scale = [0.08, 1], grey = 0.2 }: SimclrChanges = {},
): ViewSpec[] => {
  const color = jitter(0.8, 0.8 * strength, 0.8 * strength, 0.8 * strength, 0.2 * strength);
  return twice(pillow(size, [crop(scale), flip, color, { ...grayscale, p: grey }, ...(blurred ? [blur(0.5)] : [])]));
};

/** SimCLR's own float pipeline, without normalisation. github.com/google-research/simclr, tf2/data_util.py. */
export const simclrFloatViews = (
  size = 224,
  { strength = 1, blurred = size > 32, scale = [0.08, 1], grey = 0.2 }: SimclrChanges = {},
): ViewSpec[] => {
  const color = jitter(0.8, 0.8 * strength, 0.8 * strength, 0.8 * strength, 0.2 * strength);
  const kernel = 2 * Math.floor(Math.floor(size / 10) / 2) + 1;
  const blurs: Step[] = blurred ? [{ step: "blur", p: 0.5, sigma: [0.1, 2], kernel, batch: true }] : [];
  return twice({ size, steps: [crop(scale, "bicubic"), flip, color, { ...grayscale, p: grey }, ...blurs], arithmetic: "tensorflow" });
};

export interface MultiCrop {
  /** Side of a local view. */
  localSize?: number;
  /** How many local views follow the two global ones. */
  locals?: number;
  globalScale?: Range;
  localScale?: Range;
  /** Without it no view is blurred or solarised: small pictures have no detail to lose. */
  blurred?: boolean;
}

/** DINO's two global views, then its local ones. github.com/facebookresearch/dino, main_dino.py, DataAugmentationDINO. */
export const dinoViews = (
  size = 224,
  {
    localSize = Math.round((size * 96) / 224),
    locals = 8,
    globalScale = [0.4, 1],
    localScale = [0.05, 0.4],
    blurred = true,
  }: MultiCrop = {},
): ViewSpec[] => {
  const view = (side: number, scale: Range, ...last: Step[]) =>
    pillow(side, [crop(scale, "bicubic"), flip, jitter(0.8, 0.4, 0.4, 0.2, 0.1), grayscale, ...(blurred ? last : [])]);
  return [
    view(size, globalScale, blur(1)),
    view(size, globalScale, blur(0.1), { step: "solarize", p: 0.2, threshold: 128 }),
    ...Array.from({ length: locals }, () => view(localSize, localScale, blur(0.5))),
  ];
};

/** MAE's single view: no colour. github.com/facebookresearch/mae, main_pretrain.py. */
export const maeViews = (size = 224): ViewSpec[] => [pillow(size, [crop([0.2, 1], "bicubic"), flip])];

/** Crop and flip, as linear probes train. */
export const probeView = (size = 224, interpolation: Interpolation = "bilinear"): ViewSpec =>
  pillow(size, [crop([0.08, 1], interpolation), flip]);

/** Shorter side to `resize`, centre crop to `size`: what evaluations see. At 32 pixels and below nothing is cut away. */
export const evaluationView = (
  size = 224,
  {
    resize = size > 32 ? Math.round((size * 256) / 224) : size,
    interpolation = "bilinear",
  }: { resize?: number; interpolation?: Interpolation } = {},
): ViewSpec => pillow(size, [{ step: "resize", to: resize, interpolation }, { step: "centerCrop" }]);

/** The whole picture, its aspect lost. github.com/facebookresearch/dino, visualize_attention.py. */
export const stretchedView = (size: number): ViewSpec => pillow(size, [{ step: "stretch", interpolation: "bilinear" }]);

/** SimCLR's evaluation: the central 7/8, bicubic without antialias, in [0, 1]. */
export const simclrFloatEvaluationView = (size = 224): ViewSpec => ({
  size,
  steps: [{ step: "centralCrop", proportion: size > 32 ? 0.875 : 1, interpolation: "bicubic" }],
  arithmetic: "tensorflow",
});

/** The picture itself in [0, 1], its shorter side resized to `size` and the middle taken. */
export const rawView = (size: number): ViewSpec => ({
  size,
  steps: [{ step: "resize", to: size, interpolation: "bilinear" }, { step: "centerCrop" }],
  arithmetic: "pillow",
});
