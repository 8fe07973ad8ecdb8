// Which build of the kernels runs, and in which mode of the engine.
//
// Relaxed SIMD has a fused multiply-add, which rounds differently: the plain build is kept unless the other is clearly faster, so
// that timing noise does not change results from run to run, and callers may name the build that a run began with.
//
// From Node 24 on V8 can join two vectors into one of 256 bits. The mode is experimental, so it is used only if every family of
// kernels proves right under it.
import { nodeMajor, readKernels, setEngineFlags } from "../workers.ts";
import { disproved } from "./proof.ts";
import { Solo } from "./solo.ts";

export type Build = "plain" | "relaxed";

export interface Kernels {
  readonly module: WebAssembly.Module;
  readonly build: Build;
  /** Whether V8 joins vectors into longer ones. */
  readonly revectorized: boolean;
  /** Why this build in this mode, for people. */
  readonly why: string;
}

/** How much faster the relaxed build has to be. */
const CLEARLY = 1.15;
const SIDE = 192;
const REPEATS = 6;

interface Engine {
  readonly revectorized: boolean;
  readonly note: string;
  /** Appended to a module, so that the engine does not reuse what it compiled in another mode. */
  readonly salt: readonly number[];
}

/** An empty custom section. */
const SALT = [0, 2, 1, 0x78];

let prepared: Promise<Engine> | undefined;

/** The engine's mode. Flags are set once, before anything is compiled. */
function engine(): Promise<Engine> {
  prepared ??= prepareEngine();
  return prepared;
}

async function prepareEngine(): Promise<Engine> {
  // Code entered in the baseline compiler would stay there until a whole program has run.
  setEngineFlags("--no-liftoff", "--no-wasm-tier-up");
  if (nodeMajor < 22) setEngineFlags("--experimental-wasm-relaxed-simd");
  if (nodeMajor < 24) return { revectorized: false, note: "", salt: [] };
  setEngineFlags("--experimental-wasm-revectorize");
  for (const build of ["plain", "relaxed"] as const) {
    const bytes = await readKernels(`kernels-${build}.wasm`);
    const wrong = WebAssembly.validate(bytes) ? disproved(new WebAssembly.Module(bytes)) : undefined;
    if (!wrong) continue;
    setEngineFlags("--no-experimental-wasm-revectorize");
    return { revectorized: false, note: `; without 256-bit vectors, under which ${wrong} was wrong in the ${build} build`, salt: SALT };
  }
  return { revectorized: true, note: "; V8 joins vectors into 256 bits, proved at start", salt: [] };
}

/** Floating-point operations a second, in units of 10^9, of two builds in turn: the best of some short products. */
function race(modules: readonly WebAssembly.Module[]): number[] {
  const shape = [SIDE, SIDE];
  const products = modules.map((module) => new Solo(module).prepare({ op: "matmul", shapes: [shape, shape], outShapes: [shape] }));
  const best = products.map(() => Number.POSITIVE_INFINITY);
  for (let i = 0; i <= REPEATS; i++) {
    for (const [which, { run }] of products.entries()) {
      const start = performance.now();
      run();
      if (i > 0) best[which] = Math.min(best[which], performance.now() - start); // the first one compiles
    }
  }
  return best.map((ms) => (2 * SIDE ** 3) / ms / 1e6);
}

async function compiled(build: Build, salt: readonly number[]): Promise<WebAssembly.Module | undefined> {
  const bytes = Uint8Array.from([...(await readKernels(`kernels-${build}.wasm`)), ...salt]);
  return WebAssembly.validate(bytes) ? WebAssembly.compile(bytes) : undefined;
}

/** The kernels of a build. */
async function load(build: Build, why: string): Promise<Kernels> {
  const { revectorized, note, salt } = await engine();
  const module = await compiled(build, salt);
  if (!module)
    throw new Error(
      `Cannot open the ${build} build of the wasm backend: this engine lacks WebAssembly ${build === "plain" ? "SIMD or threads" : "relaxed SIMD"}`,
    );
  return { module, build, revectorized, why: why + note };
}

/** The faster build. */
async function choose(): Promise<Kernels> {
  const { salt } = await engine();
  const [plain, relaxed] = [await compiled("plain", salt), await compiled("relaxed", salt)];
  if (!plain || !relaxed) return load("plain", "this engine has no relaxed SIMD");
  const [a, b] = race([plain, relaxed]);
  const why = `plain ${a.toFixed(0)} and relaxed ${b.toFixed(0)} GFLOP/s on one thread; relaxed has to be ${Math.round((CLEARLY - 1) * 100)} % faster`;
  return load(b > CLEARLY * a ? "relaxed" : "plain", why);
}

let chosen: Promise<Kernels> | undefined;

/** Compiles the kernels: the build that is asked for, or the faster one, which is found out once. */
export function loadKernels(wanted?: Build): Promise<Kernels> {
  if (wanted) return load(wanted, "asked for");
  chosen ??= choose();
  return chosen;
}
