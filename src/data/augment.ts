// Draws what a view leaves to chance, and applies it. `draw` and `apply` are apart so that fixed draws can be replayed.
import type { Action, Operations } from "./action.ts";
import { type Bitmap, ImageMemory } from "./kernels.ts";
import { type Box, type Picture, roundHalfEven } from "./picture.ts";
import { PillowArithmetic } from "./pillow.ts";
import { between, permutation, type Uniform, whole } from "./random.ts";
import { FloatArithmetic } from "./tensors.ts";
import type { Interpolation, Range, Step, ViewSpec } from "./views.ts";

const RATIO: Range = [3 / 4, 4 / 3];

/**
 * The box of torchvision's RandomResizedCrop.get_params: ten tries, then the whole picture with its aspect clamped. Draws are rounded by
 * `round`, to float32 as torch makes them.
 */
export function drawBox(uniform: Uniform, width: number, height: number, scale: Range, ratio: Range = RATIO, round = Math.fround): Box {
  const logs = ratio.map((r) => round(Math.log(r)));
  for (let attempt = 0; attempt < 10; attempt++) {
    const area = width * height * round(between(uniform, scale[0], scale[1]));
    const aspect = round(Math.exp(round(between(uniform, logs[0], logs[1]))));
    const w = roundHalfEven(Math.sqrt(area * aspect));
    const h = roundHalfEven(Math.sqrt(area / aspect));
    if (w <= 0 || w > width || h <= 0 || h > height) continue;
    const top = whole(uniform, height - h + 1);
    return { top, left: whole(uniform, width - w + 1), height: h, width: w };
  }
  const aspect = width / height;
  const w = aspect > ratio[1] ? roundHalfEven(height * ratio[1]) : width;
  const h = aspect < ratio[0] ? roundHalfEven(width / ratio[0]) : height;
  return { top: (height - h) >> 1, left: (width - w) >> 1, height: h, width: w };
}

/**
 * The box of TensorFlow's sample_distorted_bounding_box with the whole picture as its object: the aspect is uniform, not
 * log-uniform, then the height is uniform among those that keep the area in `scale`; 100 tries, then the whole picture.
 */
export function drawTensorflowBox(uniform: Uniform, width: number, height: number, scale: Range, ratio: Range = RATIO): Box {
  const [least, most] = scale.map((s) => s * width * height);
  for (let attempt = 0; attempt < 100; attempt++) {
    const aspect = between(uniform, ratio[0], ratio[1]);
    let highest = roundHalfEven(Math.sqrt(most / aspect));
    if (roundHalfEven(highest * aspect) > width) highest = Math.floor((width + 0.5 - 1e-7) / aspect);
    highest = Math.min(highest, height);
    const lowest = Math.min(roundHalfEven(Math.sqrt(least / aspect)), highest);
    let h = lowest + whole(uniform, highest - lowest + 1);
    if (h * roundHalfEven(h * aspect) < least) h++;
    if (h * roundHalfEven(h * aspect) > most) h--;
    const w = roundHalfEven(h * aspect);
    if (h * w < least || h * w > most || w <= 0 || w > width || h <= 0 || h > height) continue;
    const top = h < height ? whole(uniform, height - h) : 0;
    return { top, left: w < width ? whole(uniform, width - w) : 0, height: h, width: w };
  }
  return { top: 0, left: 0, height, width };
}

/** One patch of `size` pixels in each cell of a 3 x 3 grid, moved down and right by `rows[i]` and `columns[i]`. */
export function jigsawBoxes(width: number, height: number, size: number, rows: ArrayLike<number>, columns: ArrayLike<number>): Box[] {
  const [down, right] = [Math.floor(height / 3), Math.floor(width / 3)];
  return Array.from({ length: 9 }, (_, i) => ({
    top: down * Math.floor(i / 3) + rows[i],
    left: right * (i % 3) + columns[i],
    height: size,
    width: size,
  }));
}

const drawColor = {
  brightness: (uniform: Uniform, x: number, additive?: boolean): Action =>
    additive ? ["brighten", between(uniform, -x, x)] : ["brightness", between(uniform, Math.max(0, 1 - x), 1 + x)],
  contrast: (uniform: Uniform, x: number): Action => ["contrast", between(uniform, Math.max(0, 1 - x), 1 + x)],
  saturation: (uniform: Uniform, x: number): Action => ["saturation", between(uniform, Math.max(0, 1 - x), 1 + x)],
  hue: (uniform: Uniform, x: number): Action => ["hue", between(uniform, -x, x)],
};

