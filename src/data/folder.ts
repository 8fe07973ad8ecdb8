// Pictures in a folder, its first sub-folders being classes, and pictures listed in a text file.
import { readdirSync, readFileSync, realpathSync, statSync } from "node:fs";
import { basename, dirname, extname, isAbsolute, join } from "node:path";
import { pictureEndings } from "./decode.ts";
import { fingerprint, type ImageSource } from "./source.ts";

/** How many files a fingerprint asks the size of; names of all count. */
const SIZED = 1000;

interface Found {
  /** Paths relative to the root, in order of name. */
  pictures: string[];
  /** Endings of other files, for the error message. */
  others: Map<string, number>;
}

/** Searches a folder and those below it. Names that begin with a dot are left out; links are followed, circles are not. */
function search(root: string, folder: string, found: Found, above: readonly string[] = []): Found {
  const here = realpathSync(join(root, folder));
  if (above.includes(here)) return found;
  const entries = readdirSync(here, { withFileTypes: true }).sort((a, b) => (a.name < b.name ? -1 : 1));
  for (const entry of entries) {
    if (entry.name.startsWith(".")) continue;
    const path = join(folder, entry.name);
    const kind = entry.isSymbolicLink() ? statSync(join(root, path), { throwIfNoEntry: false }) : entry;
    const ending = extname(entry.name).toLowerCase();
    if (kind?.isDirectory()) search(root, path, found, [...above, here]);
    else if (!kind?.isFile()) continue;
    else if (pictureEndings.includes(ending)) found.pictures.push(path);
    else found.others.set(ending || "no ending", (found.others.get(ending || "no ending") ?? 0) + 1);
  }
  return found;
}

/** Names with the sizes of evenly chosen files. */
function* traits(paths: readonly string[], locate: (i: number) => string): Generator<string> {
  const every = Math.ceil(paths.length / SIZED);
  for (const [i, path] of paths.entries()) {
    yield i % every === 0 ? `${path} ${statSync(locate(i), { throwIfNoEntry: false })?.size}` : path;
  }
}

/**
 * The pictures in a folder and those below it, by name. With sub-folders and no picture beside them, the first sub-folders are classes.
 * Throws if there are none.
 */
export function openFolder(root: string): ImageSource {
  const { pictures, others } = search(root, "", { pictures: [], others: new Map() });
  if (pictures.length === 0) {
    const rest = [...others].map(([ending, count]) => `${count} ${ending}`).join(", ");
    throw new Error(
      `Cannot find images in "${root}": looked for ${pictureEndings.join(" ")} there and in its sub-folders, and for .tar shards, ` +
        `CIFAR .bin and IDX -ubyte files; found ${rest || "no files"}`,
    );
  }
  const locate = (i: number) => ({ path: join(root, pictures[i]) });
  const source = {
    length: pictures.length,
    name: (i: number) => pictures[i],
    locate,
    fingerprint: fingerprint(traits(pictures, (i) => locate(i).path)),
  };
  const folderOf = (path: string) => (path.includes("/") ? path.slice(0, path.indexOf("/")) : undefined);
  const folders = pictures.map((path) => folderOf(path.replaceAll("\\", "/")));
  return folders.includes(undefined) ? source : { ...source, ...labelled(folders as string[]) };
}

/** Classes in order of name, and the class of each picture. */
function labelled(names: readonly string[]): { classes: string[]; labels: Int32Array } {
  const classes = [...new Set(names)].sort();
  const places = new Map(classes.map((name, i) => [name, i]));
  return { classes, labels: Int32Array.from(names, (name) => places.get(name) as number) };
}

/** Pictures listed in a text file: a path a line, relative to the list, and after a tab, if wanted, its class. */
export function openList(file: string): ImageSource {
  const lines = readFileSync(file, "utf8")
    .split(/\r?\n/)
    .filter((line) => line.trim() !== "");
  if (lines.length === 0) throw new Error(`Cannot find images in "${file}": looked for one path a line, found an empty file`);
  const rows = lines.map((line) => line.split("\t"));
  const paths = rows.map(([path]) => path.trim());
  const locate = (i: number) => ({ path: isAbsolute(paths[i]) ? paths[i] : join(dirname(file), paths[i]) });
  const source = {
    length: paths.length,
    name: (i: number) => paths[i],
    locate,
    fingerprint: fingerprint(traits(paths, (i) => locate(i).path)),
  };
  const classes = rows.map(([, name]) => name?.trim() ?? "");
  return classes.includes("") ? source : { ...source, ...labelled(classes) };
}

/** A single picture. */
export function openPicture(file: string): ImageSource {
  return {
    length: 1,
    name: () => basename(file),
    locate: () => ({ path: file }),
    fingerprint: fingerprint(traits([basename(file)], () => file)),
  };
}
