// Targets and losses of classifiers that are trained on labels. Cross-entropy itself is an op of the tape.
import { oneHot } from "../tape/ops/reduce.ts";
import type { Tensor } from "../tape/tensor.ts";

/** Class indices as distributions: 1 - smoothing on the class and smoothing / classes everywhere. [n] -> [n, classes] */
export const smoothLabels = (label: Tensor, classes: number, smoothing = 0): Tensor =>
  oneHot(label, classes)
    .mul(1 - smoothing)
    .add(smoothing / classes);

/** log(1 + exp(x)) without overflow. */
const softplus = (x: Tensor): Tensor => x.maximum(0).add(x.abs().neg().exp().add(1).log());

/** -t log sigmoid(x) - (1 - t) log(1 - sigmoid(x)) for every class; mean over rows and classes. logits, target [n, classes] */
export const binaryCrossEntropy = (logits: Tensor, target: Tensor): Tensor => softplus(logits).sub(logits.mul(target)).mean();
