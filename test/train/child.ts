// A run in a process of its own, to be killed or measured. Prints its plan, every step, and the memory that it took.
import { resume, train } from "../../src/train/train.ts";
import { peakBytes } from "../peak.ts";

const [command, run, ...rest] = process.argv.slice(2);
const onEvent = (event: { type: string; step?: number; memoryBytes?: number }) => {
  if (event.type === "start") process.stdout.write(`planned ${event.memoryBytes?.toFixed(0)} bytes\n`);
  if (event.type === "step") process.stdout.write(`step ${event.step}\n`);
};
if (command === "train") await train(JSON.parse(rest[0]), { run, settings: JSON.parse(rest[1]), onEvent });
else await resume(run, { onEvent });
process.stdout.write(`peak ${peakBytes()} bytes\n`);
