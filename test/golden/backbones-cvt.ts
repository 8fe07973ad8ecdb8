// Kind backbone-cvt.
import { CvT } from "../../src/models/cvt.ts";
import { concat } from "../../src/tape/ops/move.ts";
import type { Tensor } from "../../src/tape/tensor.ts";
import { fill } from "../fill.ts";
import { compare, evalDigest, evalLimit, has, numbered, sameState, training } from "./backbones.ts";
import type { Config, Runner, Runners } from "./golden.ts";
import { evaluate, fillModule, nchw, nhwc } from "./models.ts";

/** A value for each stage, where the configuration may give one for all. */
const each = <T>(value: T | T[], stages: number): T[] => (Array.isArray(value) ? value : Array.from({ length: stages }, () => value));

function modelOf({ dims, heads, depths, windows, strides, paddings, ...config }: Config): CvT {
  const stages = dims.length;
  return new CvT({
    ...{ dims, heads, depths, windows, strides, paddings },
    patchKernels: config.patch_kernels,
    qkvKernels: each(config.qkv_kernel, stages),
    mlpRatio: config.mlp_ratio,
    relativePositions: config.rel_pos,
    shift: each(config.shift, stages),
    resStem: config.res_stem,
    classes: config.num_classes,
  });
}

const cvt: Runner = async (golden, check, backend) => {
  const model = modelOf(golden.config);
  sameState(golden, check, model);
  fillModule(model, "", (name) => name.endsWith("rel_pos_idx"));
  const inputs: Record<string, [number[], "input"]> = JSON.parse(golden.metadata.inputs);
  const x = nhwc(fill("input", ...inputs.input));
  const values = await evaluate(
    (t): Record<string, Tensor> => ({
      output: model.forward(t),
      features: model.pooled(t),
      regions: model.intermediateLayers(t, 1)[0],
      last_blocks: concat(model.lastBlocks(t, golden.config.last_blocks), 1),
      ...numbered("stage", model.stages(t)),
    }),
    x,
    backend,
  );
  for (const [name, value] of Object.entries(values)) {
    if (has(golden, `eval.${name}`)) compare(check, `eval.${name}`, nchw(value), evalLimit, evalDigest);
  }
  if (has(golden, "train.output")) await training(golden, check, backend, model, (t) => ({ output: model.forward(t) }), x);
};

export const runners: Runners = { "backbone-cvt": cvt };
