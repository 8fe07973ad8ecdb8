// Published checkpoints on this machine.
import { existsSync } from "node:fs";
import { homedir } from "node:os";
import { basename, join } from "node:path";
import { DownloadError, type Downloaded, type DownloadOptions, download } from "../checkpoint/download.ts";
import type { Environment } from "../checkpoint/http.ts";
import { type Published, published } from "./published.ts";

/** Where fetched files are kept: AUTODIDACT_CACHE, or `autodidact` in the system's folder for such. */
export function cacheFolder(env: Environment = process.env): string {
  if (env.AUTODIDACT_CACHE) return env.AUTODIDACT_CACHE;
  if (env.XDG_CACHE_HOME) return join(env.XDG_CACHE_HOME, "autodidact");
  if (process.platform === "win32" && env.LOCALAPPDATA) return join(env.LOCALAPPDATA, "autodidact");
  return join(homedir(), ".cache", "autodidact");
}

/** Where a published checkpoint is kept. */
export const publishedPath = (name: string, cache = cacheFolder()): string =>
  join(cache, name, basename(new URL(published[name].url).pathname));

export interface PullOptions extends Pick<DownloadOptions, "env" | "signal" | "onProgress"> {
  /** Folder to keep it in. */
  cache?: string;
  /** What there is to pull; the published checkpoints. */
  catalogue?: Readonly<Record<string, Published>>;
}

/** Fetches a published checkpoint into the cache, unless it is there. Throws a DownloadError that says where to put it by hand. */
export async function pull(name: string, { cache, catalogue = published, ...options }: PullOptions = {}): Promise<Downloaded> {
  if (!Object.hasOwn(catalogue, name)) throw new RangeError(`Unknown checkpoint "${name}"`);
  const { url, md5, sha256, packed } = catalogue[name];
  const path = join(cache ?? cacheFolder(options.env), name, basename(new URL(url).pathname));
  if (packed === "folder") throw new DownloadError(url, path, "it is a folder: its checkpoint's .index and .data files are needed, both");
  return download(url, path, { env: process.env, ...options, md5, sha256 });
}

/** The file that a path or a published name stands for. Throws where a name's file is not here yet. */
export function checkpointFile(pathOrName: string, env?: Environment): string {
  if (existsSync(pathOrName) || !Object.hasOwn(published, pathOrName)) return pathOrName;
  const path = publishedPath(pathOrName, cacheFolder(env));
  if (existsSync(path)) return path;
  throw new Error(`Cannot open "${pathOrName}": it is published and not here yet; \`autodidact pull ${pathOrName}\` fetches it`);
}
