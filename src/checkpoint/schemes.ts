// What other libraries and repositories call the parts of a network, and how their tensors become those of this library.
import type { Shape } from "../tape/shape.ts";
import type { Numbers } from "./dtype.ts";
import type { Tensors } from "./names.ts";
import { gather, rowMajor, type StoredTensor } from "./stored.ts";

type Rule = readonly [from: RegExp, to: string | ((...matched: string[]) => string)];

interface Scheme {
  /** Whose names they are. */
  readonly name: string;
  /** A name that shows it. */
  readonly shows: RegExp;
  /** From their names to ours, in this order, each applied to what the one before gave. */
  readonly rules: readonly Rule[];
  /** Their names of tensors whose elements lie otherwise, and what brings those into our order. */
  readonly moves?: readonly (readonly [name: RegExp, move: (tensor: StoredTensor) => StoredTensor])[];
}

/** transformers' blocks, wherever they stand: queries, keys and values become parts of one tensor (see `joined`). */
const huggingFaceBlock: readonly Rule[] = [
  [/(layernorm_before|layer_norm1)\./, "norm1."],
  [/(layernorm_after|layer_norm2)\./, "norm2."],
  [/attention\.(?:attention|self)\.(query|key|value)\./, (_, part) => `attn.qkv.${["query", "key", "value"].indexOf(part)}.`],
  [/attention\.self\.(?=relative_position)/, "attn."],
  [/attention\.output\.dense\./, "attn.proj."],
  [/intermediate\.dense\./, "mlp.fc1."],
  [/output\.dense\./, "mlp.fc2."],
];

/** Blocks with layer scale and gated MLPs: transformers' DINOv2, whose other names are the authors'. */
const huggingFaceScales: readonly Rule[] = [
  [/layer_scale([12])\.lambda1$/, "ls$1.gamma"],
  [/mlp\.weights_in\./, "mlp.w12."],
  [/mlp\.weights_out\./, "mlp.w3."],
];

const huggingFaceEmbeddings: readonly Rule[] = [
  [/embeddings\.patch_embeddings\.projection\./, "patch_embed.proj."],
  [/embeddings\.norm\./, "patch_embed.norm."],
  [/embeddings\.(cls|mask)_token$/, "$1_token"],
  [/embeddings\.distillation_token$/, "dist_token"],
  [/embeddings\.register_tokens$/, "register_tokens"],
  [/embeddings\.position_embeddings$/, "pos_embed"],
  [/(^|[./])layernorm\.(?=(weight|bias)$)/, "$1norm."],
];

/** transformers' BEiT: layer scale, biases of queries and values alone, and tables of relative positions. */
const huggingFaceBeit: readonly Rule[] = [
  [/attention\.attention\.query\.bias$/, "attn.q_bias"],
  [/attention\.attention\.value\.bias$/, "attn.v_bias"],
  [/attention\.attention\.relative_position_bias\./, "attn."],
  [/encoder\.relative_position_bias\./, "rel_pos_bias."],
  [/lambda_([12])$/, "gamma_$1"],
  [/pooler\.layernorm\./, "fc_norm."],
  ...huggingFaceBlock,
  ...huggingFaceEmbeddings,
  [/(^|[./])encoder\.layer\./, "$1blocks."],
];

