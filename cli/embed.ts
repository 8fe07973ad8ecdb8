import { existsSync } from "node:fs";
import { dirname } from "node:path";
import type { Precision } from "../src/tape/trace.ts";
import { command } from "./command.ts";
import { machine, machineFlags, precisionFlag } from "./machine.ts";
import { backboneName } from "./names.ts";
import { amount, counter, noteSkipped } from "./progress.ts";

export default command({
  name: "embed",
  summary: "Turn images into feature vectors that other programs can read",
  args: {
    encoder: { help: "A run's folder, a checkpoint of any kind, or the name of a pulled one" },
    images: { help: "A folder of images or anything else that can be trained on" },
  },
  flags: {
    out: { type: "path", value: "file", required: true, help: "Where to: a .safetensors, .npy, .csv or .jsonl file" },
    backbone: { type: "choice", help: "Network of a checkpoint that does not name its own", ...backboneName },
    size: { type: "number", whole: true, min: 1, otherwise: "as in training", help: "Side of the images that the encoder sees" },
    batch: { type: "number", whole: true, min: 1, default: 64, help: "Images at a time" },
    precision: precisionFlag,
    ...machineFlags,
    json: { type: "boolean", help: "Print one JSON object" },
  },
  examples: ["autodidact embed runs/simclr-photos photos/ --out photos.npy"],
  async run({ args, flags, print, printJson, note, terminal }) {
    const folder = dirname(flags.out);
    if (!existsSync(folder)) throw new Error(`Cannot write ${flags.out}: there is no folder ${folder}`);
    const { embed } = await import("../src/evaluate/embed.ts");
    const { out, backbone, size, batch, json } = flags;
    const count = counter(terminal);
    const options = { backbone, size, batch, precision: flags.precision as Precision, ...machine(flags), onProgress: count.show };
    const done = await embed(args.encoder, args.images, out, options).finally(count.close);
    noteSkipped(done.skipped, note);
    if (json) printJson(done);
    else print(`${done.out}: ${amount(done.images)} images, ${amount(done.dim)} features each`);
  },
});
