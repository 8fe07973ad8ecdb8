// A terminal that remembers what was written to it, and pictures to work on.
import { crc32, deflateSync } from "node:zlib";
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
  /** Hears what is written to stdout. */
  onOut?(text: string): void;
}

export function recorder({ columns, env = {}, stop = new AbortController().signal, onOut }: Screen = {}): Recorded {
  const said = { out: "", err: "" };
  const stream = (name: "out" | "err"): Stream => ({
    write(text) {
      said[name] += text;
      if (name === "out") onOut?.(text);
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

function chunk(type: string, data: Buffer): Buffer {
  const body = Buffer.concat([Buffer.from(type), data]);
  const [length, sum] = [Buffer.alloc(4), Buffer.alloc(4)];
  length.writeUInt32BE(data.length);
  sum.writeUInt32BE(crc32(body));
  return Buffer.concat([length, body, sum]);
}

/** An 8-bit RGB PNG. */
export function png(width: number, height: number, value: (i: number) => number): Buffer {
  const head = Buffer.alloc(13);
  head.writeUInt32BE(width, 0);
  head.writeUInt32BE(height, 4);
  head.set([8, 2, 0, 0, 0], 8);
  const rows = Array.from({ length: height }, (_, y) => [0, ...Array.from({ length: 3 * width }, (_, x) => value(y * 3 * width + x))]);
  const signature = Buffer.from([137, 80, 78, 71, 13, 10, 26, 10]);
  return Buffer.concat([
    signature,
    chunk("IHDR", head),
    chunk("IDAT", deflateSync(Buffer.from(rows.flat()))),
    chunk("IEND", Buffer.alloc(0)),
  ]);
}
