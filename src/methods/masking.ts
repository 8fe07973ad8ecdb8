// Hiding patches from an encoder.
import { iota } from "../tape/ops/reduce.ts";
import type { Tensor } from "../tape/tensor.ts";

export interface Masking {
  /** Indices of the patches that stay, in the order in which the encoder sees them. [b, kept] */
  kept: Tensor;
  /** Where each patch lies when the hidden ones follow the kept. [b, n] */
  restore: Tensor;
  /** 1 where a patch is hidden. [b, n] */
  mask: Tensor;
  /** Hidden patches of one image. */
  hidden: number;
}

/**
 * Hides a share of each image's patches, those with the largest noise; floor(n (1 - ratio)) stay. He et al. 2022, arXiv 2111.06377,
 * section 3; facebookresearch/mae, models_mae.py, random_masking. noise [b, n], uniform in [0, 1)
 */
export function randomMasking(noise: Tensor, ratio: number): Masking {
  const n = noise.shape[1];
  const count = Math.floor(n * (1 - ratio));
  if (count < 1 || count === n) {
    throw new RangeError(
      `Cannot hide ${ratio} of ${n} patches: expected to keep at least one and to hide at least one; use larger images or smaller patches`,
    );
  }
  const order = noise.argsort();
  const restore = order.argsort();
  return { kept: order.slice(1, 0, count), restore, mask: restore.greaterEqual(count), hidden: n - count };
}

/** Tokens of each sample by index. x [b, n, d], index [b, k] -> [b, k, d] */
export function gatherTokens(x: Tensor, index: Tensor): Tensor {
  const [b, n, d] = x.shape;
  const first = iota(b).mul(n).reshape([b, 1]); // of each sample among all tokens
  return x.reshape([b * n, d]).gather(index.add(first));
}

/** Square patches of images, row by row; the numbers of a patch likewise, channels last. [b, h, w, c] -> [b, n, p p c] */
export function patchify(images: Tensor, patch: number): Tensor {
  const [b, h, w, c] = images.shape;
  const [rows, columns] = [h / patch, w / patch];
  return images
    .reshape([b, rows, patch, columns, patch, c])
    .permute([0, 1, 3, 2, 4, 5])
    .reshape([b, rows * columns, patch * patch * c]);
}
