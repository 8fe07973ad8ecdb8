import type { Published } from "../src/models/published.ts";
import { command } from "./command.ts";
import { columns } from "./table.ts";

export default command({
  name: "models",
  summary: "List the backbones that can be trained",
  flags: {
    published: { type: "boolean", help: "List the checkpoints that their authors published, with their scores on ImageNet-1k" },
    json: { type: "boolean", help: "Print one JSON object" },
  },
  examples: ["autodidact models", "autodidact models --published"],
  async run({ flags, print, printJson, note, colors }) {
    if (flags.published) {
      const { published } = await import("../src/models/published.ts");
      const entries = Object.entries(published);
      if (flags.json) return printJson({ published: entries.map(([name, entry]) => ({ name, ...entry })) });
      const rows = entries.map(([name, entry]) => [name, entry.method, entry.backbone ?? "-", scores(entry)]);
      for (const line of columns(rows, colors.command)) print(line);
      note("\n`autodidact pull NAME` fetches one; --json shows addresses and sources.");
      return;
    }
    const { backbones } = await import("../src/models/backbones.ts");
    if (flags.json) return printJson({ models: backbones() });
    const rows = backbones().map(({ name, features, about }) => [name, `${features} features`, about]);
    for (const line of columns(rows, colors.command)) print(line);
    note(
      "\nA ResNet takes a width and a stride after its name: resnet18-cifar-w0.25 has a quarter of the channels, resnet50-stride8 a map four times as fine.",
    );
  },
});

/** "linear 77.0 %, kNN 74.5 %" */
const scores = ({ linear, knn, finetune }: Published): string =>
  Object.entries({ linear, kNN: knn, "fine-tuned": finetune })
    .flatMap(([protocol, top1]) => (top1 === undefined ? [] : [`${protocol} ${top1.toFixed(1)} %`]))
    .join(", ");
