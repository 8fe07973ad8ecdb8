// Kinds of DINO: its loss on one or more workers, its head, and whole steps with clipping, freezing and the moving teacher.
import type { Backend } from "../../src/backend/backend.ts";
import { dino, dinoLoss, moveCenter } from "../../src/methods/dino.ts";
import { DinoHead } from "../../src/methods/heads.ts";
import { resolveOptions } from "../../src/methods/options.ts";
import type { Backbone } from "../../src/models/backbone.ts";
import { ResNet, resnets } from "../../src/models/resnet.ts";
import { ViT, vits } from "../../src/models/vit.ts";
import { Buffer, type Module, namedParameters, official, withContext } from "../../src/nn/module.ts";
import { clipEach } from "../../src/nn/optim/clip.ts";
import { exceptVectors, norm } from "../../src/nn/optim/optimizer.ts";
import { makeOptimizer, type OptimizerSpec } from "../../src/nn/optim/optimizers.ts";
import { ramp } from "../../src/nn/optim/schedule.ts";
import { grad } from "../../src/tape/grad.ts";
import { constant } from "../../src/tape/op.ts";
import { concat } from "../../src/tape/ops/move.ts";
import type { Parameter, Tensor } from "../../src/tape/tensor.ts";
import { compile, type Host } from "../../src/tape/trace.ts";
import { fill } from "../fill.ts";
import type { Check, Config, DigestLimits, Golden, Runner, Runners } from "./golden.ts";
import { fillModule, nhwc } from "./models.ts";

const count = (n: number): number[] => Array.from({ length: n }, (_, i) => i);

/** Steps of the loss; the centre is that of all workers, losses and gradients are each worker's own. */
const loss: Runner = async (golden, check, backend) => {
  const { prefix, out_dim: out, ncrops, student_temp: studentTemperature = 0.1, center_momentum: momentum = 0.9, ...c } = golden.config;
  const workers = c.world_size ?? 1;
  const batch = c.batch ?? c.batch_per_worker;
  const temperature = ramp({ from: c.warmup_teacher_temp, to: c.teacher_temp, steps: c.warmup_teacher_temp_epochs, reach: "last" });
  if (golden.tensors.has("teacher_temp_schedule")) check.close("teacher_temp_schedule", count(c.nepochs).map(temperature), 1e-6);
  const center = new Buffer([1, out], fill(`${prefix}center`, [1, out]).data);
  const step = compile((students: Tensor[], teachers: Tensor[], teacherTemperature: Tensor) => {
    const sides = students.map((student, rank) => {
      const value = dinoLoss(student, teachers[rank], center, { studentTemperature, teacherTemperature });
      return { loss: value, gradient: grad(value, [student])[0] as Tensor };
    });
    moveCenter(center, concat(teachers, 0), momentum);
    return sides;
  }, backend);
  for (const [s, epoch] of (c.epoch_per_step as number[]).entries()) {
    const at = (rank: number) => `step${s}.${workers > 1 ? `rank${rank}.` : ""}`;
    const given = (name: string, rows: number) =>
      count(workers).map((rank) => fill(`${prefix}${at(rank)}${name}`, [rows * batch, out], "input"));
    const sides = await step(given("student", ncrops), given("teacher", 2), temperature(epoch));
    for (const [rank, side] of sides.entries()) {
      check.close(`${at(rank)}loss`, side.loss, 1e-5);
      check.close(`${at(rank)}grad.student`, side.gradient, 1e-4);
    }
    check.close(`step${s}.center_after`, { data: await backend.read(center), shape: center.shape }, 1e-5);
  }
};

