// One process a run folder. The lock is a file that names its owner; the lock of a process that no longer lives is taken over, so
// a run that was killed is free at once. An owner on another machine (a shared disk, a container that was replaced) counts as
// alive while it keeps touching the file.
import { createHash, randomUUID } from "node:crypto";
import { link, readFile, rm, stat, utimes, writeFile } from "node:fs/promises";
import { hostname } from "node:os";
import { join } from "node:path";

/** A run that another process works on. */
export class LockedError extends Error {
  override name = "LockedError";
}

interface Owner {
  readonly pid: number;
  readonly host: string;
  /** When the process began, as the system counts: tells it from a later one of the same number. */
  readonly began?: string;
  /** ISO 8601. */
  readonly since: string;
}

export interface Lock {
  release(): Promise<void>;
}

export const lockName = "lock";

/** The owner of a lock on another machine touches it this often, and is taken for dead after the other time. */
const [TOUCH_MS, DEAD_MS] = [10_000, 60_000];
/** Removing a dead lock takes far less. */
const CLAIM_MS = 5_000;

/** Takes the lock of a folder. Throws a LockedError that names the process that has it. */
export async function takeLock(folder: string): Promise<Lock> {
  const path = join(folder, lockName);
  const own: Owner = { pid: process.pid, host: hostname(), began: await beginOf(process.pid), since: new Date().toISOString() };
  for (;;) {
    if (await written(path, JSON.stringify(own))) return held(path);
    const found = await readFile(path, "utf8").catch(() => undefined);
    if (found === undefined) continue; // released in the meantime
    const owner = parsed(found);
    if (owner && (await lives(owner, path))) throw new LockedError(refusal(folder, path, owner));
    await remove(path, found);
  }
}

function held(path: string): Lock {
  const timer = setInterval(() => utimes(path, new Date(), new Date()).catch(() => {}), TOUCH_MS);
  timer.unref();
  return {
    release: async () => {
      clearInterval(timer);
      await rm(path, { force: true });
    },
  };
}

/** Makes a file that is not there yet; with links, where the file system has them, all its text is there from the first moment. */
async function written(path: string, text: string): Promise<boolean> {
  const draft = `${path}.${randomUUID()}.tmp`;
  try {
    await writeFile(draft, text);
    await link(draft, path).catch((error) => {
      if (error.code === "EEXIST") throw error;
      return writeFile(path, text, { flag: "wx" });
    });
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "EEXIST") return false;
    throw error;
  } finally {
    await rm(draft, { force: true });
  }
}

/**
 * Removes a dead lock. Whoever makes a file that is named after it may: nobody else removes it then, and what others put in its
 * place has another name.
 */
async function remove(path: string, text: string): Promise<void> {
  const claim = `${path}.${createHash("sha256").update(text).digest("hex").slice(0, 16)}.tmp`;
  try {
    await writeFile(claim, "", { flag: "wx" });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
    const made = (await stat(claim).catch(() => undefined))?.mtimeMs ?? Number.POSITIVE_INFINITY;
    if (Date.now() - made > CLAIM_MS) await rm(claim, { force: true }); // its maker died
    return;
  }
  try {
    if ((await readFile(path, "utf8").catch(() => undefined)) === text) await rm(path, { force: true });
  } finally {
    await rm(claim, { force: true });
  }
}

/** Undefined for a lock that its owner did not get to finish. */
function parsed(text: string): Owner | undefined {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

async function lives({ pid, host, began }: Owner, path: string): Promise<boolean> {
  if (host !== hostname()) {
    const touched = (await stat(path).catch(() => undefined))?.mtimeMs ?? 0;
    return Date.now() - touched < DEAD_MS;
  }
  try {
    process.kill(pid, 0);
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EPERM"; // somebody else's process
  }
  const now = await beginOf(pid);
  return began === undefined || now === undefined || began === now;
}

/** Clock ticks from the system's start to the process's, where the system tells (Linux). */
async function beginOf(pid: number): Promise<string | undefined> {
  const text = await readFile(`/proc/${pid}/stat`, "utf8").catch(() => undefined);
  return text?.slice(text.lastIndexOf(")") + 2).split(" ")[19];
}

function refusal(folder: string, path: string, { pid, host, since }: Owner): string {
  const here = host === hostname();
  const does = here
    ? `wait until it has ended, or end it with \`kill ${pid}\``
    : `wait until it has ended; if it has, this is free in ${DEAD_MS / 1000} s, or at once without ${path}`;
  return `Cannot train in ${folder}: process ${pid}${here ? "" : ` on ${host}`} has worked on it since ${since}; ${does}`;
}
