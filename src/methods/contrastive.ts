// Losses that tell the views of one image from other images. Every z is normalised: rows of length 1.

import { concat } from "../tape/ops/move.ts";
import { crossEntropy, iota, oneHot } from "../tape/ops/reduce.ts";
import type { Tensor } from "../tape/tensor.ts";

/** A loss with the logits that it classified, for metrics. */
export interface Contrast {
  /** Mean over the anchors; a scalar. */
  loss: Tensor;
  /** Anchors by candidates, divided by the temperature. */
  logits: Tensor;
}

/** What anchors are compared with, where that is more than themselves: the embeddings of all workers. */
export interface Candidates {
  z1: Tensor;
  z2: Tensor;
  /** The row of the first anchor. */
  offset: number;
}

/** Takes a row's own column out of a softmax, as google-research/simclr, tf2/objective.py does. */
const excluded = 1e9;

/**
 * NT-Xent: each view of an image must find the other among all images of the batch. Chen et al. 2020, arXiv 2002.05709, eq. 1.
 * The loss is the sum of both directions, as in the official code: twice the mean over the 2n anchors that the paper writes.
 * z1, z2 [n, d] -> logits [n, candidates] of z1 against the second views
 */
export function ntXent(z1: Tensor, z2: Tensor, temperature: number, all: Candidates = { z1, z2, offset: 0 }): Contrast {
  const n = z1.shape[0];
  if (all.z1.shape[0] < 2) throw new RangeError("Cannot contrast one image with others: expected a batch of at least 2");
  const image = iota(n).add(all.offset);
  const self = oneHot(image, all.z1.shape[0]).mul(excluded);
  const similarity = (a: Tensor, b: Tensor) => a.matmul(b.t()).div(temperature);
  const ab = similarity(z1, all.z2);
  const ba = similarity(z2, all.z1);
  const aa = similarity(z1, all.z1).sub(self);
  const bb = similarity(z2, all.z2).sub(self);
  const loss = crossEntropy(concat([ab, aa], 1), image).add(crossEntropy(concat([ba, bb], 1), image));
  return { loss, logits: ab };
}

/**
 * NT-Xent of any number of views: -log of the share that an anchor's other views have among all candidates but itself, mean over
 * the first `anchors` rows. With all rows and two views it is half of `ntXent`. vturrisi/solo-learn, solo/losses/simclr.py;
 * wvangansbeke/Unsupervised-Classification, losses/losses.py, takes the first view's rows as anchors only.
 * z [views n, d], all images of the first view first
 */
export function multiViewNtXent(z: Tensor, views: number, temperature: number, anchors = z.shape[0]): Contrast {
  const rows = z.shape[0];
  const n = rows / views;
  if (!Number.isInteger(n)) throw new RangeError(`Cannot contrast ${rows} rows: expected ${views} views of as many images each`);
  const row = iota(rows);
  const self = oneHot(row.slice(0, 0, anchors), rows);
  const image = row.sub(row.div(n).floor().mul(n));
  const same = oneHot(image, n).matmul(oneHot(image, n).t()).slice(0, 0, anchors).sub(self);
  const logits = z.slice(0, 0, anchors).matmul(z.t()).div(temperature);
  const share = logits.sub(self.mul(excluded)).softmax().mul(same).sum(-1);
  return { loss: share.log().mean().neg(), logits };
}

/**
 * InfoNCE: each query must find its key among its key and a queue of other images' keys. He et al. 2020, arXiv 1911.05722, eq. 1.
 * q, k [n, d], queue [d, m] -> logits [n, 1 + m], the key first
 */
export function infoNce(q: Tensor, k: Tensor, queue: Tensor, temperature: number): Contrast {
  const positive = q.mul(k).sum(-1, true);
  const logits = concat([positive, q.matmul(queue)], 1).div(temperature);
  return { loss: logits.logSoftmax().slice(1, 0, 1).mean().neg(), logits };
}

/** Share of rows whose largest logit is that of their label. logits [n, m], label [n], or one for all */
export const accuracy = (logits: Tensor, label: Tensor | number): Tensor => logits.argmax().equal(label).mean();
