// Rows of the op table as `--precision f16` runs them.
import { withScope } from "../../../src/tape/scope.ts";
import type { Tensor } from "../../../src/tape/tensor.ts";
import type { Made, Run } from "../../support.ts";

/** The same numbers from a sum, which no value has to be exact for, going in either direction. */
export const throughSum = (x: Tensor): Tensor =>
  x
    .reshape([...x.shape, 1])
    .expand([...x.shape, 2])
    .mul(0.5)
    .sum(-1);

/** A row in a module, as `--precision f16` stores what goes into it and comes out of it. */
export const inHalves =
  (run: Run, made: readonly Made[]): Run =>
  (...inputs) =>
    withScope({ module: "row" }, () => {
      const y = run(...inputs.map((x, i) => (made[i].fixed ? x : throughSum(x).mul(1))));
      return (Array.isArray(y) ? y : [y]).map((t) => throughSum(t.mul(1)));
    });
