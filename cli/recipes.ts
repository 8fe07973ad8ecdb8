import type { Recipe } from "../src/recipes/recipe.ts";
import { command } from "./command.ts";
import { recipeName } from "./names.ts";
import { columns } from "./table.ts";

export default command({
  name: "recipes",
  summary: "List the published settings of the methods, or all numbers of one",
  args: { recipe: { help: "A recipe's name; without it, all are listed", optional: true, ...recipeName } },
  flags: { json: { type: "boolean", help: "Print one JSON object" } },
  examples: ["autodidact recipes", "autodidact recipes simclr-small"],
  async run({ args, flags, print, printJson, colors }) {
    const recipes: Readonly<Record<string, Recipe>> = (await import("../src/recipes/recipes.ts")).recipes;
    const chosen = Object.entries(recipes).filter(([name]) => args.recipe === undefined || name === args.recipe);
    if (flags.json) return printJson({ recipes: chosen.map(([name, recipe]) => ({ name, ...recipe })) });
    if (args.recipe === undefined) {
      const rows = chosen.map(([name, recipe]) => [name, `${recipe.backbone}, ${recipe.epochs} epochs of ${recipe.batch}`, result(recipe)]);
      for (const line of columns(rows, colors.command)) print(line);
      return;
    }
    const [[name, recipe]] = chosen;
    const { method, summary, source, options = {}, optimizer, schedule, reports = [], backbone, size, epochs, batch } = recipe;
    print(`${colors.command(name)}  ${summary}`);
    print(`${source}${reports.length ? `: ${result(recipe)}` : ""}\n`);
    for (const line of columns(flat({ method, backbone, size, epochs, batch, ...options, optimizer, schedule }), colors.command)) {
      print(`  ${line}`);
    }
  },
});

/** What the source reached with it. */
function result({ reports = [], published }: Recipe): string {
  if (!published) return "this project's";
  return reports.map(({ protocol, dataset, top1 }) => `${protocol} ${top1} % on ${dataset}`).join(", ");
}

/** `optimizer.lr  0.3`: one row a number, under the name by which `--set` knows it. */
function flat(value: object, prefix = ""): [string, string][] {
  return Object.entries(value).flatMap(([key, inner]): [string, string][] =>
    inner !== null && typeof inner === "object" && !Array.isArray(inner)
      ? flat(inner, `${prefix}${key}.`)
      : [[prefix + key, String(inner)]],
  );
}
