// Checkpoints that the authors of methods published, as their repositories list them: where they lie, how they scored on ImageNet-1k.

export interface Published {
  readonly method: string;
  /** A name that `makeBackbone` knows; absent where the network is not one of ours. */
  readonly backbone?: string;
  readonly url: string;
  /** First digits of the file's MD5, where the authors published it. */
  readonly md5?: string;
  /** First digits of the file's SHA-256, where its name has them. */
  readonly sha256?: string;
  /** ImageNet-1k top-1 in per cent. */
  readonly linear?: number;
  readonly knn?: number;
  readonly finetune?: number;
  /** It is a zip file to unpack, or a folder of files, which `pull` cannot fetch. Inside lies a TensorFlow checkpoint. */
  readonly packed?: "zip" | "folder";
  /** The repository that lists it. */
  readonly source: string;
}

type Row = Omit<Published, "source" | "method"> & { method?: string };

/** Rows of one repository. Addresses are what follows `base`. */
const from = (source: string, method: string, base: string, rows: Readonly<Record<string, Row>>): Record<string, Published> =>
  Object.fromEntries(Object.entries(rows).map(([name, row]) => [name, { method, source, ...row, url: base + row.url }]));

const moco = from("github.com/facebookresearch/moco", "MoCo v2", "https://dl.fbaipublicfiles.com/moco/moco_checkpoints/", {
  "moco-v1-r50-200": {
    method: "MoCo v1",
    backbone: "resnet50",
    url: "moco_v1_200ep/moco_v1_200ep_pretrain.pth.tar",
    md5: "b251726a",
    linear: 60.6,
  },
  "moco-v2-r50-200": { backbone: "resnet50", url: "moco_v2_200ep/moco_v2_200ep_pretrain.pth.tar", md5: "59fd9945", linear: 67.7 },
  "moco-v2-r50-800": { backbone: "resnet50", url: "moco_v2_800ep/moco_v2_800ep_pretrain.pth.tar", md5: "a04e12f8", linear: 71.1 },
});

const mocoV3 = from("github.com/facebookresearch/moco-v3", "MoCo v3", "https://dl.fbaipublicfiles.com/moco-v3/", {
  "moco-v3-r50-100": { backbone: "resnet50", url: "r-50-100ep/r-50-100ep.pth.tar", linear: 68.9 },
  "moco-v3-r50-300": { backbone: "resnet50", url: "r-50-300ep/r-50-300ep.pth.tar", linear: 72.8 },
  "moco-v3-r50-1000": { backbone: "resnet50", url: "r-50-1000ep/r-50-1000ep.pth.tar", linear: 74.6 },
  "moco-v3-vit-small-300": { backbone: "moco3-vit-small-16", url: "vit-s-300ep/vit-s-300ep.pth.tar", linear: 73.2 },
  "moco-v3-vit-base-300": { backbone: "moco3-vit-base-16", url: "vit-b-300ep/vit-b-300ep.pth.tar", linear: 76.7 },
});

const simsiam = from("github.com/facebookresearch/simsiam", "SimSiam", "https://dl.fbaipublicfiles.com/simsiam/models/", {
  "simsiam-r50-100": { backbone: "resnet50", url: "100ep/pretrain/checkpoint_0099.pth.tar", linear: 68.1 },
  "simsiam-r50-100-b256": { backbone: "resnet50", url: "100ep-256bs/pretrain/checkpoint_0099.pth.tar", linear: 68.3 },
});

const r50 = { backbone: "resnet50" };
const swav = from("github.com/facebookresearch/swav", "SwAV", "https://dl.fbaipublicfiles.com/deepcluster/", {
  "swav-r50-100": { ...r50, url: "swav_100ep_pretrain.pth.tar", linear: 72.1 },
  "swav-r50-200": { ...r50, url: "swav_200ep_pretrain.pth.tar", linear: 73.9 },
  "swav-r50-400": { ...r50, url: "swav_400ep_pretrain.pth.tar", linear: 74.6 },
  "swav-r50-800": { ...r50, url: "swav_800ep_pretrain.pth.tar", linear: 75.3 },
  "swav-r50-200-b256": { ...r50, url: "swav_200ep_bs256_pretrain.pth.tar", linear: 72.7 },
  "swav-r50-400-b256": { ...r50, url: "swav_400ep_bs256_pretrain.pth.tar", linear: 74.3 },
  "swav-r50-400-2x224": { ...r50, url: "swav_400ep_2x224_pretrain.pth.tar", linear: 70.1 },
  "swav-r50w2-400": { backbone: "resnet50-w2", url: "swav_RN50w2_400ep_pretrain.pth.tar", linear: 77.3 },
  "swav-r50w4-400": { backbone: "resnet50-w4", url: "swav_RN50w4_400ep_pretrain.pth.tar", linear: 77.9 },
  "swav-r50w5-400": { backbone: "resnet50-w5", url: "swav_RN50w5_400ep_pretrain.pth.tar", linear: 78.5 },
  "deepcluster-v2-r50-400": { ...r50, method: "DeepCluster v2", url: "deepclusterv2_400ep_pretrain.pth.tar", linear: 74.3 },
  "deepcluster-v2-r50-800": { ...r50, method: "DeepCluster v2", url: "deepclusterv2_800ep_pretrain.pth.tar", linear: 75.2 },
  "deepcluster-v2-r50-400-2x224": { ...r50, method: "DeepCluster v2", url: "deepclusterv2_400ep_2x224_pretrain.pth.tar", linear: 70.2 },
  "sela-v2-r50-400": { ...r50, method: "SeLa v2", url: "selav2_400ep_pretrain.pth.tar", linear: 71.8 },
  "sela-v2-r50-400-2x224": { ...r50, method: "SeLa v2", url: "selav2_400ep_2x224_pretrain.pth.tar", linear: 67.2 },
});

