// Large files from the network: resumed where they stopped, checked, and in place only when whole.
import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { mkdir, open, readFile, rename, rm, stat, writeFile } from "node:fs/promises";
import type { IncomingMessage } from "node:http";
import { dirname } from "node:path";
import { type Environment, get } from "./http.ts";

export interface DownloadOptions {
  /** First digits of the digests that the file must have. */
  md5?: string;
  sha256?: string;
  env?: Environment;
  signal?: AbortSignal;
  /** Bytes that are here, and of how many where the server says. */
  onProgress?: (done: number, of: number | undefined) => void;
}

export interface Downloaded {
  readonly path: string;
  readonly bytes: number;
  /** False where the file was here already. */
  readonly fetched: boolean;
  /** Whether a digest was there to compare with. */
  readonly verified: boolean;
}

/** A file that could not be had, and where to put it when it comes some other way. */
export class DownloadError extends Error {
  override name = "DownloadError";
  readonly tip: string;

  constructor(url: string, path: string, reason: string) {
    super(`Cannot fetch ${url}: ${reason}`);
    this.tip = `fetch it in some other way and put it at ${path}`;
  }
}

/** What of the file's digests differs from those expected, or undefined. */
async function difference(path: string, { md5, sha256 }: DownloadOptions): Promise<string | undefined> {
  for (const [algorithm, digits] of [
    ["md5", md5],
    ["sha256", sha256],
  ] as const) {
    if (!digits) continue;
    const hash = createHash(algorithm);
    for await (const chunk of createReadStream(path)) hash.update(chunk);
    const found = hash.digest("hex");
    if (!found.startsWith(digits.toLowerCase())) return `its ${algorithm} begins with ${found.slice(0, digits.length)}, expected ${digits}`;
  }
  return undefined;
}

const sizeOf = async (path: string): Promise<number | undefined> => (await stat(path).catch(() => undefined))?.size;

/**
 * Fetches a file, unless it is there and has the expected digests. What was fetched before an interruption stays beside it as
 * `path.part`, and the next call asks only for the rest. Throws a DownloadError; then `path` is as it was.
 */
export async function download(url: string, path: string, options: DownloadOptions = {}): Promise<Downloaded> {
  const verified = options.md5 !== undefined || options.sha256 !== undefined;
  const there = await sizeOf(path);
  if (there !== undefined && !(await difference(path, options))) return { path, bytes: there, fetched: false, verified };
  const part = `${path}.part`;
  try {
    await mkdir(dirname(path), { recursive: true });
    const bytes = await fetchTo(part, url, options);
    const wrong = await difference(part, options);
    if (wrong) {
      await forget(part);
      throw new Error(`what came is not the published file: ${wrong}`);
    }
    await rename(part, path);
    await forget(part);
    return { path, bytes, fetched: true, verified };
  } catch (error) {
    options.signal?.throwIfAborted();
    throw new DownloadError(url, path, (error as Error).message);
  }
}

/** Beside the part: what the server called this version of the file, so that parts of two versions are never joined. */
const versionOf = (part: string): string => `${part}.version`;

async function forget(part: string): Promise<void> {
  await rm(part, { force: true });
  await rm(versionOf(part), { force: true });
}

const header = ({ headers }: IncomingMessage, name: string): string | undefined => {
  const value = headers[name];
  return typeof value === "string" ? value : undefined;
};

/** A strong name of the version: a weak tag (W/...) does not promise equal bytes. */
const nameOf = (response: IncomingMessage): string | undefined => {
  const tag = header(response, "etag");
  return tag && !tag.startsWith("W/") ? tag : header(response, "last-modified");
};

/** Fetches the rest of a file into its part, and gives the size of the whole. */
async function fetchTo(part: string, url: string, options: DownloadOptions): Promise<number> {
  const version = await readFile(versionOf(part), "utf8").catch(() => undefined);
  const begun = version ? ((await sizeOf(part)) ?? 0) : 0;
  const { env, signal } = options;
  const headers: Record<string, string> = begun && version ? { range: `bytes=${begun}-`, "if-range": version } : {};
  const response = await get(url, { headers, env, signal });
  const resumed = response.statusCode === 206 && header(response, "content-range")?.startsWith(`bytes ${begun}-`);
  if (response.statusCode === 416 && begun) {
    response.destroy();
    await forget(part);
    return fetchTo(part, url, options);
  }
  if (response.statusCode !== 200 && !resumed) {
    response.destroy();
    throw new Error(`the server answered ${response.statusCode} ${response.statusMessage ?? ""}`.trimEnd());
  }
  const from = resumed ? begun : 0;
  const length = header(response, "content-length");
  const total = length === undefined ? undefined : from + Number(length);
  const name = nameOf(response);
  if (name) await writeFile(versionOf(part), name);
  else await rm(versionOf(part), { force: true });
  const done = await write(part, from, response, (bytes) => options.onProgress?.(bytes, total));
  if (total !== undefined && done !== total) throw new Error(`it ended after ${done} of ${total} bytes`);
  return done;
}

/** Writes an answer behind the first `from` bytes, and gives the size that the file has then. */
async function write(part: string, from: number, response: IncomingMessage, onBytes: (done: number) => void): Promise<number> {
  const file = await open(part, from ? "r+" : "w");
  let done = from;
  try {
    await file.truncate(from);
    for await (const chunk of response as AsyncIterable<Buffer>) {
      for (let at = 0; at < chunk.length; ) at += (await file.write(chunk, at, chunk.length - at, done + at)).bytesWritten;
      done += chunk.length;
      onBytes(done);
    }
    await file.sync();
  } finally {
    await file.close();
  }
  return done;
}
