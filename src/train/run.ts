// A run folder: run.json (configuration, and a line each time that the run goes on), metrics.jsonl (one line a measurement), checkpoints/ and report.html.
// Every file is whole at every moment but the last line of metrics.jsonl, which a power cut may leave unfinished; reading and
// resuming drop it.
import { appendFile, mkdir, open, readdir, readFile, rm } from "node:fs/promises";
import { basename, join } from "node:path";
import { writeAtomically } from "../checkpoint/atomic.ts";
import { type Archive, CheckpointError, readSafetensors, writeSafetensors } from "../checkpoint/safetensors.ts";
import { type CheckpointFile, checkpointFolder, checkpointPath, checkpointsIn, newestCheckpoint } from "../evaluate/checkpoints.ts";
import type { Host } from "../tape/trace.ts";
import { type Lock, LockedError, lockName, takeLock } from "./lock.ts";
import type { RunOptions, RunSettings } from "./options.ts";
import { traceName } from "./profile.ts";

/** What `run.json` holds. */
export interface RunRecord {
  readonly version: 1;
  readonly options: RunOptions;
  readonly settings: RunSettings;
  /** Program, runtime and platform that began the run. */
  readonly versions: Readonly<Record<string, string>>;
  readonly data: {
    /** Changes when an image is added, removed or replaced. */
    readonly fingerprint: string;
    readonly images: number;
    readonly classes: readonly string[];
  };
  /** ISO 8601. */
  readonly startedAt: string;
  /** What computed, and from which step on: one entry for the beginning and one for each time that the run was resumed. */
  readonly sessions?: readonly Session[];
}

export interface Session {
  /** Steps done before. */
  readonly step: number;
  /** As in "wasm, 2 threads". */
  readonly backend: string;
  /** ISO 8601. */
  readonly at: string;
}

/** A line of `metrics.jsonl`: a measurement of some kind after a number of steps. */
export interface Metric {
  readonly kind: "step" | "health" | "knn" | "pace" | "resume";
  readonly step: number;
  readonly [name: string]: number | string;
}

export class RunFolder {
  readonly path: string;
  readonly record: RunRecord;
  readonly #lock?: Lock;

  private constructor(path: string, record: RunRecord, lock?: Lock) {
    this.path = path;
    this.record = record;
    this.#lock = lock;
  }

  /**
   * Makes a folder for a new run, which is this process's until `release`. One that exists and is not empty is refused, unless
   * `force` says that a run in it may be replaced; files that no run wrote are never removed, nor a run that another process is at.
   */
  static async create(path: string, record: RunRecord, { force = false } = {}): Promise<RunFolder> {
    const there: string[] = await readdir(path).catch((error) => {
      if (error.code === "ENOENT") return [];
      throw new Error(`Cannot use ${path} as a run folder: ${reason(error)}`);
    });
    const isRun = there.includes("run.json");
    if (there.some((name) => name !== lockName) && !isRun) throw new RunExistsError(path, "it holds files that are no run's");
    if (isRun && !force) throw new RunExistsError(path, "it holds a run");
    let lock: Lock | undefined;
    try {
      await mkdir(path, { recursive: true });
      lock = await takeLock(path);
      for (const name of isRun ? ["run.json", "metrics.jsonl", "report.html", traceName, "checkpoints"] : []) {
        await rm(join(path, name), { recursive: true, force: true });
      }
      await mkdir(checkpointFolder(path), { recursive: true });
      await writeAtomically(join(path, "run.json"), [text(`${JSON.stringify(record, null, 2)}\n`)]);
    } catch (error) {
      await lock?.release();
      throw error instanceof LockedError ? error : new Error(`Cannot make the run folder ${path}: ${reason(error)}`);
    }
    return new RunFolder(path, record, lock);
  }

  /** Opens a run to read it. */
  static async open(path: string): Promise<RunFolder> {
    const file = join(path, "run.json");
    const json = await readFile(file, "utf8").catch((error) => {
      throw new Error(`Cannot open the run ${path}: ${error.code === "ENOENT" ? "it has no run.json" : reason(error)}`);
    });
    let record: RunRecord;
    try {
      record = JSON.parse(json);
    } catch {
      throw new Error(`Cannot open the run ${path}: its run.json is not JSON`);
    }
    if (record.version !== 1) throw new Error(`Cannot open the run ${path}: expected version 1 of run.json, got ${record.version}`);
    return new RunFolder(path, record);
  }

  /** The same folder to go on with, carried out by these settings; it is this process's until `release`. */
  async take(settings: RunSettings): Promise<RunFolder> {
    const lock = await takeLock(this.path).catch((error) => {
      throw error instanceof LockedError ? error : new Error(`Cannot go on in ${this.path}: ${reason(error)}`);
    });
    return new RunFolder(this.path, { ...this.record, settings }, lock);
  }

