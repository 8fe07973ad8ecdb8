// Which tiles are fastest on a GPU: products of every class are raced once, by the GPU's own clock where it has one. Tiles of subgroups
// race where operands may be rounded, and are proved before one is taken.
import { isMatrix, type Tile } from "../../../gpu/product.ts";
import type { Buffer, Program, Step, View } from "../../tape/program.ts";
import { size, strides } from "../../tape/shape.ts";
import type { OpenDevice } from "./device.ts";
import { GpuExecutable } from "./executable.ts";
import { Pipelines } from "./pipelines.ts";
import { gap, prove, TOLERANCE } from "./prove.ts";
import { Storage } from "./storage.ts";
import { type Amount, roomOf, type ShapeClass, type SingleClass, type TileTable, tileChooser, tilesThatFit, trusted } from "./tiles.ts";

/** Long enough for all classes on a card of ten TFLOP/s; for those of half precision there is as long again. */
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

/**
 * A program that draws two matrices, multiplies them some times, and gives the first and the last numbers of the product. In half precision the matrices
 * are stored so, but for a weight.
 */
function productProgram(
  [m, n, k]: readonly [number, number, number],
  { ta, tb }: { ta: boolean; tb: boolean },
  precision?: "f16",
): Program {
  let arena = 0;
  const buffers: Buffer[] = [];
  const matrix = (dtype: "f16" | undefined, ...shape: number[]): View => {
    const buffer: Buffer = { id: buffers.length, size: size(shape), kind: "arena", dtype, offset: arena };
    arena += buffer.size; // a multiple of 256 floats, where any window may begin
    buffers.push(buffer);
    return { buffer, offset: 0, shape, strides: strides(shape) };
  };
  const a = matrix(precision, ...(ta ? [k, m] : [m, k]));
  const b = matrix(ta ? precision : undefined, ...(tb ? [n, k] : [k, n]));
  const y = matrix(undefined, m, n);
  const key: Buffer = { id: buffers.length, size: 4, kind: "array", data: Float32Array.of(1, 2, 3, 4) };
  const draw = (to: View, stream: number): Step => {
    const from = { buffer: key, offset: 0, shape: [4], strides: [1] };
    return { op: "uniform", inputs: [from], outputs: [to], attrs: { shape: to.shape, stream }, label: "draws" };
  };
  const product: Step = { op: "matmul", inputs: [a, b], outputs: [y], attrs: { ta, tb }, precision, label: "product" };
  const part = (offset: number): View => ({ ...y, offset, shape: [256], strides: [1] });
  const steps = [draw(a, 1), draw(b, 2), ...Array.from({ length: REPEATS }, () => product)];
  return { steps, buffers: [...buffers, key], arena, outputs: [part(0), part(m * n - 256)] };
}

/** Time of the products of a run, and what they gave. */
export async function timed(executable: GpuExecutable, clock: boolean): Promise<{ ms: number; numbers: Float32Array }> {
  const begun = performance.now();
  const run = clock ? await executable.runTimed([]) : { outputs: await executable.run([]), times: [] };
  const times = run.times.filter(({ step }) => step.op === "matmul").map(({ timeMs }) => timeMs);
  const ms = clock ? times.reduce((sum, ms) => sum + ms, 0) : performance.now() - begun;
  return { ms, numbers: Float32Array.from(run.outputs.flatMap((part) => [...part])) };
}

/** A tile in a race. */
interface Runner {
  readonly name: string;
  readonly executable: GpuExecutable;
  /** Milliseconds; infinite while it has no time that counts. */
  best: number;
}

/** What races and proofs need. */
interface Track {
  readonly open: OpenDevice;
  readonly storage: Storage;
  readonly pipelines: Pipelines;
  readonly time: typeof timed;
  readonly proof: typeof prove;
}

/** A program that computes all its products in one tile. */
function executableOf(program: Program, tile: Tile, { open, storage, pipelines }: Track): GpuExecutable {
  const turns = { inTurn: <T>(work: () => Promise<T>) => work(), unlessBroken: <T>(work: Promise<T>) => work };
  return new GpuExecutable(program, open.device, storage, pipelines, turns, () => tile);
}

/** How a race ended. */
interface Finish {
  /** Tiles that are worth more than the first, the fastest in front, and at last the first. None if time ran out. */
  readonly ranking: readonly string[];
  /** Why others did not come in: the driver refused them, or they gave other numbers. */
  readonly failed: Readonly<Record<string, string>>;
}