const schemes: readonly Scheme[] = [
  {
    name: "mmselfsup",
    shows: /patch_embed\.projection\.weight$/,
    rules: [
      [/patch_embed\.projection\./, "patch_embed.proj."],
      [/(^|[./])layers\.(\d+)\.(?=(ln\d|attn|ffn)\.)/, "$1blocks.$2."],
      [/(blocks\.\d+\.)ln([12])\./, "$1norm$2."],
      [/(^|[./])stages\.(?=\d\.(blocks|downsample)\.)/, "$1layers."], // of Swin
      [/attn\.w_msa\./, "attn."],
      [/(^|[./])norm3\.(?=(weight|bias)$)/, "$1norm."],
      [/ffn\.layers\.0\.0\./, "mlp.fc1."],
      [/ffn\.layers\.1\./, "mlp.fc2."],
      [/(^|[./])ln1\.(?=(weight|bias)$)/, "$1norm."],
    ],
    moves: [[/stages\.\d\.downsample\.(reduction\.weight|norm\.(weight|bias))$/, placesFirst]],
  },
  {
    name: "timm",
    shows: /(^|[./])layers\.3\.downsample\.reduction\.weight$/, // merges patches before a stage, where Swin's authors do after the one before
    rules: [[/(^|[./])layers\.(\d)\.downsample\./, (_, before, i) => `${before}layers.${Number(i) - 1}.downsample.`]],
  },
  {
    name: "DINOv2",
    shows: /(^|[./])blocks\.0\.0\.norm1\.weight$/,
    rules: [[/(^|[./])blocks\.\d+\.(\d+)\./, "$1blocks.$2."]], // its training cuts the blocks into chunks, and counts them through
  },
  {
    name: "transformers",
    shows: /(^|[./])beit\.encoder\.layer\.0\.lambda_1$/,
    rules: [[/^layernorm\./, "beit.layernorm."], ...huggingFaceBeit], // the pre-trained network keeps its last norm outside
  },
  {
    name: "transformers",
    shows: /^encoder\.layer\.0\.lambda_1$/,
    rules: huggingFaceBeit,
  },
  {
    name: "transformers",
    shows: /(^|[./])encoder\.layer\.0\.attention\.attention\.query\.weight$/,
    rules: [...huggingFaceBlock, ...huggingFaceScales, ...huggingFaceEmbeddings, [/(^|[./])encoder\.layer\./, "$1blocks."]],
  },
  {
    name: "transformers",
    shows: /(^|[./])encoder\.layers\.0\.blocks\.0\.attention\.self\.query\.weight$/,
    rules: [...huggingFaceBlock, ...huggingFaceEmbeddings, [/(^|[./])encoder\.layers\./, "$1layers."]],
  },
  {
    name: "torchvision",
    shows: /(^|[./])encoder\.layers\.encoder_layer_0\.self_attention\.in_proj_weight$/,
    rules: [
      [/class_token$/, "cls_token"],
      [/conv_proj\./, "patch_embed.proj."],
      [/encoder\.pos_embedding$/, "pos_embed"],
      [/encoder\.ln\./, "norm."],
      [/encoder\.layers\.encoder_layer_(\d+)\./, "blocks.$1."],
      [/ln_([12])\./, "norm$1."],
      [/self_attention\.in_proj_(weight|bias)$/, "attn.qkv.$1"],
      [/self_attention\.out_proj\./, "attn.proj."],
      [/mlp\.(0|linear_1)\./, "mlp.fc1."],
      [/mlp\.(3|linear_2)\./, "mlp.fc2."],
    ],
  },
  {
    name: "torchvision",
    shows: /(^|[./])features\.1\.0\.attn\.relative_position_bias_table$/,
    rules: [
      [/features\.0\.0\./, "patch_embed.proj."],
      [/features\.0\.2\./, "patch_embed.norm."],
      [/features\.([1357])\.(?=\d)/, (_, i) => `layers.${(Number(i) - 1) / 2}.blocks.`],
      [/features\.([246])\./, (_, i) => `layers.${Number(i) / 2 - 1}.downsample.`],
      [/mlp\.0\./, "mlp.fc1."],
      [/mlp\.3\./, "mlp.fc2."],
    ],
  },
  {
    name: "OBoW",
    shows: /(^|[./])_feature_blocks\.0\.Conv\.weight$/,
    rules: [
      [/_feature_blocks\.0\.Conv\./, "conv1."],
      [/_feature_blocks\.0\.bn\./, "bn1."],
      [/_feature_blocks\.([1-4])\./, "layer$1."],
    ],
  },
  {
    name: "detectron2",
    shows: /(^|[./])stem\.conv1\.norm\.weight$/,
    rules: [
      [/(^|[./])stem\./, "$1"],
      [/(^|[./])res([2-5])\./, (_, before, i) => `${before}layer${Number(i) - 1}.`],
      [/conv([123])\.norm\./, "bn$1."],
      [/shortcut\.norm\./, "downsample.1."],
      [/shortcut\./, "downsample.0."],
    ],
  },
  {
    name: "TensorFlow",
    shows: /(^|\/)base_model\/conv2d\/kernel$/,
    rules: [
      [/\/kernel$/, ".weight"],
      [/\/gamma$/, ".weight"],
      [/\/beta$/, ".bias"],
      [/\/moving_mean$/, ".running_mean"],
      [/\/moving_variance$/, ".running_var"],
    ],
    moves: [[/\/kernel$/, outputFirst]],
  },
];

