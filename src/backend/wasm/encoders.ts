// What the wasm backend can run: an encoder for each op, by name.
import type { Encode } from "./emitter.ts";
import { convEncoders } from "./encode-conv.ts";
import { elementwiseEncoders } from "./encode-elementwise.ts";
import { encodeMatmul } from "./encode-matmul.ts";

export const encoders: Readonly<Record<string, Encode>> = {
  ...elementwiseEncoders,
  ...convEncoders,
  matmul: encodeMatmul,
};
