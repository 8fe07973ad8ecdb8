// A profile as lines of text: what each kind of op costs, and each module.
import type { ModuleRow, Profile, ProfileRow } from "../src/train/profile.ts";

/** Rows of each table that are shown; the others count together. */
const SHOWN = 16;

export interface Units {
  /** 412_345_678 -> "412 MB" */
  bytes(count: number): string;
}

export function profileLines(profile: Profile & { trace: string }, { bytes }: Units): string[] {
  const { steps, stepMs, inputMs, peak, ops, modules, trace } = profile;
  const flops = ops.reduce((sum, row) => sum + row.flops, 0);
  const moved = ops.reduce((sum, row) => sum + row.bytes, 0);
  const rate = (n: number, ms: number) => n / ms / 1e6;
  const ofPeak = (n: number, ms: number) => (peak ? `${((100 * rate(n, ms)) / peak).toFixed(0)} %` : "");
  const share = peak ? `, ${ofPeak(flops, stepMs)} of the ${peak.toFixed(0)} that the fastest kernel reaches` : "";
  const cells = ({ count, timeMs, share, flops, bytes: moved }: ProfileRow) => [
    count.toFixed(0),
    timeMs.toFixed(2),
    `${(100 * share).toFixed(1)} %`,
    flops ? rate(flops, timeMs).toFixed(1) : "",
    flops ? ofPeak(flops, timeMs) : "",
    bytes(moved),
  ];
  const passes = ({ passMs: { forward, backward, update } }: ModuleRow) => [forward, backward, update].map((ms) => ms.toFixed(2));
  return [
    `profile of a step, mean of ${steps}: ${stepMs.toFixed(1)} ms after ${inputMs.toFixed(1)} ms of waiting for images`,
    `${(flops / 1e9).toFixed(2)} GFLOP, ${rate(flops, stepMs).toFixed(1)} GFLOP/s${share}; ${bytes(moved)} moved`,
    "",
    ...table(["op", "steps", "ms", "share", "GFLOP/s", "of peak", "moved"], ops.slice(0, SHOWN), cells),
    ...rest(ops),
    "",
    ...table(
      ["module", "steps", "ms", "share", "GFLOP/s", "of peak", "moved", "forward", "backward", "update"],
      modules.slice(0, SHOWN),
      (row) => [...cells(row), ...passes(row)],
    ),
    ...rest(modules),
    "",
    `timeline, for chrome://tracing or ui.perfetto.dev: ${trace}`,
  ];
}

function table<Row extends ProfileRow>(head: readonly string[], rows: readonly Row[], cells: (row: Row) => string[]): string[] {
  const lines = [head, ...rows.map((row) => [row.name, ...cells(row)])];
  const widths = head.map((_, i) => Math.max(...lines.map((line) => line[i].length)));
  return lines.map((line) => line.map((cell, i) => (i ? cell.padStart(widths[i] + 2) : cell.padEnd(widths[i]))).join(""));
}

const rest = (rows: readonly ProfileRow[]): string[] => {
  const others = rows.slice(SHOWN);
  const [ms, share] = [others.reduce((sum, { timeMs }) => sum + timeMs, 0), others.reduce((sum, row) => sum + row.share, 0)];
  return others.length ? [`and ${others.length} more: ${ms.toFixed(2)} ms, ${(100 * share).toFixed(1)} %`] : [];
};
