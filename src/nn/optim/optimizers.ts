// Optimisers by name, for recipes.
import type { Parameter } from "../../tape/tensor.ts";
import { AdamL2, type AdamOptions, AdamW } from "./adamw.ts";
import { Lamb, type LambOptions } from "./lamb.ts";
import { Lars, type LarsOptions, lars } from "./lars.ts";
import type { Optimizer, Rules } from "./optimizer.ts";
import { Sgd, type SgdOptions } from "./sgd.ts";

export type OptimizerSpec =
  | ({ name: "sgd" } & SgdOptions)
  | ({ name: "adamw" | "adam" } & AdamOptions)
  | ({ name: "lamb" } & LambOptions)
  | ({ name: "lars"; form?: keyof typeof lars } & LarsOptions);

/** The optimiser that a recipe describes. */
export function makeOptimizer(spec: OptimizerSpec, parameters: Iterable<[string, Parameter]>, rules?: Rules): Optimizer {
  switch (spec.name) {
    case "sgd":
      return new Sgd(parameters, spec, rules);
    case "adamw":
      return new AdamW(parameters, spec, rules);
    case "adam":
      return new AdamL2(parameters, spec, rules);
    case "lamb":
      return new Lamb(parameters, spec, rules);
    case "lars":
      return new Lars(parameters, { ...lars[spec.form ?? "facebook"], ...spec }, rules);
    default:
      throw new RangeError(`Cannot make an optimiser "${(spec as { name: string }).name}": expected sgd, adamw, adam, lamb or lars`);
  }
}
