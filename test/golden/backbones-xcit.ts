// Kind backbone-xcit.
import { XCiT } from "../../src/models/xcit.ts";
import type { Tensor } from "../../src/tape/tensor.ts";
import { fill } from "../fill.ts";
import { compare, evalDigest, evalLimit, has, numbered, sameState, training } from "./backbones.ts";
import type { Config, Runner, Runners } from "./golden.ts";
import { evaluate, fillModule, nhwc } from "./models.ts";

const modelOf = ({ patch_size: patch, dim, depth, heads, eta, tokens_norm: tokensNorm, num_classes: classes }: Config) =>
  new XCiT({ patch, dim, depth, heads, eta, tokensNorm, classes });

/** A map as the official code's tokens. [b, rows, columns, c] -> [b, rows columns, c] */
const tokens = (map: Tensor) => map.reshape([map.shape[0], -1, map.shape[3]]);

/** A file without a training part is of a class block that norms the class token alone, in place, which PyTorch does not differentiate. */
const xcit: Runner = async (golden, check, backend) => {
  const model = modelOf(golden.config);
  sameState(golden, check, model);
  fillModule(model);
  const inputs: Record<string, [number[], "input"]> = JSON.parse(golden.metadata.inputs);
  const x = nhwc(fill("input", ...inputs.input));
  const values = await evaluate(
    (t): Record<string, Tensor> => {
      const patches = model.patch_embed.forward(t);
      const [, rows, columns] = patches.shape;
      return {
        output: model.forward(t),
        patch_embed: tokens(patches),
        position: tokens(model.pos_embeder.forward(rows, columns).expand(patches.shape)),
        ...numbered("block", model.blockMaps(t).map(tokens)),
        ...numbered("cls_block", model.classTokens(model.encode(t))),
      };
    },
    x,
    backend,
  );
  for (const [name, value] of Object.entries(values)) {
    if (has(golden, `eval.${name}`)) compare(check, `eval.${name}`, value, evalLimit, evalDigest);
  }
  if (has(golden, "train.output")) await training(golden, check, backend, model, (t) => ({ output: model.forward(t) }), x);
};

export const runners: Runners = { "backbone-xcit": xcit };
