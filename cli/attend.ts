import { command } from "./command.ts";
import { freeFolder } from "./folder.ts";
import { machine, machineFlags } from "./machine.ts";
import { backboneName } from "./names.ts";
import { amount, counter, noteSkipped } from "./progress.ts";

export default command({
  name: "attend",
  summary: "Draw what a transformer's class token attends to, head by head",
  args: {
    encoder: { help: "A run's folder, a checkpoint of any kind, or the name of a pulled one" },
    images: { help: "A picture, or a folder of pictures" },
  },
  flags: {
    out: { type: "path", value: "folder", default: "attention", help: "Where to; each picture gets a folder in it" },
    threshold: { type: "number", min: 0.01, max: 1, help: "Also mark the places that hold this share of a head's attention, such as 0.6" },
    backbone: { type: "choice", help: "Network of a checkpoint that does not name its own", ...backboneName },
    size: { type: "number", whole: true, min: 1, otherwise: "480 for 224", help: "Side of the square that the network sees" },
    ...machineFlags,
    json: { type: "boolean", help: "Print one JSON object" },
  },
  examples: ["autodidact attend runs/dino-photos dog.jpg --threshold 0.6"],
  async run({ args, flags, print, printJson, note, terminal }) {
    const { attend } = await import("../src/evaluate/attend.ts");
    const { threshold, backbone, size, json } = flags;
    const out = freeFolder(flags.out);
    const count = counter(terminal);
    const options = { threshold, backbone, size, ...machine(flags), onProgress: count.show, signal: terminal.stop };
    const { images, skipped } = await attend(args.encoder, args.images, out, options).finally(count.close);
    noteSkipped(skipped, note);
    if (json) return printJson({ out, images, skipped });
    const [{ folder, heads, grid }] = images;
    print(`${out}: ${amount(images.length)} ${images.length === 1 ? "image" : "images"}, ${heads} heads, ${grid.join(" x ")} patches`);
    note(`open ${folder}/sheet.png`);
  },
});
