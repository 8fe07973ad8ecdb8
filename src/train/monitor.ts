// What is measured between steps: health without labels on a few fixed pictures, and the kNN score where there are classes.
import type { Backend } from "../backend/backend.ts";
import { openLoader } from "../data/loader.ts";
import { openImages } from "../data/open.ts";
import type { ImageSource } from "../data/source.ts";
import { embedder, evenly } from "../evaluate/features.ts";
import type { Features, Score } from "../evaluate/knn.ts";
import { type KnnImages, KnnProtocol } from "../evaluate/score.ts";
import type { Host } from "../tape/trace.ts";
import type { KnnEvent, Watch } from "./events.ts";
import { collapseWarning, type Health, health } from "./health.ts";
import type { RunFolder } from "./run.ts";
import type { Learner } from "./step.ts";

export interface MonitorParts {
  readonly folder: RunFolder;
  readonly learner: Learner;
  readonly backend: Backend;
  readonly source: ImageSource;
  readonly watch: Watch;
}

/** Pictures of the health sample: this many, or as many as fit into `bytes` with two views each, but not under `least`. */
const SAMPLE = { pictures: 256, bytes: 64e6, least: 32 };
/** Pictures of the training set that judge each other when there are no test pictures. */
const JUDGED = 5000;
/** Views go through the network in batches of this many. */
const BATCH = 64;

export class Monitor {
  readonly #parts: MonitorParts;
  readonly #embed: (images: Host) => Promise<Host>;
  #sample: Host[] = [];
  #history: Health[] = [];
  #measured = { health: -1, knn: -1 }; // after which step
  #protocol?: KnnProtocol;
  #pixels?: Score;

  constructor(parts: MonitorParts) {
    this.#parts = parts;
    this.#embed = embedder(parts.learner.method.encoder(parts.learner.parts), parts.backend);
  }

  /** Draws the health sample, opens the labelled pictures, and recalls what was measured before. */
  async open(): Promise<void> {
    const { folder } = this.#parts;
    for (const { kind, step, std, rank, alignment, uniformity } of await folder.metrics()) {
      if (kind === "health") this.#history.push({ std, rank, alignment, uniformity } as Health);
      if (kind === "health" || kind === "knn") this.#measured[kind] = step;
    }
    const { healthEvery, knnEvery, k, tau, standardize } = folder.record.settings;
    if (healthEvery > 0) this.#sample = await this.#drawSample();
    if (knnEvery < 0) return;
    const images = await this.#labelled();
    const { backend, watch } = this.#parts;
    if (images) this.#protocol = new KnnProtocol(images, { k, tau, standardize }, backend, { signal: watch.signal });
  }

  /** Two full views of the same pictures, the same in every session of the run. */
  async #drawSample(): Promise<Host[]> {
    const { learner, source, folder } = this.#parts;
    const { size, seed } = folder.record.options;
    const [first, second = first] = learner.method.views(learner.options, size);
    const count = Math.max(SAMPLE.least, Math.min(SAMPLE.pictures, Math.floor(SAMPLE.bytes / (24 * size * size))));
    const pictures = evenly(source, count);
    const loader = openLoader(pictures, { views: [first, second], batch: pictures.length, seed, shuffle: false });
    try {
      const batch = await loader.next();
      return (batch?.views ?? []).map(({ data, shape }) => ({ data: data.slice(), shape }));
    } finally {
      await loader.close();
    }
  }

  /** The labelled pictures of the settings, or some of the training set where that has classes. */
  async #labelled(): Promise<KnnImages | undefined> {
    const { source, folder, watch } = this.#parts;
    const { knnImages, k } = folder.record.settings;
    if (knnImages) {
      const own = knnImages.train === folder.record.options.images;
      return { train: own ? source : await openImages(knnImages.train), test: await openImages(knnImages.test) };
    }
    if (!source.classes || source.classes.length < 2) return undefined;
    const train = evenly(source, JUDGED);
    if (train.length > k) return { train };
    watch.onEvent?.({ type: "note", message: `No kNN score: ${train.length} images cannot have ${k} neighbours each` });
    return undefined;
  }

  /** What is to be measured after a step. */
  due(step: number, stepsPerEpoch: number): { health: boolean; knn: boolean } {
    const { healthEvery, knnEvery } = this.#parts.folder.record.settings;
    const every = Math.max(1, Math.round(knnEvery * stepsPerEpoch));
    return { health: healthEvery > 0 && step % healthEvery === 0, knn: knnEvery > 0 && step % every === 0 };
  }

  /** Measures what is due after a step. */
  async measure(step: number, stepsPerEpoch: number): Promise<KnnEvent | undefined> {
    const { health, knn } = this.due(step, stepsPerEpoch);
    if (health) await this.#measureHealth(step);
    return knn ? this.#measureKnn(step, step / stepsPerEpoch) : undefined;
  }

  /** Measures everything once more at the end of a run, unless that was done. */
  async finish(step: number, stepsPerEpoch: number): Promise<KnnEvent | undefined> {
    if (this.#sample.length && this.#measured.health < step) await this.#measureHealth(step);
    return this.#measured.knn < step ? this.#measureKnn(step, step / stepsPerEpoch) : undefined;
  }

  async #measureHealth(step: number): Promise<void> {
    const [first, second] = [await this.#features(this.#sample[0]), await this.#features(this.#sample[1])];
    if (first.count < 2) return;
    const now = health(first, second);
    this.#history.push(now);
    this.#measured.health = step;
    const warning = collapseWarning(this.#history);
    await this.#parts.folder.append({ kind: "health", step, ...now, ...(warning && { warning }) });
    this.#parts.watch.onEvent?.({ type: "health", step, ...now, warning });
  }

  async #features({ data, shape: [n, ...shape] }: Host): Promise<Features> {
    const numbers = data.length / n;
    const parts: Float32Array[] = [];
    for (let at = 0; at < n; at += BATCH) {
      const end = Math.min(n, at + BATCH);
      const rows = await this.#embed({ data: data.subarray(at * numbers, end * numbers), shape: [end - at, ...shape] });
      parts.push(rows.data.slice());
    }
    const out = new Float32Array(parts.reduce((sum, part) => sum + part.length, 0));
    let at = 0;
    for (const part of parts) {
      out.set(part, at);
      at += part.length;
    }
    return { data: out, count: n, dim: out.length / n };
  }

  async #measureKnn(step: number, epoch: number): Promise<KnnEvent | undefined> {
    const { learner, folder, watch } = this.#parts;
    const { size } = folder.record.options;
    if (!this.#protocol) return undefined;
    try {
      this.#pixels ??= await this.#protocol.pixels(size);
      const view = learner.method.evaluationView(learner.options, size);
      const { top1, top5 } = await this.#protocol.encoder({ backbone: learner.method.encoder(learner.parts), view });
      const score = { top1, top5, pixelsTop1: this.#pixels.top1 };
      this.#measured.knn = step;
      await folder.append({ kind: "knn", step, epoch, ...score });
      watch.onEvent?.({ type: "knn", step, epoch, ...score });
      return { type: "knn", step, epoch, ...score };
    } catch (error) {
      if (watch.signal?.aborted && error === watch.signal.reason) return undefined; // the run is asked to stop
      throw error;
    }
  }
}
