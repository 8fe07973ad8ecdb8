// Kinds of learning-rate, weight-decay and momentum schedules.
import { type CosineOptions, cosine, multistep, type Schedule, scaledRate, timmCosine, warmedUp } from "../../src/nn/optim/schedule.ts";
import type { Check, Golden, Runner, Runners } from "./golden.ts";

/** The READMEs allow 1e-6 to 2e-6 relative. */
const limit = 2e-6;

const values = (schedule: Schedule, steps: Iterable<number>): number[] => Array.from(steps, schedule);
const count = (n: number): number[] => Array.from({ length: n }, (_, i) => i);
const steps = (golden: Golden): number[] => [...golden.get("step").data];

const dino: Runner = ({ config }, check) => {
  for (const [name, c] of Object.entries(config.cases as Record<string, Record<string, number>>)) {
    const options: CosineOptions = { from: c.base_value, to: c.final_value, steps: c.epochs * c.niter_per_ep, reach: "last" };
    const schedule = cosine({ ...options, warmup: (c.warmup_epochs ?? 0) * c.niter_per_ep, start: c.start_warmup_value ?? 0 });
    check.close(name, values(schedule, count(options.steps)), limit);
  }
};

const swav: Runner = ({ config }, check) => {
  for (const [name, c] of Object.entries(config.cases as Record<string, Record<string, number>>)) {
    const total = c.epochs * c.iters_per_epoch;
    const warmup = c.warmup_epochs * c.iters_per_epoch;
    check.close(
      name,
      values(cosine({ from: c.base_lr, to: c.final_lr, steps: total, warmup, start: c.start_warmup, reach: "last" }), count(total)),
      limit,
    );
  }
};

const byol: Runner = ({ config: { batch_size: batch, total_steps: total, lr_cases, ema_cases } }, check) => {
  for (const [name, c] of Object.entries(lr_cases as Record<string, { base_learning_rate: number; warmup_steps: number }>)) {
    const schedule = cosine({ from: scaledRate(c.base_learning_rate, batch), steps: total, warmup: c.warmup_steps });
    check.close(`lr_${name}`, values(schedule, count(total + 1)), limit);
  }
  for (const [name, base] of Object.entries(ema_cases as Record<string, number>)) {
    check.close(`tau_${name}`, values(cosine({ from: base, to: 1, steps: total }), count(total + 1)), limit);
  }
};

const simclr: Runner = (golden, check) => {
  const { base, n, bs: batch, epochs, warm, scaling } = golden.config;
  const total = Math.floor((n * epochs) / batch) + 1;
  const schedule = cosine({ from: scaledRate(base, batch, scaling), steps: total, warmup: Math.round(Math.floor((warm * n) / batch)) });
  check.exact("step", golden.config.steps);
  check.exact("total_steps", total);
  check.close("lr", values(schedule, steps(golden)), limit);
};

const mocoV3: Runner = (golden, check) => {
  const { lr, batch, epochs, warmup, moco_m } = golden.config;
  const at = golden.get("epoch").data;
  check.exact("epoch", at);
  check.close("lr", values(cosine({ from: scaledRate(lr, batch), steps: epochs, warmup }), at), limit);
  check.close("momentum", values(cosine({ from: moco_m, to: 1, steps: epochs }), at), limit);
};

/** Barlow Twins scales a factor of the batch by two rates; VICReg scales one rate by the batch; DirectCLR does not scale. */
const recipe: Runner = (golden, check) => {
  const { fn, bs: batch, epochs, loader, base } = golden.config;
  const peaks = { bt: [0.2, 0.0048].map((rate) => scaledRate(rate, batch)), vicreg: [scaledRate(base, batch)], directclr: [base] }[
    fn as "bt" | "vicreg" | "directclr"
  ];
  const schedules = peaks.map((from) => cosine({ from, to: 0.001 * from, steps: epochs * loader, warmup: 10 * loader }));
  check.exact("step", golden.config.steps);
  const got = steps(golden).flatMap((step) => schedules.map((schedule) => schedule(step)));
  columns(golden, check, "lr", got, schedules.length);
};

/** Compares each column by its own largest entry. */
function columns(golden: Golden, check: Check, name: string, got: number[], n: number): void {
  const want = golden.get(name).data;
  for (let c = 0; c < n; c++) {
    const pick = (list: ArrayLike<number>) => Array.from(list).filter((_, i) => i % n === c);
    const [a, b] = [pick(got), pick(want)];
    const worst = b.reduce((most, x, i) => Math.max(most, Math.abs(a[i] - x)), a.length === b.length ? 0 : Number.POSITIVE_INFINITY);
    check.within(`${name}[${c}]`, worst / Math.max(...b.map(Math.abs)), limit);
  }
}

const pixpro: Runner = (golden, check) => {
  const { base, mult, warm, epochs, n } = golden.config;
  check.exact("step", golden.config.steps);
  const schedule = cosine({ from: base, to: 1e-6, steps: epochs * n, warmup: warm * n, start: base / mult });
  check.close("lr_used_at_step", values(schedule, steps(golden)), limit);
};

const various: Runner = (golden, check) => {
  const { lr, min, wlr, wu, ep, it, scale, gamma, steps: milestones } = golden.config;
  const total = ep * it;
  const mae = cosine({ from: lr, to: min, steps: total, warmup: wu * it });
  columns(
    golden,
    check,
    "mae",
    count(total).flatMap((i) => [scale * mae(i), mae(i)]),
    2,
  );
  check.close("cae_cosine", values(cosine({ from: lr, to: min, steps: total, warmup: wu * it, reach: "last" }), count(total)), limit);
  // timm's groups scale the peak only: the floor and the start of the warm-up are absolute
  const peaks = [lr * scale, lr];
  const byUpdate = peaks.map((from) => timmCosine({ from, to: min, steps: total, warmup: wu * it, start: wlr }));
  const byEpoch = peaks.map((from) => timmCosine({ from, to: min, steps: ep, warmup: wu, start: wlr }));
  const reached = milestones.map((epoch: number) => epoch * it);
  const stepwise = peaks.map((base) =>
    warmedUp(multistep({ base, milestones: reached, gamma }), { warmup: wu * it, start: wlr, to: base }),
  );
  const afterUpdate = [0, ...count(total)]; // row 0 before any update, row k + 1 after update k
  columns(
    golden,
    check,
    "timm_cosine_step_update",
    afterUpdate.flatMap((t) => byUpdate.map((schedule) => schedule(t))),
    2,
  );
  columns(
    golden,
    check,
    "simmim_multistep",
    afterUpdate.flatMap((t) => stepwise.map((schedule) => schedule(t))),
    2,
  );
  const epochs = golden.get("timm_cosine_epoch").shape[0];
  columns(
    golden,
    check,
    "timm_cosine_epoch",
    count(epochs).flatMap((t) => byEpoch.map((schedule) => schedule(t))),
    2,
  );
};

export const runners: Runners = {
  "dino-schedules": dino,
  "swav-schedules": swav,
  "byol-schedules": byol,
  "simclr-schedule": simclr,
  "moco-v3-schedule": mocoV3,
  "lars-recipe-schedule": recipe,
  "pixpro-schedule": pixpro,
  "lr-schedules": various,
};
