// A command is one object: parsing, help, completion and the README are made from it.
import { parseArgs } from "node:util";
import { didYouMean } from "./suggest.ts";
import type { Colors, Terminal } from "./terminal.ts";

/** What was typed cannot be meant: exit code 2, with a tip that says what would do. */
export class UsageError extends Error {
  readonly tip: string | undefined;
  constructor(message: string, tip?: string) {
    super(message);
    this.name = "UsageError";
    this.tip = tip || undefined;
  }
}

/** Names to choose from. A function where they live in a part of the library that help has no need to load. */
export type Choices = readonly string[] | (() => Promise<readonly string[]>);

export type Refuse = (name: string) => Promise<string | undefined>;

export interface Argument {
  help: string;
  optional?: true;
  choices?: Choices;
  /** Where more than the listed names will do: why this one will not, or undefined. */
  refuse?: Refuse;
  /** What lists the choices: `autodidact methods`. */
  listedBy?: string;
}

interface Common {
  help: string;
  /** Heading under which help shows it. */
  group?: string;
  /** What happens without the flag, where that is no constant. */
  otherwise?: string;
}
export type Flag =
  | (Common & { type: "boolean" })
  | (Common & { type: "number"; default?: number; whole?: true; min?: number; max?: number })
  | (Common & { type: "string"; value?: string; default?: string })
  | (Common & { type: "path"; value?: string; default?: string; required?: true })
  | (Common & { type: "choice"; value?: string; choices: Choices; refuse?: Refuse; listedBy?: string; default?: string })
  | (Common & { type: "pairs" }); // --set key=value, as often as wanted

export type Arguments = Readonly<Record<string, Argument>>;
export type Flags = Readonly<Record<string, Flag>>;
export type Pairs = Record<string, string>;

type Given<F extends Flag> = F extends { type: "boolean" }
  ? boolean
  : F extends { type: "pairs" }
    ? Pairs
    : F extends { type: "number" }
      ? number | (F extends { default: number } ? never : undefined)
      : string | (F extends { default: string } | { required: true } ? never : undefined);
export type ArgumentValues<A extends Arguments> = { [K in keyof A]: A[K] extends { optional: true } ? string | undefined : string };
export type FlagValues<F extends Flags> = { [K in keyof F]: Given<F[K]> };

/** What `run` gets. */
export interface Invocation<A extends Arguments = Arguments, F extends Flags = Flags> {
  args: ArgumentValues<A>;
  flags: FlagValues<F>;
  /** A line of the result, on stdout. */
  print(line: string): void;
  /** The result for machines, on stdout: one JSON object that begins with `"version": 1`. */
  printJson(value: object): void;
  /** A line about the work, on stderr. */
  note(line: string): void;
  /** Colours for stdout. */
  colors: Colors;
  terminal: Terminal;
}

export interface Definition<A extends Arguments, F extends Flags> {
  name: string;
  /** One sentence, without a full stop. */
  summary: string;
  args?: A;
  flags?: F;
  examples: readonly string[];
  /** Ends in order by itself when `terminal.stop` fires. Other commands are left at once. */
  stops?: true;
  /** Imports what it needs, so that help stays quick. */
  run(invocation: Invocation<A, F>): Promise<void>;
}

/** A definition with its types forgotten, for tables of commands. */
export interface Command {
  readonly name: string;
  readonly summary: string;
  readonly args: Arguments;
  readonly flags: Flags;
  readonly examples: readonly string[];
  readonly stops: boolean;
  run(invocation: Invocation): Promise<void>;
}

/** Types `run` by the command's own arguments and flags. */
export function command<const A extends Arguments = Record<never, never>, const F extends Flags = Record<never, never>>(
  definition: Definition<A, F>,
): Command {
  const { args = {}, flags = {}, stops = false } = definition;
  return { ...definition, args, flags, stops, run: (invocation) => definition.run(invocation as unknown as Invocation<A, F>) };
}

/** Flags that every command has. */
const commonFlags = {
  help: { type: "boolean", help: "Show this help" },
  verbose: { type: "boolean", help: "Show where an error came from" },
} satisfies Flags;

/** A command's own flags and the common ones, without what objects inherit. */
export const allFlags = (command: Command): Flags => Object.assign(Object.create(null), command.flags, commonFlags);

export interface Parsed {
  args: Record<string, string | undefined>;
  flags: Record<string, Given<Flag>>;
  help: boolean;
}

/** Reads what was typed after a command's name. Throws a UsageError that names the nearest flag or choice. */
export async function parse(command: Command, words: readonly string[]): Promise<Parsed> {
  const table = allFlags(command);
  const { positionals, options } = split(table, words);
  const flags: Parsed["flags"] = {};
  for (const [name, flag] of Object.entries(table)) {
    if (flag.type === "boolean") flags[name] = false;
    else if (flag.type === "pairs") flags[name] = {};
    else flags[name] = flag.default;
  }
  if (options.some((option) => option.name === "help")) return { args: {}, flags, help: true };
  for (const { name, value } of options) {
    const flag = table[name];
    if (flag.type === "boolean") flags[name] = value === true;
    else if (flag.type === "pairs") Object.assign(flags[name] as Pairs, readPair(name, value as string));
    else flags[name] = flag.type === "number" ? readNumber(name, flag, value as string) : (value as string);
    if (flag.type === "choice") await choose(name, value as string, flag);
  }
  const args = await readArguments(command, positionals);
  for (const [name, flag] of Object.entries(table)) {
    const missing = flag.type === "path" && flag.required && flags[name] === undefined;
    if (missing) throw new UsageError(`Missing --${name}: ${flag.help}`, `write --${name} ${placeholder(flag)}`);
  }
  return { args, flags, help: false };
}

