// Attention and its gradients: gpu/attention.ts.
import * as kernels from "../../../gpu/attention.ts";
import type { Kernel } from "../../../gpu/kernel.ts";
import type { Step, View } from "../../tape/program.ts";
import type { Encode } from "./emitter.ts";
import { box, type Reach } from "./windows.ts";

/** Sizes of q [b, n, heads d] and k [b, m, heads d], and the scale of the scores. */
function sizes({ attrs }: Step, q: View, k: View) {
  const [batch, n, width] = q.shape;
  const heads = attrs.heads as number;
  return { batch, d: width / heads, params: { heads, n, m: k.shape[1], scale: attrs.scale as number } };
}

/** Steps between samples and rows of operands by their names; the numbers of a row lie side by side. */
function strides(views: Readonly<Record<string, View>>): Record<string, number> {
  const params: Record<string, number> = {};
  for (const [name, view] of Object.entries(views)) [params[`${name}_batch`], params[`${name}_row`]] = view.strides;
  return params;
}

/** Each group is about one sample, of which there are so many groups; views begin with the axis of samples. */
const bySample = (views: readonly View[], groups: number): Reach[] =>
  views.map(({ shape, strides }) => (begin, end) => {
    const [from, to] = [Math.floor(begin / groups), Math.min(Math.ceil(end / groups), shape[0])];
    return box(shape.map((n, axis) => ({ step: strides[axis], from: axis ? 0 : from, to: axis ? n : to })));
  });

const attention: Encode = (step, out) => {
  const [q, k, v] = step.inputs;
  const [y, lse] = step.outputs;
  const { batch, d, params } = sizes(step, q, k);
  const groups = kernels.attentionGroups(batch, params.heads, params.n);
  const reaches = bySample([q, k, v, y, lse], groups / batch);
  out.dispatch(kernels.attention(d), [q, k, v, y, lse], { ...params, ...strides({ q, k, v, y }) }, groups, reaches);
};

const attentionGrad: Encode = (step, out) => {
  const [g, q, k, v, y, lse] = step.inputs;
  const [dq, dk, dv] = step.outputs;
  const { batch, d, params } = sizes(step, q, k);
  const { heads, n, m } = params;
  const along = out.temporary([batch, heads, n]);
  const own = { ...params, ...strides({ g, q, k, v, y, dq, dk, dv }) };
  const emit = (kernel: Kernel, views: readonly View[], groups: number) =>
    out.dispatch(kernel, views, own, groups, bySample(views, groups / batch));
  emit(kernels.attentionQueryGrad(d), [g, q, k, v, y, lse, dq, along], kernels.attentionGroups(batch, heads, n));
  emit(kernels.attentionKeyGrad(d), [g, q, k, v, lse, along, dk, dv], kernels.attentionGroups(batch, heads, m));
};

export const attentionEncoders: Record<string, Encode> = { attention, attentionGrad };
