import { command } from "./command.ts";
import { machine, machineFlags } from "./machine.ts";

export default command({
  name: "report",
  summary: "Write a page that shows how a run went and what it learned",
  args: { run: { help: "The run's folder" } },
  flags: { ...machineFlags, json: { type: "boolean", help: "Print one JSON object" } },
  examples: ["autodidact report runs/simclr-photos"],
  async run({ args, flags, print, printJson }) {
    const { report } = await import("../src/train/report.ts");
    const path = await report(args.run, machine(flags));
    if (flags.json) printJson({ run: args.run, report: path });
    else print(path);
  },
});
