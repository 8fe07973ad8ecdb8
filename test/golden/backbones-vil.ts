// Kind backbone-vil.
import type { ChunkMode, WindowEdge } from "../../src/models/sliding-chunks.ts";
import { ViL } from "../../src/models/vil.ts";
import { concat } from "../../src/tape/ops/move.ts";
import type { Tensor } from "../../src/tape/tensor.ts";
import { fill } from "../fill.ts";
import { compare, evalDigest, evalLimit, has, numbered, sameState, training } from "./backbones.ts";
import type { Config, Runner, Runners } from "./golden.ts";
import { evaluate, fillModule, nhwc } from "./models.ts";

/** The source's MODE. It draws a neighbour in training where MODE is positive; a file can only hold the one that its mode names. */
const modeOf = (mode: number): ChunkMode => (mode === 0 ? "all" : mode === -1 ? "own" : (mode as ChunkMode));

/** The source's SW_EXACT. */
const edges: Readonly<Record<string, WindowEdge>> = { "0": "chunk", "1": "exact", "-1": "cyclic" };

function modelOf({ arch, img_size: size, mode, num_classes: classes, ...config }: Config): ViL {
  const { sw_exact: exact = 0, share_w: shareWeights, avg_pool: avgPool, norm_embed: normEmbed } = config;
  return new ViL({ arch, size, mode: modeOf(mode), edge: edges[exact], shareWeights, avgPool, normEmbed, classes });
}

function sparseIndex(model: ViL): Float32Array {
  const found = [...model.namedState()].find(([name, { shape }]) => name.endsWith("relative_position_index") && shape[1] === 9 * shape[0]);
  if (!found) throw new RangeError("Cannot find the index of a sparse stage: expected an architecture that has one (s1)");
  return found[1].data;
}

const vil: Runner = async (golden, check, backend) => {
  const model = modelOf(golden.config);
  sameState(golden, check, model);
  fillModule(model, "", (name) => name.endsWith("relative_position_index"));
  const inputs: Record<string, [number[], "input"]> = JSON.parse(golden.metadata.inputs);
  const x = nhwc(fill("input", ...inputs.input));
  const values = await evaluate(
    (t): Record<string, Tensor> => ({
      output: model.forward(t),
      features: model.pooled(t),
      regions: model.regions(t),
      last_blocks: concat(model.lastBlocks(t, golden.config.last_blocks), 1),
      ...numbered(
        "stage",
        model.outputs(t).map(({ tokens }) => tokens[tokens.length - 1]),
      ),
    }),
    x,
    backend,
  );
  if (inputs.input_small) {
    const small = nhwc(fill("input_small", ...inputs.input_small));
    Object.assign(values, await evaluate((t) => ({ output_small: model.forward(t) }), small, backend));
  }
  for (const [name, value] of Object.entries(values)) {
    if (has(golden, `eval.${name}`)) compare(check, `eval.${name}`, value, evalLimit, evalDigest);
  }
  const name = "index.sparse_relative_position_index"; // its first rows, of the first sparse stage
  if (has(golden, name)) check.exact(name, sparseIndex(model).slice(0, golden.get(name).data.length));
  if (has(golden, "train.output")) await training(golden, check, backend, model, (t) => ({ output: model.forward(t) }), x);
};

export const runners: Runners = { "backbone-vil": vil };
