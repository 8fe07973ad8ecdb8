// Commands that convert to half precision and back: assembly/half.ts.
import * as opcode from "../../../assembly/opcodes.ts";
import type { Encode } from "./emitter.ts";

const conversion =
  (op: number): Encode =>
  ({ inputs: [x], outputs: [y], attrs }, out) =>
    out.emit(op, { reads: [out.range(x)], writes: [out.range(y)] }, [out.address(x), out.address(y), attrs.count as number]);

export const halfEncoders: Record<string, Encode> = { toHalf: conversion(opcode.TO_HALF), fromHalf: conversion(opcode.FROM_HALF) };