const head: Runner = async (golden, check, backend) => {
  const { prefix, in_dim, out_dim, hidden_dim: hidden, bottleneck_dim: bottleneck, nlayers: layers, batch, ...c } = golden.config;
  for (const [tag, batchNorm] of [
    ["plain", false],
    ["bn", true],
  ] as const) {
    const module = new DinoHead(in_dim, out_dim, { hidden, bottleneck, layers, batchNorm, normLastLayer: c.norm_last_layer });
    fillModule(module, `${prefix}${tag}.`);
    const lines = Array.from(module.namedParameters(), ([name, parameter]) => line([name], parameter));
    sameLines(golden, check, `${tag}.keys`, lines);
    const weights = [...module.namedParameters()].filter(([, parameter]) => parameter.trainable);
    const step = compile((x: Tensor, dy: Tensor) => {
      const y = withContext({ training: true }, () => module.forward(x));
      const gradients = grad(y.mul(dy).sum(), [x, ...weights.map(([, parameter]) => parameter)]) as Tensor[];
      return { y, gradients };
    }, backend);
    const { y, gradients } = await step(fill(`${prefix}x`, [batch, in_dim], "input"), fill(`${prefix}dy`, [batch, out_dim], "input"));
    check.close(`${tag}.y`, y, 1e-4);
    // a bias in front of batch norm has no gradient: what is stored is rounding
    const zero = batchNorm ? count(layers - 1).map((i) => `mlp.${3 * i}.bias`) : [];
    for (const [i, name] of ["x", ...weights.map(([name]) => name)].entries()) {
      if (zero.includes(name)) check.close(`${tag}.grad.${name}`, gradients[i], 1e-5, 1);
      else check.close(`${tag}.grad.${name}`, gradients[i], 1e-4);
    }
    for (const [name, parameter] of module.namedParameters()) {
      const tensor = `${tag}.after.${name}`;
      if (golden.tensors.has(tensor)) check.close(tensor, { data: await backend.read(parameter), shape: parameter.shape }, 1e-4);
    }
  }
};

/** A tensor of bytes that spells lines. */
function sameLines(golden: Golden, check: Check, name: string, got: readonly string[]): void {
  const want = String.fromCharCode(...golden.get(name).data)
    .trim()
    .split("\n");
  check.within(name, want.filter((line, i) => line !== got[i]).length + Math.abs(want.length - got.length), 0);
}

const line = (words: readonly (string | number)[], { officialShape }: Parameter) => `${words.join(" ")} [${officialShape.join(", ")}]`;

function backboneOf({ arch, patch_size: patch, img_size: size = 224 }: Config): Backbone {
  if (arch in resnets) return new ResNet(resnets[arch as keyof typeof resnets]);
  const [, width] = arch.split("_"); // vit_tiny
  return new ViT({ ...vits[`vit-${width}-16` as keyof typeof vits], patch, size });
}

/** What a step shows of its forward pass, and its gradients before clipping. */
function dinoStep({ parts, optimizer, options }: Learner, views: Tensor[], frozen: boolean, c: Config) {
  const { student, teacher, center } = parts;
  const features = student.features(views);
  const [s, t] = [student.head.forward(features), teacher.forward(views.slice(0, 2))];
  const value = dinoLoss(s, t, center, { studentTemperature: c.student_temp, teacherTemperature: c.teacher_temp });
  moveCenter(center, t, c.center_momentum);
  const gradients = grad(value, optimizer.parameters) as Tensor[];
  const kept = optimizer.slots.map(({ name }) => !(frozen && dino.frozen?.(name, 0, options)));
  const clipped = clipEach(gradients, c.clip_grad);
  optimizer.update(
    clipped.map((g, i) => (kept[i] ? g : undefined)),
    { lr: c.lr, weightDecay: c.weight_decay },
  );
  dino.update?.(parts, { momentum: constant(c.momentum_teacher) }, options);
  const columns = (x: Tensor) => x.slice(1, 0, Math.min(64, x.shape[1]));
  return { loss: value, gradients, norms: gradients.map(norm), student_out: columns(s), teacher_out: columns(t), features };
}

function learner(c: Config) {
  const { out_dim: outputs, head_hidden: hidden, bottleneck_dim: bottleneck, use_bn_in_head: headNorm, ...rest } = c;
  const own = { outputs, hidden, bottleneck, headNorm, normLastLayer: rest.norm_last_layer, freezeLastLayer: rest.freeze_last_layer };
  const options = resolveOptions(dino.options, { ...own, dropPath: 0, locals: rest.n_local });
  const parts = dino.build(() => backboneOf(c), options);
  for (const name of ["student", "teacher"] as const) fillModule(parts[name], `${c.prefix}${name}.`);
  const spec: OptimizerSpec = {
    adamw: { name: "adamw", betas: c.adamw_betas, eps: c.adamw_eps } as const,
    sgd: { name: "sgd", momentum: c.momentum } as const,
    lars: { name: "lars", momentum: c.momentum, trust: c.lars_eta } as const,
  }[c.optimizer as "adamw" | "sgd" | "lars"];
  return { parts, options, optimizer: makeOptimizer(spec, namedParameters(parts), exceptVectors) };
}

type Learner = ReturnType<typeof learner>;

