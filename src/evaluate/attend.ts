// Pictures of what a transformer attends to: the class token's attention in the last block, head by head.
import { mkdir, writeFile } from "node:fs/promises";
import { join, normalize } from "node:path";
import type { Backend } from "../backend/backend.ts";
import { type Machine, openBackend } from "../backend/open.ts";
import { writeNpy } from "../checkpoint/npy.ts";
import { Augmenter } from "../data/augment.ts";
import { encodePng, type Pixels, sheet } from "../data/encode-png.ts";
import { openImages } from "../data/open.ts";
import { ImageError, type Picture } from "../data/picture.ts";
import { type ImageSource, readPicture } from "../data/source.ts";
import { stretchedView, type ViewSpec } from "../data/views.ts";
import type { Backbone } from "../models/backbone.ts";
import { withContext } from "../nn/module.ts";
import type { Tensor } from "../tape/tensor.ts";
import { type CompiledFunction, compile, type Host } from "../tape/trace.ts";
import { massMask, meanMap, partsOf } from "./attention.ts";
import { type EncoderOptions, openEncoder } from "./encoder.ts";
import { blend, drawMap, drawMask } from "./looks.ts";

export interface AttendRequest extends EncoderOptions, Machine {
  /** Share of the attention, in (0, 1]: also shows, for each head, the places that hold it. */
  threshold?: number;
  /** Called after each picture with how many are done. */
  onProgress?: (done: number, of: number) => void;
  signal?: AbortSignal;
}

/** What was written about one picture. */
export interface AttendedImage {
  readonly name: string;
  /** Folder with picture.png, mean.png, overlay.png, head-*.png, sheet.png, attention.npy, and with a threshold mask-*.png. */
  readonly folder: string;
  readonly heads: number;
  /** Rows and columns of the maps: patches of the picture. */
  readonly grid: readonly [rows: number, columns: number];
}

export interface Attended {
  readonly images: readonly AttendedImage[];
  /** Unreadable pictures, as sentences. */
  readonly skipped: readonly string[];
}

/** [1, size, size, 3] -> [1, heads, rows, columns] */
type Attention = CompiledFunction<[Tensor], Tensor>;

function attentionOf(backbone: Backbone, about: string, backend: Backend): Attention {
  if (!backbone.attention) {
    throw new TypeError(`Cannot show the attention of "${about}": it has no class token; a ViT or another transformer with one would do`);
  }
  return compile((x: Tensor) => withContext({ training: false }, () => backbone.attention?.(x) as Tensor), backend);
}

/** Images of 224 are looked at in 480, as DINO's tool does, and others in that proportion, cut to whole patches of up to 32. */
const viewingSize = (trained: number): number => (trained < 96 ? 2 * trained : Math.floor((trained * 480) / 224 / 32) * 32);

/**
 * Shows the attention of the class token in the last block over pictures. A picture is stretched to a square for the network, as
 * in DINO (github.com/facebookresearch/dino, visualize_attention.py); what is drawn has the picture's own aspect again.
 *
 *     await attend("dino_deitsmall8.pth", "dog.jpg", "attention/", { threshold: 0.6 })
 *
 * @param out A folder; each picture gets a folder of its own name in it.
 */
export async function attend(path: string, images: string, out: string, request: AttendRequest = {}): Promise<Attended> {
  const { threads, gpu, tune, backend: name, backbone, size, threshold, onProgress, signal } = request;
  if (threshold !== undefined) massMask(Float32Array.of(1), threshold); // refuses a share that cannot be meant
  const source = await openImages(images);
  const encoder = await openEncoder(path, { backbone, size: size ?? viewingSize });
  const view = {
    ...encoder.view,
    ...stretchedView(encoder.view.size),
    mean: encoder.view.mean,
    std: encoder.view.std,
  };
  const backend = await openBackend({ backend: name, gpu, threads, tune });
  const augmenter = new Augmenter();
  const done: AttendedImage[] = [];
  const skipped: string[] = [];
  try {
    const attention = attentionOf(encoder.backbone, encoder.about, backend);
    for (let i = 0; i < source.length; i++) {
      signal?.throwIfAborted();
      const picture = readable(source, i, skipped);
      if (!picture) continue;
      const maps = await attention(input(augmenter, picture, view));
      const folder = join(out, folderName(source.name(i)));
      done.push(await write(folder, source.name(i), shown(augmenter, picture), maps, threshold));
      onProgress?.(i + 1, source.length);
    }
  } finally {
    await backend.close();
  }
  if (done.length === 0) throw new Error(`Cannot show attention over "${images}": none of its pictures can be read`);
  return { images: done, skipped };
}

