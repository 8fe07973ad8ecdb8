import { existsSync } from "node:fs";
import { join } from "node:path";
import type { Searches } from "../src/demo/demo.ts";
import type { Found } from "../src/demo/search.ts";
import { command, UsageError } from "./command.ts";
import { freeFolder } from "./folder.ts";
import { machine, machineFlags } from "./machine.ts";
import { progress } from "./progress.ts";
import { showResult } from "./result.ts";

export default command({
  name: "demo",
  summary: "Learn from two thousand emoji, then find edited drawings by what was learned",
  flags: {
    minutes: { group: "Training", type: "number", min: 0, otherwise: "2.6", help: "Length: time of training" },
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
    if (existsSync(folder) && !existsSync(join(folder, "run", "run.json")))
      throw new Error(`Cannot write the demo to ${folder}: it exists`);
    if (!json) {
      note("A small network looks at 1,911 emoji that nobody labelled, and learns to know each one again after it was cropped,");
      note("mirrored and recoloured (SimCLR). Then it must do so with another vendor's emoji, which it has never seen.\n");
    }
    const { COPIES, demo } = await import("../src/demo/demo.ts");
    const shown = progress(terminal, flags);
    const settings = { ...machine(flags), minutes, epochs, seed };
    const result = await demo({ folder, ...settings, onEvent: (event) => shown.show(event), signal: terminal.stop }).finally(() =>
      shown.close(),
    );
    const { pixels, learned, report } = result;
    if (!pixels || !learned || !report) return showResult(result.run, { print, note, json, goOn: `autodidact demo --out ${folder}` });
    if (json) return print(JSON.stringify({ version: 1, type: "demo", report, pixels: scores(pixels), learned: scores(learned) }));
    note("\nThe original of each edited drawing was found, among all 1,911 of its vendor,");
    note(`when each original is known by one look at it, and by ${COPIES + 1} looks, ${COPIES} of them at edited copies:\n`);
    print(colors.heading(row("", ["1: at once", "within five", `${COPIES + 1}: at once`, "within five"])));
    print(row("by raw pixels", cells(pixels)));
    print(row("by what it learned", cells(learned)));
    note(`\nOpen ${report} to see searches, curves and a map of what it learned.`);
    note(`Your own pictures: autodidact train simclr <folder>`);
  },
});

const score = ({ top1, top5 }: Found) => ({ top1, top5 });
const scores = ({ once, several }: Searches) => ({ once: score(once), several: score(several) });
const cells = ({ once, several }: Searches) => [once.top1, once.top5, several.top1, several.top5].map((x) => `${x.toFixed(1)} %`);
const row = (name: string, values: readonly string[]) => name.padEnd(18) + values.map((value) => value.padStart(13)).join("");