/** Races tiles over a program until `end`, by `performance.now()`. The first is the usual one and sets the numbers, which other tiles of threads give to the bit. */
async function race(program: Program, tiles: Readonly<Record<string, Tile>>, track: Track, end: number): Promise<Finish> {
  const names = Object.keys(tiles);
  const runners = names.map(
    (name): Runner => ({ name, executable: executableOf(program, tiles[name], track), best: Number.POSITIVE_INFINITY }),
  );
  const failed: Record<string, string> = {};
  try {
    const compiled = await Promise.allSettled(runners.map(({ executable }) => executable.prepare()));
    for (const [i, result] of compiled.entries()) if (result.status === "rejected") failed[names[i]] = result.reason.message;
    let expected: Float32Array | undefined;
    for (let turn = 0; turn < RUNS; turn++) {
      for (const runner of runners) {
        if (runner.name in failed) continue;
        if (performance.now() > end) return { ranking: [], failed };
        const { ms, numbers } = await track.time(runner.executable, track.open.device.features.has("timestamp-query"));
        expected ??= numbers;
        const off = gap(numbers, expected);
        if (!(off <= (isMatrix(tiles[runner.name]) ? TOLERANCE : 0)))
          failed[runner.name] = `a product is off by ${off.toPrecision(2)} of its largest number`;
        else if (turn > 0) runner.best = Math.min(runner.best, ms);
      }
    }
    const [first, ...others] = runners;
    const faster = others.filter(({ name, best }) => !(name in failed) && best <= WORTH * first.best).sort((a, b) => a.best - b.best);
    return { ranking: [...faster, first].map(({ name }) => name), failed };
  } finally {
    for (const { executable } of runners) executable.dispose();
  }
}

/** What is known of a GPU's products. */
export interface Tuning {
  readonly tiles: TileTable;
  /** For each tile of subgroups that was tried what is wrong with it, or "" if it is proved. */
  readonly proofs: Readonly<Record<string, string>>;
}

export interface TuneOptions {
  /** Milliseconds after which a race is broken off and no other one begins. */
  readonly limitMs?: number;
  /** What is raced. */
  readonly shapes?: typeof SHAPES;
  readonly time?: typeof timed;
  readonly proof?: typeof prove;
}

/**
 * Tiles for the classes that `known` lacks, beside those that it has. Classes that time does not suffice for are left out, so that they get their turn
 * at the next start. In float32 it changes no result: tiles whose numbers differ are not taken. In half precision it may take tiles of
 * subgroups, which round otherwise.
 */
export async function tune(
  open: OpenDevice,
  known: Tuning,
  { limitMs = LIMIT_MS, shapes = SHAPES, time = timed, proof = prove }: TuneOptions = {},
): Promise<Tuning> {
  const track = { open, storage: new Storage(open.device), pipelines: new Pipelines(open.device), time, proof };
  const classes = Object.entries(shapes).flatMap(([amount, shape]) =>
    Object.entries(LAYOUTS).map(([layout, turned]) => ({ of: `${layout}, ${amount}` as SingleClass, shape, turned })),
  );
  try {
    const tiles = await tuneThreads(classes, known.tiles, track, performance.now() + limitMs);
    if (!roomOf(open).matrix) return { ...known, tiles };
    return await tuneSubgroups(classes, { ...known, tiles }, track, performance.now() + limitMs);
  } finally {
    track.storage.free();
  }
}

/** A class with what is raced for it. */
interface Contest {
  readonly of: SingleClass;
  readonly shape: readonly [number, number, number];
  readonly turned: { readonly ta: boolean; readonly tb: boolean };
}

async function tuneThreads(classes: readonly Contest[], known: TileTable, track: Track, end: number): Promise<TileTable> {
  const table = { ...known };
  const room = roomOf(track.open);
  const fitting = Object.entries(tilesThatFit(room)).filter(([, tile]) => !isMatrix(tile));
  for (const { of, shape, turned } of classes) {
    if (table[of] !== undefined || performance.now() > end) continue;
    const usual = tileChooser(room)(of);
    const first = fitting.filter(([, tile]) => tile === usual);
    const { ranking } = await race(productProgram(shape, turned), Object.fromEntries([...first, ...fitting]), track, end);
    table[of] = ranking[0] ?? first[0][0];
  }
  return table;
}

/** The same for half precision: tiles of subgroups against the tile of threads that is best in float32. */
async function tuneSubgroups(classes: readonly Contest[], known: Tuning, track: Track, end: number): Promise<Tuning> {
  const [table, proofs] = [{ ...known.tiles }, { ...known.proofs }];
  const room = roomOf(track.open);
  const fitting = tilesThatFit(room);
  for (const { of: single, shape, turned } of classes) {
    const of: ShapeClass = `${single}, f16`;
    if (table[of] !== undefined || performance.now() > end) continue;
    const best = tileChooser(room, table)(single);
    const contenders = Object.entries(fitting).filter(([name, tile]) => tile === best || (isMatrix(tile) && !proofs[name]));
    const sorted = contenders.sort(([, a], [, b]) => Number(b === best) - Number(a === best));
    const { ranking, failed } = await race(productProgram(shape, turned, "f16"), Object.fromEntries(sorted), track, end);
    Object.assign(proofs, failed);
    for (const name of ranking) {
      const tile = fitting[name];
      if (isMatrix(tile)) proofs[name] ??= await track.proof(tile, best, (program, tile) => outputsOf(executableOf(program, tile, track)));
      if (proofs[name]) continue;
      table[of] = name;
      break;
    }
  }
  return { tiles: trusted(table, proofs), proofs };
}

/** One run of a program that is not needed again. */
async function outputsOf(executable: GpuExecutable): Promise<readonly Float32Array[]> {
  try {
    return await executable.run([]);
  } finally {
    executable.dispose();
  }
}