/** A file's tensors under the names of one scheme. */
export interface Reading {
  /** Whose names were changed; undefined where they are as they were. */
  readonly scheme?: string;
  readonly tensors: Tensors;
}

/** A file as it is, and with the names of every scheme that it shows made ours. */
export function* readings(tensors: Tensors): Generator<Reading> {
  yield { tensors };
  for (const { name: scheme, shows, rules, moves = [] } of schemes) {
    if (![...tensors.keys()].some((name) => shows.test(name))) continue;
    const renamed = [...tensors].map(([name, tensor]): [string, StoredTensor] => [
      rules.reduce((text, [from, to]) => text.replace(from, to as string), name),
      moves.reduce((moved, [which, move]) => (which.test(name) ? move(moved) : moved), tensor),
    ]);
    yield { scheme, tensors: joined(new Map(renamed)) };
  }
}

/** [h, w, in, out] as [out, in, h, w], and [in, out] as [out, in]: kernels of TensorFlow. */
function outputFirst(tensor: StoredTensor): StoredTensor {
  const axes = [...tensor.shape.keys()].reverse();
  return permuted(tensor, axes.length === 4 ? [3, 2, 0, 1] : axes);
}

function permuted(tensor: StoredTensor, order: readonly number[]): StoredTensor {
  const strides = rowMajor(tensor.shape);
  const shape: Shape = order.map((axis) => tensor.shape[axis]);
  const read = async () =>
    gather(
      await tensor.read(),
      shape,
      order.map((axis) => strides[axis]),
    );
  return { dtype: tensor.dtype, shape, read };
}

/**
 * What merges 2 x 2 patches [..., 4 c], with the four side by side for each channel and by row, as four runs of channels by column:
 * mmselfsup unfolds maps, Swin's authors slice them.
 */
function placesFirst(tensor: StoredTensor): StoredTensor {
  const columns = tensor.shape[tensor.shape.length - 1];
  const channels = columns / 4;
  if (!Number.isInteger(channels)) return tensor;
  const read = async (): Promise<Numbers> => {
    const from = await tensor.read();
    const to = from.slice();
    const place = [0, 2, 1, 3];
    for (let row = 0; row < from.length; row += columns) {
      for (let i = 0; i < columns; i++) to[row + i] = from[row + 4 * (i % channels) + place[Math.floor(i / channels)]];
    }
    return to;
  };
  return { dtype: tensor.dtype, shape: tensor.shape, read };
}

const part = /^(.*\.qkv)\.0\.(weight|bias)$/;

/** Makes one tensor "qkv.weight" of "qkv.0.weight", "qkv.1.weight" and "qkv.2.weight", one below the other. */
function joined(tensors: Map<string, StoredTensor>): Tensors {
  for (const name of [...tensors.keys()]) {
    const [, before, kind] = part.exec(name) ?? [];
    if (before === undefined) continue;
    const names = [0, 1, 2].map((i) => `${before}.${i}.${kind}`);
    const parts = names.flatMap((one) => tensors.get(one) ?? []);
    const [{ dtype, shape }] = parts;
    if (parts.length < 3 || parts.some((one) => one.dtype !== dtype || one.shape.join() !== shape.join())) continue;
    for (const one of names) tensors.delete(one);
    tensors.set(`${before}.${kind}`, { dtype, shape: [3 * shape[0], ...shape.slice(1)], read: () => concatenated(parts) });
  }
  return tensors;
}

async function concatenated(parts: readonly StoredTensor[]): Promise<Numbers> {
  const read: Numbers[] = [];
  for (const one of parts) read.push(await one.read());
  const [first] = read;
  const all = new (first.constructor as new (length: number) => Float32Array)(first.length * read.length);
  for (const [i, numbers] of read.entries()) all.set(numbers as Float32Array, i * first.length);
  return all;
}
