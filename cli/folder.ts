import { existsSync } from "node:fs";

/** A folder's name, or that name with a number behind it where it is taken. */
export function freeFolder(name: string): string {
  for (let n = 1; ; n++) {
    const path = n === 1 ? name : `${name}-${n}`;
    if (!existsSync(path)) return path;
  }
}
