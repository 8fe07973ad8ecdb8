// Kinds of optimisers: parameters after each of several steps with given gradients.
import type { Backend } from "../../src/backend/backend.ts";
import { official } from "../../src/nn/module.ts";
import { Lars, type LarsOptions, lars } from "../../src/nn/optim/lars.ts";
import { everything, exceptNames, exceptVectors, type Optimizer, type Rules } from "../../src/nn/optim/optimizer.ts";
import { makeOptimizer, type OptimizerSpec } from "../../src/nn/optim/optimizers.ts";
import { type Shape, size } from "../../src/tape/shape.ts";
import { Parameter, type Tensor } from "../../src/tape/tensor.ts";
import { compile, type Host } from "../../src/tape/trace.ts";
import { fill, type Role } from "../fill.ts";
import type { Check, Golden, Runner, Runners } from "./golden.ts";

interface Case {
  parameters: Map<string, Parameter>;
  optimizer: Optimizer;
  /** Gradient of a parameter at a step; undefined where it has none. */
  gradient(name: string, step: number): Host | undefined;
  lr(step: number): number;
  weightDecay: number;
  steps: number;
}

/** Runs the steps and hands every parameter over after each of them. */
async function run(
  { parameters, optimizer, gradient, lr, weightDecay, steps }: Case,
  backend: Backend,
  after: (name: string, step: number, value: Host) => void,
): Promise<void> {
  const step = compile((gradients: (Tensor | undefined)[], rate: Tensor, decay: Tensor) => {
    optimizer.update(gradients, { lr: rate, weightDecay: decay });
    return {};
  }, backend);
  for (let s = 0; s < steps; s++) {
    const gradients = optimizer.slots.map(({ name }) => gradient(name, s));
    await step(gradients as Host[], lr(s), weightDecay);
    for (const [name, parameter] of parameters) after(name, s, official(parameter, await backend.read(parameter)));
  }
}

const filled = (shapes: Record<string, Shape>, name: (n: string) => string, role?: (n: string) => Role): Map<string, Parameter> =>
  new Map(
    Object.entries(shapes).map(([n, shape]) => {
      const zero = n.startsWith("zero");
      return [n, new Parameter(shape, zero ? new Float32Array(size(shape)) : fill(name(n), shape, role?.(n)).data)];
    }),
  );

/** Files of the READMEs allow 1e-5 for optimisers, 1e-4 for states, or ten times torch's own spread. */
const limitOf = (golden: Golden, name: string) => Math.max(1e-5, 10 * golden.spread(name));

const optimizers: Runner = async (golden, check, backend) => {
  const { optimizers: cases, shapes, steps, gradient_scale: scale, prefix } = golden.config;
  const named: Record<string, Shape> = Object.fromEntries(shapes.map((shape: Shape, i: number) => [`p${i}`, shape]));
  for (const [tag, { lr, weight_decay: weightDecay, ...c }] of Object.entries(cases as Record<string, Record<string, never>>)) {
    const parameters = filled(named, (n) => prefix + n);
    const { spec, rules } = described(c);
    const optimizer = makeOptimizer(spec, parameters, rules);
    const gradient = (name: string, step: number): Host => {
      const host = fill(`${prefix}g${name.slice(1)}.${step}`, named[name], "input");
      return { shape: host.shape, data: host.data.map((x) => x * scale[step]) };
    };
    await run({ parameters, optimizer, gradient, lr: () => lr, weightDecay, steps }, backend, (name, step, value) => {
      const tensor = `${tag}/${name}/step${step + 1}`;
      check.close(tensor, value, limitOf(golden, tensor));
    });
  }
};

// biome-ignore lint/suspicious/noExplicitAny: fields differ by algorithm
function described(c: Record<string, any>): { spec: OptimizerSpec; rules: Rules } {
  const decayOnly: Rules = (_, { shape }) => (shape.length <= 1 ? { decay: 0 } : {});
  switch (c.algorithm) {
    case "sgd":
      return { spec: { name: "sgd", momentum: c.momentum, nesterov: c.nesterov }, rules: decayOnly };
    case "adamw":
    case "adam":
      return { spec: { name: c.algorithm, betas: c.betas, eps: c.eps }, rules: decayOnly };
    case "lamb": {
      const { betas, eps, max_grad_norm: maxGradNorm, always_adapt: alwaysAdapt, trust_clip: trustClip } = c;
      return { spec: { name: "lamb", betas, eps, maxGradNorm, alwaysAdapt, trustClip }, rules: decayOnly };
    }
    case "lars-facebook":
      return { spec: { name: "lars", momentum: c.momentum, trust: c.trust_coefficient }, rules: exceptVectors };
    case "lars-timm": {
      const { momentum, nesterov, eps, trust_coefficient: trust, trust_clip: clip } = c;
      return {
        spec: { name: "lars", form: "timm", momentum, nesterov, eps, trust, clip },
        rules: c.always_adapt ? decayOnly : exceptVectors,
      };
    }
    default:
      throw new RangeError(`Cannot run the optimiser "${c.algorithm}": no such algorithm here`);
  }
}

