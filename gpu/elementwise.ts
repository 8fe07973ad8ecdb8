// Chains of elementwise ops, and copies, over one shape of any number of axes. A thread computes ITEMS elements.
import type { Elementwise, View } from "../src/tape/program.ts";
import { isContiguous } from "../src/tape/view.ts";
import { chain, coordinates, inputName, outputName } from "./chain.ts";
import { functionsFor } from "./functions.ts";
import type { Kernel } from "./kernel.ts";

export const LANES = 64;
export const ITEMS = 4;

/** How an operand is addressed: by the element's number, always at 0, or by coordinates along axes with these steps. */
type Access = "each" | "one" | readonly ("0" | "1" | "n")[];

function accessOf(view: View): Access {
  if (isContiguous(view)) return "each";
  if (view.strides.every((step, i) => step === 0 || view.shape[i] === 1)) return "one";
  return view.strides.map((step) => (step === 0 ? "0" : step === 1 ? "1" : "n"));
}

function place(name: string, access: Access): { index: string; params: string[] } {
  if (access === "each") return { index: "i", params: [] };
  if (access === "one") return { index: "0u", params: [] };
  const steps = access.map((step, axis) => ({ step, axis })).filter(({ step }) => step !== "0");
  return {
    index: steps.map(({ step, axis }) => (step === "1" ? `x${axis}` : `x${axis} * p.${name}_${axis}`)).join(" + "),
    params: steps.filter(({ step }) => step === "n").map(({ axis }) => `${name}_${axis}: u32`),
  };
}

/** Sizes and steps that the kernel of `elementwise` takes beside the constants. Steps may be negative: they wrap. */
export function elementwiseParams({ shape, inputs, outputs }: Elementwise): Record<string, number> {
  const params: Record<string, number> = { size: shape.reduce((a, b) => a * b, 1) };
  for (const [axis, n] of shape.entries()) params[`n${axis}`] = n;
  const named = [
    ...inputs.map((view, i) => [inputName(i), view] as const),
    ...outputs.map(({ view }, i) => [outputName(i), view] as const),
  ];
  for (const [name, { strides }] of named) for (const [axis, step] of strides.entries()) params[`${name}_${axis}`] = step;
  return params;
}

/** y = chain(x...) for each element of a shape. */
export function elementwise(body: Elementwise): Kernel {
  const inputs = body.inputs.map((view, i) => place(inputName(i), accessOf(view)));
  const outputs = body.outputs.map(({ view }, i) => place(outputName(i), accessOf(view)));
  const steps = chain(
    body,
    (i) => `${inputName(i)}(${inputs[i].index})`,
    (i, register) => `set_${outputName(i)}(${outputs[i].index}, ${register});`,
  );
  const strided = [...inputs, ...outputs].some(({ index }) => index.includes("x"));
  const sizes = strided ? body.shape.slice(1).map((_, i) => `n${i + 1}: u32`) : [];
  return {
    name: "elementwise",
    reads: steps.reads,
    writes: steps.writes,
    params: ["size: u32", ...sizes, ...[...inputs, ...outputs].flatMap(({ params }) => params), ...steps.params],
    batches: true,
    lanes: LANES,
    code: `${functionsFor(steps.statements)}
fn run(group: u32, lane: u32) {
  for (var item = 0u; item < ${ITEMS}u; item++) {
    let i = (group * ${ITEMS}u + item) * LANES + lane;
    if (i >= p.size) { return; }
${[...(strided ? coordinates(body.shape.length, "i") : []), steps.statements].join("\n")}
  }
}`,
  };
}
