import { command } from "./command.ts";
import { machine, machineFlags } from "./machine.ts";
import { progress } from "./progress.ts";
import { showResult } from "./result.ts";

export default command({
  name: "resume",
  summary: "Go on with a run that was stopped, to the same end",
  args: { run: { help: "The run's folder" } },
  flags: {
    ...machineFlags,
    profile: { group: "Output", type: "boolean", help: "Show where the time of a step goes, by op and by module" },
    json: { group: "Output", type: "boolean", help: "Print every event as a line of JSON" },
  },
  examples: ["autodidact resume runs/simclr-photos"],
  stops: true,
  async run({ args, flags, print, note, terminal }) {
    const { resume } = await import("../src/train/train.ts");
    const shown = progress(terminal, flags);
    try {
      const result = await resume(args.run, {
        settings: machine(flags),
        profile: flags.profile,
        onEvent: shown.show,
        signal: terminal.stop,
      });
      shown.close();
      showResult(result, { print, note, json: flags.json });
    } finally {
      shown.close();
    }
  },
});
