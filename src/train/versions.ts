// What a run was made with.
import { readFileSync } from "node:fs";

/** This package's version: from package.json two folders up from the sources, three from the compiled files. */
export function version(): string {
  for (const place of ["../../package.json", "../../../package.json"]) {
    try {
      const { name, version } = JSON.parse(readFileSync(new URL(place, import.meta.url), "utf8"));
      if (name === "autodidact") return version;
    } catch {
      // The next place.
    }
  }
  throw new Error("Cannot find autodidact's package.json beside its files: install the package again");
}

/** Program, runtime, engine and platform. */
export const versions = (): Record<string, string> => ({
  autodidact: version(),
  node: process.versions.node,
  v8: process.versions.v8,
  platform: `${process.platform} ${process.arch}`,
});
