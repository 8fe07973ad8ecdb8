import { join } from "node:path";
import { command } from "./command.ts";

const sets = {
  cifar10: {
    folder: "cifar-10-batches-bin",
    about: "60,000 colour photographs of 32x32 pixels in 10 classes",
    fetch: async () => (await import("./data/cifar10.ts")).fetchCifar10,
  },
  "fashion-mnist": {
    folder: "fashion-mnist",
    about: "70,000 grey pictures of clothes, 28x28 pixels, in 10 classes",
    fetch: async () => (await import("./data/fashion-mnist.ts")).fetchFashionMnist,
  },
};

export default command({
  name: "data",
  summary: "Fetch a set of pictures to try things on",
  args: { set: { help: "cifar10 or fashion-mnist; without it, all are listed", optional: true, choices: Object.keys(sets) } },
  flags: {
    out: { type: "path", value: "folder", otherwise: "data/<name>", help: "Where to put it" },
    json: { type: "boolean", help: "Print one JSON object" },
  },
  examples: ["autodidact data cifar10"],
  stops: true,
  async run({ args, flags, print, printJson, note, colors, terminal }) {
    if (args.set === undefined) {
      if (flags.json) return printJson({ sets: Object.entries(sets).map(([name, { about }]) => ({ name, about })) });
      for (const [name, { about }] of Object.entries(sets)) print(`${colors.command(name.padEnd(15))}${about}`);
      return;
    }
    const { folder, fetch } = sets[args.set as keyof typeof sets];
    const out = flags.out ?? join("data", folder);
    const written = await (await fetch())(out, { signal: terminal.stop, note });
    if (flags.json) printJson({ name: args.set, folder: out, written });
    else {
      print(written ? `${args.set} is in ${out}` : `${args.set} is in ${out} already`);
      note(`\`autodidact train simclr ${out} --recipe simclr-cifar-r18-quarter\` learns from it`);
    }
  },
});