  /** Notes in run.json that the run goes on. Its settings there stay those that it began with. */
  async begin(session: Session): Promise<void> {
    const file = join(this.path, "run.json");
    const record: RunRecord = JSON.parse(await readFile(file, "utf8"));
    const noted: RunRecord = { ...record, sessions: [...(record.sessions ?? []), session] };
    await writeAtomically(file, [text(`${JSON.stringify(noted, null, 2)}\n`)]);
  }

  /** Lets other processes have the folder. */
  async release(): Promise<void> {
    await this.#lock?.release();
  }

  get name(): string {
    return basename(this.path);
  }

  get #metrics(): string {
    return join(this.path, "metrics.jsonl");
  }

  get reportPath(): string {
    return join(this.path, "report.html");
  }

  async append(metric: Metric): Promise<void> {
    await appendFile(this.#metrics, `${JSON.stringify(metric)}\n`).catch((error) => {
      throw new Error(`Cannot write ${this.#metrics}: ${reason(error)}`);
    });
  }

  async metrics(): Promise<Metric[]> {
    const lines = await readFile(this.#metrics, "utf8").catch(() => "");
    return wholeLines(lines).map((line) => JSON.parse(line));
  }

  /** Cuts off what was measured after a step, so that a resumed run goes on from there. */
  async cutMetrics(step: number): Promise<void> {
    const kept = (await this.metrics()).filter((metric) => metric.step <= step);
    await writeAtomically(this.#metrics, [text(kept.map((metric) => `${JSON.stringify(metric)}\n`).join(""))]);
  }

  /** Finished checkpoints, oldest first. */
  checkpoints(): Promise<CheckpointFile[]> {
    return checkpointsIn(this.path);
  }

  /** Removes what a process that was killed had begun to write. */
  async removeUnfinished(): Promise<void> {
    for (const folder of [this.path, checkpointFolder(this.path)]) {
      for (const name of await readdir(folder)) if (name.endsWith(".tmp")) await rm(join(folder, name), { force: true });
    }
  }

  /** Writes a checkpoint whole or not at all, then removes all but the newest `keep` before it. */
  async save(
    step: number,
    tensors: Iterable<readonly [string, Host]>,
    metadata: Record<string, string>,
    keep: number,
  ): Promise<CheckpointFile> {
    const path = checkpointPath(this.path, step);
    await this.#syncMetrics();
    await writeSafetensors(path, tensors, metadata).catch((error) => {
      throw new Error(`${(error as Error).message}; earlier checkpoints are intact`);
    });
    for (const old of (await this.checkpoints()).filter((file) => file.step < step).slice(0, -keep || undefined))
      await rm(old.path, { force: true });
    return { step, path };
  }

  /** Measurements are on the disk before the checkpoint that they belong to. */
  async #syncMetrics(): Promise<void> {
    const file = await open(this.#metrics, "a");
    await file.sync().finally(() => file.close());
  }

  /** The newest checkpoint, or an error that says why there is none. A damaged one is refused, not passed over. */
  async newest(): Promise<{ file: CheckpointFile; archive: Archive }> {
    const file = await newestCheckpoint(this.path);
    const archive = await readSafetensors(file.path, { checksum: "required" }).catch((error) => {
      const tip = "remove the file to continue from the checkpoint before it";
      throw error instanceof CheckpointError ? new CheckpointError(`${error.message}; ${tip}`) : error;
    });
    return { file, archive };
  }
}

/** A run would overwrite what is already there. */
export class RunExistsError extends Error {
  override name = "RunExistsError";
  constructor(path: string, what: string) {
    super(`Cannot start a run in ${path}: ${what}`);
  }
}

const text = (s: string) => new TextEncoder().encode(s);
const wholeLines = (lines: string) => lines.split("\n").slice(0, -1).filter(isJson);

function isJson(line: string): boolean {
  try {
    JSON.parse(line);
    return true;
  } catch {
    return false;
  }
}

/** What the system says, without its code and call. */
export function reason(error: unknown): string {
  const { code, message } = error as NodeJS.ErrnoException;
  const known: Record<string, string> = {
    ENOSPC: "the disk is full",
    EDQUOT: "the disk quota is used up",
    EACCES: "permission denied",
    EPERM: "permission denied",
    EROFS: "the file system is read-only",
    ENOTDIR: "a part of the path is a file",
    EEXIST: "a file of that name is in the way",
  };
  return known[code ?? ""] ?? message;
}
