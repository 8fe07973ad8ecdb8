// How a run ended, for `train`, `resume` and `demo`.
import type { RunResult } from "../src/train/events.ts";
import type { Invocation } from "./command.ts";
import { amount } from "./progress.ts";

/** One line on stdout, and what to do next on stderr; for machines, one more line of JSON. `goOn`: the command, if not `resume`. */
export function showResult(
  result: RunResult,
  { print, note, json, goOn }: Pick<Invocation, "print" | "note"> & { json: boolean; goOn?: string },
): void {
  if (json) {
    print(JSON.stringify({ version: 1, type: "end", ...result }));
    return;
  }
  const { run, step, steps, loss, stopped, knn, report } = result;
  const score = knn ? `, kNN top-1 ${knn.top1.toFixed(2)} % (raw pixels ${knn.pixelsTop1.toFixed(2)} %)` : "";
  const last = Number.isFinite(loss) ? `, loss ${loss.toFixed(4)}` : ""; // none when there was nothing left to do
  print(`${run}: ${amount(step)} of ${amount(steps)} steps${last}${score}`);
  if (stopped) note(`stopped; \`${goOn ?? `autodidact resume ${run}`}\` goes on`);
  else note(report ? `what was learned: ${report}` : `\`autodidact report ${run}\` writes what was learned into a page`);
}
