// The resolved configuration of a run. `RunOptions` is what determines the bits of the result, `RunSettings` how the run is
// carried out; `run.json` keeps both. `configure` makes the first from a method, a recipe and what the user overrides.
import type { Recipe } from "../recipes/recipe.ts";

export type Json = null | boolean | number | string | readonly Json[] | { readonly [key: string]: Json };

/** How long to train. Minutes are of training, without evaluation; the step count is estimated at start (see `pace.ts`). */
export type Length = { readonly epochs: number } | { readonly steps: number } | { readonly minutes: number };

/** Everything that the result depends on. Two runs with equal options on equal images end in the same bits. */
export interface RunOptions {
  /** Name of a method, as in `methods`. */
  readonly method: string;
  /** The method's own options, all of them. */
  readonly options: { readonly [name: string]: Json };
  /** The recipe that the other fields started from. */
  readonly recipe: string;
  /** Name of a backbone, as in `models`. */
  readonly backbone: string;
  /** Options of the backbone, such as `width` and `stem` of a ResNet. */
  readonly backboneOptions: { readonly [name: string]: Json };
  /** Folder, archive or list of training images. */
  readonly images: string;
  /** Side of a full view in pixels. */
  readonly size: number;
  readonly length: Length;
  /** Images that one optimiser step learns from. */
  readonly batch: number;
  /** Micro-batches that a batch is cut into; their gradients are summed. 1 = the whole batch at once. */
  readonly accumulate: number;
  readonly optimizer: Recipe["optimizer"];
  readonly schedule: Recipe["schedule"];
  readonly seed: number;
}

/** How a run is carried out. Nothing here changes the weights. */
export interface RunSettings {
  /** Threads of the backend; all cores by default. */
  readonly threads?: number;
  readonly backend: "auto" | "wasm" | "gpu" | "reference";
  /** Steps between lines of `metrics.jsonl`. */
  readonly logEvery: number;
  /** Steps between health measurements; 0 = never. */
  readonly healthEvery: number;
  /** Epochs between kNN scores; 0 = only at the end, negative = never. */
  readonly knnEvery: number;
  /** Images for kNN: labelled training images and test images. Without them, the training folder's own classes serve. */
  readonly knnImages?: { readonly train: string; readonly test: string };
  readonly k: number;
  readonly tau: number;
  /** Seconds between checkpoints. A run also writes one at the end and when it is interrupted. */
  readonly checkpointSeconds: number;
  /** Checkpoints that are kept beside the newest. */
  readonly keep: number;
}

export const defaultSettings: RunSettings = {
  backend: "auto",
  logEvery: 10,
  healthEvery: 100,
  knnEvery: 0,
  k: 20,
  tau: 0.07,
  checkpointSeconds: 120,
  keep: 2,
};

/** What a user may say about a run; `configure` fills in the rest. */
export interface RunRequest {
  method: string;
  images: string;
  recipe?: string;
  backbone?: string;
  size?: number;
  epochs?: number;
  steps?: number;
  minutes?: number;
  batch?: number;
  accumulate?: number;
  seed?: number;
  /** `key=value` pairs: an option of the method, or `optimizer.lr`, `schedule.warmupEpochs`, `backbone.width` and the like. */
  set?: Readonly<Record<string, string>>;
}
