// What the wasm backend can run: an encoder for each op, by name.
import type { Encode } from "./emitter.ts";
import { attentionEncoders } from "./encode-attention.ts";
import { convEncoders } from "./encode-conv.ts";
import { elementwiseEncoders } from "./encode-elementwise.ts";
import { halfEncoders } from "./encode-half.ts";
import { encodeMatmul } from "./encode-matmul.ts";
import { moveEncoders } from "./encode-move.ts";
import { normalizeEncoders } from "./encode-normalize.ts";
import { reduceEncoders } from "./encode-reduce.ts";

export const encoders: Readonly<Record<string, Encode>> = {
  ...elementwiseEncoders,
  ...moveEncoders,
  ...halfEncoders,
  ...reduceEncoders,
  ...normalizeEncoders,
  ...attentionEncoders,
  ...convEncoders,
  matmul: encodeMatmul,
};
