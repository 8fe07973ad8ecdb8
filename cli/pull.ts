import { command } from "./command.ts";
import { publishedName } from "./names.ts";
import { amount, counter } from "./progress.ts";

export default command({
  name: "pull",
  summary: "Fetch a published checkpoint, to use by its name",
  args: { name: { help: "Which one; `autodidact models --published` lists them", ...publishedName } },
  flags: {
    cache: { type: "path", value: "folder", otherwise: "$AUTODIDACT_CACHE or the system's", help: "Where to keep it" },
    json: { type: "boolean", help: "Print one JSON object" },
  },
  examples: ["autodidact pull dino-vit-small-16"],
  async run({ args: { name }, flags: { cache, json }, print, printJson, note, terminal }) {
    const { pull } = await import("../src/models/pull.ts");
    const { published } = await import("../src/models/published.ts");
    const count = counter(terminal, undefined, "MB");
    const onProgress = (done: number, of = done) => count.show(done / 1e6, of / 1e6);
    const { env, stop: signal } = terminal;
    const got = await pull(name, { cache, env, signal, onProgress }).finally(count.close);
    if (json) return printJson({ name, ...got });
    print(got.path);
    const checked = got.verified ? "its digest is the published one" : "no digest is published to compare it with";
    note(`${got.fetched ? `fetched ${amount(got.bytes / 1e6)} MB` : "it was here already"}; ${checked}`);
    if (published[name].packed) note("unpack it, and give the path of the .index file in it");
  },
});