/** A digest of a deep network; the README compares sums at 1e-3. */
const deep: DigestLimits = { sums: 1e-3, elements: 1e-3, own: 1e-3 };

const step: Runner = async (golden, check, backend) => {
  const c = golden.config;
  const model = learner(c);
  const { student, teacher, center } = model.parts;
  if (golden.tensors.has("param_groups")) checkGroups(golden, check, model);
  const run = [true, false].map((frozen) =>
    compile((views: Tensor[]) => withContext({ training: true }, () => dinoStep(model, views, frozen, c)), backend),
  );
  const crops = [c.crop_sizes[0], c.crop_sizes[0], ...count(c.n_local).map(() => c.crop_sizes[1])];
  for (let s = 0; s < c.steps; s++) {
    const views = crops.map((side, i) => nhwc(fill(`${c.prefix}step${s}.crop${i}`, [c.batch, 3, side, side], "input")));
    const got = await run[s < c.freeze_last_layer ? 0 : 1](views);
    const at = (name: string) => `step${s}.${name}`;
    check.close(at("loss"), got.loss, 1e-5);
    checkForward(golden, check, at, got, 2 * c.batch);
    for (const [i, { name, parameter }] of model.optimizer.slots.entries()) {
      const tensor = at(`grad.${name.replace(/^student\./, "")}#digest`);
      if (golden.tensors.has(tensor)) check.digest(tensor, official(parameter, got.gradients[i].data), deep);
    }
    if (golden.tensors.has(at("grad_norms_before_clip"))) {
      const norms = got.norms.map(({ data }) => data[0]);
      check.close(at("grad_norms_before_clip"), norms, 1e-3);
    }
    check.digest(at("center_after#digest"), { data: await backend.read(center), shape: center.shape }, deep);
    for (const [kind, module] of Object.entries({ student, teacher })) {
      await checkState(golden, check, backend, module, at(`${kind}_after.`), s + 1);
      if (s === c.steps - 1) await checkState(golden, check, backend, module, `final.${kind}.`, c.steps);
    }
  }
};

interface Forward {
  features: Host;
  student_out: Host;
  teacher_out: Host;
}

function checkForward(
  golden: Golden,
  check: Check,
  at: (name: string) => string,
  { features, ...outputs }: Forward,
  globals: number,
): void {
  const [rows, width] = features.shape;
  const cut = (begin: number, end: number): Host => ({
    data: features.data.slice(begin * width, end * width),
    shape: [end - begin, width],
  });
  const values = { ...outputs, student_backbone_global: cut(0, globals), student_backbone_local: cut(globals, rows) };
  for (const [name, value] of Object.entries(values)) if (golden.tensors.has(at(name))) check.close(at(name), value, 1e-4);
}

/** Lines "name group shape" in the order of the optimiser: first what decays. */
function checkGroups(golden: Golden, check: Check, { optimizer }: Learner): void {
  const groups = [0, 1].map((group) => optimizer.slots.filter(({ rule }) => Number(rule.decay === 0) === group));
  const lines = groups.flatMap((slots, group) =>
    slots.map(({ name, parameter }) => line([name.replace(/^student\./, ""), group], parameter)),
  );
  sameLines(golden, check, "param_groups", lines);
}

async function checkState(golden: Golden, check: Check, backend: Backend, module: Module, prefix: string, steps: number): Promise<void> {
  const { optimizer, lr } = golden.config;
  for (const [name, parameter] of module.namedParameters()) {
    const tensor = `${prefix}${name}#digest`;
    if (!golden.tensors.has(tensor)) continue;
    const value = official(parameter, await backend.read(parameter));
    check.digest(tensor, value, optimizer === "adamw" ? afterAdam(golden, tensor, name, lr * steps) : deep);
  }
}

/**
 * Adam divides a gradient by its own size, so that one of rounding alone moves its weight by the whole rate in either direction: the
 * bias of keys, whose gradient is zero since a softmax does not see it (a third of the qkv bias), and a few elements elsewhere.
 */
function afterAdam(golden: Golden, tensor: string, name: string, distance: number): DigestLimits {
  const [, sum, , size] = golden.get(tensor).data;
  const step = (2 * distance * size) / sum; // relative to the mean of |x|
  return { sums: deep.sums + (name.endsWith("qkv.bias") ? step / 3 : 0), elements: step, own: deep.own };
}

export const runners: Runners = { "dino-loss": loss, "dino-head": head, "dino-step": step };