function drawJitter(step: Extract<Step, { step: "jitter" }>, uniform: Uniform): Action[] {
  const names = ["brightness", "contrast", "saturation", "hue"] as const;
  const order = permutation(uniform, names.length); // torchvision draws the order first, and leaves out what cannot change
  const drawn = names.map((name) => (step[name] > 0 ? drawColor[name](uniform, step[name], step.additive) : undefined));
  return Array.from(order, (i) => drawn[i]).filter((action) => action !== undefined);
}

function centered(width: number, height: number, size: number): Box {
  if (width < size || height < size) throw new RangeError(`Cannot cut ${size} x ${size} out of the middle of ${width} x ${height} pixels`);
  return { top: roundHalfEven((height - size) / 2), left: roundHalfEven((width - size) / 2), height: size, width: size };
}

/** Where the draws of one view of one picture come from. `batch` is shared by all pictures of a step. */
export interface Streams {
  picture: Uniform;
  batch: Uniform;
}

/** Draws one view of a picture of `width` by `height`: the actions to apply, in order. */
export function draw(view: ViewSpec, width: number, height: number, { picture, batch }: Streams): Action[] {
  const actions: Action[] = [];
  const crop = (box: Box, w: number, h: number, interpolation: Interpolation) => {
    actions.push(["crop", box, w, h, interpolation]);
    [width, height] = [w, h];
  };
  const steps: { [S in Step as S["step"]]: (step: S) => void } = {
    resizedCrop({ scale, ratio, interpolation }) {
      const box = view.arithmetic === "tensorflow" ? drawTensorflowBox : drawBox;
      crop(box(picture, width, height, scale, ratio), view.size, view.size, interpolation);
    },
    resize({ to, interpolation }) {
      const [w, h] = width <= height ? [to, Math.trunc((to * height) / width)] : [Math.trunc((to * width) / height), to];
      if (w !== width || h !== height) crop({ top: 0, left: 0, height, width }, w, h, interpolation);
    },
    stretch: ({ interpolation }) => crop({ top: 0, left: 0, height, width }, view.size, view.size, interpolation),
    centerCrop: () => crop(centered(width, height, view.size), view.size, view.size, "nearest"),
    centralCrop({ proportion, interpolation }) {
      const side = roundHalfEven(proportion * Math.min(width, height));
      crop(
        { top: (height - side + 1) >> 1, left: (width - side + 1) >> 1, height: side, width: side },
        view.size,
        view.size,
        interpolation,
      );
    },
    flip: () => actions.push(["flip"]),
    jitter: (step) => actions.push(...drawJitter(step, picture)),
    grayscale: () => actions.push(["grayscale"]),
    blur: (step) => actions.push(["blur", between(step.batch ? batch : picture, step.sigma[0], step.sigma[1]), step.kernel]),
    solarize: ({ threshold }) => actions.push(["solarize", threshold]),
  };
  for (const step of view.steps) {
    if (!("p" in step) || step.p >= 1 || picture() < step.p) (steps[step.step] as (step: Step) => void)(step);
  }
  return actions;
}

/** Applies actions in order. */
export const run = <P>(operations: Operations<P>, picture: P, actions: readonly Action[]): P =>
  actions.reduce((p, [name, ...args]) => (operations[name] as (picture: P, ...args: unknown[]) => P)(p, ...args), picture);

/** Applies views to pictures, with memory of its own. One for each thread. */
export class Augmenter {
  readonly memory = new ImageMemory();
  private readonly pillow = new PillowArithmetic(this.memory);
  private readonly tensors = {
    tensorflow: new FloatArithmetic(this.memory, "tensorflow"),
    torch: new FloatArithmetic(this.memory, "torch"),
  };

  /** A picture in another size, as Pillow's `Image.resize`. */
  resize(picture: Picture, width: number, height: number, interpolation: Interpolation): Picture {
    this.memory.reset();
    const { data } = this.memory.view(this.pillow.resize(this.memory.put(picture), width, height, interpolation));
    return { width, height, data: data.slice() };
  }

  /** Writes each view of a picture, normalised, to `outputs[i]` [size, size, 3]. `streams(i)` gives the draws of view i. */
  apply(picture: Picture, views: readonly ViewSpec[], streams: (view: number) => Streams, outputs: readonly Float32Array[]): void {
    this.memory.reset();
    const bitmap = views.some((view) => view.arithmetic === "pillow") ? this.memory.put(picture) : undefined;
    for (const [i, view] of views.entries()) {
      const actions = draw(view, picture.width, picture.height, streams(i));
      const mark = this.memory.mark();
      if (view.arithmetic === "pillow") this.pillow.normalize(run(this.pillow, bitmap as Bitmap, actions), view, outputs[i]);
      else {
        const floats = this.tensors[view.arithmetic];
        floats.normalize(run(floats, ...floats.open(picture, actions)), view, outputs[i]);
      }
      this.memory.release(mark);
    }
  }
}
