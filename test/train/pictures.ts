// Small labelled pictures for training tests: stripes of a direction and colour for each class, with noise.
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { encodePng } from "../../src/data/encode-png.ts";
import { type ImageSource, packedSource } from "../../src/data/source.ts";
import { uniform } from "../fill.ts";

const classes = ["across", "down", "plain"];

/** One picture [side, side, 3] of a class. */
function paint(label: number, i: number, side: number): Uint8Array {
  const noise = uniform(`picture/${label}/${i}`, side * side * 3 + 2);
  const [period, phase] = [2 + 3 * noise[side * side * 3], 6 * noise[side * side * 3 + 1]];
  return Uint8Array.from({ length: side * side * 3 }, (_, at) => {
    const [y, x, c] = [Math.floor(at / (3 * side)), Math.floor(at / 3) % side, at % 3];
    const wave = label === 2 ? 0 : Math.sin((label ? x : y) * (6.28 / period) + phase);
    return 100 + 70 * wave + (c === label ? 40 : 0) + 40 * noise[at];
  });
}

/** `count` pictures a class, in memory. */
export function pictures(count: number, side = 8): ImageSource {
  const labels = Int32Array.from({ length: 3 * count }, (_, i) => i % 3);
  const data = new Uint8Array(labels.length * side * side * 3);
  labels.forEach((label, i) => data.set(paint(label, i, side), i * side * side * 3));
  return packedSource({ width: side, height: side, data, labels, classes });
}

/** The same in a folder with a sub-folder for each class. */
export async function pictureFolder(folder: string, count: number, side = 8): Promise<void> {
  for (const [label, name] of classes.entries()) {
    await mkdir(join(folder, name), { recursive: true });
    for (let i = 0; i < count; i++) {
      await writeFile(join(folder, name, `${i}.png`), encodePng({ width: side, height: side, data: paint(label, i, side) }));
    }
  }
}
