// Kinds aug-*: picture operations against Pillow, torchvision and the official float pipelines.
import type { Action } from "../../src/data/action.ts";
import { draw, drawBox, jigsawBoxes, run } from "../../src/data/augment.ts";
import { orient } from "../../src/data/exif.ts";
import { drawClampedBox, drawErasing, drawTimmBox, randAugmentArguments } from "../../src/data/fine-tuning.ts";
import { type Bitmap, ImageMemory } from "../../src/data/kernels.ts";
import type { Box, Picture } from "../../src/data/picture.ts";
import { nearestPositions, PillowArithmetic } from "../../src/data/pillow.ts";
import { type Affine, RandAugment, rotation, shearX, shearY, translate } from "../../src/data/randaugment.ts";
import type { Uniform } from "../../src/data/random.ts";
import { FloatArithmetic, type FloatBitmap, gaussianTaps } from "../../src/data/tensors.ts";
import { type Interpolation, imagenet } from "../../src/data/views.ts";
import type { Host } from "../../src/tape/trace.ts";
import { fill } from "../fill.ts";
import type { Check, Config, DigestLimits, Runner, Runners } from "./golden.ts";

const memory = new ImageMemory();
const pillow = new PillowArithmetic(memory);
const randAugment = new RandAugment(memory, pillow);
const torch = new FloatArithmetic(memory, "torch");
const tensorflow = new FloatArithmetic(memory, "tensorflow");

/** floor(256 fill(name)) as a picture, every cell repeated `repeat` times along both axes. */
function drawn(name: string, [h, w]: readonly number[], repeat = 1): Picture {
  const cells = fill(name, [h, w, 3], "unit").data;
  const [height, width] = [h * repeat, w * repeat];
  const data = Uint8Array.from({ length: height * width * 3 }, (_, i) => {
    const [row, column] = [Math.floor(i / (width * 3)), Math.floor(i / 3) % width];
    return Math.floor(256 * cells[(Math.floor(row / repeat) * w + Math.floor(column / repeat)) * 3 + (i % 3)]);
  });
  return { width, height, data };
}

/** torch's float32 is itself up to 0.9e-6 from float64 in the hue and in blurs of 529 taps. */
const torchLimit = 1e-6;

/** The two pictures of an aug-* file. */
const pictures = ({ prefix = "", sizes = { noise: [61, 83], cells: [7, 9], repeat: 8 } }: Config): Record<string, Picture> => ({
  noise: drawn(`${prefix}noise`, sizes.noise),
  cells: drawn(`${prefix}cells`, sizes.cells, sizes.repeat),
});

/** Pixels of float32, outside the kernels' memory. */
interface FloatPicture {
  width: number;
  height: number;
  data: Float32Array;
}

const floats = ({ at, width, height }: FloatBitmap): FloatPicture => ({
  width,
  height,
  data: memory.floats(at, width * height * 3).slice(),
});

const host = ({ height, width, data }: Picture | FloatPicture): Host => ({ data: Float32Array.from(data), shape: [height, width, 3] });

/** [h, w, 3] -> [3, h, w], every `rows`-th row and `columns`-th column. */
function planes({ height, width, data }: FloatPicture, rows = 1, columns = 1): Host {
  const values: number[] = [];
  for (let c = 0; c < 3; c++) {
    for (let i = 0; i < height; i += rows) for (let j = 0; j < width; j += columns) values.push(data[(i * width + j) * 3 + c]);
  }
  return { data: Float32Array.from(values), shape: [3, Math.ceil(height / rows), Math.ceil(width / columns)] };
}

/** Compares each tensor `<picture>/<rest>` with what `make` returns for its picture and rest. */
const eachName =
  (
    make: (picture: Bitmap, parts: string[], config: Config) => Bitmap,
    compare: (check: Check, name: string, got: Host) => void = exact,
  ): Runner =>
  (golden, check) => {
    const all = pictures(golden.config);
    for (const name of golden.tensors.keys()) {
      const [picture, ...parts] = name.split("/");
      memory.reset();
      compare(check, name, host(memory.view(make(memory.put(all[picture]), parts, golden.config))));
    }
  };