/** A released backbone, and the training file with student, teacher and heads. */
const dinoPair = (name: string, file: string, row: Omit<Row, "url">): Record<string, Row> => ({
  [name]: { ...row, url: `${file}_pretrain/${file}_pretrain.pth` },
  [`${name}-full`]: { ...row, url: `${file}_pretrain/${file}_pretrain_full_checkpoint.pth` },
});
const dino = from("github.com/facebookresearch/dino", "DINO", "https://dl.fbaipublicfiles.com/dino/", {
  ...dinoPair("dino-vit-small-16", "dino_deitsmall16", { backbone: "vit-small-16", knn: 74.5, linear: 77 }),
  ...dinoPair("dino-vit-small-8", "dino_deitsmall8", { backbone: "vit-small-8", knn: 78.3, linear: 79.7 }),
  ...dinoPair("dino-vit-base-16", "dino_vitbase16", { backbone: "vit-base-16", knn: 76.1, linear: 78.2 }),
  ...dinoPair("dino-vit-base-8", "dino_vitbase8", { backbone: "vit-base-8", knn: 77.4, linear: 80.1 }),
  ...dinoPair("dino-r50", "dino_resnet50", { backbone: "resnet50", knn: 67.5, linear: 75.3 }),
  ...dinoPair("dino-xcit-small-12-p16", "dino_xcit_small_12_p16", { backbone: "xcit-small-12-p16", knn: 76, linear: 77.8 }),
  ...dinoPair("dino-xcit-small-12-p8", "dino_xcit_small_12_p8", { backbone: "xcit-small-12-p8", knn: 77.1, linear: 79.2 }),
  ...dinoPair("dino-xcit-medium-24-p16", "dino_xcit_medium_24_p16", { backbone: "xcit-medium-24-p16", knn: 76.4, linear: 78.8 }),
  ...dinoPair("dino-xcit-medium-24-p8", "dino_xcit_medium_24_p8", { backbone: "xcit-medium-24-p8", knn: 77.9, linear: 80.3 }),
  "dino-vit-small-16-landmarks": {
    backbone: "vit-small-16",
    url: "dino_vitsmall16_googlelandmark_pretrain/dino_vitsmall16_googlelandmark_pretrain.pth",
  },
});

/** Name behind "dinov2-vit-", file, scores of k-NN and of the linear probe. */
const dinov2Rows = [
  ["small-14", "dinov2_vits14/dinov2_vits14", 79, 81.1],
  ["small-14-reg", "dinov2_vits14/dinov2_vits14_reg4", 79.1, 80.9],
  ["base-14", "dinov2_vitb14/dinov2_vitb14", 82.1, 84.5],
  ["base-14-reg", "dinov2_vitb14/dinov2_vitb14_reg4", 82, 84.6],
  ["large-14", "dinov2_vitl14/dinov2_vitl14", 83.5, 86.3],
  ["large-14-reg", "dinov2_vitl14/dinov2_vitl14_reg4", 83.8, 86.7],
  ["giant-14", "dinov2_vitg14/dinov2_vitg14", 83.5, 86.5],
  ["giant-14-reg", "dinov2_vitg14/dinov2_vitg14_reg4", 83.7, 87.1],
] as const;
const dinov2 = from(
  "github.com/facebookresearch/dinov2",
  "DINOv2",
  "https://dl.fbaipublicfiles.com/dinov2/",
  Object.fromEntries(
    dinov2Rows.map(([name, file, knn, linear]) => [
      `dinov2-vit-${name}`,
      { backbone: `dinov2-vit-${name}`, url: `${file}_pretrain.pth`, knn, linear },
    ]),
  ),
);

