// Finds out what a path holds and opens it.
import { closeSync, openSync, readdirSync, readSync, statSync } from "node:fs";
import { extname, join } from "node:path";
import { cifarTrainingFiles, isCifarName, openCifar } from "./cifar.ts";
import { isPicture, pictureEndings } from "./decode.ts";
import { openFolder, openList, openPicture } from "./folder.ts";
import { idxTrainingFile, isIdxName, openIdx } from "./idx.ts";
import { openShards } from "./shards.ts";
import type { ImageSource } from "./source.ts";

const listEndings = [".txt", ".lst", ".tsv"];

/**
 * Opens the pictures at a path: a folder of pictures (sub-folders are classes), of .tar shards, or with the files of CIFAR or of MNIST
 * and its kind (their training part); or a file: a shard, one CIFAR or IDX file, a list of paths, a single picture.
 * Throws if there is nothing there, or nothing that holds pictures.
 */
export async function openImages(path: string): Promise<ImageSource> {
  const found = statSync(path, { throwIfNoEntry: false });
  if (!found) throw new Error(`Cannot open images at "${path}": no such file or folder`);
  return found.isDirectory() ? openDirectory(path) : openFile(path);
}

function openDirectory(path: string): ImageSource {
  const names = readdirSync(path).sort();
  const cifar = cifarTrainingFiles(names);
  if (cifar.length) return openCifar(cifar.map((name) => join(path, name)));
  const idx = idxTrainingFile(names);
  if (idx) return openIdx(join(path, idx));
  const shards = names.filter((name) => name.endsWith(".tar"));
  return shards.length ? openShards(shards.map((name) => join(path, name))) : openFolder(path);
}

function openFile(path: string): ImageSource {
  if (path.endsWith(".tar")) return openShards([path]);
  if (isCifarName(path)) return openCifar([path]);
  if (isIdxName(path)) return openIdx(path);
  if (isPicture(firstBytes(path))) return openPicture(path);
  if (listEndings.includes(extname(path).toLowerCase())) return openList(path);
  throw new Error(
    `Cannot open "${path}": it is not a picture; looked for ${pictureEndings.join(" ")}, a .tar shard, a CIFAR .bin or IDX -ubyte file, ` +
      `or a list of paths (${listEndings.join(" ")})`,
  );
}

function firstBytes(path: string): Uint8Array {
  const bytes = new Uint8Array(12);
  const file = openSync(path, "r");
  try {
    return bytes.subarray(0, readSync(file, bytes, 0, bytes.length, 0));
  } finally {
    closeSync(file);
  }
}
