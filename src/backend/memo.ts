// What was found out about the kernels on this machine, kept from one start to the next in the user's cache folder. It holds for
// one processor, engine and build of the kernels, or for one GPU, driver and Dawn; whatever cannot be read or written is as if nothing
// had been kept.
import { createHash, randomUUID } from "node:crypto";
import { mkdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { cpus, homedir } from "node:os";
import { dirname, join } from "node:path";

/** What is known of a machine. */
export interface Findings {
  /** GFLOP/s of the plain and the relaxed build on one thread. */
  readonly speeds?: readonly [number, number];
  /** For each build that was proved in the engine's 256-bit mode the op that is wrong there, or "" if all are right. */
  readonly proofs?: Readonly<Record<string, string>>;
  /** Of a GPU: names of the fastest tiles, by class of products. */
  readonly tiles?: Readonly<Record<string, string>>;
  /** Of a GPU: for each tile of subgroup matrices that was tried what is wrong with it, or "" if it is proved. */
  readonly tileProofs?: Readonly<Record<string, string>>;
}

/** Findings of this many machines, engines, builds and GPUs are kept: the newest. */
const KEPT = 32;

/** Where they are kept. */
export function memoPath(): string {
  const { XDG_CACHE_HOME, LOCALAPPDATA } = process.env;
  const folders: Partial<Record<NodeJS.Platform, string>> = {
    darwin: join(homedir(), "Library", "Caches"),
    win32: LOCALAPPDATA,
  };
  return join(XDG_CACHE_HOME || folders[process.platform] || join(homedir(), ".cache"), "autodidact", "kernels.json");
}

/** Names the processor, the engine with its flags, and the kernels. */
export function machineKey(modules: readonly Uint8Array[]): string {
  const hash = createHash("sha256");
  const { node, v8 } = process.versions;
  const { NODE_OPTIONS = "" } = process.env;
  hash.update(JSON.stringify([cpus()[0]?.model, process.arch, process.platform, node, v8, process.execArgv, NODE_OPTIONS]));
  for (const bytes of modules) hash.update(bytes);
  return hash.digest("hex").slice(0, 32);
}

/** Names a GPU with its driver, and what computes on it. */
export const gpuKey = (parts: readonly string[]): string =>
  `gpu ${createHash("sha256").update(JSON.stringify(parts)).digest("hex").slice(0, 32)}`;

type Memo = Record<string, Findings>;

async function read(): Promise<Memo> {
  try {
    const { version, machines } = JSON.parse(await readFile(memoPath(), "utf8"));
    return version === 1 && typeof machines === "object" && machines ? machines : {};
  } catch {
    return {};
  }
}

/** What is known under a key; nothing if what is there is not of the right form. */
export async function recall(key: string): Promise<Findings> {
  const { speeds, proofs, tiles, tileProofs } = (await read())[key] ?? {};
  const sound = Array.isArray(speeds) && speeds.length === 2 && speeds.every((speed) => Number.isFinite(speed) && speed > 0);
  const known = Object.entries(proofs ?? {}).filter(([build, wrong]) => /^(plain|relaxed)$/.test(build) && typeof wrong === "string");
  const texts = (of: Findings["tiles"]) => of && typeof of === "object" && Object.values(of).every((text) => typeof text === "string");
  const ofGpu = { ...(texts(tiles) && { tiles }), ...(texts(tileProofs) && { tileProofs }) };
  return { ...(sound && { speeds }), proofs: Object.fromEntries(known), ...ofGpu };
}

/** Keeps findings, as far as that is possible. */
export async function remember(key: string, findings: Findings): Promise<void> {
  const path = memoPath();
  const draft = `${path}.${randomUUID()}.tmp`;
  try {
    const { [key]: _, ...others } = await read();
    const machines = Object.fromEntries([...Object.entries(others), [key, findings]].slice(-KEPT));
    // One by one: where a folder cannot be, Node 20's own way of making all of a path tries for ever.
    for (const folder of [dirname(dirname(path)), dirname(path)]) await mkdir(folder).catch(() => {});
    await writeFile(draft, `${JSON.stringify({ version: 1, machines }, null, 2)}\n`);
    await rename(draft, path);
  } catch {
    await rm(draft, { force: true }).catch(() => {});
  }
}