const exact = (check: Check, name: string, got: Host) => check.exact(name, got);

/** Shorter side to `to`, then the middle `size`. */
function resizeAndCenter(x: Bitmap, to: number, size: number, interpolation: Interpolation): Bitmap {
  const zero = () => 0;
  const steps = [{ step: "resize", to, interpolation } as const, { step: "centerCrop" } as const];
  return run(pillow, x, draw({ size, steps, arithmetic: "pillow" }, x.width, x.height, { picture: zero, batch: zero }));
}

const basic: Record<string, (x: Bitmap) => Bitmap> = {
  grayscale3: (x) => pillow.grayscale(x),
  hflip: (x) => pillow.flip(x),
  vflip: (x) => memory.put(orient(memory.view(x), 4)),
  rotate90_expand: (x) => memory.put(orient(memory.view(x), 8)),
  rotate180_expand: (x) => memory.put(orient(memory.view(x), 3)),
  rotate270_expand: (x) => memory.put(orient(memory.view(x), 6)),
};

/** `solarize<threshold>`, `resize<short side>[_<interpolation>]_center<size>`, or one of the above. */
function basicOperation(name: string, x: Bitmap): Bitmap {
  const threshold = /^solarize(\d+)$/.exec(name)?.[1];
  if (threshold) return pillow.solarize(x, Number(threshold));
  const [, to, interpolation = "bilinear", size] = /^resize(\d+)(?:_([a-z]+))?_center(\d+)$/.exec(name) ?? [];
  return to ? resizeAndCenter(x, Number(to), Number(size), interpolation as Interpolation) : basic[name](x);
}

function normalized(x: Bitmap): FloatPicture {
  const data = new Float32Array(x.width * x.height * 3);
  pillow.normalize(x, imagenet, data);
  return { width: x.width, height: x.height, data };
}

const runBasic: Runner = (golden, check) => {
  const all = pictures(golden.config);
  for (const name of golden.tensors.keys()) {
    const [picture, operation] = name.split("/");
    memory.reset();
    const x = memory.put(all[picture]);
    if (operation === "normalize") check.close(name, planes(normalized(x), 7, 5), 1e-6);
    else check.exact(name, host(memory.view(basicOperation(operation, x))));
  }
};

const jitter = ["brightness", "contrast", "saturation", "hue"] as const;

const runJitter = eachName((x, [operation, values]) => {
  if (operation !== "full") return run(pillow, x, [[operation, Number(values)] as Action]);
  const [order, ...factors] = values.split("_");
  return run(
    pillow,
    x,
    [...order].map((i): Action => [jitter[Number(i)], Number(factors[Number(i)])]),
  );
});

const runJitterFloat: Runner = (golden, check) => {
  const all = pictures(golden.config);
  for (const name of golden.tensors.keys()) {
    const [picture, operation, factor] = name.split("/");
    memory.reset();
    const action = (factor === undefined ? [operation] : [operation, Number(factor)]) as unknown as Action;
    check.close(name, planes(floats(run(torch, torch.from(memory.put(all[picture])), [action])), 3, 4), torchLimit);
  }
};

const runBlur: Runner = (golden, check) => {
  const all = pictures(golden.config);
  for (const name of golden.tensors.keys()) {
    const [picture, operation] = name.split("/");
    const [, kind, kernel, sigma] = /^(pil_radius|torchvision_float|torchvision)_(?:k(\d+)_sigma_)?([\d.]+)$/.exec(
      operation,
    ) as RegExpExecArray;
    memory.reset();
    if (kind === "torchvision_float") {
      check.close(name, planes(floats(torch.blur(torch.from(memory.put(all[picture])), Number(sigma), Number(kernel)))), torchLimit);
    } else {
      const x = memory.put(all[picture]);
      check.exact(name, host(memory.view(pillow.blur(x, Number(sigma), kernel ? Number(kernel) : undefined))));
    }
  }
};

