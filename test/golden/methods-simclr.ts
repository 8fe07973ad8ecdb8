// Kinds of SimCLR and of the losses that other code calls by its name: values and gradients.
import type { Backend } from "../../src/backend/backend.ts";
import { infoNce, multiViewNtXent, ntXent } from "../../src/methods/contrastive.ts";
import { SimclrHead } from "../../src/methods/heads.ts";
import { official, withContext } from "../../src/nn/module.ts";
import { grad } from "../../src/tape/grad.ts";
import { concat } from "../../src/tape/ops/move.ts";
import { Parameter, type Tensor } from "../../src/tape/tensor.ts";
import { compile, type Host } from "../../src/tape/trace.ts";
import { fill } from "../fill.ts";
import type { Check, Golden, Runner, Runners } from "./golden.ts";
import { fillModule } from "./models.ts";

/** The README's tolerances: 1e-5 for values, 1e-4 for gradients and states, or ten times torch's own spread where that is more. */
export const limitOf = ({ spread }: Golden, name: string, tolerance = name.includes("grad") || name.startsWith("after") ? 1e-4 : 1e-5) =>
  spread(name) > tolerance / 10 ? 10 * spread(name) : tolerance;

type Values = Record<string, Tensor>;

/** What f gives for filled inputs, the gradient of its `loss` with respect to each of them as `grad/<name>` beside it. */
async function differentiated(f: (inputs: Values) => Values & { loss: Tensor }, inputs: Record<string, Host>, backend: Backend) {
  const leaves = Object.fromEntries(Object.entries(inputs).map(([name, { shape, data }]) => [name, new Parameter(shape, data)]));
  const step = compile(() => {
    const values = f(leaves);
    const gradients = grad(values.loss, Object.values(leaves));
    return { ...values, ...Object.fromEntries(Object.keys(leaves).map((name, i) => [`grad/${name}`, gradients[i] as Tensor])) };
  }, backend);
  return step() as Promise<Record<string, Host>>;
}

const compare = (golden: Golden, check: Check, values: Readonly<Record<string, Host>>, tensor = (name: string) => name): void => {
  for (const [name, value] of Object.entries(values)) check.close(tensor(name), value, limitOf(golden, tensor(name)));
};

/**
 * The official loss on any number of workers: each has its own rows as anchors and all rows as candidates; the gradient is that of
 * the mean of their losses.
 */
const simclrLoss: Runner = async (golden, check, backend) => {
  const { prefix, bs, dim, temperature, workers = 1 } = golden.config;
  const n = bs * workers;
  const ranks = Array.from({ length: workers }, (_, rank) => rank);
  const values = await differentiated(
    ({ hidden }) => {
      const [z1, z2] = hidden.normalize(1e-6).split(0, 2);
      const rows = (z: Tensor, rank: number) => z.slice(0, rank * bs, (rank + 1) * bs);
      const sides = ranks.map((rank) => ntXent(rows(z1, rank), rows(z2, rank), temperature, { z1, z2, offset: rank * bs }));
      const results = sides.flatMap(({ loss, logits }, rank): [string, Tensor][] => [
        [`rank${rank}/loss`, loss],
        [`rank${rank}/logits_ab`, logits],
      ]);
      const loss = sides.map((side) => side.loss).reduce((a, b) => a.add(b));
      return { ...Object.fromEntries(results), loss: loss.div(workers) };
    },
    { hidden: fill(`${prefix}hidden`, [2 * n, dim], "input") },
    backend,
  );
  const { data } = values["grad/hidden"];
  for (const rank of ranks) {
    const tensor = (name: string) => (workers === 1 ? name : `rank${rank}/${name}`);
    const own = [0, n].flatMap((view) => [...data.subarray((view + rank * bs) * dim, (view + (rank + 1) * bs) * dim)]);
    compare(golden, check, { loss: values[`rank${rank}/loss`], logits_ab: values[`rank${rank}/logits_ab`] }, tensor);
    check.close(tensor("grad/hidden"), { data: Float32Array.from(own), shape: [2 * bs, dim] }, limitOf(golden, "grad/hidden"));
    const labels = Array.from({ length: bs * 2 * n }, (_, i) => Number(i % (2 * n) === rank * bs + Math.floor(i / (2 * n))));
    check.exact(tensor("labels"), labels);
  }
};

