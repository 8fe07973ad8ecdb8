// Which build of the kernels runs, and in which mode of the engine.
//
// Relaxed SIMD has a fused multiply-add, which rounds differently: the plain build is kept unless the other is clearly faster, so
// that timing noise does not change results from run to run, and callers may name the build that a run began with.
//
// From Node 24 on V8 can join two vectors into one of 256 bits. The mode is experimental, so it is used only if every family of
// kernels proves right under it.
//
// Both findings hold for a processor, an engine and these kernels, and are kept (memo.ts): later starts neither race nor prove.

import { type Findings, machineKey, recall, remember } from "../memo.ts";
import { nodeMajor, readKernels, setEngineFlags } from "../workers.ts";
import { disproved } from "./proof.ts";
import { type Prepared, Solo } from "./solo.ts";

export type Build = "plain" | "relaxed";

export interface Kernels {
  readonly module: WebAssembly.Module;
  readonly build: Build;
  /** Whether V8 joins vectors into longer ones. */
  readonly revectorized: boolean;
  /** Why this build in this mode, for people. */
  readonly why: string;
  /** How long it took to find out, beside compiling. */
  readonly choiceMs: number;
}

/** How much faster the relaxed build has to be. */
const CLEARLY = 1.15;
const SIDE = 192;
/** Turns of each build: as many as fit into so many milliseconds, within bounds. */
const TURNS = { least: 3, most: 20, ms: 30 };

/** How the engine compiles. */
interface Mode {
  readonly revectorized: boolean;
  readonly note: string;
  /** Appended to a module, so that the engine does not reuse what it compiled in another mode. */
  readonly salt: readonly number[];
}

/** An empty custom section. */
const SALT = [0, 2, 1, 0x78];

let mode: Mode | undefined;
let choiceMs = 0;

/** Does something that finds out about the kernels, and counts its time. */
function findOut<T>(work: () => T): T {
  const begun = performance.now();
  const found = work();
  choiceMs += performance.now() - begun;
  return found;
}

let key = "";
let known: Findings | undefined;

/** What earlier starts and this one have found out. */
async function findings(): Promise<Findings> {
  if (!known) {
    key = machineKey([await readKernels("kernels-plain.wasm"), await readKernels("kernels-relaxed.wasm")]);
    known = await recall(key);
  }
  return known;
}

async function keep(more: Findings): Promise<void> {
  known = { ...(await findings()), ...more };
  await remember(key, known);
}

/** Sets the engine's flags, before anything is compiled. */
function enterMode(): Mode {
  // Code entered in the baseline compiler would stay there until a whole program has run.
  setEngineFlags("--no-liftoff", "--no-wasm-tier-up");
  if (nodeMajor < 22) setEngineFlags("--experimental-wasm-relaxed-simd");
  if (nodeMajor < 24) return { revectorized: false, note: "", salt: [] };
  setEngineFlags("--experimental-wasm-revectorize");
  return { revectorized: true, note: "; V8 joins vectors into 256 bits, proved right", salt: [] };
}

/** Goes back to vectors of 128 bits, for good. */
function leaveMode(wrong: string, build: Build): Mode {
  setEngineFlags("--no-experimental-wasm-revectorize");
  return { revectorized: false, note: `; without 256-bit vectors, under which ${wrong} was wrong in the ${build} build`, salt: SALT };
}

async function compiled(build: Build): Promise<WebAssembly.Module | undefined> {
  mode ??= enterMode();
  const bytes = Uint8Array.from([...(await readKernels(`kernels-${build}.wasm`)), ...mode.salt]);
  return WebAssembly.validate(bytes) ? WebAssembly.compile(bytes) : undefined;
}

/** A short product of a build, compiled. */
function contender(module: WebAssembly.Module): Prepared {
  const shape = [SIDE, SIDE];
  const product = new Solo(module).prepare({ op: "matmul", shapes: [shape, shape], outShapes: [shape] });
  product.run(); // compiles
  return product;
}

/** GFLOP/s of contenders in turn: the best of some runs. */
function race(contenders: readonly Prepared[]): number[] {
  const best = contenders.map(() => Number.POSITIVE_INFINITY);
  const begun = performance.now();
  for (let i = 0; i < TURNS.least || (i < TURNS.most && performance.now() - begun < TURNS.ms); i++) {
    for (const [which, { run }] of contenders.entries()) {
      const start = performance.now();
      run();
      best[which] = Math.min(best[which], performance.now() - start);
    }
  }
  return best.map((ms) => (2 * SIDE ** 3) / ms / 1e6);
}

/** GFLOP/s of a small product on this thread. */
export const speedOf = (module: WebAssembly.Module): number => race([contender(module)])[0];

/** The kernels of a build, in the engine's present mode if they prove right in it. */
async function load(build: Build, why: string): Promise<Kernels> {
  const module = await compiled(build);
  if (!module) {
    throw new Error(
      `Cannot open the ${build} build of the wasm backend: this engine lacks WebAssembly ${build === "plain" ? "SIMD or threads" : "relaxed SIMD"}`,
    );
  }
  const { revectorized, note } = mode as Mode;
  const wrong = revectorized ? await fault(build, module) : "";
  if (wrong) {
    mode = leaveMode(wrong, build);
    return load(build, why);
  }
  return { module, build, revectorized, why: why + note, choiceMs };
}

/** The op that a build gets wrong in the engine's 256-bit mode; "" if there is none. */
async function fault(build: Build, module: WebAssembly.Module): Promise<string> {
  const { proofs = {} } = await findings();
  const before = proofs[build];
  if (before !== undefined) return before;
  const wrong = findOut(() => disproved(module)) ?? "";
  await keep({ proofs: { ...proofs, [build]: wrong } });
  return wrong;
}

/** The faster build: by what an earlier start measured, if one did. */
async function choose(): Promise<Kernels> {
  const { speeds } = await findings();
  if (speeds) return loadFaster(speeds, ", measured at an earlier start");
  const [plain, relaxed] = [await compiled("plain"), await compiled("relaxed")];
  if (!plain || !relaxed) return load("plain", "this engine has no relaxed SIMD");
  const raced = mode;
  const contenders = [contender(plain), contender(relaxed)];
  const [a, b] = findOut(() => race(contenders));
  const winner = await loadFaster([a, b]);
  if (mode !== raced) return choose(); // the race was in another mode
  await keep({ speeds: [a, b] });
  return winner;
}

function loadFaster([a, b]: readonly [number, number], when = ""): Promise<Kernels> {
  const why = `plain ${a.toFixed(0)} and relaxed ${b.toFixed(0)} GFLOP/s on one thread; relaxed has to be ${Math.round((CLEARLY - 1) * 100)} % faster`;
  return load(b > CLEARLY * a ? "relaxed" : "plain", why + when);
}

let chosen: Promise<Kernels> | undefined;

/** Compiles the kernels: the build that is asked for, or the faster one, which is found out once. */
export function loadKernels(wanted?: Build): Promise<Kernels> {
  if (wanted) return load(wanted, "asked for");
  chosen ??= choose();
  return chosen;
}