const runCrops = eachName((x, [mode, what]) => {
  const [top, left, height, width, oh, ow] = what.split(/_to_|[_x]/).map(Number);
  return pillow.crop(x, { top, left, height, width }, ow, oh, mode as Interpolation);
});

const fillColor = [124, 116, 104];

function affineOf(operation: string, amount: number, { width, height }: Bitmap): Affine {
  const matrices: Record<string, () => Affine> = {
    Rotate: () => rotation(amount, width, height),
    ShearX: () => shearX(amount),
    ShearY: () => shearY(amount),
    TranslateXRel: () => translate(amount * width, 0),
    TranslateYRel: () => translate(0, amount * height),
  };
  return matrices[operation]();
}

const randAugmentOps: Record<string, (x: Bitmap, amount: number) => Bitmap> = {
  AutoContrast: (x) => randAugment.autoContrast(x),
  Brightness: (x, f) => pillow.brightness(x, f),
  Color: (x, f) => pillow.saturation(x, f),
  Contrast: (x, f) => pillow.contrast(x, f),
  Equalize: (x) => randAugment.equalize(x),
  Invert: (x) => randAugment.invert(x),
  PosterizeTpu: (x, bits) => randAugment.posterize(x, bits),
  Sharpness: (x, f) => randAugment.sharpness(x, f),
  Solarize: (x, threshold) => pillow.solarize(x, threshold),
  SolarizeAdd: (x, amount) => randAugment.solarizeAdd(x, amount),
};

/** Affine bilinear pictures: at most one level on fewer than 0.1 % of the values. */
function nearly(check: Check, name: string, got: Host): void {
  const want = check.golden.get(name).data;
  const gaps = want.map((value, i) => Math.abs(value - got.data[i]));
  check.within(name, Math.max(...gaps), 1);
  check.within(name, gaps.filter((gap) => gap > 0).length / gaps.length, 1e-3);
}

const runRandAugment = eachName(
  (x, [operation, amount, interpolation]) =>
    interpolation === undefined
      ? randAugmentOps[operation](x, Number(amount))
      : randAugment.affine(x, affineOf(operation, Number(amount), x), interpolation as "bilinear" | "bicubic", fillColor),
  (check, name, got) => (name.endsWith("/bilinear") ? nearly : exact)(check, name, got),
);

/** A step of a pipeline as the file writes it. */
function pipelineAction([operation, ...args]: [string, ...number[]]): Action {
  if (operation === "crop") {
    const [top, left, height, width, size, interpolation] = args;
    return ["crop", { top, left, height, width }, size, size, interpolation as unknown as Interpolation];
  }
  if (operation === "hflip") return ["flip"];
  return operation === "solarize" ? ["solarize", 128] : ([operation, ...args] as unknown as Action);
}

const runPipelines: Runner = (golden, check) => {
  const all = pictures(golden.config);
  for (const [pipeline, steps] of Object.entries<[string, ...number[]][]>(golden.config.steps)) {
    for (const [picture, pixels] of Object.entries(all)) {
      memory.reset();
      check.close(`${pipeline}/${picture}`, planes(normalized(run(pillow, memory.put(pixels), steps.map(pipelineAction)))), 1e-6);
    }
  }
};

const runInfominBlur: Runner = (golden, check) => {
  const picture = drawn("infomin/noise", [50, 40]);
  for (const name of golden.tensors.keys()) {
    const sigma = /^blur22\/(.*)$/.exec(name)?.[1];
    if (sigma === undefined) continue;
    memory.reset();
    nearly(check, name, host(memory.view(pillow.convolve(memory.put(picture), gaussianTaps(23, Number(sigma)), Math.trunc))));
  }
  const jigsaw = drawn("infomin-jig/noise", [255, 255]);
  const [rows, columns] = ["infomin/jig1", "infomin/jig2"].map((name) => fill(name, [9], "unit").data.map((u) => Math.floor(22 * u)));
  const patches = jigsawBoxes(255, 255, 64, rows, columns).flatMap((box) => {
    memory.reset();
    const { data } = memory.view(pillow.crop(memory.put(jigsaw), box, 64, 64, "nearest"));
    return [0, 1].flatMap((row) => [...data.subarray(row * 64 * 3, row * 64 * 3 + 9)]);
  });
  check.exact("jigsaw_first_rows", { data: Float32Array.from(patches), shape: [9, 2, 3, 3] });
};

