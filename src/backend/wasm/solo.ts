// One step at a time on the calling thread, in a memory of its own: for comparing builds before the threads start.
import type { Buffer, Elementwise, Step, View } from "../../tape/program.ts";
import { type Shape, size } from "../../tape/shape.ts";
import type { Attributes } from "../../tape/tensor.ts";
import { contiguous } from "../../tape/view.ts";
import { Emitter } from "./emitter.ts";
import { encoders } from "./encoders.ts";
import { CONTROL, Memory } from "./memory.ts";

const SCRATCH = 6 * 2 ** 20;
const MEMORY = 2 ** 26;
const TEMPORARIES = 2 ** 24;

/** What a module exports. */
interface Kernels {
  run(stream: number, thread: number, threads: number, scratch: number, control: number): number;
}

/** A step without its operands' places. */
export interface SoloStep {
  readonly op: string;
  readonly shapes: readonly Shape[]; // of the inputs
  readonly outShapes: readonly Shape[];
  readonly attrs?: Attributes;
  /** Of an elementwise step: its program, given its views. */
  readonly body?: (inputs: readonly View[], outputs: readonly View[]) => Elementwise;
}

/** A step in place, ready to run again and again. */
export interface Prepared {
  readonly inputs: readonly Float32Array[];
  readonly outputs: readonly Float32Array[];
  run(): void;
}

export class Solo {
  readonly #memory = new Memory(MEMORY);
  readonly #scratch = this.#memory.allocate(SCRATCH);
  readonly #temporaries = this.#memory.allocate(TEMPORARIES);
  readonly #run: Kernels["run"];

  constructor(module: WebAssembly.Module) {
    const { exports } = new WebAssembly.Instance(module, { env: { memory: this.#memory.memory, now: () => 0 } });
    this.#run = (exports as unknown as Kernels).run;
  }

  prepare({ op, shapes, outShapes, attrs = {}, body }: SoloStep): Prepared {
    const addresses = new Map<Buffer, number>();
    const place = (shape: Shape): View => {
      const buffer: Buffer = { id: addresses.size, size: size(shape), kind: "array" };
      addresses.set(buffer, this.#memory.allocate(4 * size(shape)));
      return contiguous(buffer, shape);
    };
    const [inputs, outputs] = [shapes.map(place), outShapes.map(place)];
    const step: Step = { op, inputs, outputs, attrs, body: body?.(inputs, outputs), label: op };
    const encode = (stream: number) => {
      const out = new Emitter({ stream, temporaries: this.#temporaries, address: (buffer) => addresses.get(buffer) as number });
      encoders[op](step, out);
      return out.finish();
    };
    const stream = this.#memory.allocate(4 * encode(0).words.length);
    const { words } = encode(stream);
    const placed = this.#memory.words(stream, words.length);
    const floats = ({ buffer, shape }: View) => this.#memory.floats(addresses.get(buffer) as number, size(shape));
    return {
      inputs: inputs.map(floats),
      outputs: outputs.map(floats),
      run: () => {
        placed.set(words);
        this.#run(stream, 0, 1, this.#scratch, CONTROL);
      },
    };
  }
}
