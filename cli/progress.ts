// Follows a run on stderr: one live line on a terminal, plain lines elsewhere, JSON lines on stdout for machines.
import type { RunEvent, StartEvent, StepEvent } from "../src/train/events.ts";
import { profileLines } from "./profile.ts";
import { colorful, colors, type Stream, type Terminal } from "./terminal.ts";

/** Shows a run's events until it is closed. */
export interface Progress {
  show(event: RunEvent): void;
  /** Leaves the live line standing and goes to the next. */
  close(): void;
}

/** `json` prints every event as a line of stdout that begins with `"version": 1`, and nothing on stderr. */
export function progress(terminal: Terminal, { json }: { json: boolean }): Progress {
  const shown = json ? new JsonProgress(terminal.out) : terminal.err.terminal ? new LiveProgress(terminal) : new PlainProgress(terminal);
  const message = "finishing the step and writing a checkpoint; once more stops at once";
  terminal.stop.addEventListener("abort", () => shown.show({ type: "note", message }), { once: true });
  return { show: (event) => shown.show(event), close: () => shown.close() };
}

class JsonProgress implements Progress {
  readonly #stream: Stream;
  constructor(stream: Stream) {
    this.#stream = stream;
  }

  show(event: RunEvent): void {
    this.#stream.write(`${JSON.stringify({ version: 1, ...event })}\n`);
  }

  close(): void {}
}

class PlainProgress implements Progress {
  protected readonly stream: Stream;
  protected readonly paint: ReturnType<typeof colors>;
  constructor({ err, env }: Terminal) {
    this.stream = err;
    this.paint = colors(colorful(err, env));
  }

  show(event: RunEvent): void {
    if (event.type === "step") this.step(event);
    else for (const line of describe(event)) this.line(event.type === "warning" ? `${this.paint.warning("warning")}: ${line}` : line);
    if (event.type === "health" && event.warning) this.line(`${this.paint.warning("warning")}: ${event.warning}`);
  }

  protected step(event: StepEvent): void {
    if (event.logged) this.line(stepLine(event));
  }

  protected line(text: string): void {
    this.stream.write(`${text}\n`);
  }

  close(): void {}
}

const CLEAR = "\r\x1b[K";
const REDRAW_MS = 100;

class LiveProgress extends PlainProgress {
  #live = "";
  #drawnAt = 0;

  protected override step(event: StepEvent): void {
    this.#live = stepLine(event);
    const now = performance.now();
    if (now - this.#drawnAt < REDRAW_MS && event.step < event.steps) return;
    this.#drawnAt = now;
    this.#draw();
  }

  protected override line(text: string): void {
    this.stream.write(`${CLEAR}${text}\n`);
    this.#draw();
  }

  #draw(): void {
    if (this.#live) this.stream.write(CLEAR + this.#live.slice(0, this.stream.columns() - 1));
  }

  override close(): void {
    this.#draw();
    if (this.#live) this.stream.write("\n");
    this.#live = "";
  }
}

/** Milliseconds between plain lines of a count. */
const PLAIN_MS = 10_000;

/** A live count of pictures on a terminal, which `close` takes away; elsewhere a plain line now and then. */
export function counter(
  { err }: Terminal,
  now = () => performance.now(),
  unit = "images",
): { show(done: number, of: number): void; close(): void } {
  const text = (done: number, of: number) => `${amount(done)} of ${amount(of)} ${unit}`;
  let said = now();
  const plain = (done: number, of: number) => {
    if (now() - said < PLAIN_MS) return;
    said = now();
    err.write(`${text(done, of)}\n`);
  };
  if (!err.terminal) return { show: plain, close() {} };
  return {
    show: (done, of) => err.write(CLEAR + text(done, of)),
    close: () => err.write(CLEAR),
  };
}

/** Names the first ten of the pictures that could not be read. */
export function noteSkipped(skipped: readonly string[], note: (line: string) => void): void {
  if (!skipped.length) return;
  note(`skipped ${amount(skipped.length)} of the images, which cannot be read:`);
  for (const line of skipped.slice(0, 10)) note(`  ${line}`);
  if (skipped.length > 10) note(`  and ${amount(skipped.length - 10)} more`);
}

/** `epoch 3.2/40  step 128/1600  loss 4.812  1,234 images/s  2m 05s left  412 MB` */
export function stepLine({ epoch, epochs, step, steps, loss, imagesPerSecond, secondsLeft, memoryBytes }: StepEvent): string {
  const wide = String(steps).length;
  return [
    `epoch ${epoch.toFixed(1).padStart(epochs.toFixed(0).length + 2)}/${whole(epochs)}`,
    `step ${String(step).padStart(wide)}/${steps}`,
    `loss ${loss.toFixed(4)}`,
    `${amount(imagesPerSecond)} images/s`,
    `${duration(secondsLeft)} left`,
    bytes(memoryBytes),
  ].join("  ");
}

function describe(event: Exclude<RunEvent, StepEvent>): string[] {
  switch (event.type) {
    case "start":
      return startLines(event);
    case "health":
      return [
        `step ${event.step}: feature std ${event.std.toFixed(4)}, effective rank ${event.rank.toFixed(1)}, ` +
          `alignment ${event.alignment.toFixed(3)}, uniformity ${event.uniformity.toFixed(3)}`,
      ];
    case "knn":
      return [
        `step ${event.step}: kNN top-1 ${event.top1.toFixed(2)} %, top-5 ${event.top5.toFixed(2)} % ` +
          `(raw pixels ${event.pixelsTop1.toFixed(2)} %)`,
      ];
    case "checkpoint":
      return []; // the run's end and `stopped` name the last one; the ones between are housekeeping
    case "profile":
      return profileLines(event, { bytes });
    default:
      return [event.message];
  }
}

function startLines({ run, resumedAt, steps, epochs, images, batch, parameters, backend, arenaBytes, memoryBytes }: StartEvent): string[] {
  return [
    `${resumedAt ? `Resuming ${run} after step ${resumedAt}` : `Training into ${run}`}: ${amount(images)} images, batch ${batch}, ` +
      `${amount(steps)} steps (${whole(epochs)} epochs)`,
    `${amount(parameters)} parameters, ${backend}, ${bytes(memoryBytes)} of memory planned, ${bytes(arenaBytes)} of it for intermediate values`,
  ];
}

const whole = (value: number) => (Number.isInteger(value) ? String(value) : value.toFixed(1));

/** 1234.5 -> "1,235"; 7.25 -> "7.3" */
export const amount = (value: number): string =>
  value.toLocaleString("en-US", { maximumFractionDigits: value < 100 && !Number.isInteger(value) ? 1 : 0 });

/** 125 -> "2m 05s"; 4000 -> "1h 06m" */
export function duration(seconds: number): string {
  if (!Number.isFinite(seconds)) return "?";
  const total = Math.max(0, Math.round(seconds));
  const [h, m, s] = [Math.floor(total / 3600), Math.floor(total / 60) % 60, total % 60];
  const two = (n: number) => String(n).padStart(2, "0");
  if (h) return `${h}h ${two(m)}m`;
  return m ? `${m}m ${two(s)}s` : `${s}s`;
}

/** 412_345_678 -> "412 MB"; 1e9 = 1 GB */
export function bytes(count: number): string {
  if (count < 1e6) return `${Math.ceil(count / 1e3)} kB`;
  return count < 1e9 ? `${Math.round(count / 1e6)} MB` : `${(count / 1e9).toFixed(2)} GB`;
}
