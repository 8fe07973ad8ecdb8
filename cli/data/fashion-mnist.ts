// Fashion-MNIST as IDX files (MIT licence, Zalando), from the Debian package dataset-fashion-mnist.
import { mkdir, readdir, readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import { gunzipSync } from "node:zlib";
import type { Fetching } from "./cifar10.ts";
import { execute, holds, md5, place } from "./files.ts";

/** The four files and the MD5 of each. */
export const idxFiles: Readonly<Record<string, string>> = {
  "train-images-idx3-ubyte": "f4a8712d7a061bf5bd6d2ca38dc4d50a",
  "train-labels-idx1-ubyte": "9018921c3c673c538a1fc5bad174d6f9",
  "t10k-images-idx3-ubyte": "8181f5470baa50b63fa0f6fddb340f0a",
  "t10k-labels-idx1-ubyte": "15d484375f8d13e6eb1aabb0c3f46965",
};

const INSTALLED = "/usr/share/datasets/fashion-mnist";

/** A place to look in: gives a folder that holds the gzipped files, or throws with the reason. `cache` is for its use. */
export interface Source {
  name: string;
  open(cache: string, signal: AbortSignal): Promise<string>;
}

const debian: readonly Source[] = [
  { name: INSTALLED, open: async () => INSTALLED },
  {
    name: "apt-get download dataset-fashion-mnist",
    async open(cache, signal) {
      await execute("apt-get", ["download", "dataset-fashion-mnist"], cache, signal);
      const archive = (await readdir(cache)).find((name) => name.endsWith(".deb"));
      if (!archive) throw new Error("apt-get wrote no .deb file");
      await execute("dpkg-deb", ["-x", archive, "."], cache, signal);
      return join(cache, INSTALLED);
    },
  },
];

/** Makes `folder` hold the four files, from the first source that has them. Gives how many were written. */
export async function fetchFashionMnist(
  folder: string,
  { signal, note }: Fetching,
  files = idxFiles,
  sources: readonly Source[] = debian,
): Promise<number> {
  const missing: string[] = [];
  for (const [name, digest] of Object.entries(files)) if (!(await holds(join(folder, name), digest))) missing.push(name);
  if (!missing.length) return 0;
  const cache = `${folder}.download`;
  await rm(cache, { recursive: true, force: true });
  await mkdir(cache, { recursive: true });
  const tried: string[] = [];
  try {
    for (const source of sources) {
      signal.throwIfAborted();
      note(`trying ${source.name}`);
      try {
        const from = await source.open(cache, signal);
        for (const name of missing) await copy(join(from, `${name}.gz`), join(folder, name), files[name]);
        return missing.length;
      } catch (error) {
        if (signal.aborted) throw error;
        tried.push(`${source.name}: ${(error as Error).message}`);
      }
    }
  } finally {
    await rm(cache, { recursive: true, force: true });
  }
  const tip = `put ${Object.keys(files).join(", ")} (not gzipped) into ${folder}; on Debian and Ubuntu, \`apt-get update\` may help`;
  throw Object.assign(new Error(`Cannot get Fashion-MNIST on this machine. Tried:\n${tried.map((line) => `    ${line}`).join("\n")}`), {
    tip,
  });
}

async function copy(from: string, to: string, digest: string): Promise<void> {
  const content = gunzipSync(await readFile(from));
  const got = md5(content);
  if (got !== digest) throw new Error(`${from} has MD5 ${got}, expected ${digest}`);
  await place(to, content);
}