interface Typed {
  name: string;
  value: string | boolean;
}

/** Sorts words into positionals and options whose names exist and which have a value where one is due. */
function split(table: Flags, words: readonly string[]): { positionals: string[]; options: Typed[] } {
  const takesValue = Object.entries(table).filter(([, flag]) => flag.type !== "boolean");
  const { tokens } = parseArgs({
    args: [...words],
    options: {
      help: { type: "boolean", short: "h" },
      ...Object.fromEntries(takesValue.map(([name]) => [name, { type: "string" as const }])),
    },
    strict: false,
    tokens: true,
  });
  const positionals: string[] = [];
  const options: Typed[] = [];
  for (const token of tokens) {
    if (token.kind === "positional") positionals.push(token.value);
    if (token.kind !== "option") continue;
    const flag = table[token.name];
    const negated = table[token.name.replace(/^no-/, "")];
    if (flag === undefined && token.rawName.startsWith("--no-") && negated?.type === "boolean" && token.value === undefined) {
      options.push({ name: token.name.slice(3), value: false });
    } else if (flag === undefined) {
      throw unknownFlag(token.rawName, table);
    } else if (flag.type === "boolean") {
      if (token.value !== undefined) throw new UsageError(`${token.rawName} takes no value, got "${token.value}"`);
      options.push({ name: token.name, value: true });
    } else if (token.value === undefined || (!token.inlineValue && token.value.startsWith("--"))) {
      throw new UsageError(`${token.rawName} needs a value`, `write ${token.rawName} ${placeholder(flag)}`);
    } else {
      options.push({ name: token.name, value: token.value });
    }
  }
  return { positionals, options };
}

function unknownFlag(typed: string, table: Flags): UsageError {
  const near = didYouMean(typed.replace(/^-+/, ""), Object.keys(table), (name) => `--${name}`);
  return new UsageError(`Unknown option ${typed}`, near || `to pass it as a value, write -- ${typed}`);
}

async function readArguments(command: Command, positionals: readonly string[]): Promise<Parsed["args"]> {
  const args: Parsed["args"] = {};
  const names = Object.keys(command.args);
  if (positionals.length > names.length) {
    const extra = positionals[names.length];
    throw new UsageError(`Unexpected argument "${extra}"`, `usage: ${usage(command)}`);
  }
  for (const [i, name] of names.entries()) {
    const value = positionals[i];
    const argument = command.args[name];
    if (value === undefined && !argument.optional) throw new UsageError(`Missing <${name}>: ${argument.help}`, `usage: ${usage(command)}`);
    if (value === "") throw new UsageError(`<${name}> is empty`);
    if (value !== undefined && argument.choices) await choose(name, value, argument);
    args[name] = value;
  }
  return args;
}

/** Refuses a name that is not among the choices. */
async function choose(kind: string, value: string, { choices = [], refuse, listedBy }: Omit<Argument, "help">): Promise<void> {
  const names = await namesOf(choices);
  if (names.includes(value)) return;
  const message = refuse ? await refuse(value) : `Unknown ${kind} "${value}"`;
  if (message === undefined) return;
  const all = listedBy ? `\`${listedBy}\` lists all of them` : `known: ${names.join(", ")}`;
  throw new UsageError(message, [didYouMean(value, names), all].filter(Boolean).join(" "));
}

export const namesOf = async (choices: Choices): Promise<readonly string[]> => (typeof choices === "function" ? choices() : choices);

const decimal = /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i;

function readNumber(name: string, { whole, min, max }: { whole?: true; min?: number; max?: number }, text: string): number {
  const value = decimal.test(text) ? Number(text) : Number.NaN;
  const fits =
    Number.isFinite(value) && (!whole || Number.isSafeInteger(value)) && value >= (min ?? -Infinity) && value <= (max ?? Infinity);
  if (fits) return value;
  const low = min === undefined ? "" : max === undefined ? ` of at least ${min}` : ` from ${min}`;
  const range = low + (max === undefined ? "" : `${min === undefined ? " of at most" : " to"} ${max}`);
  throw new UsageError(`--${name} wants a ${whole ? "whole " : ""}number${range}, got "${text}"`);
}

function readPair(name: string, text: string): Pairs {
  const at = text.indexOf("=");
  if (at < 1) throw new UsageError(`--${name} wants key=value, got "${text}"`);
  return { [text.slice(0, at)]: text.slice(at + 1) };
}

/** What stands for a flag's value in help. */
export function placeholder(flag: Flag): string {
  if (flag.type === "boolean") return "";
  if (flag.type === "pairs") return "<key=value>";
  if ("value" in flag && flag.value) return `<${flag.value}>`;
  return flag.type === "choice" ? "<name>" : flag.type === "string" ? "<text>" : `<${flag.type}>`;
}

/** `autodidact knn <run> <train> [test] [options]` */
export function usage(command: Command): string {
  const args = Object.entries(command.args).map(([name, { optional }]) => (optional ? `[${name}]` : `<${name}>`));
  return ["autodidact", command.name, ...args, "[options]"].join(" ");
}
