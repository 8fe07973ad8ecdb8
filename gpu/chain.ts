// A fused chain of elementwise ops as WGSL statements.
import type { Elementwise } from "../src/tape/program.ts";
import { expression } from "./functions.ts";

export interface Chain {
  readonly reads: readonly string[];
  readonly writes: readonly string[];
  readonly params: readonly string[];
  /** Statements that read, compute and store one element. */
  readonly statements: string;
}

/** Names of a chain's operands: input i is `in0`, `in1`, ..., output i `out0`, ...; its constants are `p.c0`, ... */
export const inputName = (i: number) => `in${i}`;
export const outputName = (i: number) => `out${i}`;

/** Coordinates x0, x1, ... of a number that counts through `rank` axes of sizes n0, n1, ... */
export function coordinates(rank: number, number: string): string[] {
  const lines = [`var rest = ${number};`];
  for (let axis = rank - 1; axis > 0; axis--) lines.push(`let x${axis} = rest % p.n${axis};`, `rest = rest / p.n${axis};`);
  return [...lines, "let x0 = rest;"];
}

/** Values of a chain's constants, in the order of `params`. */
export function constantsOf({ code }: Elementwise): Record<string, number> {
  return Object.fromEntries(code.filter(({ op }) => op === "constant").map(({ value }, i) => [`c${i}`, value as number]));
}

/**
 * The statements for one element. `value` gives the WGSL of input i's element, `store` that which stores output i's.
 */
export function chain(body: Elementwise, value: (input: number) => string, store: (output: number, register: string) => string): Chain {
  const { inputs, code, outputs, registers } = body;
  const lines: string[] = [];
  for (let r = 0; r < registers; r++) lines.push(r < inputs.length ? `var r${r} = ${value(r)};` : `var r${r}: f32;`);
  let constants = 0;
  for (const { op, to, from } of code) {
    const operands = from.map((r) => `r${r}`);
    lines.push(`r${to} = ${op === "constant" ? `p.c${constants++}` : expression(op, operands)};`);
  }
  for (const [i, { register }] of outputs.entries()) lines.push(store(i, `r${register}`));
  return {
    reads: inputs.map((_, i) => inputName(i)),
    writes: outputs.map((_, i) => outputName(i)),
    params: Array.from({ length: constants }, (_, i) => `c${i}: f32`),
    statements: lines.join("\n"),
  };
}
