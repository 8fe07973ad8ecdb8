// How weights begin. Every parameter draws from its own random stream, numbered in the order of construction within
// `withSeed`, so that the same seed and model give the same weights on every machine.
import { Random } from "../tape/philox.ts";
import { type Shape, size } from "../tape/shape.ts";
import { Parameter } from "../tape/tensor.ts";

/** Makes the numbers of a parameter. Weights are [out, ..., in], so fan-in and fan-out do not depend on the memory layout. */
export type Initializer = (shape: Shape, random: () => Random) => Float32Array;

let seed = 0;
let streams = 0;

/** Runs `build`; parameters made inside draw from streams 0, 1, 2 ... of this seed. */
export function withSeed<T>(value: number, build: () => T): T {
  const outer = [seed, streams];
  [seed, streams] = [value, 0];
  try {
    return build();
  } finally {
    [seed, streams] = outer;
  }
}

let blank = false;

/** Runs `build`; parameters made inside begin at zero. For what a checkpoint fills at once, or what is only asked for its shapes. */
export function withoutNumbers<T>(build: () => T): T {
  const outer = blank;
  blank = true;
  try {
    return build();
  } finally {
    blank = outer;
  }
}

const nextRandom = () => new Random(seed, streams++);

/** A new parameter with initial numbers. */
export const parameter = (shape: Shape, init: Initializer, options: ConstructorParameters<typeof Parameter>[2] = {}): Parameter =>
  new Parameter(shape, blank ? undefined : init(shape, nextRandom), options);

/** Gives a parameter new initial numbers. */
export function initialize(target: Parameter, init: Initializer): void {
  if (!blank) target.data.set(init(target.shape, nextRandom));
}

function draw(f: (random: Random) => number): Initializer {
  return (shape, random) => {
    const stream = random();
    const data = new Float32Array(size(shape));
    for (let i = 0; i < data.length; i++) data[i] = f(stream);
    return data;
  };
}

const fanIn = (shape: Shape) => size(shape.slice(1));
const fanOut = (shape: Shape) => size(shape.slice(0, -1));

export const constant =
  (value: number): Initializer =>
  (shape) =>
    new Float32Array(size(shape)).fill(value);
export const zeros = constant(0);
export const ones = constant(1);

/** N(0, std^2). */
export const normal = (std: number): Initializer => draw((random) => std * random.normal());

/** U(-bound, bound). */
export const uniform = (bound: number): Initializer => draw((random) => bound * (2 * random.uniform() - 1));

/** N(0, std^2), drawn again while outside [-limit, limit]. The limit is absolute, as in timm's and PyTorch's `trunc_normal_`. */
export const truncNormal = (std: number, limit = 2): Initializer =>
  draw((random) => {
    let x = std * random.normal();
    while (Math.abs(x) > limit) x = std * random.normal();
    return x;
  });

/** N(0, 2 / fan-out): torchvision's ResNets. He et al. 2015, arXiv 1502.01852. */
export const kaimingNormal: Initializer = (shape, random) => normal(Math.sqrt(2 / fanOut(shape)))(shape, random);

/** N(0, 1 / fan-in), cut at two deviations and stretched back to that variance: Keras' `LecunNormal`, TensorFlow's `VarianceScaling`. */
export const lecunNormal: Initializer = (shape, random) => {
  const std = Math.sqrt(1 / fanIn(shape)) / 0.87962566103423978; // the deviation of a unit normal that is cut at +-2
  return truncNormal(std, 2 * std)(shape, random);
};

/** U(+-1 / sqrt(fan-in)), PyTorch's default for linear and convolution weights (`kaiming_uniform_` with a = sqrt(5)). */
export const kaimingUniform: Initializer = (shape, random) => uniform(1 / Math.sqrt(fanIn(shape)))(shape, random);

/** U(+-sqrt(6 / (fan-in + fan-out))). `outputs` counts the rows of one matrix where several are stacked (a fused qkv). */
export const xavierUniform =
  (outputs?: number): Initializer =>
  (shape, random) =>
    uniform(Math.sqrt(6 / (fanIn(shape) + (outputs ?? fanOut(shape)))))(shape, random);