const simclrHead: Runner = async (golden, check, backend) => {
  const { prefix, bs, dim, out, layers, temperature } = golden.config;
  const head = new SimclrHead(dim, out, layers);
  const kept = new SimclrHead(dim, out, layers); // for fine-tuning, which reads the first layer
  for (const module of [head, kept]) fillModule(module, prefix);
  const weights = [...head.namedParameters()].filter(([, parameter]) => parameter.trainable);
  const x = new Parameter([2 * bs, dim], fill(`${prefix}x`, [2 * bs, dim], "input").data);
  const step = compile(
    () =>
      withContext({ training: true }, () => {
        const z = head.forward(x);
        const [z1, z2] = z.normalize(1e-6).split(0, 2);
        const { loss } = ntXent(z1, z2, temperature);
        const gradients = grad(loss, [x, ...weights.map(([, parameter]) => parameter)]) as Tensor[];
        return { values: { z, loss, finetune_input: kept.forward(x, 1) }, gradients };
      }),
    backend,
  );
  const { values, gradients } = await step();
  compare(golden, check, values);
  for (const [i, name] of ["x", ...weights.map(([name]) => name)].entries()) {
    check.close(`grad/${name}`, gradients[i], limitOf(golden, `grad/${name}`));
  }
  for (const [name, parameter] of head.namedParameters()) {
    if (!name.includes("running")) continue;
    check.close(`after/${name}`, official(parameter, await backend.read(parameter)), limitOf(golden, `after/${name}`));
  }
};

/** Half of the official loss: the mean over all anchors of all views. */
const soloLearn: Runner = async (golden, check, backend) => {
  const { prefix, bs, views, dim, T } = golden.config;
  const inputs = { z: fill(`${prefix}z`, [bs * views, dim], "input") };
  compare(golden, check, await differentiated(({ z }) => ({ loss: multiViewNtXent(z.normalize(), views, T).loss }), inputs, backend));
};

const mmselfsup: Runner = async (golden, check, backend) => {
  const { prefix, bs, dim, T } = golden.config;
  const view = (i: number) => ({ ...fill(`${prefix}z${i}`, [bs, dim, 1, 1], "input"), shape: [bs, dim] });
  const loss = ({ z1, z2 }: Values) => ({ loss: ntXent(z1.normalize(), z2.normalize(), T).loss.div(2) });
  compare(golden, check, await differentiated(loss, { z1: view(1), z2: view(2) }, backend));
};

/** Anchors are the rows of the first view only. */
const scan: Runner = async (golden, check, backend) => {
  const { prefix, batch, dim, temperature } = golden.config;
  const features = fill(`${prefix}features`, [batch, 2, dim], "input");
  const { loss, ...rest } = await differentiated(
    ({ features }) => {
      const z = concat(
        features
          .normalize()
          .split(1, 2)
          .map((view) => view.reshape([batch, dim])),
        0,
      );
      return { loss: multiViewNtXent(z, 2, temperature, batch).loss };
    },
    { features },
    backend,
  );
  check.close("loss", loss, 1e-5);
  check.close("grad.features", rest["grad/features"], 1e-4);
};

/** Losses of solo-learn's methods. Those of MoCo: v2+ asks a queue, v3 the other keys of the batch. */
const soloLosses: Runner = async (golden, check, backend) => {
  const { prefix, which, bs, dim, T, K } = golden.config;
  const given = (name: string) => fill(prefix + name, [bs, dim], "input");
  const [z1, second] = [given("z1"), given("z2")];
  const z2 = { shape: [bs, dim], data: second.data.map((x, i) => Math.fround(Math.fround(0.5 * x) + Math.fround(0.8 * z1.data[i]))) };
  const constants = (name: string, shape: number[]) => new Parameter(shape, fill(prefix + name, shape, "input").data);
  const losses: Record<string, (inputs: Values) => { loss: Tensor }> = {
    mocov2plus: ({ z1, z2 }) => {
      const [k1, k2] = ["k1", "k2"].map((name) => constants(name, [bs, dim]).normalize());
      const [q1, q2] = [z1.normalize(), z2.normalize()];
      const queues = constants("queue", [2, dim, K]).t().normalize().t().split(0, 2);
      const [queue1, queue2] = queues.map((queue) => queue.reshape([dim, K]));
      return {
        loss: infoNce(q1, k2, queue2, T)
          .loss.add(infoNce(q2, k1, queue1, T).loss)
          .div(2),
      };
    },
  };
  if (!losses[which]) throw new RangeError(`Cannot run the loss "${which}": no such loss here`);
  compare(golden, check, await differentiated(losses[which], { z1, z2 }, backend));
};

export const runners: Runners = {
  "simclr-loss": simclrLoss,
  "simclr-head": simclrHead,
  "simclr-solo-learn": soloLearn,
  "simclr-mmselfsup": mmselfsup,
  "scan-simclr-loss": scan,
  "solo-learn-loss": soloLosses,
};
