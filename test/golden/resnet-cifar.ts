// golden-first64.json: features and logits of the first 64 CIFAR-10 test pictures, by the weights beside it, for the networks whose
// weights are there.
import { readdir, readFile } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import type { Backend } from "../../src/backend/backend.ts";
import { openCheckpoint } from "../../src/checkpoint/open.ts";
import { readHosts } from "../../src/checkpoint/stored.ts";
import { expectBackbone } from "../../src/models/pretrained.ts";
import { CifarResNet, cifarResnets } from "../../src/models/resnet-cifar.ts";
import { withContext } from "../../src/nn/module.ts";
import type { Tensor } from "../../src/tape/tensor.ts";
import { compile, type Host } from "../../src/tape/trace.ts";
import { Check, type Golden } from "./golden.ts";

const FILE = "golden-first64.json";
const SIDE = 32;

export const isCifarGolden = (path: string): boolean => basename(path) === FILE;

interface Classifier {
  name: string;
  /** [b, 32, 32, 3] -> [b, 64] and [b, 10] */
  run(images: Host): Promise<{ features: Host; logits: Host }>;
}

/** The network of a file with all its weights, the last layer's too. */
export async function openClassifier(path: string, backend: Backend): Promise<Classifier> {
  const checkpoint = await openCheckpoint(path);
  try {
    const { backbone: name, prefix } = expectBackbone(checkpoint);
    const network = new CifarResNet({ blocks: cifarResnets[name as keyof typeof cifarResnets], classes: 10 });
    network.load(await readHosts(checkpoint.tensors), { prefix, strict: true });
    const f = (x: Tensor) =>
      withContext({ training: false }, () => ({ features: network.map(x).mean([1, 2]), logits: network.forward(x) }));
    return { name, run: compile(f, backend) };
  } finally {
    await checkpoint.close();
  }
}

/** Bytes of rows of red, green and blue as normalised images: [n, 32, 32, 3] */
export function normalised(pixels: Uint8Array, { mean, std }: { mean: number[]; std: number[] }): Host {
  const data = Float32Array.from(pixels, (byte, i) => (byte / 255 - mean[i % 3]) / std[i % 3]);
  return { shape: [pixels.length / (SIDE * SIDE * 3), SIDE, SIDE, 3], data };
}

export async function runCifarGolden(path: string, backend: Backend): Promise<Check> {
  const folder = dirname(path);
  const { mean, std, ...stored } = JSON.parse(await readFile(path, "utf8"));
  const files = (await readdir(folder)).filter((name) => /^resnet\d+.*\.(th|safetensors)$/.test(name));
  const images = normalised(await readFile(join(folder, "cifar10-test-first64.rgb.u8")), { mean, std });
  const tensors = new Map<string, Host>();
  const golden: Golden = {
    name: FILE,
    config: { kind: "resnet-cifar10" },
    metadata: {},
    tensors,
    get: (name) => tensors.get(name) as Host,
    spread: () => 0,
  };
  const check = new Check(golden);
  for (const file of files) {
    const { name, run } = await openClassifier(join(folder, file), backend);
    const got = await run(images);
    for (const part of ["features", "logits"] as const) {
      const rows: number[][] = stored[name][part];
      tensors.set(`${file} ${part}`, { shape: [rows.length, rows[0].length], data: Float32Array.from(rows.flat()) });
      check.close(`${file} ${part}`, got[part], 1e-5);
    }
  }
  return check;
}
