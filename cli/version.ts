// The version of the package that this file belongs to.
import { readFileSync } from "node:fs";

/** From package.json: one folder up from the sources, two from the compiled files. */
export function version(): string {
  for (const place of ["../package.json", "../../package.json"]) {
    try {
      const { name, version } = JSON.parse(readFileSync(new URL(place, import.meta.url), "utf8"));
      if (name === "autodidact") return version;
    } catch {
      // The next place.
    }
  }
  throw new Error("Cannot find autodidact's package.json beside its files: install the package again");
}
