// CIFAR-10 and CIFAR-100 in their binary form: records of one or two label bytes and 32 x 32 pixels, one colour after the other.
// https://www.cs.toronto.edu/~kriz/cifar.html
import { existsSync, readFileSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { type ImageSource, packedSource } from "./source.ts";

const SIDE = 32;
const PLANE = SIDE * SIDE;

interface Kind {
  /** Label bytes before the pixels; the last is the class. */
  labelBytes: number;
  classes: number;
  /** A text file beside the records with a class name a line. */
  names: string;
}

const cifar10: Kind = { labelBytes: 1, classes: 10, names: "batches.meta.txt" };
const cifar100: Kind = { labelBytes: 2, classes: 100, names: "fine_label_names.txt" };

const fits = (bytes: Uint8Array, { labelBytes, classes }: Kind): boolean => {
  const record = labelBytes + 3 * PLANE;
  if (bytes.length === 0 || bytes.length % record !== 0) return false;
  for (let at = labelBytes - 1; at < bytes.length; at += record) if (bytes[at] >= classes) return false;
  return true;
};

function kindOf(file: string, bytes: Uint8Array): Kind {
  const kind = [cifar10, cifar100].find((one) => fits(bytes, one));
  if (!kind) {
    throw new Error(
      `Cannot read "${file}" as CIFAR: ${bytes.length} bytes are not a whole number of 3073-byte (CIFAR-10) or 3074-byte (CIFAR-100) records ` +
        "with labels in range; the file may be truncated",
    );
  }
  return kind;
}

/** Which files of a folder are CIFAR's training part. */
export const cifarTrainingFiles = (names: readonly string[]): string[] =>
  names.filter((name) => /^data_batch_\d+\.bin$/.test(name) || name === "train.bin").sort();

/** Reads record files into one source, in the order given. */
export function openCifar(files: readonly string[]): ImageSource {
  const parts = files.map((file) => readFileSync(file));
  const kind = kindOf(files[0], parts[0]);
  for (const [i, part] of parts.entries())
    if (kindOf(files[i], part) !== kind) throw new Error(`Cannot mix "${files[0]}" and "${files[i]}"`);
  const record = kind.labelBytes + 3 * PLANE;
  const length = parts.reduce((sum, part) => sum + part.length / record, 0);
  const data = new Uint8Array(new SharedArrayBuffer(length * PLANE * 3));
  const labels = new Int32Array(length);
  let i = 0;
  for (const part of parts) {
    for (let at = 0; at < part.length; at += record, i++) {
      labels[i] = part[at + kind.labelBytes - 1];
      const pixels = part.subarray(at + kind.labelBytes, at + record);
      for (let p = 0, to = i * PLANE * 3; p < PLANE; p++, to += 3) {
        data[to] = pixels[p];
        data[to + 1] = pixels[PLANE + p];
        data[to + 2] = pixels[2 * PLANE + p];
      }
    }
  }
  return packedSource({ width: SIDE, height: SIDE, data, labels, classes: classNames(files[0], kind) });
}

/** Names from the file that the archives carry, otherwise numbers. */
function classNames(file: string, kind: Kind): string[] {
  const names = join(dirname(file), kind.names);
  const lines = existsSync(names) ? readFileSync(names, "utf8").split(/\r?\n/).filter(Boolean) : [];
  return Array.from({ length: kind.classes }, (_, i) => lines[i] ?? String(i));
}

/** Whether a file's name looks like one of CIFAR's. */
export const isCifarName = (path: string): boolean => basename(path).endsWith(".bin");
