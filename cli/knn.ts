import type { Precision } from "../src/tape/trace.ts";
import { command } from "./command.ts";
import { machine, machineFlags, precisionFlag } from "./machine.ts";
import { backboneName } from "./names.ts";
import { amount, counter, noteSkipped } from "./progress.ts";

export default command({
  name: "knn",
  summary: "Score an encoder by its nearest neighbours, without training anything",
  args: {
    encoder: { help: "A run's folder, a checkpoint of any kind, or the name of a pulled one" },
    train: { help: "Labelled images that vote" },
    test: { help: "Labelled images that are judged; without them each of <train> by all others", optional: true },
  },
  flags: {
    k: { type: "number", whole: true, min: 1, default: 20, help: "How many neighbours vote" },
    tau: { type: "number", min: 0.001, default: 0.07, help: "Temperature of the votes" },
    standardize: { type: "boolean", help: "Give every feature mean 0 and deviation 1 over <train>; helps with MAE" },
    backbone: { type: "choice", help: "Network of a checkpoint that does not name its own", ...backboneName },
    size: { type: "number", whole: true, min: 1, otherwise: "as in training", help: "Side of the images that the encoder sees" },
    precision: precisionFlag,
    ...machineFlags,
    json: { type: "boolean", help: "Print one JSON object" },
  },
  examples: ["autodidact knn runs/simclr-photos train/ test/", "autodidact knn runs/simclr-photos photos/"],
  async run({ args, flags, print, printJson, note, terminal }) {
    const { knn } = await import("../src/evaluate/score.ts");
    const { k, tau, standardize, backbone, size, json } = flags;
    const count = counter(terminal);
    const options = {
      k,
      tau,
      standardize,
      backbone,
      size,
      precision: flags.precision as Precision,
      ...machine(flags),
      onProgress: count.show,
    };
    const score = await knn(args.encoder, args.train, args.test, options).finally(count.close);
    noteSkipped(score.skipped, note);
    if (json) return printJson(score);
    const { top1, top5, pixels, classes, trainImages, testImages } = score;
    print(
      `kNN top-1 ${top1.toFixed(2)} %, top-5 ${top5.toFixed(2)} %  (raw pixels ${pixels.top1.toFixed(2)} %, ${pixels.top5.toFixed(2)} %)`,
    );
    print(
      `k ${k}, tau ${tau}${standardize ? ", standardised" : ""}, ${classes} classes, ${amount(testImages)} images judged by ${amount(trainImages)}`,
    );
  },
});