const mae = from("github.com/facebookresearch/mae", "MAE", "https://dl.fbaipublicfiles.com/mae/", {
  "mae-vit-base-16": { backbone: "vit-base-16", url: "pretrain/mae_pretrain_vit_base.pth", md5: "8cad7c", linear: 67.8, finetune: 83.664 },
  "mae-vit-large-16": { backbone: "vit-large-16", url: "pretrain/mae_pretrain_vit_large.pth", md5: "b8b06e", linear: 76, finetune: 85.952 },
  "mae-vit-huge-14": { backbone: "vit-huge-14", url: "pretrain/mae_pretrain_vit_huge.pth", md5: "9bdbb0", linear: 77.2, finetune: 86.928 },
  "mae-vit-base-16-finetuned": {
    backbone: "vit-base-16-mean",
    url: "finetune/mae_finetuned_vit_base.pth",
    md5: "1b25e9",
    finetune: 83.664,
  },
  "mae-vit-large-16-finetuned": {
    backbone: "vit-large-16-mean",
    url: "finetune/mae_finetuned_vit_large.pth",
    md5: "51f550",
    finetune: 85.952,
  },
  "mae-vit-huge-14-finetuned": {
    backbone: "vit-huge-14-mean",
    url: "finetune/mae_finetuned_vit_huge.pth",
    md5: "2541f2",
    finetune: 86.928,
  },
});

const barlowTwins = from("github.com/facebookresearch/barlowtwins", "Barlow Twins", "https://dl.fbaipublicfiles.com/barlowtwins/ljng/", {
  "barlow-twins-r50": { backbone: "resnet50", url: "resnet50.pth", linear: 73.2 },
  "barlow-twins-r50-full": { backbone: "resnet50", url: "checkpoint.pth", linear: 73.2 },
});

const vicreg = from("github.com/facebookresearch/vicreg", "VICReg", "https://dl.fbaipublicfiles.com/vicreg/", {
  "vicreg-r50": { backbone: "resnet50", url: "resnet50.pth", linear: 73.2 },
  "vicreg-r50-full": { backbone: "resnet50", url: "resnet50_fullckpt.pth", linear: 73.2 },
  "vicreg-r50w2": { backbone: "resnet50-w2", url: "resnet50x2.pth", linear: 75.5 },
  "vicreg-r200w2": { backbone: "resnet200-w2", url: "resnet200x2.pth", linear: 77.3 },
});

const gpu16 = "bl_lr0.0005_gpu16_bs";
const esvit = from("github.com/microsoft/esvit", "EsViT", "https://chunyleu.blob.core.windows.net/output/ckpts/esvit/", {
  "esvit-r50-view": { ...r50, url: `resnet/resnet50/${gpu16}64_multicrop_epoch300_dino_aug/checkpoint.pth`, linear: 75, knn: 69.1 },
  "esvit-r50": {
    ...r50,
    url: `resnet/resnet50/${gpu16}64_multicrop_epoch300_dino_aug/resume_from_ckpt0200/checkpoint.pth`,
    linear: 75.7,
    knn: 71.3,
  },
  "esvit-swin-tiny-view": {
    backbone: "swin-tiny",
    url: `swin/swin_tiny/${gpu16}32_multicrop_epoch300_dino_aug_window7/checkpoint.pth`,
    linear: 77,
    knn: 74.2,
  },
  "esvit-swin-tiny": {
    backbone: "swin-tiny",
    url: `swin/swin_tiny/${gpu16}32_dense_multicrop_epoch300/checkpoint_best.pth`,
    linear: 78,
    knn: 75.7,
  },
  "esvit-swin-tiny-w14": {
    backbone: "swin-tiny-w14",
    url: `swin/swin_tiny/${gpu16}32_multicrop_epoch300_dino_aug_window14/continued_from0200_dense/checkpoint_best.pth`,
    linear: 78.7,
    knn: 77,
  },
  "esvit-swin-small-view": {
    backbone: "swin-small",
    url: `swin/swin_small/${gpu16}32_multicrop_epoch300/checkpoint.pth`,
    linear: 79.2,
    knn: 76.9,
  },
  "esvit-swin-small": {
    backbone: "swin-small",
    url: `swin/swin_small/${gpu16}32_dense_multicrop_epoch300/checkpoint_best.pth`,
    linear: 79.5,
    knn: 77.7,
  },
  "esvit-swin-small-w14": {
    backbone: "swin-small-w14",
    url: `swin/swin_small/${gpu16}16_multicrop_epoch300_dino_aug_window14/continued_from0180_dense/checkpoint_best.pth`,
    linear: 80.8,
    knn: 79.1,
  },
  "esvit-swin-base-view": {
    backbone: "swin-base",
    url: `swin/swin_base/${gpu16}32_multicrop_epoch300_dino_aug/checkpoint.pth`,
    linear: 79.6,
    knn: 77.7,
  },
  "esvit-swin-base": {
    backbone: "swin-base",
    url: `swin/swin_base/${gpu16}32_multicrop_epoch300_dino_aug/continued_from0200_dense/checkpoint_best.pth`,
    linear: 80.4,
    knn: 78.9,
  },
  "esvit-swin-base-w14": {
    backbone: "swin-base-w14",
    url: "swin/swin_base/bl_lr0.0005_nodes4_gpu16_bs8_multicrop_epoch300_dino_aug_window14_lv/continued_from_epoch0200_dense_norm_true/checkpoint_best.pth",
    linear: 81.3,
    knn: 79.3,
  },
  "esvit-vil-2262-view": {
    backbone: "vil-2262",
    url: `vil/vil_2262/${gpu16}32_multicrop_epoch300/vil_mode0/checkpoint.pth`,
    linear: 77.3,
    knn: 73.9,
  },
  "esvit-vil-2262": {
    backbone: "vil-2262",
    url: `vil/vil_2262/${gpu16}64_multicrop_epoch300/continued_from0200_dense/checkpoint.pth`,
    linear: 77.5,
    knn: 74.5,
  },
  "esvit-cvt-tiny-view": {
    backbone: "cvt-tiny",
    url: `cvt/cvt_tiny/${gpu16}64_multicrop_epoch300_dino_aug/checkpoint.pth`,
    linear: 77.6,
    knn: 74.8,
  },
  "esvit-cvt-tiny": {
    backbone: "cvt-tiny",
    url: `cvt/cvt_tiny/${gpu16}64_multicrop_epoch300_dino_aug/continued_from0200_dense/checkpoint.pth`,
    linear: 78.5,
    knn: 76.7,
  },
});

