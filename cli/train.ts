import { existsSync } from "node:fs";
import { basename, extname, join, resolve } from "node:path";
import type { Activations, Precision } from "../src/tape/trace.ts";
import { command, UsageError } from "./command.ts";
import { freeFolder } from "./folder.ts";
import { machine, machineFlags, precisionFlag } from "./machine.ts";
import { backboneName, methodName, recipeName } from "./names.ts";
import { progress } from "./progress.ts";
import { showResult } from "./result.ts";

export default command({
  name: "train",
  summary: "Learn from images that nobody labelled",
  args: {
    method: { help: "Which method learns; `autodidact methods` lists them", ...methodName },
    images: { help: "A folder of pictures, of CIFAR or IDX files or of .tar shards; one such file; or a list of paths" },
  },
  flags: {
    recipe: { group: "Model", type: "choice", otherwise: "the method's", help: "Published settings to start from", ...recipeName },
    backbone: { group: "Model", type: "choice", otherwise: "the recipe's", help: "Network that learns", ...backboneName },
    init: {
      group: "Model",
      type: "path",
      value: "checkpoint",
      otherwise: "fresh weights",
      help: "Checkpoint or pulled name to begin with",
    },
    size: { group: "Model", type: "number", whole: true, min: 1, otherwise: "the recipe's", help: "Side of a view in pixels" },
    epochs: { group: "Training", type: "number", min: 0, otherwise: "the recipe's", help: "Length: times that each image is seen" },
    steps: { group: "Training", type: "number", whole: true, min: 1, help: "Length: steps of the optimiser" },
    minutes: { group: "Training", type: "number", min: 0, help: "Length: time of training" },
    batch: { group: "Training", type: "number", whole: true, min: 1, otherwise: "the recipe's", help: "Images in a step" },
    accumulate: {
      group: "Training",
      type: "number",
      whole: true,
      min: 1,
      default: 1,
      help: "Parts that a batch is cut into, to save memory",
    },
    recompute: {
      group: "Training",
      type: "boolean",
      help: "Compute blocks again in the backward pass, to save memory; the same bits",
    },
    activations: {
      group: "Training",
      type: "choice",
      choices: ["f32", "f16"],
      default: "f32",
      help: "Precision in which values wait for the backward pass; f16 saves memory",
    },
    precision: { group: "Training", ...precisionFlag },
    lr: { group: "Training", type: "number", min: 0, otherwise: "the recipe's", help: "Learning rate, before scaling by the batch" },
    set: { group: "Training", type: "pairs", help: "Change a setting of the method or the recipe; may be repeated" },
    seed: { group: "Training", type: "number", whole: true, min: 0, max: 2 ** 32 - 1, default: 0, help: "Seed of all random numbers" },
    "knn-every": { group: "Evaluation", type: "number", min: 0, default: 0, help: "Epochs between kNN scores; 0: only at the end" },
    "knn-train": { group: "Evaluation", type: "path", value: "images", otherwise: "<images>", help: "Labelled images that vote" },
    "knn-test": {
      group: "Evaluation",
      type: "path",
      value: "images",
      otherwise: "the voting images, each left out in turn",
      help: "Labelled images that are judged",
    },
    ...machineFlags,
    out: { group: "Output", type: "path", value: "folder", otherwise: "runs/<method>-<images>", help: "Folder of the run" },
    force: { group: "Output", type: "boolean", help: "Replace a run that is in that folder" },
    profile: { group: "Output", type: "boolean", help: "Show where the time of a step goes, by op and by module" },
    json: { group: "Output", type: "boolean", help: "Print every event as a line of JSON" },
  },
  examples: ["autodidact train simclr photos/", "autodidact train dino photos/ --backbone vit-tiny-16 --epochs 100"],
  stops: true,
  async run({ args: { method, images }, flags, print, note, terminal }) {
    const { recipe, backbone, size, epochs, steps, minutes, batch, accumulate, activations, precision, seed, lr, force, json } = flags;
    const set = lr === undefined ? flags.set : { ...flags.set, "optimizer.lr": String(lr) };
    const request = {
      method,
      images,
      recipe,
      backbone,
      init: flags.init,
      size,
      epochs,
      steps,
      minutes,
      batch,
      accumulate,
      activations: activations as Activations,
      precision: precision as Precision,
      seed,
      set,
    };
    const settings = {
      ...machine(flags),
      recompute: flags.recompute,
      knnEvery: flags["knn-every"],
      knnImages: knnImages(images, flags["knn-train"], flags["knn-test"]),
    };
    const run = flags.out ?? folderFor(method, images);
    const { train } = await import("../src/train/train.ts");
    const shown = progress(terminal, flags);
    try {
      const result = await train(request, { run, force, settings, profile: flags.profile, onEvent: shown.show, signal: terminal.stop });
      shown.close();
      showResult(result, { print, note, json });
    } catch (error) {
      throw (error as Error).name === "RunExistsError" ? Object.assign(error as Error, { tip: insteadOf(run) }) : error;
    } finally {
      shown.close();
    }
  },
});

/** Labelled images for the scores during training; none: the classes of the images themselves. */
function knnImages(images: string, train?: string, test?: string): { train: string; test: string } | undefined {
  if (train !== undefined && test === undefined) throw new UsageError("--knn-train needs --knn-test", "write --knn-test <images> too");
  return test === undefined ? undefined : { train: train ?? images, test };
}

const insteadOf = (run: string) =>
  existsSync(join(run, "run.json"))
    ? `--out <folder> takes another, --force replaces the run, \`autodidact resume ${run}\` goes on with it`
    : "--out <folder> takes another";

/** runs/simclr-photos */
const folderFor = (method: string, images: string) => freeFolder(join("runs", `${method}-${basename(resolve(images), extname(images))}`));
