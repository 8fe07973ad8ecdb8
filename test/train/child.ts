// A run in a process of its own, to be killed. Prints a line for every step.
import { resume, train } from "../../src/train/train.ts";

const [command, run, ...rest] = process.argv.slice(2);
const onEvent = (event: { type: string; step?: number }) => {
  if (event.type === "step") process.stdout.write(`step ${event.step}\n`);
};
if (command === "train") await train(JSON.parse(rest[0]), { run, settings: JSON.parse(rest[1]), onEvent });
else await resume(run, { onEvent });
