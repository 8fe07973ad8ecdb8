// Kinds backbone-bias-resize and simmim-relpos-remap: tables of relative biases for windows of another size.
import { type BiasResize, resizeBias } from "../../src/models/relative-position.ts";
import { fill } from "../fill.ts";
import type { Runner, Runners } from "./golden.ts";

const limit = 2e-6;

const methods: Runner = ({ config }, check) => {
  for (const [from, to, heads] of config.rows_old_new_heads) {
    const table = fill(`${config.prefix}${from}`, [from * from, heads], "input");
    for (const method of ["geometric", "bicubic"] satisfies BiasResize[]) {
      check.close(`${method}.${from}to${to}`, resizeBias(table, (to + 1) / 2, method), limit);
    }
  }
};

const remap: Runner = ({ config }, check) => {
  for (const { input, to_window: side, tensor } of config.cases) {
    const [shape, role] = config.inputs[input];
    check.close(tensor, resizeBias(fill(config.prefix + input, shape, role), side, "geometric"), limit);
  }
};

export const runners: Runners = { "backbone-bias-resize": methods, "simmim-relpos-remap": remap };
