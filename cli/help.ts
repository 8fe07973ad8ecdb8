// Help in the layout of Deno's: groups of commands with a grey example each, options in themed sections.
import { allFlags, type Command, type Flag, type Flags, placeholder, usage } from "./command.ts";
import type { Colors } from "./terminal.ts";

/** Commands under a heading. */
export type Groups = Readonly<Record<string, readonly Command[]>>;

/** Longest line of examples. */
const WIDE = 90;

const indent = (text: string, by: number) => " ".repeat(by) + text;

export function rootHelp(groups: Groups, { heading, command, example }: Colors): string {
  const width = Math.max(...Object.values(groups).flatMap((commands) => commands.map(({ name }) => name.length))) + 2;
  const lines = [
    `Autodidact: ${command("learn visual representations from images that nobody labelled")}`,
    "",
    `${example("Usage:")} ${command("autodidact <command> [options]")}`,
    "",
    heading("Commands:"),
  ];
  for (const [title, commands] of Object.entries(groups)) {
    lines.push(indent(heading(`${title}:`), 2));
    for (const { name, summary, examples } of commands) {
      lines.push(indent(command(name.padEnd(width)) + summary, 4));
      const both = examples.slice(0, 2).join("  |  ");
      lines.push(indent(example(both.length < WIDE ? both : examples[0]), 5 + width));
    }
  }
  lines.push("", heading("Options:"));
  const options = [
    ["-h, --help", "Show help; `autodidact <command> --help` shows a command's"],
    ["-V, --version", "Show the version"],
  ];
  lines.push(...table(options.map(([name, help]) => [command(name), name.length, help])));
  lines.push("", heading("Environment variables:"));
  const variables = [
    ["NO_COLOR", "Never use colours"],
    ["FORCE_COLOR", "Use colours even where the output is no terminal"],
  ];
  lines.push(...table(variables.map(([name, help]) => [command(name), name.length, help])));
  return lines.join("\n");
}

export function commandHelp(shown: Command, { heading, command, example }: Colors): string {
  const lines = [shown.summary, "", ...shown.examples.map((text) => indent(example(text), 2))];
  lines.push("", `${example("Usage:")} ${command(usage(shown))}`);
  const args = Object.entries(shown.args);
  if (args.length) {
    lines.push("", heading("Arguments:"));
    lines.push(
      ...table(
        args.map(([name, { help, optional }]) => {
          const text = optional ? `[${name}]` : `<${name}>`;
          return [command(text), text.length, help];
        }),
      ),
    );
  }
  for (const [title, flags] of Object.entries(flagGroups(allFlags(shown)))) {
    lines.push("", heading(`${title}:`));
    lines.push(
      ...table(
        flags.map(([name, flag]) => {
          const value = placeholder(flag);
          const text = `${name === "help" ? "-h, " : ""}--${name}${value && ` ${value}`}`;
          return [command(text), text.length, flag.help + example(standard(flag))];
        }),
      ),
    );
  }
  return lines.join("\n");
}

function flagGroups(flags: Flags): Record<string, [string, Flag][]> {
  const groups: Record<string, [string, Flag][]> = {};
  for (const [name, flag] of Object.entries(flags)) {
    const title = flag.group ? `${flag.group} options` : "Options";
    groups[title] = [...(groups[title] ?? []), [name, flag]];
  }
  return groups;
}

/** `  [20]`: what holds when the flag is not given. */
function standard(flag: Flag): string {
  const value = flag.otherwise ?? ("default" in flag ? flag.default : undefined);
  return value === undefined ? "" : `  [${value}]`;
}

/** Rows of a painted name, the width that it takes on the screen, and what it says. */
function table(rows: readonly (readonly [string, number, string])[]): string[] {
  const width = Math.max(...rows.map(([, length]) => length)) + 2;
  return rows.map(([name, length, help]) => indent(`${name}${" ".repeat(width - length)}${help}`, 2));
}
