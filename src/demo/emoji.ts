// The emoji drawings of two vendors that ship with the project. Their origin and licences: emoji/README.md.
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { decodeImage } from "../data/decode.ts";
import { encodePng } from "../data/encode-png.ts";
import { type ImageSource, packedPicture, packedSource } from "../data/source.ts";

export const vendors = ["google", "twitter"] as const;
export type Vendor = (typeof vendors)[number];

interface Index {
  /** Pixels of a drawing's side. */
  side: number;
  /** Drawings in a row of the sheet. */
  columns: number;
  emoji: [codePoints: string, category: string, name: string][];
}

const folder = import.meta.url.endsWith(".ts") ? "./emoji/" : "../../../src/demo/emoji/"; // run from src/, or built into dist/src/
const read = (name: string) => readFileSync(new URL(folder + name, import.meta.url));

/** All drawings of a vendor, in the same order for both, with their Unicode categories as classes. */
export function emojiOf(vendor: Vendor): ImageSource {
  const { side, columns, emoji } = JSON.parse(read("emoji.json").toString()) as Index;
  const sheet = decodeImage(read(`${vendor}.png`), `${vendor}.png`);
  const bytes = side * 3;
  const data = new Uint8Array(new SharedArrayBuffer(emoji.length * side * bytes));
  for (let row = 0; row < emoji.length * side; row++) {
    const [i, y] = [Math.floor(row / side), row % side];
    const from = (Math.floor(i / columns) * side + y) * sheet.width * 3 + (i % columns) * bytes;
    data.set(sheet.data.subarray(from, from + bytes), row * bytes);
  }
  const classes = [...new Set(emoji.map(([, category]) => category))];
  return packedSource({
    width: side,
    height: side,
    data,
    classes,
    labels: Int32Array.from(emoji, ([, category]) => classes.indexOf(category)),
    names: emoji.map(([, , name]) => name),
  });
}

/** Writes the pictures of a packed source as `<folder>/<class>/<place> <name>.png`. */
export function unpack(source: ImageSource, folder: string): void {
  const { packed, labels, classes } = source;
  if (!packed || !labels || !classes) throw new TypeError("Cannot unpack this source: expected packed pictures with classes");
  const plain = (text: string) =>
    text
      .normalize("NFKD")
      .replace(/[^A-Za-z0-9 -]+/g, "")
      .trim()
      .replace(/ +/g, "-");
  for (const name of classes) mkdirSync(join(folder, plain(name)), { recursive: true });
  for (let i = 0; i < source.length; i++) {
    const file = `${String(i).padStart(4, "0")}-${plain(source.name(i))}.png`;
    writeFileSync(join(folder, plain(classes[labels[i]]), file), encodePng(packedPicture(packed, i)));
  }
}
