// Every kind of golden file and its runner: the files beside this one export them as `runners`.
import { readdirSync } from "node:fs";
import { fileURLToPath } from "node:url";
import type { Backend } from "../../src/backend/backend.ts";
import { type BackendOptions, openBackend } from "../../src/backend/open.ts";
import { isCheckpointGolden, runCheckpointGolden } from "./checkpoints.ts";
import { Check, openGolden, type Runners } from "./golden.ts";
import { isCifarGolden, runCifarGolden } from "./resnet-cifar.ts";

const helpers = ["golden.ts", "run.ts", "models.ts", "checkpoints.ts", "resnet-cifar.ts"];

async function loadRunners(): Promise<Runners> {
  const files = readdirSync(fileURLToPath(new URL(".", import.meta.url))).filter((name) => name.endsWith(".ts") && !helpers.includes(name));
  const parts = await Promise.all(files.map(async (name) => (await import(new URL(name, import.meta.url).href)).runners as Runners));
  return Object.assign({}, ...parts);
}

let runners: Promise<Runners> | undefined;

/** Runs one golden file on a backend of its own, so that files share neither memory nor failures. Throws when its kind is unknown. */
export async function runGolden(path: string, options: BackendOptions): Promise<Check> {
  if (isCheckpointGolden(path)) return runCheckpointGolden(path);
  const backend = await openBackend(options);
  try {
    return isCifarGolden(path) ? await runCifarGolden(path, backend) : await runKind(path, backend);
  } finally {
    await backend.close();
  }
}

async function runKind(path: string, backend: Backend): Promise<Check> {
  runners ??= loadRunners();
  const golden = await openGolden(path);
  const runner = (await runners)[golden.config.kind];
  if (!runner) throw new RangeError(`Cannot run ${golden.name}: no runner for kind "${golden.config.kind}"`);
  const check = new Check(golden);
  await runner(golden, check, backend);
  return check;
}

/** A file's line: verdict, name, kind, the worst difference and its limit. */
export function describe(check: Check): string {
  const { golden, worst, missed } = check;
  const head = `${check.passed ? "pass" : "FAIL"}  ${golden.name.padEnd(34)} ${golden.config.kind.padEnd(22)}`;
  const figure = `${(100 * worst.share).toFixed(1).padStart(7)} % of tolerance: ${worst.difference.toExponential(1)} of ${worst.limit.toExponential(1)} at ${worst.name}`;
  const gaps = missed.length
    ? `; not compared: ${missed.slice(0, 4).join(", ")}${missed.length > 4 ? ` and ${missed.length - 4} more` : ""}`
    : "";
  const left = check.left.size ? `; left out: ${[...check.left].map(([name, reason]) => `${name} (${reason})`).join(", ")}` : "";
  return `${head}${figure}  (${check.compared} tensors)${gaps}${left}`;
}
