// What official repositories call things: which method wrote a checkpoint, and where in it the network stands that is evaluated.
// Names are those of `Checkpoint.tensors`.
import type { StoredTensor } from "./stored.ts";

export type Tensors = ReadonlyMap<string, StoredTensor>;

/** What stands in front of the network's names, in order of preference: a teacher before its student, a query before its key. */
const places: readonly string[] = [
  "teacher/module.backbone.", // DINO with batch norm
  "teacher/backbone.", // DINO
  "teacher/module.", // EsViT's CvT
  "teacher/", // EsViT
  "teacher.backbone.",
  "target_encoder/module.", // I-JEPA
  "target_encoder/",
  "encoder_q.0.", // DenseCL, mmselfsup
  "encoder_q.", // MoCo
  "base_encoder.", // MoCo v3
  "online_net.0.", // OpenSelfSup's BYOL
  "module.backbone.", // Barlow Twins, VICReg, DirectCLR
  "backbone.", // mmselfsup, SCAN, A2MIM
  "feature_extractor.", // OBoW
  "vit.", // transformers
  "beit.",
  "dinov2.",
  "deit.",
  "swin.",
  "module.encoder.", // SimSiam, PixPro
  "encoder.", // SimMIM, CAE
  "base_model/", // SimCLR
  "base_model.",
  "module.", // SwAV
  "state_dict/",
  "model_state/", // SlowFast's MaskFeat
  "model/", // MAE, XCiT
  "model.",
  "network/",
  "net/",
  "student/module.backbone.",
  "student/module.",
  "student.module.backbone.",
];

const endsWithPlace = (prefix: string, place: string): boolean =>
  prefix.endsWith(place) && (prefix.length === place.length || /[./]$/.test(prefix.slice(0, -place.length)));

/** How far down the list of known places a prefix stands. Names without one are a released backbone's, and first; averages of gradients last. */
export function placeRank(prefix: string): number {
  if (prefix === "") return -1;
  if (/^optimizer[./]/.test(prefix)) return places.length + 1;
  const rank = places.findIndex((place) => endsWithPlace(prefix, place));
  return rank < 0 ? places.length : rank;
}

interface Origin {
  /** What wrote it. */
  method: string;
  /** Names that it has, all of them. */
  has: readonly RegExp[];
  lacks?: RegExp;
}

/** Telling names, the most telling first. */
const origins: readonly Origin[] = [
  { method: "EsViT", has: [/(^|[./])head_dense\.|dino_loss\/center_grid$/] },
  { method: "DINOv2", has: [/(^|[./])(dino_head\.|register_tokens$)/] },
  { method: "DINO", has: [/(^|[./])(dino_loss\/center|head\.last_layer\.weight_[gv])$/] },
  { method: "I-JEPA", has: [/(^|[./])predictor_blocks\./, /(^|[./])predictor_pos_embed$/] },
  { method: "CAE", has: [/(^|[./])(pretext_neck|neck\.regressors)\./] },
  { method: "MoCo v3", has: [/(^|[./])base_encoder\./, /(^|[./])momentum_encoder\./] },
  { method: "DenseCL", has: [/(^|[./])queue2$/] },
  { method: "PixPro", has: [/(^|[./])encoder_k\./, /(^|[./])(projector_k|value_transform)\./] },
  { method: "MoCo v2", has: [/(^|[./])encoder_q\.(fc|1\.mlp)\.2\.weight$/] },
  { method: "MoCo v1", has: [/(^|[./])encoder_q\./, /(^|[./])queue$/] },
  { method: "MAE", has: [/(^|[./])decoder_blocks\.0\./, /(^|[./])mask_token$/] },
  { method: "BEiT", has: [/(^|[./])mask_token$/, /(^|[./])lm_head\.weight$/] },
  { method: "SimMIM", has: [/(^|[./])encoder\.mask_token$/, /(^|[./])decoder\.0\.weight$/] },
  { method: "MaskFeat", has: [/(^|[./])(hog_layer|pred_head)\./] },
  { method: "A2MIM", has: [/(^|[./])neck\.decoder_pred\.0\./] },
  { method: "OBoW", has: [/(^|[./])(bow_extractor|_feature_blocks)\./] },
  { method: "instance discrimination (NPID)", has: [/^lemniscate/] },
  { method: "DeepCluster v2 or SeLa v2", has: [/(^|[./])prototypes\.prototypes0\./] },
  { method: "SwAV", has: [/(^|[./])prototypes\.weight$/] },
  { method: "DeepCluster", has: [/(^|[./])top_layer\./, /(^|[./])features\./] },
  { method: "BYOL", has: [/(^|[./])(target_net|target_network)\./] },
  { method: "SimSiam", has: [/(^|[./])encoder\.fc\.\d/, /(^|[./])predictor\./] },
  { method: "Barlow Twins", has: [/(^|[./])projector\./, /(^|[./])bn\.running_mean$/] },
  { method: "VICReg", has: [/(^|[./])projector\./, /(^|[./])backbone\./] },
  { method: "SimCLR", has: [/^(head_contrastive|base_model)\//] },
  { method: "SimCLR (SCAN)", has: [/(^|[./])contrastive_head\./] },
  { method: "rotation or ODC", has: [/(^|[./])head\.fc_cls\./] },
  { method: "detectron2", has: [/(^|[./])stem\.conv1\.norm\.weight$/] },
  { method: "supervised", has: [/(^|[./])(fc|head|linear)\.weight$/], lacks: /(^|[./])(fc|head)\.0\./ },
];

/** No checkpoint has more names that tell something. */
const telling = 20_000;

/** Which method wrote a checkpoint, by names that only it has; undefined for a bare backbone. */
export function methodOf(names: Iterable<string>): string | undefined {
  const list = [...names].slice(0, telling);
  const some = (pattern: RegExp) => list.some((name) => pattern.test(name));
  return origins.find(({ has, lacks }) => has.every(some) && !(lacks && some(lacks)))?.method;
}