/** The shapes in a file whose names are `step<s>/<parameter>`. */
function shapesAt(golden: Golden, prefix: string): Record<string, Shape> {
  const names = [...golden.tensors.keys()].filter((name) => name.startsWith(prefix));
  return Object.fromEntries(names.map((name) => [name.slice(prefix.length), golden.get(name).shape]));
}

/** The three PyTorch forms. */
const larsForms: Runner = async (golden, check, backend) => {
  const { prefix, lrs, wd, eta, clip, variant } = golden.config;
  const shapes = shapesAt(golden, "step0/");
  const parameters = filled(shapes, (n) => prefix + n);
  const options: LarsOptions = { ...lars[variant as keyof typeof lars], ...(eta ? { trust: eta } : {}), ...(clip ? { clip } : {}) };
  const optimizer = new Lars(parameters, options, exceptVectors);
  const gradient = (name: string, step: number) =>
    name.startsWith("nograd") ? undefined : fill(`${prefix}grad${step}/${name}`, shapes[name], "bias");
  await run({ parameters, optimizer, gradient, lr: (s) => lrs[s], weightDecay: wd, steps: lrs.length }, backend, (name, step, value) => {
    check.close(`step${step}/${name}`, value, limitOf(golden, `step${step}/${name}`));
  });
};

/** Files with `shapes` and parameters after every step as `step<s>.<name>`. */
const stepwise =
  (options: (c: Golden["config"]) => LarsOptions, rules: Rules, fillName = (name: string) => name): Runner =>
  async (golden, check, backend) => {
    const { prefix, lr, weight_decay: weightDecay, shapes } = golden.config;
    const parameters = filled(shapes, (n) => prefix + fillName(n));
    const optimizer = new Lars(parameters, options(golden.config), rules);
    const gradient = (name: string, step: number) => fill(`${prefix}step${step}.grad.${fillName(name)}`, shapes[name], "input");
    const steps = Math.max(...[...golden.tensors.keys()].map((name) => Number.parseInt(name.slice(4), 10))) + 1;
    await run({ parameters, optimizer, gradient, lr: () => lr, weightDecay, steps }, backend, (name, step, value) => {
      check.close(`step${step}.${name}`, value, limitOf(golden, `step${step}.${name}`));
    });
  };

const dinoLars = stepwise(({ eta, momentum }) => ({ trust: eta, momentum }), exceptVectors);

/** apex's LARC around SGD: every parameter is adapted and decayed. */
const larc = stepwise(({ trust_coefficient: trust, clip, momentum, eps }) => ({ ...lars.solo, trust, clip, momentum, eps }), everything);

/** Haiku's names: "module/leaf.part". Left alone: leaves named b, and modules with "norm" in their path. */
const exceptBiasAndNorm: Rules = (name) =>
  name.endsWith(".b") || name.slice(0, name.lastIndexOf(".")).includes("norm") ? { decay: 0, adapt: false } : {};
const byolLars = stepwise(({ eta, momentum }) => ({ trust: eta, momentum }), exceptBiasAndNorm);

const simclrLars: Runner = async (golden: Golden, check: Check, backend: Backend) => {
  const { prefix, lr, wd, classic, nesterov, steps } = golden.config;
  const shapes = shapesAt(golden, "after/");
  const parameters = filled(
    shapes,
    (n) => prefix + n,
    (n) => (shapes[n].length >= 2 ? "weight" : "scale"),
  );
  const options: LarsOptions = { ...(classic ? lars.tensorflow : lars.tensorflowPopular), nesterov };
  const optimizer = new Lars(parameters, options, exceptNames(["batch_normalization", "bias", "head_supervised"]));
  const gradient = (name: string, step: number) => fill(`${prefix}grad${step}/${name}`, shapes[name], "bias");
  await run({ parameters, optimizer, gradient, lr: () => lr, weightDecay: wd, steps }, backend, (name, step, value) => {
    if (step === steps - 1) check.close(`after/${name}`, value, limitOf(golden, `after/${name}`));
  });
  for (const [name, buffer] of optimizer.namedState()) {
    const tensor = `momentum/${name.replace(/\.momentum$/, "")}`;
    check.close(tensor, { data: await backend.read(buffer), shape: buffer.shape }, limitOf(golden, tensor));
  }
};

export const runners: Runners = {
  optimizers,
  lars: larsForms,
  larc,
  "dino-lars": dinoLars,
  "byol-lars": byolLars,
  "simclr-lars": simclrLars,
};
