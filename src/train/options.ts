// The resolved configuration of a run. `RunOptions` is what determines the bits of the result, `RunSettings` how the run is
// carried out; `run.json` keeps both. `configure` makes the first from a method, a recipe and what the user overrides.
import type { BackendName } from "../backend/open.ts";
import { methods } from "../methods/methods.ts";
import { choice, flag, number, type OptionTable, resolveOptions, whole } from "../methods/options.ts";
import { backboneError } from "../models/backbones.ts";
import type { Recipe } from "../recipes/recipe.ts";
import { defaultRecipe, recipes } from "../recipes/recipes.ts";
import type { Activations, Precision } from "../tape/trace.ts";

/** How long to train. Minutes are of the whole loop; the step count is estimated at its start (see `pace.ts`). */
export type Length = { readonly epochs: number } | { readonly steps: number } | { readonly minutes: number };

/** Everything that the result depends on. Two runs with equal options on equal images end in the same bits. */
export interface RunOptions {
  /** Name of a method, as in `methods`. */
  readonly method: string;
  /** The method's own options, all of them. */
  readonly options: Readonly<Record<string, number | boolean | string | readonly number[]>>;
  /** Name of the recipe that the other fields started from. */
  readonly recipe: string;
  /** Name of a backbone, as in `models`. */
  readonly backbone: string;
  /** Checkpoint, run or published name whose weights the run begins with; without it they are drawn by the seed. */
  readonly init?: string;
  /** Folder, archive or list of training images. */
  readonly images: string;
  /** Side of a full view in pixels. */
  readonly size: number;
  readonly length: Length;
  /** Images that one optimiser step learns from. */
  readonly batch: number;
  /** Micro-batches that a batch is cut into, to save memory; their gradients are averaged. 1 = the whole batch at once. */
  readonly accumulate: number;
  /** In which precision large values wait for the backward pass: "f16" takes less memory and rounds gradients. Absent: "f32". */
  readonly activations?: Activations;
  /** "f16" stores what modules compute in half precision, with weights, sums and losses in single. Absent: "f32". */
  readonly precision?: Precision;
  readonly optimizer: Recipe["optimizer"];
  readonly schedule: Recipe["schedule"];
  /** 0 to 2^32 - 1. */
  readonly seed: number;
}

/** How a run is carried out. Nothing here changes what is learned; of all this only `build` shows in the bits. */
export interface RunSettings {
  /** Threads of the backend; all cores by default. */
  readonly threads?: number;
  readonly backend: BackendName;
  /** Part of the name of the GPU that is wanted. */
  readonly gpu?: string;
  /** Whether to measure the tiles of a GPU's products at its first use; default: on GPUs that are no software. */
  readonly tune?: boolean;
  /** Build of the wasm kernels: the faster one by default. Builds round differently, so a run keeps the one that it began with. */
  readonly build?: "plain" | "relaxed";
  /** Compute the blocks of the network again in the backward pass instead of keeping their values: less memory, more time, the same bits. */
  readonly recompute: boolean;
  /** Steps between lines of `metrics.jsonl`. */
  readonly logEvery: number;
  /** Steps between health measurements; 0 = never. */
  readonly healthEvery: number;
  /** Epochs between kNN scores; 0 = only at the end, negative = never. */
  readonly knnEvery: number;
  /**
   * Images for kNN: labelled ones that vote, and others that are judged. Without them the training images serve if they have
   * classes: at most 5,000 of them, evenly spaced, each judged by the others.
   */
  readonly knnImages?: { readonly train: string; readonly test: string };
  readonly k: number;
  readonly tau: number;
  /** Score features with mean 0 and deviation 1 over the pictures that vote. */
  readonly standardize?: boolean;
  /** Seconds between checkpoints; 0 = after every step. A run also writes one at the end and when it is interrupted. */
  readonly checkpointSeconds: number;
  /** Checkpoints that are kept beside the newest. */
  readonly keep: number;
  /** Write report.html when the run is complete. */
  readonly report: boolean;
}

export const defaultSettings: RunSettings = {
  backend: "auto",
  recompute: false,
  logEvery: 10,
  healthEvery: 100,
  knnEvery: 0,
  k: 20,
  tau: 0.07,
  checkpointSeconds: 120,
  keep: 2,
  report: true,
};

/** What a user may say about a run; `configure` fills in the rest. */
export interface RunRequest {
  method: string;
  images: string;
  recipe?: string;
  backbone?: string;
  init?: string;
  size?: number;
  epochs?: number;
  steps?: number;
  minutes?: number;
  batch?: number;
  accumulate?: number;
  activations?: Activations;
  precision?: Precision;
  seed?: number;
  /** `key=value` pairs: an option of the method, or a name of `recipeOptions` such as `optimizer.lr`. */
  set?: Readonly<Record<string, string>>;
}

/** Asked for something that there is not, or for a value that cannot be. `known` are the names that there are. */
export class RequestError extends RangeError {
  override name = "RequestError";
  readonly asked: string;
  readonly known: readonly string[];

  constructor(message: string, asked = "", known: readonly string[] = []) {
    super(message);
    this.asked = asked;
    this.known = known;
  }
}

