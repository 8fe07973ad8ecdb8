// Runs a planned program with the reference kernels, every buffer at its planned place, so that a wrong plan shows.
import type { Backend, Executable } from "../../src/backend/backend.ts";
import { ReferenceBackend } from "../../src/backend/reference.ts";
import { kernels, type Numbers } from "../../src/backend/reference-kernels.ts";
import { type Abilities, lower } from "../../src/tape/lower.ts";
import type { Buffer, Elementwise, Program, Step, View } from "../../src/tape/program.ts";
import { size } from "../../src/tape/shape.ts";
import type { Trace } from "../../src/tape/trace.ts";

class Interpreter implements Executable {
  readonly program: Program;
  readonly arenaBytes: number;
  readonly steps: number;
  readonly #arena: Numbers;
  readonly #own = new Map<Buffer, Numbers>();

  constructor(program: Program) {
    this.program = program;
    this.arenaBytes = 4 * program.arena;
    this.steps = program.steps.length;
    this.#arena = new Float64Array(program.arena).fill(Number.NaN); // whatever is read before it is written spoils the result
  }

  async run(inputs: readonly Float32Array[]): Promise<Float32Array[]> {
    for (const buffer of this.program.buffers) {
      if (buffer.kind === "parameter") this.#own.set(buffer, Float64Array.from(buffer.parameter?.data as Float32Array));
      if (buffer.kind === "array") this.#own.set(buffer, Float64Array.from(buffer.data as Float32Array));
      if (buffer.kind === "input") this.#own.set(buffer, Float64Array.from(inputs[buffer.slot as number]));
    }
    for (const step of this.program.steps) this.#step(step);
    const outputs = this.program.outputs.map((view) => Float32Array.from(this.#read(view)));
    for (const buffer of this.program.buffers) {
      if (buffer.kind === "parameter" && buffer.parameter) buffer.parameter.data = Float32Array.from(this.#own.get(buffer) as Numbers);
    }
    return outputs;
  }

  dispose(): void {}

  #memory(buffer: Buffer): Numbers {
    if (buffer.kind !== "arena") return this.#own.get(buffer) as Numbers;
    return this.#arena.subarray(buffer.offset as number, (buffer.offset as number) + buffer.size);
  }

  #each(view: View, f: (memory: Numbers, at: number, i: number) => void): void {
    const memory = this.#memory(view.buffer);
    for (let i = 0, n = size(view.shape); i < n; i++) {
      let at = view.offset;
      for (let axis = view.shape.length - 1, rest = i; axis >= 0; axis--) {
        at += (rest % view.shape[axis]) * view.strides[axis];
        rest = Math.floor(rest / view.shape[axis]);
      }
      f(memory, at, i);
    }
  }

  #read(view: View): Numbers {
    const out = new Float64Array(size(view.shape));
    this.#each(view, (memory, at, i) => (out[i] = memory[at]));
    return out;
  }

  #write(view: View, values: Numbers): void {
    this.#each(view, (memory, at, i) => (memory[at] = values[i]));
  }

  #step(step: Step): void {
    if (step.op === "copy") this.#write(step.outputs[0], this.#read(step.inputs[0]));
    else if (step.op !== "elementwise") {
      const outputs = step.outputs.map((view) => new Float64Array(size(view.shape)));
      kernels[step.op]({
        inputs: step.inputs.map((view) => this.#read(view)),
        outputs,
        shapes: step.inputs.map((view) => view.shape),
        outShapes: step.outputs.map((view) => view.shape),
        attrs: step.attrs,
      });
      for (const [i, view] of step.outputs.entries()) this.#write(view, outputs[i]);
    }
    for (const chain of [step.body, step.epilogue]) if (chain) this.#chain(chain);
  }

  #chain({ inputs, code, outputs, registers, shape }: Elementwise): void {
    const file: Numbers[] = new Array(registers);
    for (const [i, view] of inputs.entries()) file[i] = this.#read(view);
    for (const { op, to, from, value } of code) {
      const y = new Float64Array(size(shape));
      const args = from.map((i) => file[i]);
      if (op === "constant") y.fill(Math.fround(value as number));
      else kernels[op]({ inputs: args, outputs: [y], shapes: args.map(() => shape), outShapes: [shape], attrs: {} });
      file[to] = y;
    }
    for (const { view, register } of outputs) this.#write(view, file[register]);
  }
}

/** The reference kernels behind lowering and planning. */
export class PlannedBackend extends ReferenceBackend implements Backend {
  readonly #abilities?: Abilities;

  constructor(abilities?: Abilities) {
    super();
    this.#abilities = abilities;
  }

  override load(trace: Trace): Interpreter {
    return new Interpreter(lower(trace, undefined, this.#abilities));
  }
}
