// What the wasm backend can run: an encoder for each op, by name.
import type { Encode } from "./emitter.ts";
import { elementwiseEncoders } from "./encode-elementwise.ts";

export const encoders: Readonly<Record<string, Encode>> = {
  ...elementwiseEncoders,
};
