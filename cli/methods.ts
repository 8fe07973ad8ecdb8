import { command } from "./command.ts";
import { methodName } from "./names.ts";
import { columns } from "./table.ts";

export default command({
  name: "methods",
  summary: "List the methods, or one with its paper and its options",
  args: { method: { help: "A method's name; without it, all are listed", optional: true, ...methodName } },
  flags: { json: { type: "boolean", help: "Print one JSON object" } },
  examples: ["autodidact methods", "autodidact methods simclr"],
  async run({ args, flags, print, printJson, colors }) {
    const [{ methods }, { expected }] = await Promise.all([import("../src/methods/methods.ts"), import("../src/methods/options.ts")]);
    const all = Object.values(methods);
    const chosen = all.filter(({ name }) => args.method === undefined || name === args.method);
    if (flags.json) {
      return printJson({ methods: chosen.map(({ name, summary, paper, options }) => ({ name, summary, paper, options })) });
    }
    if (args.method === undefined) {
      for (const line of columns(
        all.map(({ name, summary }) => [name, summary]),
        colors.command,
      ))
        print(line);
      return;
    }
    const [{ name, summary, paper, options }] = chosen;
    print(`${colors.command(name)}  ${summary}`);
    print(paper);
    print(`\n${colors.heading("Options, for --set:")}`);
    const rows = Object.entries(options).map(([key, option]) => [
      key,
      String(option.default),
      option.help,
      colors.example(expected(option)),
    ]);
    for (const line of columns(rows, colors.command)) print(`  ${line}`);
  },
});
