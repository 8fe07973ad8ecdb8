// Where a command writes, and whether colours may be used there.

/** One output stream: its text goes to `write`. */
export interface Stream {
  write(text: string): void;
  /** Colours and a live line are welcome. */
  readonly terminal: boolean;
  /** Characters in a line, asked anew for each line since a window can be resized. */
  columns(): number;
}

/** Results go to `out`, all else to `err`. `stop` is aborted by Ctrl-C, SIGTERM or a closed pipe. */
export interface Terminal {
  readonly out: Stream;
  readonly err: Stream;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly stop: AbortSignal;
}

export type Paint = (text: string) => string;

/** The colours of Deno's help and errors. */
export interface Colors {
  heading: Paint;
  command: Paint;
  example: Paint;
  error: Paint;
  warning: Paint;
  value: Paint;
}

const codes = { heading: "33", command: "32", example: "38;5;245", error: "1;31", warning: "1;33", value: "36" };

/** Whether colours may be written: never with NO_COLOR, always with FORCE_COLOR, else on a terminal only. */
export function colorful(stream: Stream, env: Terminal["env"]): boolean {
  if (env.NO_COLOR) return false;
  if (env.FORCE_COLOR) return env.FORCE_COLOR !== "0";
  return stream.terminal && env.TERM !== "dumb";
}

export function colors(enabled: boolean): Colors {
  const paint = (code: string): Paint => (enabled ? (text) => `\x1b[${code}m${text}\x1b[0m` : (text) => text);
  return Object.fromEntries(Object.entries(codes).map(([name, code]) => [name, paint(code)])) as unknown as Colors;
}

/** The process's own terminal. A reader that goes away (`| head`) ends the writing and aborts `stop`, and nothing else. */
export function processTerminal(): Terminal {
  const controller = new AbortController();
  const stream = (node: NodeJS.WriteStream): Stream => {
    let open = true;
    node.on("error", (error: NodeJS.ErrnoException) => {
      if (error.code !== "EPIPE") throw error;
      open = false;
      controller.abort(error);
    });
    return {
      write: (text) => void (open && node.write(text)),
      terminal: node.isTTY === true,
      columns: () => node.columns ?? 80,
    };
  };
  for (const [signal, code] of [
    ["SIGINT", 130],
    ["SIGTERM", 143],
  ] as const) {
    process.on(signal, () => {
      if (controller.signal.aborted) process.exit(code); // asked twice: at once
      controller.abort(new Interrupted(signal, code));
    });
  }
  return { out: stream(process.stdout), err: stream(process.stderr), env: process.env, stop: controller.signal };
}

/** Why `stop` was aborted by a signal. `code` is the exit status by which shells know it. */
export class Interrupted extends Error {
  readonly code: number;
  constructor(signal: string, code: number) {
    super(`stopped by ${signal}`);
    this.name = "Interrupted";
    this.code = code;
  }
}
