// What happens to each finished element of a kernel that carries an epilogue.
import type { Elementwise } from "../src/tape/program.ts";
import { chain, inputName, outputName } from "./chain.ts";
import { functionsFor } from "./functions.ts";

/** Where a finished element goes: through an epilogue or straight into `y`, which is [rows, p.n] without gaps. */
export interface Ending {
  readonly reads: readonly string[];
  readonly writes: readonly string[];
  readonly params: readonly string[];
  /** Declares `fn finish(row: u32, column: u32, value: f32)`; rows count through the batch. */
  readonly code: string;
}

/**
 * The ending of a step. The epilogue's input 0 is the product itself, so it takes no operand; the other inputs are read at
 * [row, column] by steps `in1_row`, `in1_column`; its outputs have no gaps.
 */
export function ending(epilogue: Elementwise | undefined): Ending {
  if (!epilogue) {
    const code = "fn finish(row: u32, column: u32, value: f32) { set_y(row * p.n + column, value); }";
    return { reads: [], writes: ["y"], params: [], code };
  }
  const at = (i: number) => {
    const [row, column] = epilogue.inputs[i].strides;
    const terms = [...(row ? [`row * p.${inputName(i)}_row`] : []), ...(column ? [`column * p.${inputName(i)}_column`] : [])];
    return terms.join(" + ") || "0u";
  };
  const steps = chain(
    epilogue,
    (i) => (i === 0 ? "value" : `${inputName(i)}(${at(i)})`),
    (i, register) => `set_${outputName(i)}(row * p.n + column, ${register});`,
  );
  const strides = epilogue.inputs.slice(1).flatMap(({ strides: [row, column] }, i) => {
    const name = inputName(i + 1);
    return [...(row ? [`${name}_row: u32`] : []), ...(column ? [`${name}_column: u32`] : [])];
  });
  const code = `${functionsFor(steps.statements)}
fn finish(row: u32, column: u32, value: f32) {
${steps.statements}
}`;
  return { reads: steps.reads.slice(1), writes: steps.writes, params: [...strides, ...steps.params], code };
}

/** Steps of an epilogue's inputs, as `ending` names them. */
export function epilogueParams(epilogue: Elementwise | undefined): Record<string, number> {
  const params: Record<string, number> = {};
  for (const [i, { strides }] of (epilogue?.inputs ?? []).entries()) {
    [params[`${inputName(i)}_row`], params[`${inputName(i)}_column`]] = strides;
  }
  return params;
}
