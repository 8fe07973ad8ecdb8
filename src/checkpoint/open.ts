// Files of tensors of any known format, recognised by what is in them: ".pth.tar" is no tar, and ".pkl" may be anything.
import { stat } from "node:fs/promises";
import { type Checkpoint, tensorsIn } from "./checkpoint.ts";
import { CheckpointError } from "./error.ts";
import { isNpz, openNpz } from "./npz.ts";
import { isNpy, openNpy } from "./numpy.ts";
import { Unpickler } from "./pickle.ts";
import { isSafetensors, openSafetensors } from "./safetensors.ts";
import { openSource, type Source } from "./source.ts";
import { isBundle, type OpenShard, openBundle } from "./tf-bundle.ts";
import { torchNames } from "./torch.ts";
import { isTorchLegacy, openTorchLegacy } from "./torch-legacy.ts";
import { openTorchZip, torchRoot } from "./torch-zip.ts";
import { Zip } from "./zip.ts";

/**
 * Opens a file of tensors: PyTorch's (of any version), safetensors, NumPy's, a TensorFlow checkpoint (its .index, or its name without
 * an ending) or a pickle of arrays. Only names and shapes are read, so the file may be larger than the memory. Nothing in
 * it is run. Throws a CheckpointError that says what is wrong with it.
 */
export async function openCheckpoint(path: string): Promise<Checkpoint> {
  const there = await stat(path).catch(() => undefined);
  const bundle = there ? undefined : await stat(`${path}.index`).catch(() => undefined);
  const source = await openSource(bundle ? `${path}.index` : path);
  try {
    return await readCheckpoint(source);
  } catch (error) {
    await source.close();
    throw error;
  }
}

/** The same for bytes anywhere. */
export async function readCheckpoint(source: Source, openShard?: OpenShard): Promise<Checkpoint> {
  const head = await source.read(0, Math.min(source.size, 512));
  if (starts(head, [0x50, 0x4b, 3, 4])) return openZip(source);
  if (isTorchLegacy(head)) return openTorchLegacy(source);
  if (isSafetensors(head, source.size)) return openSafetensors(source);
  if (head[0] === 0x80) return openPickle(source);
  if (isNpy(head)) return openArray(source);
  if (await isBundle(source)) return openBundle(source, openShard);
  throw new CheckpointError(`Cannot read ${source.where}: ${whatElse(head)}`);
}

const starts = (head: Uint8Array, bytes: readonly number[]) => bytes.every((byte, i) => head[i] === byte);

async function openZip(source: Source): Promise<Checkpoint> {
  const zip = await Zip.open(source);
  if (torchRoot(zip) !== undefined) return openTorchZip(source, zip);
  if (isNpz(zip)) return openNpz(source, zip);
  throw new CheckpointError(`Cannot read ${source.where}: it is a zip file without PyTorch's data.pkl and not of NumPy's arrays`);
}

/** A pickle has to be in memory as a whole, and a buffer ends at 2 GiB. */
const mostPickle = 2 ** 31 - 1;

async function openPickle(source: Source): Promise<Checkpoint> {
  const { where, size } = source;
  if (size > mostPickle) throw new CheckpointError(`Cannot read ${where}: a pickle of ${size} bytes, expected at most ${mostPickle}`);
  const contents = new Unpickler(await source.read(0, size), { where, find: torchNames(size) }).load();
  return { where, format: "pickle", contents, tensors: tensorsIn(contents, where), close: () => source.close() };
}

async function openArray(source: Source): Promise<Checkpoint> {
  const tensors = new Map([["array", await openNpy(source)]]);
  return { where: source.where, format: "NumPy (.npy)", contents: null, tensors, close: () => source.close() };
}

/** Says what a file that is none of ours looks like. */
function whatElse(head: Uint8Array): string {
  if (head.length === 0) return "it is empty";
  const text = new TextDecoder("latin1").decode(head);
  if (text.slice(257, 262) === "ustar") return "it is a tar file; of PyTorch's, those before 0.2 are not read";
  if (/^\s*<(!doctype|html|\?xml)/i.test(text)) return "it is a web page, perhaps an error where a download should be";
  if (starts(head, [0x1f, 0x8b])) return "it is packed with gzip; unpack it first";
  if (starts(head, [0x89, 0x48, 0x44, 0x46])) return "it is an HDF5 file, which is not read";
  return "it is none of PyTorch's files, safetensors, NumPy's, TensorFlow's or a pickle of arrays (protocol 2 or newer)";
}
