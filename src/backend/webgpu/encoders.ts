// What the gpu backend can run: an encoder for each op, by name.
import type { Encode } from "./emitter.ts";
import { attentionEncoders } from "./encode-attention.ts";
import { convEncoders } from "./encode-conv.ts";
import { elementwiseEncoders } from "./encode-elementwise.ts";
import { matmulEncoders } from "./encode-matmul.ts";
import { moveEncoders } from "./encode-move.ts";
import { normalizeEncoders } from "./encode-normalize.ts";
import { poolEncoders } from "./encode-pool.ts";
import { reduceEncoders } from "./encode-reduce.ts";

export const encoders: Readonly<Record<string, Encode>> = {
  ...attentionEncoders,
  ...convEncoders,
  ...elementwiseEncoders,
  ...matmulEncoders,
  ...moveEncoders,
  ...normalizeEncoders,
  ...poolEncoders,
  ...reduceEncoders,
};
