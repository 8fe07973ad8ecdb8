// Small networks of every family that takes an image of 32: what exports are tested with.
import type { Backbone } from "../../src/models/backbone.ts";
import { Beit } from "../../src/models/beit.ts";
import { Conv4 } from "../../src/models/conv4.ts";
import { CvT } from "../../src/models/cvt.ts";
import { Dinov2ViT } from "../../src/models/dinov2.ts";
import { ResNet } from "../../src/models/resnet.ts";
import { CifarResNet } from "../../src/models/resnet-cifar.ts";
import { SimclrResNet } from "../../src/models/resnet-simclr.ts";
import { Swin } from "../../src/models/swin.ts";
import { ViL } from "../../src/models/vil.ts";
import { MocoViT, ViT } from "../../src/models/vit.ts";
import { XCiT } from "../../src/models/xcit.ts";
import { withSeed } from "../../src/nn/init.ts";
import { fill } from "../fill.ts";

const cvt = { dims: [4, 6, 8, 12], heads: [1, 2, 2, 3], depths: [1, 1, 1, 1] };
const arch = "l1,h1,d8,n1,s1,g1,p4,f3,a0_l2,h2,d12,n2,s1,g2,p2,f2,a0_l3,h4,d16,n1,s0,g0,p2,f7,a0";

const builders: Readonly<Record<string, () => Backbone>> = {
  "a ResNet of basic blocks with a CIFAR stem": () => new ResNet({ block: "basic", layers: [1, 2, 1, 1], width: 0.25, cifarStem: true }),
  "a dilated ResNet of bottlenecks": () =>
    new ResNet({ block: "bottleneck", layers: [1, 1, 1, 1], width: 0.125, replaceStrideWithDilation: [false, true, true] }),
  "a ResNet whose shortcuts have no parameters": () => new CifarResNet({ blocks: 1 }),
  "SimCLR's ResNet with selective kernels": () =>
    new SimclrResNet({ block: "bottleneck", layers: [1, 1, 1, 1], width: 0.125, selectiveKernels: 0.0625 }),
  "Conv-4": () => new Conv4({ hidden: 6, out: 5, size: 32 }),
  "a ViT at another size than its table's": () => new ViT({ dim: 12, depth: 2, heads: 3, patch: 8, size: 24 }),
  "a ViT with pooled tokens": () => new ViT({ dim: 12, depth: 1, heads: 2, patch: 8, size: 32, pool: "mean" }),
  "DINOv2's ViT with registers and gated MLPs": () =>
    new Dinov2ViT({ dim: 12, depth: 2, heads: 3, patch: 8, size: 48, layerScale: 0.5, registers: 2, swiglu: true, resize: "antialiased" }),
  "MoCo v3's ViT with a stem of convolutions": () => new MocoViT({ dim: 16, depth: 1, heads: 2, patch: 16, size: 32, convStem: true }),
  "a BEiT with biases and scales": () =>
    new Beit({ dim: 12, depth: 2, heads: 3, patch: 8, size: 32, relative: "per-block", layerScale: 0.1 }),
  "a Swin with shifted and padded windows": () => new Swin({ dim: 8, depths: [2, 2], heads: [1, 2], window: 3, size: 32 }),
  "a CvT": () => new CvT(cvt),
  "a ViL": () => new ViL({ arch, size: 32 }),
  "an XCiT": () => new XCiT({ dim: 16, depth: 2, heads: 2, patch: 8, eta: 1 }),
};

/** Makes each network, with weights and statistics that make every part count. */
export const networks: readonly (readonly [string, () => Backbone])[] = Object.entries(builders).map(([name, build]) => [
  name,
  () => {
    const network = withSeed(1, build);
    const counted = (parameterName: string) => /index|mask|num_batches_tracked/.test(parameterName);
    const filled = [...network.namedParameters()].filter(([parameterName]) => !counted(parameterName));
    network.load(new Map(filled.map(([parameterName, { officialShape }]) => [parameterName, fill(parameterName, officialShape)])), {
      strict: false,
    });
    return network;
  },
]);
