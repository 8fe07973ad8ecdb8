// What happens to each finished element of a kernel that carries an epilogue.
import type { Elementwise } from "../src/tape/program.ts";
import { chain, coordinates, inputName, outputName } from "./chain.ts";
import { functionsFor } from "./functions.ts";

/** Where a finished element goes: through an epilogue or straight into `y`, which is [rows, p.n] without gaps. */
export interface Ending {
  readonly reads: readonly string[];
  readonly writes: readonly string[];
  readonly params: readonly string[];
  /** Declares `fn finish(row: u32, column: u32, value: f32)`; rows count through the batch. */
  readonly code: string;
}

/** Whether a step from row to row is the same everywhere. */
const isEven = (sizes: readonly number[], steps: readonly number[]) =>
  steps.every((step, axis) => axis === steps.length - 1 || step === steps[axis + 1] * sizes[axis + 1]);

/** Which of an input's steps are not 0, by the names of the parameters that hold them, and what each is multiplied by. */
function stepsOf({ shape, inputs }: Elementwise, i: number): { name: string; by: string; step: number }[] {
  const [sizes, steps] = [shape.slice(0, -1), inputs[i].strides.slice(0, -1)];
  const rows = isEven(sizes, steps)
    ? [{ name: `${inputName(i)}_row`, by: "row", step: steps.at(-1) as number }]
    : steps.map((step, axis) => ({ name: `${inputName(i)}_${axis}`, by: `x${axis}`, step }));
  const column = { name: `${inputName(i)}_column`, by: "column", step: inputs[i].strides.at(-1) as number };
  return [...rows, column].filter(({ step }) => step !== 0);
}

/**
 * The ending of a step. The epilogue's input 0 is the product itself, so it takes no operand; the other inputs are read by their steps from
 * row to row, or along several axes that the rows are counted through, and from column to column; its outputs have no gaps.
 */
export function ending(epilogue: Elementwise | undefined): Ending {
  if (!epilogue) {
    const code = "fn finish(row: u32, column: u32, value: f32) { set_y(row * p.n + column, value); }";
    return { reads: [], writes: ["y"], params: [], code };
  }
  const inputs = epilogue.inputs.map((_, i) => (i === 0 ? [] : stepsOf(epilogue, i)));
  const steps = chain(
    epilogue,
    (i) => (i === 0 ? "value" : `${inputName(i)}(${inputs[i].map(({ name, by }) => `${by} * p.${name}`).join(" + ") || "0u"})`),
    (i, register) => `set_${outputName(i)}(row * p.n + column, ${register});`,
  );
  const axes = epilogue.shape.length - 1;
  const counted = inputs.flat().some(({ by }) => by.startsWith("x"));
  const sizes = counted ? Array.from({ length: axes - 1 }, (_, axis) => `n${axis + 1}: u32`) : [];
  const code = `${functionsFor(steps.statements)}
fn finish(row: u32, column: u32, value: f32) {
${[...(counted ? coordinates(axes, "row") : []), steps.statements].join("\n")}
}`;
  const params = [...sizes, ...inputs.flat().map(({ name }) => `${name}: u32`), ...steps.params];
  return { reads: steps.reads.slice(1), writes: steps.writes, params, code };
}

/** Steps of an epilogue's inputs, and sizes of the axes that its rows are counted through, as `ending` names them. */
export function epilogueParams(epilogue: Elementwise | undefined): Record<string, number> {
  const params: Record<string, number> = {};
  if (!epilogue) return params;
  for (const [axis, n] of epilogue.shape.slice(0, -1).entries()) params[`n${axis}`] = n;
  for (const i of epilogue.inputs.keys()) for (const { name, step } of stepsOf(epilogue, i)) params[name] = step;
  return params;
}