const runSimclr: Runner = (golden, check) => {
  const { prefix, size, box, out, sigma, bfac, cfac, sfac, hdelta, order } = golden.config;
  memory.reset();
  const image = tensorflow.put({ width: size, height: size, data: fill(`${prefix}image`, [size, size, 3], "unit").data });
  const [top, left, height, width] = box;
  const cropped = run(tensorflow, image, [["crop", { top, left, height, width }, out, out, "bicubic"]]);
  check.close("crop_resize", host(floats(cropped)), 2e-6);
  const cut = run(tensorflow, image, [["crop", { top, left, height, width }, width, height, "bicubic"]]);
  check.close("resize_unclipped", host(floats(tensorflow.resize(cut, out, out, "bicubic"))), 2e-6);
  const actions: Action[] = [
    ["brightness", bfac],
    ["contrast", cfac],
    ["saturation", sfac],
    ["hue", hdelta],
  ];
  const jittered = run(
    tensorflow,
    cropped,
    order.map((i: number) => actions[i]),
  );
  check.close("jitter", host(floats(jittered)), 1e-5);
  check.digest("grayscale#digest", host(floats(tensorflow.grayscale(jittered))), { sums: 1e-5, elements: 1e-5 });
  check.close("blur", { ...host(floats(tensorflow.blur(jittered, sigma))), shape: [1, out, out, 3] }, 1e-5);
};

const runByol: Runner = (golden, check) => {
  memory.reset();
  const [height, width] = golden.get("grayscale").shape;
  const image = tensorflow.put({ width, height, data: fill(`${golden.config.prefix}image`, [height, width, 3], "unit").data });
  for (const [i, one] of golden.config.cases.entries()) {
    const actions: Record<string, Action> = {
      brightness: ["brighten", one.brightness_delta],
      contrast: ["contrast", one.contrast_factor],
      saturation: ["saturation", one.saturation_factor],
      hue: ["hue", one.hue_delta],
    };
    for (const [name, action] of Object.entries(actions))
      check.close(`case${i}.${name}`, host(floats(run(tensorflow, image, [action]))), 2e-6);
  }
  check.close("grayscale", host(floats(tensorflow.grayscale(image))), 2e-6);
  check.close("solarize_0.5", host(floats(tensorflow.solarize(image, 128))), 2e-6);
};

/** `<name>.shape`, `.digest` and `.corner` of a picture [h, w, c], or of a tensor [c, h, w]. */
function compareParts(check: Check, name: string, got: Host, limits: DigestLimits): void {
  const [, h, w] = got.shape.length === 3 && got.shape[0] === 3 ? got.shape : [0, got.shape[0], got.shape[1]];
  const corner = check.golden.get(`${name}.corner`);
  const tensor = got.shape[0] === 3;
  const side = tensor ? 4 : 6;
  const values = Array.from(corner.data, (_, i) => {
    const channels = tensor ? 1 : corner.data.length / (side * side);
    const plane = tensor ? Math.floor(i / (side * side)) * h * w : 0;
    const [row, column, channel] = [
      Math.floor((i % (side * side * channels)) / (side * channels)),
      Math.floor(i / channels) % side,
      i % channels,
    ];
    return got.data[plane + (row * w + column) * channels + channel];
  });
  check.exact(`${name}.shape`, got.shape);
  if (tensor) check.close(`${name}.corner`, { data: Float32Array.from(values), shape: corner.shape }, 1e-5);
  else check.exact(`${name}.corner`, { data: Float32Array.from(values), shape: corner.shape });
  check.digest(`${name}.digest`, got, limits);
}

