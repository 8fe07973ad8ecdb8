import { command } from "./command.ts";
import { columns } from "./table.ts";

export default command({
  name: "models",
  summary: "List the backbones that can be trained",
  flags: { json: { type: "boolean", help: "Print one JSON object" } },
  examples: ["autodidact models"],
  async run({ flags, print, printJson, note, colors }) {
    const { backbones } = await import("../src/models/backbone.ts");
    if (flags.json) return printJson({ models: backbones() });
    const rows = backbones().map(({ name, features, about }) => [name, `${features} features`, about]);
    for (const line of columns(rows, colors.command)) print(line);
    note("\nA ResNet takes a width after its name: resnet18-cifar-w0.25 has a quarter of the channels.");
  },
});
