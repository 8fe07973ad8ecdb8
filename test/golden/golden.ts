// Golden files hold results of the official code for weights and inputs that `fill` regenerates. A runner rebuilds the case
// from the file's `config_json` and compares every tensor in it.
import { basename } from "node:path";
import type { Backend } from "../../src/backend/backend.ts";
import { floats, readSafetensors } from "../../src/checkpoint/safetensors.ts";
import { size } from "../../src/tape/shape.ts";
import type { Host } from "../../src/tape/trace.ts";
import { digest } from "../fill.ts";

/** The typed part of a file's metadata. `kind` chooses the runner. */
// biome-ignore lint/suspicious/noExplicitAny: every kind has fields of its own, described in the golden files' READMEs
export type Config = Record<string, any> & { kind: string; prefix?: string };

export interface Golden {
  readonly name: string;
  readonly config: Config;
  readonly metadata: Readonly<Record<string, string>>;
  readonly tensors: ReadonlyMap<string, Host>;
  /** The tensor of a name; throws if the file has none. */
  get(name: string): Host;
  /** How far torch's own float32 is from float64 for this tensor, relative to its largest entry; 0 when not stated. */
  spread(name: string): number;
}

export async function openGolden(path: string): Promise<Golden> {
  const { tensors, metadata } = await readSafetensors(path);
  const hosts = new Map([...tensors].map(([name, entry]) => [name, floats(entry)]));
  if (!metadata.config_json) throw new TypeError(`Cannot run ${path}: its metadata has no config_json`);
  const spreads: Record<string, number> = metadata.float32_spread ? JSON.parse(metadata.float32_spread) : {};
  return {
    name: basename(path, ".safetensors"),
    config: JSON.parse(metadata.config_json),
    metadata,
    tensors: hosts,
    get(name) {
      const host = hosts.get(name);
      if (!host) throw new RangeError(`Cannot find "${name}" in ${path}`);
      return host;
    },
    spread: (name) => spreads[name] ?? 0,
  };
}

export type Runner = (golden: Golden, check: Check, backend: Backend) => Promise<void> | void;
export type Runners = Readonly<Record<string, Runner>>;

type Got = Host | readonly number[] | Float32Array | Float64Array | number;

interface Comparison {
  name: string;
  difference: number;
  limit: number;
}

export interface DigestLimits {
  /** For sum, sum |x| and sum x w: relative to sum |x|. */
  sums: number;
  /** For single elements: relative to the mean of |x|. */
  elements: number;
  /** For single elements, in addition: relative to the element. */
  own?: number;
}

const numbers = (got: Got): ArrayLike<number> => (typeof got === "number" ? [got] : "data" in got ? got.data : got);

/** Collects comparisons. Every tensor of the file must be compared, or left out with a reason. */
export class Check {
  readonly golden: Golden;
  readonly left = new Map<string, string>();
  readonly #done: Comparison[] = [];
  readonly #seen = new Set<string>();

  constructor(golden: Golden) {
    this.golden = golden;
  }

  /** One comparison whose difference was found elsewhere. */
  within(name: string, difference: number, limit: number): void {
    this.#seen.add(name.replace(/\[.*\]$/, ""));
    this.#done.push({ name, difference: Number.isNaN(difference) ? Number.POSITIVE_INFINITY : difference, limit });
  }

  /** Largest difference, relative to the largest entry of the stored tensor (or to `scale`), at most `limit`. */
  close(name: string, got: Got, limit: number, scale?: number): void {
    const want = this.#wanted(name, got);
    if (!want) return;
    const values = numbers(got);
    const largest = scale ?? want.data.reduce((most, x) => Math.max(most, Math.abs(x)), 0);
    const worst = want.data.reduce((most, x, i) => greater(most, Math.abs(values[i] - x)), 0);
    this.within(name, worst / (largest || 1), limit);
  }

  /** Equal numbers: indices, masks, labels, counts. */
  exact(name: string, got: Got): void {
    const want = this.#wanted(name, got);
    if (!want) return;
    const values = numbers(got);
    this.within(
      name,
      want.data.reduce((wrong, x, i) => wrong + Number(values[i] !== x), 0),
      0,
    );
  }

  /** A tensor against twelve stored numbers. `row` chooses one of several digests in the stored tensor. */
  digest(name: string, got: Host, limits: DigestLimits, row?: number): void {
    const want = row === undefined ? this.golden.get(name).data : this.golden.get(name).data.slice(12 * row, 12 * row + 12);
    const label = row === undefined ? name : `${name}[${row}]`;
    const values = digest(got);
    if (values[3] !== want[3]) this.within(label, Number.POSITIVE_INFINITY, 0);
    const sum = want[1] || 1;
    this.within(
      label,
      [0, 1, 2].reduce((most, i) => greater(most, Math.abs(values[i] - want[i]) / sum), 0),
      limits.sums,
    );
    const mean = sum / want[3];
    for (let i = 4; i < 12; i++) {
      this.within(label, Math.abs(values[i] - want[i]), limits.elements * mean + (limits.own ?? 0) * Math.abs(want[i]));
    }
  }

  /** Leaves a tensor out, and says why. */
  leave(name: string, reason: string): void {
    this.#seen.add(name);
    this.left.set(name, reason);
  }

  #wanted(name: string, got: Got): Host | undefined {
    const want = this.golden.get(name);
    const count = numbers(got).length;
    const fits = count === want.data.length && (typeof got !== "object" || !("shape" in got) || equalShapes(got.shape, want.shape));
    if (!fits) this.within(name, Number.POSITIVE_INFINITY, 0);
    return fits ? want : undefined;
  }

  /** The comparison that came closest to its limit or went furthest beyond it. */
  get worst(): Comparison & { share: number } {
    let worst = { name: "nothing compared", difference: Number.POSITIVE_INFINITY, limit: 0, share: Number.POSITIVE_INFINITY };
    for (const [i, one] of this.#done.entries()) {
      const share = one.difference === 0 ? 0 : one.difference / one.limit;
      if (i === 0 || share > worst.share) worst = { ...one, share };
    }
    return worst;
  }

  /** Tensors in the file that nobody compared. */
  get missed(): string[] {
    return [...this.golden.tensors.keys()].filter((name) => !this.#seen.has(name));
  }

  get compared(): number {
    return this.#seen.size - this.left.size;
  }

  get passed(): boolean {
    return this.worst.share <= 1 && this.missed.length === 0;
  }
}

/** The larger of two, where NaN counts as larger than everything. */
const greater = (a: number, b: number): number => (Number.isNaN(b) ? Number.POSITIVE_INFINITY : Math.max(a, b));

/** A scalar is stored as [1]. */
function equalShapes(a: readonly number[], b: readonly number[]): boolean {
  return (size(a) === 1 && size(b) === 1) || (a.length === b.length && a.every((n, i) => n === b[i]));
}
