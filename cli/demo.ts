import { existsSync } from "node:fs";
import { join } from "node:path";
import { command, UsageError } from "./command.ts";
import { freeFolder } from "./folder.ts";
import { machine, machineFlags } from "./machine.ts";
import { progress } from "./progress.ts";
import { showResult } from "./result.ts";

export default command({
  name: "demo",
  summary: "Learn from two thousand emoji, then find edited drawings by what was learned",
  flags: {
    minutes: { group: "Training", type: "number", min: 0, otherwise: "2.4", help: "Length: time of training" },
    epochs: { group: "Training", type: "number", min: 0, help: "Length: times that each drawing is seen" },
    seed: { group: "Training", type: "number", whole: true, min: 0, max: 2 ** 32 - 1, default: 0, help: "Seed of all random numbers" },
    ...machineFlags,
    out: { group: "Output", type: "path", value: "folder", otherwise: "runs/demo", help: "Folder of pictures, run and report" },
    json: { group: "Output", type: "boolean", help: "Print every event, then the result, as a line of JSON" },
  },
  examples: ["autodidact demo", "autodidact demo --minutes 10"],
  stops: true,
  async run({ flags, print, note, colors, terminal }) {
    const { minutes, epochs, seed, json } = flags;
    if (minutes !== undefined && epochs !== undefined) throw new UsageError("--minutes and --epochs both say how long", "leave one out");
    const folder = flags.out ?? freeFolder(join("runs", "demo"));
    if (existsSync(folder)) throw new Error(`Cannot write the demo to ${folder}: it exists`);
    if (!json) {
      note("A small network looks at 1,911 emoji that nobody labelled, and learns to know each one again after it was cropped,");
      note("mirrored and recoloured (SimCLR). Then it must do so with another vendor's emoji, which it has never seen.\n");
    }
    const { demo } = await import("../src/demo/demo.ts");
    const shown = progress(terminal, flags);
    const settings = { ...machine(flags), minutes, epochs, seed };
    const result = await demo({ folder, ...settings, onEvent: (event) => shown.show(event), signal: terminal.stop }).finally(() =>
      shown.close(),
    );
    const { pixels, learned, report } = result;
    if (!pixels || !learned || !report) return showResult(result.run, { print, note, json });
    const score = ({ top1, top5 }: typeof learned) => ({ top1, top5 });
    if (json) return print(JSON.stringify({ version: 1, type: "demo", report, pixels: score(pixels), learned: score(learned) }));
    const row = (name: string, a: string, b: string) => `${name.padEnd(18)}${a.padStart(10)}${b.padStart(15)}`;
    const per = (x: number) => `${x.toFixed(1)} %`;
    note("\nThe original of each edited drawing, among all 1,911 of its vendor, was found");
    print(colors.heading(row("", "at once", "within five")));
    print(row("by raw pixels", per(pixels.top1), per(pixels.top5)));
    print(row("by what it learned", per(learned.top1), per(learned.top5)));
    note(`\nOpen ${report} to see searches, curves and a map of what it learned.`);
    note(`Your own pictures: autodidact train simclr <folder>`);
  },
});
