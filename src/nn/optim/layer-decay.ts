import type { Rules } from "./optimizer.ts";

export interface LayerDecayOptions {
  /** Blocks of a ViT ("blocks.I."), or of each stage of a Swin ("layers.S.blocks.B."). */
  depths: number | readonly number[];
  /** Factor from each layer to the one below it. */
  decay: number;
  /** Names without weight decay, beside vectors; `containing` matches anywhere in a name. */
  skip?: readonly string[];
  containing?: readonly string[];
}

/** Layers from the bottom: 0 embeds patches, the last holds the final norm and the head. */
function layerOf(name: string, depths: number | readonly number[]): number {
  const before = (stage: number) => (typeof depths === "number" ? 0 : depths.slice(0, stage).reduce((a, b) => a + b, 0));
  const [, stage, block] = /^(?:layers\.(\d+)\.)?blocks\.(\d+)\./.exec(name) ?? [];
  if (block !== undefined) return before(Number(stage ?? 0)) + Number(block) + 1;
  const downsample = /^layers\.(\d+)\.downsample\./.exec(name);
  if (downsample) return before(Number(downsample[1]) + 1);
  if (/^(cls_token|register_tokens|pos_embed|mask_token|absolute_pos_embed|patch_embed\b)/.test(name)) return 0;
  return (typeof depths === "number" ? depths : before(depths.length)) + 1;
}

/**
 * Smaller learning rates for lower layers when fine-tuning: rate of layer l of L = decay^(L - l). Clark et al. 2020 (ELECTRA),
 * arXiv 2003.10555; as facebookresearch/mae util/lr_decay.py, microsoft/SimMIM optimizer.py and facebookresearch/dinov2 param_groups.py.
 */
export function layerDecay({ depths, decay, skip = [], containing = [] }: LayerDecayOptions): Rules {
  const last = layerOf("head.weight", depths);
  return (name, { shape }) => {
    const spared = shape.length <= 1 || skip.includes(name) || containing.some((part) => name.includes(part));
    return { lrScale: decay ** (last - layerOf(name, depths)), ...(spared ? { decay: 0, adapt: false } : {}) };
  };
}