const simclr = from("github.com/google-research/simclr", "SimCLR", "https://storage.cloud.google.com/simclr-gcs/checkpoints/", {
  "simclr-r50": { backbone: "simclr-resnet50", url: "ResNet50_1x.zip", linear: 69.1, packed: "zip" },
  "simclr-r50w2": { backbone: "simclr-resnet50-w2", url: "ResNet50_2x.zip", linear: 74.2, packed: "zip" },
  "simclr-r50w4": { backbone: "simclr-resnet50-w4", url: "ResNet50_4x.zip", linear: 76.6, packed: "zip" },
});

/** Depth, width, selective kernels, linear. */
const simclrV2Rows: readonly [number, number, 0 | 1, number][] = [
  [50, 1, 0, 71.7],
  [50, 1, 1, 74.6],
  [50, 2, 0, 75.6],
  [50, 2, 1, 77.7],
  [101, 1, 0, 73.6],
  [101, 1, 1, 76.3],
  [101, 2, 0, 77.0],
  [101, 2, 1, 79.0],
  [152, 1, 0, 74.5],
  [152, 1, 1, 77.2],
  [152, 2, 0, 77.4],
  [152, 2, 1, 79.4],
  [152, 3, 1, 79.8],
];
const simclrV2 = from(
  "github.com/google-research/simclr",
  "SimCLR v2",
  "https://console.cloud.google.com/storage/browser/simclr-checkpoints/simclrv2/pretrained/",
  Object.fromEntries(
    simclrV2Rows.map(([depth, width, selective, linear]) => [
      `simclr-v2-r${depth}${width > 1 ? `w${width}` : ""}${selective ? "-sk" : ""}`,
      {
        backbone: `simclr-resnet${depth}${selective ? "-sk" : ""}${width > 1 ? `-w${width}` : ""}`,
        url: `r${depth}_${width}x_sk${selective}`,
        linear,
        packed: "folder",
      },
    ]),
  ),
);

const cifar = from(
  "github.com/akamaster/pytorch_resnet_cifar10",
  "supervised, CIFAR-10",
  "https://raw.githubusercontent.com/akamaster/pytorch_resnet_cifar10/d5489e8995e81e91ce6b1d69dcc98ad579b0b153/pretrained_models/",
  {
    "cifar10-resnet20": { backbone: "resnet20", url: "resnet20-12fca82f.th", sha256: "12fca82f" },
    "cifar10-resnet56": { backbone: "resnet56", url: "resnet56-4bfd9763.th", sha256: "4bfd9763" },
  },
);

export const published: Readonly<Record<string, Published>> = {
  ...moco,
  ...mocoV3,
  ...simsiam,
  ...swav,
  ...dino,
  ...dinov2,
  ...mae,
  ...barlowTwins,
  ...vicreg,
  ...esvit,
  ...simclr,
  ...simclrV2,
  ...cifar,
};
