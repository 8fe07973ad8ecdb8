// Putting fetched files in place: checked by MD5, written whole or not at all.
import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdir, readFile } from "node:fs/promises";
import { dirname } from "node:path";
import { writeAtomically } from "../../src/checkpoint/atomic.ts";

export const md5 = (content: Uint8Array): string => createHash("md5").update(content).digest("hex");

/** Whether a file is there and holds what it should. */
export async function holds(path: string, digest: string): Promise<boolean> {
  const content = await readFile(path).catch(() => undefined);
  return content !== undefined && md5(content) === digest;
}

/** Writes a file whole or not at all, and the folders above it. */
export async function place(path: string, content: Uint8Array): Promise<void> {
  await mkdir(dirname(path), { recursive: true });
  await writeAtomically(path, [content]);
}

/** Runs a program in a folder. Rejects with the last line that it said, or with the signal's reason. */
export async function execute(program: string, args: readonly string[], folder: string, signal: AbortSignal): Promise<void> {
  signal.throwIfAborted();
  await new Promise<void>((resolve, reject) => {
    const shell = process.platform === "win32"; // npm is a .cmd there; no argument holds a character that a shell would read
    const child = spawn(program, args, { cwd: folder, stdio: ["ignore", "ignore", "pipe"], signal, shell });
    let said = "";
    child.stderr.on("data", (text) => {
      said = (said + text).slice(-4000);
    });
    child.on("error", (error) => reject(signal.aborted ? signal.reason : new Error(`Cannot run ${program}: ${error.message}`)));
    child.on("close", (code, killed) => {
      const last =
        said
          .trim()
          .split("\n")
          .findLast((line) => /err|E:|fatal/i.test(line)) ?? said.trim().split("\n").at(-1);
      if (code === 0) resolve();
      else
        reject(signal.aborted ? signal.reason : new Error(`${program} ${args.join(" ")} ended with ${killed ?? `code ${code}`}: ${last}`));
    });
  });
}
