// Networks for other programs: a graph that any ONNX runtime runs, or weights under their official names.
import { extname } from "node:path";
import { writeSafetensors } from "../checkpoint/safetensors.ts";
import { writeTorch } from "../checkpoint/write-torch.ts";
import type { ViewSpec } from "../data/views.ts";
import { type Encoder, type EncoderOptions, openEncoder } from "../evaluate/encoder.ts";
import { Buffer } from "../nn/module.ts";
import { onnxModel } from "./backbone.ts";
import { writeOnnx } from "./onnx.ts";

export interface ExportOptions extends EncoderOptions {
  /** A graph also gives the last map, [batch, c, h, w], as "map". */
  map?: boolean;
}

export interface Exported {
  readonly out: string;
  /** What it is and where it came from. */
  readonly about: string;
  /** Length of a feature vector. */
  readonly features: number;
  /** Weights, without buffers. */
  readonly parameters: number;
  /** Side of the images, and how they are normalised; mean 0 and std 1 leave them in [0, 1]. */
  readonly size: number;
  readonly mean: readonly number[];
  readonly std: readonly number[];
}

type Write = (path: string, encoder: Encoder, options: { map: boolean; metadata: Record<string, string> }) => Promise<void>;

const writers: Readonly<Record<string, Write>> = {
  async ".onnx"(path, { backbone, view: { size } }, { map, metadata }) {
    await writeOnnx(path, await onnxModel(backbone, { size, map, metadata }));
  },
  ".safetensors": (path, { backbone }, { metadata }) => writeSafetensors(path, backbone.state(), metadata),
  ".pth": (path, { backbone }) => writeTorch(path, backbone.state()),
};

/** Endings of the files that `exportEncoder` writes. */
export const exportFormats: readonly string[] = Object.keys(writers);

/** Why a file of this name cannot be written, or undefined. */
export function exportError(out: string, { map = false }: { map?: boolean } = {}): string | undefined {
  const format = extname(out).toLowerCase();
  if (!Object.hasOwn(writers, format)) return `Cannot write "${out}": expected a name that ends in ${exportFormats.join(", ")}`;
  return map && format !== ".onnx" ? `Cannot write a map into "${out}": expected a name that ends in .onnx` : undefined;
}

const preparation = ({ mean = [0, 0, 0], std = [1, 1, 1] }: ViewSpec) => ({ mean, std });

/**
 * Writes the network of a run or a checkpoint (see `openEncoder`) without its heads: as a graph (.onnx: images [batch, 3, size, size] in,
 * features [batch, n] out) or as weights under their official names (.safetensors, .pth). What stood there before stays until the new
 * file is whole.
 */
export async function exportEncoder(path: string, out: string, { map = false, ...options }: ExportOptions = {}): Promise<Exported> {
  const error = exportError(out, { map });
  if (error) throw new RangeError(error);
  const encoder = await openEncoder(path, options);
  const { backbone, view, about } = encoder;
  const { mean, std } = preparation(view);
  const metadata = { about, channels: "RGB", size: String(view.size), mean: mean.join(), std: std.join() };
  await writers[extname(out).toLowerCase()](out, encoder, { map, metadata });
  const parameters = backbone.parameters().reduce((sum, parameter) => sum + (parameter instanceof Buffer ? 0 : parameter.size), 0);
  return { out, about, features: backbone.features, parameters, size: view.size, mean, std };
}
