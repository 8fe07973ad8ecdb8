// The table of commands, and one turn of the command line.
import type { RequestError } from "../src/train/options.ts";
import attend from "./attend.ts";
import { type Command, command, type Invocation, parse, UsageError } from "./command.ts";
import completions, { candidates } from "./completions.ts";
import data from "./data.ts";
import demo from "./demo.ts";
import doctor from "./doctor.ts";
import embed from "./embed.ts";
import exporting from "./export.ts";
import { commandHelp, type Groups, rootHelp } from "./help.ts";
import inspect from "./inspect.ts";
import knn from "./knn.ts";
import methods from "./methods.ts";
import models from "./models.ts";
import pull from "./pull.ts";
import recipes from "./recipes.ts";
import report from "./report.ts";
import resume from "./resume.ts";
import { didYouMean } from "./suggest.ts";
import { colorful, colors, Interrupted, type Terminal } from "./terminal.ts";
import train from "./train.ts";
import { version } from "./version.ts";

const help = command({
  name: "help",
  summary: "Show what there is, or how one command is used",
  args: {
    command: {
      help: "A command's name",
      optional: true,
      choices: async () => commands.map(({ name }) => name),
      listedBy: "autodidact help",
    },
  },
  examples: ["autodidact help train"],
  async run({ args, print, colors }) {
    const shown = commands.find(({ name }) => name === args.command);
    print(shown ? commandHelp(shown, colors) : rootHelp(groups, colors));
  },
});

export const groups: Groups = {
  Learn: [demo, train, resume],
  "Measure and use": [knn, embed, attend, exporting, report],
  "Look up": [inspect, methods, models, recipes],
  "Set up": [doctor, data, pull, completions, help],
};

export const commands: readonly Command[] = Object.values(groups).flat();

/** Runs what was typed after `autodidact`. Gives the exit code: 0, 1 for an error, 2 for a usage error. Never throws. */
export async function autodidact(words: readonly string[], terminal: Terminal): Promise<number> {
  try {
    await dispatch(words, terminal);
    return signalCode(terminal) ?? 0;
  } catch (error) {
    const code = signalCode(terminal);
    if (terminal.stop.aborted && code === undefined) return 0; // the reader went away
    if (code !== undefined && error === terminal.stop.reason) return code; // whoever pressed Ctrl-C knows
    complain(error, words.includes("--verbose"), terminal);
    return code ?? (error instanceof UsageError || isRequestError(error) ? 2 : 1);
  }
}

const signalCode = ({ stop }: Terminal): number | undefined => (stop.reason instanceof Interrupted ? stop.reason.code : undefined);

async function dispatch(words: readonly string[], terminal: Terminal): Promise<void> {
  const [first, ...rest] = words;
  const print = (line: string) => terminal.out.write(`${line}\n`);
  const paint = colors(colorful(terminal.out, terminal.env));
  if (first === undefined || first === "--help" || first === "-h") return print(rootHelp(groups, paint));
  if (first === "--version" || first === "-V") return print(`autodidact ${version()}`);
  if (first === "complete") {
    // what the scripts of `completions` ask
    for (const { word, help } of await candidates(commands, rest.slice(1))) print(`${word}\t${help}`);
    return;
  }
  const chosen = commands.find(({ name }) => name === first);
  if (!chosen) throw unknownCommand(first);
  const parsed = await parse(chosen, rest);
  if (parsed.help) return print(commandHelp(chosen, paint));
  const work = chosen.run({
    args: parsed.args as Invocation["args"],
    flags: parsed.flags as Invocation["flags"],
    print,
    printJson: (value) => print(JSON.stringify({ version: 1, ...value }, null, 2)),
    note: (line) => terminal.err.write(`${line}\n`),
    colors: paint,
    terminal,
  });
  await (chosen.stops ? work : Promise.race([work, stopped(terminal.stop)]));
}

/** Rejects when the signal fires. */
const stopped = (signal: AbortSignal) =>
  new Promise<never>((_, reject) => {
    const end = () => reject(signal.reason);
    if (signal.aborted) end();
    else signal.addEventListener("abort", end, { once: true });
  });

function unknownCommand(typed: string): UsageError {
  const kind = typed.startsWith("-") ? "option" : "command";
  const near = didYouMean(typed, kind === "option" ? ["--help", "--version"] : commands.map(({ name }) => name));
  return new UsageError(`Unknown ${kind} "${typed}"`, `${near} \`autodidact help\` lists all ${kind}s`.trim());
}

/** What `src/train` throws when a run was asked for that cannot be meant. Told by its name: the class comes with the whole library. */
const isRequestError = (error: unknown): error is RequestError => error instanceof Error && error.name === "RequestError";

/** What would do: the error's own tip, or the names nearest to the one asked for. */
function tipOf(error: Error): string {
  if ("tip" in error && typeof error.tip === "string") return error.tip;
  if (!isRequestError(error) || !error.known.length) return "";
  return [didYouMean(error.asked, error.known), `known: ${error.known.join(", ")}`].filter(Boolean).join(" ");
}

/** `error: what` and `  tip: what would do`, on stderr. */
function complain(thrown: unknown, verbose: boolean, terminal: Terminal): void {
  const paint = colors(colorful(terminal.err, terminal.env));
  const error = thrown instanceof Error ? thrown : new Error(String(thrown));
  const tip = tipOf(error);
  terminal.err.write(`${paint.error("error")}: ${error.message.trimEnd()}\n`);
  if (tip) terminal.err.write(`  ${paint.command("tip")}: ${tip}\n`);
  if (verbose && error.stack) terminal.err.write(`${paint.example(error.stack)}\n`);
}
