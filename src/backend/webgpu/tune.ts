// Which tiles are fastest on a GPU: products of every class are raced once, by the GPU's own clock where it has one.
import type { Buffer, Program, Step, View } from "../../tape/program.ts";
import { size, strides } from "../../tape/shape.ts";
import type { OpenDevice } from "./device.ts";
import { GpuExecutable } from "./executable.ts";
import { Pipelines } from "./pipelines.ts";
import { Storage } from "./storage.ts";
import { type Amount, fits, type ShapeClass, type TileTable, tileChooser, tiles } from "./tiles.ts";

/** Long enough for all classes on a card of ten TFLOP/s. */
const LIMIT_MS = 3000;
/** Runs of each tile, the first of which is not counted. */
const RUNS = 4;
/** Products in a run. */
const REPEATS = 3;
/** A tile replaces the usual one if it takes at most so much of its time: noise shall not choose. */
const WORTH = 0.95;

/** Which way operands lie in a linear layer, its input's gradient and its weight's, and what that is to the op. */
const LAYOUTS = { "k k": { ta: false, tb: true }, "k column": { ta: false, tb: false }, "row column": { ta: true, tb: false } } as const;

/** [m, n, k] of a product of each amount, the most work first. */
const SHAPES: Readonly<Partial<Record<Amount, readonly [number, number, number]>>> = {
  many: [4096, 3072, 512],
  some: [2048, 2048, 1024],
  few: [768, 768, 2048],
};

/** A program that draws two matrices, multiplies them some times, and gives the first and the last numbers of the product. */
function productProgram([m, n, k]: readonly [number, number, number], { ta, tb }: { ta: boolean; tb: boolean }): Program {
  let arena = 0;
  const buffers: Buffer[] = [];
  const matrix = (...shape: number[]): View => {
    const buffer: Buffer = { id: buffers.length, size: size(shape), kind: "arena", offset: arena };
    arena += buffer.size; // a multiple of 256 floats, where any window may begin
    buffers.push(buffer);
    return { buffer, offset: 0, shape, strides: strides(shape) };
  };
  const [a, b, y] = [ta ? matrix(k, m) : matrix(m, k), tb ? matrix(n, k) : matrix(k, n), matrix(m, n)];
  const key: Buffer = { id: buffers.length, size: 4, kind: "array", data: Float32Array.of(1, 2, 3, 4) };
  const draw = (to: View, stream: number): Step => {
    const from = { buffer: key, offset: 0, shape: [4], strides: [1] };
    return { op: "uniform", inputs: [from], outputs: [to], attrs: { shape: to.shape, stream }, label: "draws" };
  };
  const product: Step = { op: "matmul", inputs: [a, b], outputs: [y], attrs: { ta, tb }, label: "product" };
  const part = (offset: number): View => ({ ...y, offset, shape: [256], strides: [1] });
  const steps = [draw(a, 1), draw(b, 2), ...Array.from({ length: REPEATS }, () => product)];
  return { steps, buffers: [...buffers, key], arena, outputs: [part(0), part(m * n - 256)] };
}

/** Time of the products of a run, and what they gave. */
async function timed(executable: GpuExecutable, clock: boolean): Promise<{ ms: number; numbers: string }> {
  const begun = performance.now();
  const run = clock ? await executable.runTimed([]) : { outputs: await executable.run([]), times: [] };
  const times = run.times.filter(({ step }) => step.op === "matmul").map(({ timeMs }) => timeMs);
  const ms = clock ? times.reduce((sum, ms) => sum + ms, 0) : performance.now() - begun;
  return { ms, numbers: run.outputs.join() };
}

/** A tile in a race. */
interface Runner {
  readonly name: string;
  readonly executable: GpuExecutable;
  /** Milliseconds; infinite while it has no time that counts. */
  best: number;
}

/** What a race needs. */
interface Track {
  readonly open: OpenDevice;
  readonly storage: Storage;
  readonly pipelines: Pipelines;
  /** When, by `performance.now()`, it is broken off. */
  readonly end: number;
}

/** The fastest tile for a program, among those whose numbers are those of the usual one to the bit; the usual one if time runs out. */
async function race(of: ShapeClass, program: Program, { open, storage, pipelines, end }: Track): Promise<string> {
  const { device } = open;
  const usual = tileChooser(device.limits)(of);
  const names = Object.keys(tiles).filter((name) => fits(tiles[name], device.limits));
  names.sort((a, b) => Number(tiles[b] === usual) - Number(tiles[a] === usual)); // it goes first and sets the numbers
  const runners = names.map((name): Runner => {
    const executable = new GpuExecutable(
      program,
      device,
      storage,
      pipelines,
      { inTurn: (work) => work(), unlessBroken: (work) => work },
      () => tiles[name],
    );
    return { name, executable, best: Number.POSITIVE_INFINITY };
  });
  try {
    const compiled = await Promise.allSettled(runners.map(({ executable }) => executable.prepare()));
    let expected: string | undefined;
    const racing = new Set(runners.filter((_, i) => compiled[i].status === "fulfilled")); // the others are too much for this driver
    for (let turn = 0; turn < RUNS; turn++) {
      for (const runner of racing) {
        if (performance.now() > end) return names[0];
        const { ms, numbers } = await timed(runner.executable, device.features.has("timestamp-query"));
        expected ??= numbers;
        if (numbers !== expected) racing.delete(runner);
        else if (turn > 0) runner.best = Math.min(runner.best, ms);
      }
    }
    const fastest = [...racing].reduce((a, b) => (b.best < a.best ? b : a), runners[0]);
    return fastest.best <= WORTH * runners[0].best ? fastest.name : names[0];
  } finally {
    for (const { executable } of runners) executable.dispose();
  }
}

export interface TuneOptions {
  /** Milliseconds after which a race is broken off and no other one begins. */
  readonly limitMs?: number;
  /** What is raced. */
  readonly shapes?: typeof SHAPES;
}

/**
 * Tiles for the classes that `known` lacks, beside those that it has. Classes that time does not suffice for are left out, so that they get their turn
 * at the next start. It changes no result: tiles whose numbers differ are not taken.
 */
export async function tune(
  open: OpenDevice,
  known: TileTable,
  { limitMs = LIMIT_MS, shapes = SHAPES }: TuneOptions = {},
): Promise<TileTable> {
  const table = { ...known };
  const end = performance.now() + limitMs;
  const track = { open, storage: new Storage(open.device), pipelines: new Pipelines(open.device), end };
  try {
    for (const [amount, shape] of Object.entries(shapes)) {
      for (const [layout, turned] of Object.entries(LAYOUTS)) {
        const of = `${layout}, ${amount}` as ShapeClass;
        if (table[of] !== undefined || performance.now() > end) continue;
        table[of] = await race(of, productProgram(shape, turned), track);
      }
    }
  } finally {
    track.storage.free();
  }
  return table;
}
