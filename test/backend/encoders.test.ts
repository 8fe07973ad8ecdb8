import { test } from "uvu";
import * as assert from "uvu/assert";
import type { Backend, Executable } from "../../src/backend/backend.ts";
import { Emitter, type Range, type Touched } from "../../src/backend/wasm/emitter.ts";
import { encoders } from "../../src/backend/wasm/encoders.ts";
import { lower } from "../../src/tape/lower.ts";
import type { Buffer, Program, Step, View } from "../../src/tape/program.ts";
import type { Trace } from "../../src/tape/trace.ts";
import { rows } from "../op-rows.ts";
import { make, outputsAndGradients, outputsOf } from "../support.ts";

/** Remembers what its commands say that they touch. */
class Witness extends Emitter {
  readonly reads: Range[] = [];
  readonly writes: Range[] = [];

  override emit(opcode: number, touched: Touched, words: readonly number[]): void {
    this.reads.push(...touched.reads);
    this.writes.push(...touched.writes, ...(touched.apart ?? []));
    super.emit(opcode, touched, words);
  }
}

/** Keeps the programs that it is given and runs nothing. */
class Collector implements Backend {
  readonly name = "collector";
  readonly programs: Program[] = [];

  load(trace: Trace): Executable {
    this.programs.push(lower(trace));
    return { arenaBytes: 0, steps: 0, run: async () => trace.outputs.map(() => new Float32Array()), dispose: () => {} };
  }

  read = async () => new Float32Array();
  write = async () => {};
  close = async () => {};
}

const within = ({ start, end }: Range, list: readonly Range[]) => list.some((r) => r.start <= start && end <= r.end);

/** The first view of a step that its commands do not name, in words. */
function unnamed(step: Step): string | undefined {
  const addresses = new Map<Buffer, number>();
  const address = (buffer: Buffer) => {
    if (!addresses.has(buffer)) addresses.set(buffer, 2 ** 24 * (addresses.size + 1));
    return addresses.get(buffer) as number;
  };
  const out = new Witness({ stream: 0, temporaries: 2 ** 40, address });
  encoders[step.op](step, out);
  const chain = step.body ?? step.epilogue;
  const product = step.epilogue ? step.outputs[0].buffer : undefined; // read by its own epilogue, tile by tile
  const reads = [...step.inputs, ...(chain?.inputs ?? [])].filter((view) => view.buffer !== product);
  const writes = [...step.outputs, ...(chain?.outputs ?? []).map((o) => o.view)];
  const missing = (views: readonly View[], named: readonly Range[]) => views.findIndex((view) => !within(out.range(view), named));
  const [read, written] = [missing(reads, out.reads), missing(writes, out.writes)];
  if (read >= 0) return `${step.label}: input ${read} of ${reads.length}`;
  return written >= 0 ? `${step.label}: output ${written} of ${writes.length}` : undefined;
}

test("encoders name everything that a step reads and writes, so that barriers fall where they must", async () => {
  const backend = new Collector();
  for (const { name, run, inputs, gradient } of rows)
    await (gradient === false ? outputsOf : outputsAndGradients)(run, make(inputs, name), backend);
  const steps = backend.programs.flatMap((program) => program.steps);
  assert.ok(steps.length > 300);
  assert.equal(
    steps.map(unnamed).filter((what) => what !== undefined),
    [],
  );
});

test.run();
