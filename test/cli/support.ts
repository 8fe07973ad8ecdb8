// A terminal that remembers what was written to it.
import { autodidact } from "../../cli/commands.ts";
import type { Stream, Terminal } from "../../cli/terminal.ts";

export interface Recorded extends Terminal {
  readonly said: { out: string; err: string };
}

export interface Screen {
  /** Both streams are terminals of this width; without it they are pipes. */
  columns?: number;
  env?: Record<string, string>;
  stop?: AbortSignal;
}

export function recorder({ columns, env = {}, stop = new AbortController().signal }: Screen = {}): Recorded {
  const said = { out: "", err: "" };
  const stream = (name: "out" | "err"): Stream => ({
    write(text) {
      said[name] += text;
    },
    terminal: columns !== undefined,
    columns: () => columns ?? 80,
  });
  return { out: stream("out"), err: stream("err"), env, stop, said };
}

/** Runs one command line in this process. */
export async function run(line: string | readonly string[], screen: Screen = {}): Promise<{ code: number; out: string; err: string }> {
  const terminal = recorder(screen);
  const words = typeof line === "string" ? line.split(" ").filter(Boolean) : line;
  const code = await autodidact(words, terminal);
  return { code, ...terminal.said };
}