/** What `--set` can change in any recipe. */
export const recipeOptions = {
  "optimizer.lr": number(0, "Learning rate, before scaling by the batch", { above: 0 }),
  "optimizer.scaling": choice("linear", ["linear", "sqrt", "none"], "How the learning rate grows with the batch"),
  "optimizer.weightDecay": number(0, "Weight decay", { min: 0 }),
  "optimizer.momentum": number(0, "Momentum of SGD and LARS", { min: 0, below: 1 }),
  "optimizer.nesterov": flag(false, "Nesterov's look-ahead in SGD and LARS"),
  "schedule.lr": choice("cosine", ["cosine", "steps", "constant"], "How the learning rate changes over the run"),
  "schedule.warmupEpochs": number(0, "Epochs of linear warm-up", { min: 0 }),
  "schedule.end": number(0, "Learning rate at the end of a cosine", { min: 0 }),
  "schedule.weightDecayEnd": number(0, "Weight decay at the end of a cosine", { min: 0 }),
} satisfies OptionTable;

/** What every run is asked for beside its method. */
const counts = {
  size: whole(1, "Side of a view"),
  batch: whole(1, "Images a step"),
  accumulate: whole(1, "Micro-batches a step"),
  seed: whole(0, "Seed", { min: 0, max: 2 ** 32 - 1 }),
  epochs: number(1, "Epochs", { above: 0 }),
  steps: whole(1, "Steps"),
  minutes: number(1, "Minutes", { above: 0 }),
} satisfies OptionTable;

function lookUp<T>(kind: string, table: Readonly<Record<string, T>>, name: string): T {
  if (!Object.hasOwn(table, name)) throw new RequestError(`Unknown ${kind} "${name}"`, name, Object.keys(table));
  return table[name];
}

/** The whole configuration of a run. Throws a RequestError, which names what there is, before anything is read or written. */
export function configure(request: RunRequest): RunOptions {
  const method = lookUp("method", methods, request.method);
  const name = request.recipe ?? defaultRecipe(request.method);
  const recipe: Recipe = lookUp("recipe", recipes, name);
  if (recipe.method !== request.method) {
    const fitting = Object.keys(recipes).filter((key) => recipes[key].method === request.method);
    throw new RequestError(`Cannot train ${request.method} by the recipe "${name}": it is one for ${recipe.method}`, name, fitting);
  }
  const backbone = request.backbone ?? recipe.backbone;
  const wrong = backboneError(backbone);
  if (wrong) throw new RequestError(wrong, backbone);
  const { epochs, steps, minutes, size = recipe.size, batch = recipe.batch, accumulate = 1, seed = 0 } = request;
  const { activations = "f32", precision = "f32" } = request;
  checkCounts({ size, batch, accumulate, seed, epochs, steps, minutes });
  if (batch % accumulate)
    throw new RequestError(`Cannot cut a batch of ${batch} into ${accumulate} equal parts: expected a divisor of ${batch}`);
  const { own, optimizer, schedule } = settings(request.set ?? {}, method.options);
  return {
    method: request.method,
    options: asRequest(() => resolveOptions(method.options, { ...recipe.options, ...own })),
    recipe: name,
    backbone,
    ...(request.init === undefined ? {} : { init: request.init }),
    images: request.images,
    size,
    length: lengthOf(request, recipe),
    batch,
    accumulate,
    activations,
    precision,
    optimizer: { ...recipe.optimizer, ...optimizer },
    schedule: { ...recipe.schedule, ...schedule },
    seed,
  };
}

function lengthOf({ epochs, steps, minutes }: RunRequest, recipe: Recipe): Length {
  const given = [epochs, steps, minutes].filter((x) => x !== undefined);
  if (given.length > 1) throw new RequestError("Cannot train for several lengths: expected one of epochs, steps and minutes");
  if (steps !== undefined) return { steps };
  return minutes !== undefined ? { minutes } : { epochs: epochs ?? recipe.epochs };
}

function checkCounts(given: { [K in keyof typeof counts]: number | undefined }): void {
  const said = Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined));
  asRequest(() => resolveOptions(counts, said));
}

/** `--set` pairs by where they belong. */
function settings(set: Readonly<Record<string, string>>, table: OptionTable) {
  const [own, common]: Record<string, string>[] = [{}, {}];
  for (const [key, value] of Object.entries(set)) {
    if (Object.hasOwn(table, key)) own[key] = value;
    else if (Object.hasOwn(recipeOptions, key)) common[key] = value;
    else throw new RequestError(`Unknown option "${key}"`, key, [...Object.keys(table), ...Object.keys(recipeOptions)]);
  }
  const values = asRequest(() => resolveOptions<OptionTable>(recipeOptions, common));
  const changed = (part: string) =>
    Object.fromEntries(Object.keys(common).flatMap((key) => (key.startsWith(part) ? [[key.slice(part.length), values[key]]] : [])));
  return { own, optimizer: changed("optimizer."), schedule: changed("schedule.") };
}

/** A value out of range is the user's to correct. */
function asRequest<T>(f: () => T): T {
  try {
    return f();
  } catch (error) {
    throw error instanceof RangeError ? new RequestError(error.message) : error;
  }
}
