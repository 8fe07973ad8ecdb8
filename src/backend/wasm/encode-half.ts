// Commands that convert to half precision and back: assembly/half.ts.
import * as opcode from "../../../assembly/opcodes.ts";
import type { View } from "../../tape/program.ts";
import type { Emitter, Encode, Range } from "./emitter.ts";

/** Two halves lie in the place of a float. */
const halves = (out: Emitter, view: View, count: number): Range => ({
  start: out.address(view),
  end: out.address(view) + 4 * Math.ceil(count / 2),
});

const toHalf: Encode = ({ inputs: [x], outputs: [y], attrs }, out) => {
  const count = attrs.count as number;
  out.emit(opcode.TO_HALF, { reads: [out.range(x)], writes: [halves(out, y, count)] }, [out.address(x), out.address(y), count]);
};

const fromHalf: Encode = ({ inputs: [x], outputs: [y], attrs }, out) => {
  const count = attrs.count as number;
  out.emit(opcode.FROM_HALF, { reads: [halves(out, x, count)], writes: [out.range(y)] }, [out.address(x), out.address(y), count]);
};

export const halfEncoders: Record<string, Encode> = { toHalf, fromHalf };
