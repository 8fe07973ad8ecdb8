// Attention and its gradients: gpu/attention.ts.
import * as kernels from "../../../gpu/attention.ts";
import type { Step, View } from "../../tape/program.ts";
import type { Encode } from "./emitter.ts";

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

const attention: Encode = (step, out) => {
  const [q, k, v] = step.inputs;
  const [y, lse] = step.outputs;
  const { batch, d, params } = sizes(step, q, k);
  const groups = kernels.attentionGroups(batch, params.heads, params.n);
  out.dispatch(kernels.attention(d), [q, k, v, y, lse], { ...params, ...strides({ q, k, v, y }) }, groups);
};

const attentionGrad: Encode = (step, out) => {
  const [g, q, k, v, y, lse] = step.inputs;
  const [dq, dk, dv] = step.outputs;
  const { batch, d, params } = sizes(step, q, k);
  const { heads, n, m } = params;
  const along = out.temporary([batch, heads, n]);
  const own = { ...params, ...strides({ g, q, k, v, y, dq, dk }), size: batch * heads * n };
  out.dispatch(kernels.attentionAlong(d), [g, y, along], own, Math.ceil(own.size / 64));
  out.dispatch(kernels.attentionQueryGrad(d), [g, q, k, v, lse, along, dq], own, kernels.attentionGroups(batch, heads, n));
  out.dispatch(kernels.attentionKeyGrad(d), [g, q, k, v, lse, along, dk, dv], own, kernels.attentionGroups(batch, heads, m));
};

export const attentionEncoders: Record<string, Encode> = { attention, attentionGrad };