function readable(source: ImageSource, i: number, skipped: string[]): Picture | undefined {
  try {
    return readPicture(source, i);
  } catch (error) {
    if (!(error instanceof ImageError)) throw error;
    skipped.push(error.message);
    return undefined;
  }
}

/** A name in the source as a path below the output folder, wherever the picture itself lies. */
const folderName = (name: string): string =>
  normalize(name)
    .split(/[\\/]/)
    .filter((part) => part !== ".." && part !== "." && !/^([a-z]:)?$/i.test(part))
    .join("/");

/** A picture as the network sees it: [1, size, size, 3]. */
function input(augmenter: Augmenter, picture: Picture, view: ViewSpec): Host {
  const data = new Float32Array(view.size * view.size * 3);
  const none = () => 0; // a stretched view leaves nothing to chance
  augmenter.apply(picture, [view], () => ({ picture: none, batch: none }), [data]);
  return { shape: [1, view.size, view.size, 3], data };
}

/** Longer side of what is drawn. */
const SHOWN = 480;

/** The picture shrunk or grown until its longer side has SHOWN pixels. */
function shown(augmenter: Augmenter, picture: Picture): Pixels {
  const scale = SHOWN / Math.max(picture.width, picture.height);
  const [width, height] = [picture.width, picture.height].map((side) => Math.max(1, Math.round(side * scale)));
  return augmenter.resize(picture, width, height, "bicubic");
}

/** Rows of pictures of one size on one sheet; a short row ends in black. */
function rows(...pictures: Pixels[][]): Pixels {
  const columns = Math.max(...pictures.map((row) => row.length));
  const { width, height } = pictures[0][0];
  const blank = { width, height, data: new Uint8Array(width * height * 3) };
  return sheet(
    pictures.flatMap((row) => Array.from({ length: columns }, (_, i) => row[i] ?? blank)),
    columns,
  );
}

/** Draws the attention [1, heads, rows, columns] over a picture into a folder. */
async function write(folder: string, name: string, base: Pixels, attention: Host, threshold?: number): Promise<AttendedImage> {
  const [, count, height, columns] = attention.shape;
  const maps = partsOf(attention.data, count);
  const draw = (map: Float32Array) => drawMap(map, columns, base.width, base.height);
  const mean = draw(meanMap(maps));
  const overlay = blend(base, mean, 0.6);
  const heads = maps.map(draw);
  const masks = threshold === undefined ? [] : maps.map((map) => drawMask(base, massMask(map, threshold), columns));
  const files = new Map<string, Pixels>([
    ["picture", base],
    ["mean", mean],
    ["overlay", overlay],
    ...heads.map((pixels, head): [string, Pixels] => [`head-${head}`, pixels]),
    ...masks.map((pixels, head): [string, Pixels] => [`mask-${head}`, pixels]),
    ["sheet", rows([base, mean, overlay], heads, ...(masks.length ? [masks] : []))],
  ]);
  await mkdir(folder, { recursive: true });
  for (const [file, pixels] of files) await writeFile(join(folder, `${file}.png`), encodePng(pixels));
  await writeNpy(join(folder, "attention.npy"), { data: attention.data, shape: [count, height, columns] });
  return { name, folder, heads: count, grid: [height, columns] };
}
