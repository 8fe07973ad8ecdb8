import { open, rename, rm } from "node:fs/promises";
import { dirname } from "node:path";

/** Makes sure that a rename is on the disk, where the system can say so (Windows cannot open folders). */
async function syncFolder(path: string): Promise<void> {
  const folder = await open(dirname(path), "r").catch(() => undefined);
  await folder?.sync().catch(() => {});
  await folder?.close();
}

/**
 * Writes a file so that at every moment either the old or the new one is there, whole: under a temporary name beside it, synced,
 * renamed. If something fails (a full disk, a folder that may not be written), the temporary file is removed, the old one stays, and
 * the error names the path and the reason.
 */
export async function writeAtomically(path: string, chunks: Iterable<Uint8Array>): Promise<void> {
  const temporary = `${path}.${process.pid}.tmp`;
  try {
    const file = await open(temporary, "w");
    try {
      for (const chunk of chunks) {
        // Node writes less than 2 GiB at a time
        for (let at = 0; at < chunk.length; ) at += (await file.write(chunk, at, Math.min(chunk.length - at, 2 ** 30))).bytesWritten;
      }
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(temporary, path);
  } catch (error) {
    await rm(temporary, { force: true });
    throw new Error(`Cannot write ${path}: ${(error as Error).message}`, { cause: error });
  }
  await syncFolder(path);
}