const runPreprocess: Runner = (golden, check) => {
  const { height, width, prefix, thumbnails, segmentation } = golden.config;
  memory.reset();
  const x = memory.put(drawn(`${prefix}image`, [height, width]));
  const evenly: DigestLimits = { sums: 1e-6, elements: 1e-6 };
  const cropped = Object.fromEntries(
    (["bilinear", "bicubic"] as const).map((interpolation) => [`val_${interpolation}`, resizeAndCenter(x, 256, 224, interpolation)]),
  );
  const all: Record<string, Bitmap> = { ...cropped, square320_bicubic: pillow.resize(x, 320, 320, "bicubic") };
  for (const side of thumbnails) all[`thumbnail${side}_lanczos`] = pillow.thumbnail(x, side);
  for (const [name, bitmap] of Object.entries(all)) compareParts(check, name, host(memory.view(bitmap)), evenly);

  const labels = fill(`${prefix}segmentation`, [height, width], "unit").data.map((u) => Math.floor(5 * u));
  const [rows, columns] = [nearestPositions(height, segmentation[0]), nearestPositions(width, segmentation[1])];
  const nearest = Array.from(rows).flatMap((row) => Array.from(columns, (column) => labels[row * width + column]));
  compareParts(check, "segmentation_nearest", { data: Float32Array.from(nearest), shape: segmentation }, evenly);

  const tensor = normalized(cropped.val_bicubic);
  const limits: DigestLimits = { sums: 1e-6, elements: 1e-5 };
  compareParts(check, "normalised", planes(tensor), limits);
  for (const [name, factor] of Object.entries({ "multiscale_0.7071": 1 / Math.sqrt(2), "multiscale_0.5": 0.5 })) {
    compareParts(check, name, planes(floats(torch.rescale(torch.put(tensor), factor))), limits);
  }
  check.leave("davis_sizes", "sizes of video frames, which this library does not read");
};

const runParameters: Runner = (golden, check) => {
  const { prefix, img_size, image_width, image_height, scale, ratio, randaugment_ops, magnitudes } = golden.config;
  const stream = (name: string): Uniform => {
    const draws = fill(`${prefix}${name}`, [4000], "unit").data.values();
    return () => draws.next().value as number;
  };
  const boxes = (name: string, make: (i: number) => Box | undefined) => {
    const { shape } = golden.get(name);
    const rows = Array.from({ length: shape[0] }, (_, i) => make(i)).flatMap((box) =>
      box ? [box.top, box.left, box.height, box.width] : [0, 0, 0, 0],
    );
    check.exact(name, { data: Float32Array.from(rows), shape });
  };
  const [timm, torchvision, probe, erase] = ["crop_timm", "crop_tv", "crop_byol", "erase"].map(stream);
  boxes("crop_timm", () => drawTimmBox(timm, image_width, image_height, scale, ratio));
  boxes("crop_torchvision", () => drawBox(torchvision, image_width, image_height, scale, ratio));
  boxes("crop_mae_linprobe", () => drawClampedBox(probe, image_width, image_height, golden.config.scale_mae_linprobe));
  boxes("erase_boxes", (i) => drawErasing(erase, img_size, img_size, { p: i % 2 ? 0.25 : 1 }));
  const levels = [1, -1].flatMap((sign) =>
    randaugment_ops.flatMap((name: keyof typeof randAugmentArguments) =>
      magnitudes.map((magnitude: number) => randAugmentArguments[name](magnitude / 10, sign)),
    ),
  );
  check.close("randaugment_inc_args", { data: Float32Array.from(levels), shape: golden.get("randaugment_inc_args").shape }, 1e-6);
};

export const runners: Runners = {
  "aug-params-mim": runParameters,
  "evaluation-preprocess": runPreprocess,
  "aug-basic": runBasic,
  "aug-color-jitter": runJitter,
  "aug-color-jitter-float": runJitterFloat,
  "aug-gaussian-blur": runBlur,
  "aug-resized-crop": runCrops,
  "aug-randaugment": runRandAugment,
  "aug-pipelines": runPipelines,
  "aug-infomin-blur": runInfominBlur,
  "simclr-aug": runSimclr,
  "byol-color": runByol,
};
