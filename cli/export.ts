import { existsSync } from "node:fs";
import { dirname } from "node:path";
import { command, UsageError } from "./command.ts";
import { backboneName } from "./names.ts";
import { amount } from "./progress.ts";

export default command({
  name: "export",
  summary: "Write a network for other programs: as an ONNX graph, or its weights under their official names",
  args: { encoder: { help: "A run's folder, a checkpoint, or the name of a published one" } },
  flags: {
    out: { type: "path", value: "file", required: true, help: "Where to: a .onnx, .safetensors or .pth file" },
    backbone: { type: "choice", otherwise: "recognised", help: "Network of a checkpoint that does not name its own", ...backboneName },
    size: { type: "number", whole: true, min: 1, otherwise: "as in training", help: "Side of the images that a graph takes" },
    map: { type: "boolean", help: "Let a graph also give the last map, [batch, channels, height, width]" },
    json: { type: "boolean", help: "Print one JSON object" },
  },
  examples: ["autodidact export runs/simclr-photos --out photos.onnx", "autodidact export runs/simclr-photos --out photos.pth"],
  async run({ args, flags, print, printJson }) {
    const { exportEncoder, exportError } = await import("../src/export/export.ts");
    const { out, backbone, size, map, json } = flags;
    const error = exportError(out, { map });
    if (error) throw new UsageError(error);
    if (!existsSync(dirname(out))) throw new Error(`Cannot write ${out}: there is no folder ${dirname(out)}`);
    const done = await exportEncoder(args.encoder, out, { backbone, size, map });
    if (json) return printJson(done);
    print(`${done.out}: ${done.about}, ${amount(done.features)} features, ${amount(done.parameters)} parameters`);
    print(`images: ${done.size} x ${done.size}, RGB in [0, 1], less ${done.mean.join(", ")}, divided by ${done.std.join(", ")}`);
  },
});
