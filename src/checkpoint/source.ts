// Bytes of a file by place, so that files larger than memory can be read in parts.
import { readSync } from "node:fs";
import { open, stat } from "node:fs/promises";
import { CheckpointError } from "./error.ts";

export interface Source {
  /** What error messages call it. */
  readonly where: string;
  /** In bytes. */
  readonly size: number;
  /** A copy of `length` bytes from `at`, beginning at byte 0 of its own buffer. Throws a CheckpointError where the file ends before. */
  read(at: number, length: number): Promise<Uint8Array<ArrayBuffer>>;
  close(): Promise<void>;
}

/** A claim about where bytes lie is checked before anything is allocated for them. */
function checkRange({ where, size }: Source, at: number, length: number): void {
  if (Number.isSafeInteger(at) && Number.isSafeInteger(length) && at >= 0 && length >= 0 && at + length <= size) return;
  throw new CheckpointError(`Cannot read ${where}: expected ${length} bytes at ${at}, but it ends at ${size}: cut short or damaged`);
}

/** A file on disk. Throws a CheckpointError that names the path where there is none. */
export async function openSource(path: string): Promise<Source> {
  const refuse = (cause: Error) => {
    throw new CheckpointError(`Cannot read ${path}: ${cause.message}`, { cause });
  };
  // looked at before it is opened: to open a pipe is to wait for somebody who writes
  const there = await stat(path).catch(refuse);
  if (!there.isFile()) throw new CheckpointError(`Cannot read ${path}: it is not a file`);
  const file = await open(path, "r").catch(refuse);
  const source: Source = {
    where: path,
    size: there.size,
    async read(at, length) {
      checkRange(source, at, length);
      const bytes = new Uint8Array(Buffer.allocUnsafeSlow(length).buffer); // not zeroed: every byte is read
      for (let done = 0; done < length; ) {
        const count = Math.min(length - done, 2 ** 30);
        // a short read takes less time than handing it to another thread
        const bytesRead =
          count < 2 ** 20 ? readSync(file.fd, bytes, done, count, at + done) : (await file.read(bytes, done, count, at + done)).bytesRead;
        if (bytesRead === 0) throw new CheckpointError(`Cannot read ${path}: it became shorter while being read`);
        done += bytesRead;
      }
      return bytes;
    },
    close: () => file.close(),
  };
  return source;
}

/** Bytes that are in memory already. */
export function sourceOf(bytes: Uint8Array, where: string): Source {
  const source: Source = {
    where,
    size: bytes.length,
    async read(at, length) {
      checkRange(source, at, length);
      return Uint8Array.from(bytes.subarray(at, at + length));
    },
    close: async () => {},
  };
  return source;
}
