import type { InspectedNetwork } from "../src/evaluate/inspect.ts";
import { command } from "./command.ts";
import { backboneName } from "./names.ts";
import { amount } from "./progress.ts";
import { columns } from "./table.ts";

export default command({
  name: "inspect",
  summary: "Show what a checkpoint holds: the method and the network it is of, its tensors, what is missing",
  args: { checkpoint: { help: "A .pth, .safetensors, .npz, .pkl or TensorFlow .index file, or a run's folder" } },
  flags: {
    backbone: { type: "choice", otherwise: "recognised", help: "Network to compare it with", ...backboneName },
    json: { type: "boolean", help: "Print one JSON object" },
  },
  examples: ["autodidact inspect dino_deitsmall16_pretrain.pth"],
  async run({ args, flags, print, printJson, colors }) {
    const { inspect } = await import("../src/evaluate/inspect.ts");
    const found = await inspect(args.checkpoint, { backbone: flags.backbone });
    if (flags.json) return printJson(found);
    const { file, format, bytes, method, network, values, tensors } = found;
    print(`${colors.command(file)}  ${format}, ${amount(bytes)} bytes, ${amount(tensors.length)} tensor${tensors.length === 1 ? "" : "s"}`);
    print(`method   ${method ?? "not told by its names"}`);
    for (const line of network ? describe(network) : ["network  none that is known by its names and shapes"]) print(line);
    const plain = Object.entries(values).map(([name, value]): [string, string] => [harmless(name), harmless(String(value))]);
    if (plain.length) print("\nValues");
    for (const line of columns(plain, colors.command)) print(`  ${line}`);
    if (tensors.length) print("\nTensors");
    const rows = tensors.map(({ name, dtype, shape }): [string, string, string] => [harmless(name), dtype, `[${shape.join(", ")}]`]);
    for (const line of columns(rows, colors.command)) print(`  ${line}`);
  },
});

function describe({ backbone, size, prefix, scheme, tensors, numbers, missing, misfits, extra }: InspectedNetwork): string[] {
  const images = size === undefined ? "" : ` for images of ${size}`;
  const place = prefix ? ` under "${harmless(prefix)}"` : "";
  const names = scheme ? ` in the names of ${scheme}` : "";
  return [
    `network  ${backbone}${images}${place}${names}: ${amount(tensors)} tensors, ${amount(numbers)} numbers`,
    `missing  ${list(missing)}`,
    ...(misfits.length ? [`misfits  ${list(misfits)}, which have another shape`] : []),
    `extra    ${list(extra)}`,
  ];
}

/** Names in a file may hold anything, and must not steer the terminal. */
const harmless = (text: string): string => text.replace(/\p{Cc}/gu, (c) => `\\x${c.charCodeAt(0).toString(16).padStart(2, "0")}`);

/** At most eight names. */
const list = (names: readonly string[]): string =>
  names.length ? harmless(names.slice(0, 8).join(", ")) + (names.length > 8 ? ` and ${names.length - 8} more` : "") : "nothing";
