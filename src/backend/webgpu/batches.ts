// Which calls run as one dispatch, and in which order. A call has to come after those that it shares memory with, unless both only read there;
// everything else is free to move. So calls of one kernel gather: a call joins a batch that stands late enough for it, or a batch moves up to
// it with the few that have to stand behind. All weights of an optimiser, all sums of a backward pass become a few dispatches.
import type { Call } from "./emitter.ts";
import type { Window } from "./place.ts";

/** Calls that run at once. */
export interface Batch {
  readonly calls: readonly Call[];
  /** For each operand of the kernel a window around it in all calls. */
  readonly spans: readonly Window[];
}

/** A batch among the others. */
interface Placed extends Batch {
  /** Batches run in this order. */
  order: number;
  /** Batches that have to come after it. */
  readonly followers: Set<Placed>;
}

/** Batches that move with one at most. */
const MOST_MOVED = 16;

/** A stretch of memory that operands cover as a whole or not at all, with those that used it last. */
interface Stretch {
  writers: Placed[];
  /** Since they wrote. */
  readers: Placed[];
  /** The set of calls that the writers belong to. */
  writtenBy?: number;
}

/** Sorts calls into batches, each of calls of one kernel with operands in the same memories; `fits` says whether one can be run. */
export function batches(calls: readonly Call[], fits: (batch: Batch) => boolean): Batch[] {
  const memory = new Stretches(calls);
  const byKind = new Kinds();
  const placed: Placed[] = [];
  let last = 0;

  const place = (call: Call, before: ReadonlySet<Placed>): Placed => {
    let after = 0;
    for (const batch of before) after = Math.max(after, batch.order);
    const kind = call.kernel.batches ? byKind.of(call) : [];
    for (const batch of kind) {
      const moved = batch.order > after ? [] : tail(batch, before);
      if (!moved) continue;
      const more = { calls: [...batch.calls, call], spans: call.operands.map((operand, i) => around(batch.spans[i], operand)) };
      if (!fits(more)) continue;
      Object.assign(batch, more);
      for (const one of moved) one.order = ++last;
      return batch;
    }
    const batch = { calls: [call], spans: call.operands, order: ++last, followers: new Set<Placed>() };
    placed.push(batch);
    kind.push(batch);
    return batch;
  };

  for (const set of sets(calls)) {
    const before = set.map((call) => memory.before(call));
    const homes = set.map((call, i) => {
      const home = place(call, before[i]);
      for (const batch of before[i]) batch.followers.add(home);
      return home;
    });
    for (const [i, call] of set.entries()) memory.use(call, homes[i]);
  }
  return placed.sort((a, b) => a.order - b.order);
}

/** A batch and all that have to come after it, in their order. Undefined if `before` is among them, or if they are many. */
function tail(batch: Placed, before: ReadonlySet<Placed>): Placed[] | undefined {
  const found = new Set([batch]);
  for (const one of found) {
    if (before.has(one) || found.size > MOST_MOVED) return undefined;
    for (const follower of one.followers) found.add(follower);
  }
  return [...found].sort((a, b) => a.order - b.order);
}

/** Neighbours of one set. */
function sets(calls: readonly Call[]): Call[][] {
  const list: Call[][] = [];
  for (const call of calls) {
    const open = list.at(-1);
    if (open?.[0].set === call.set) open.push(call);
    else list.push([call]);
  }
  return list;
}

/** The window around two of one memory. */
export function around(a: Window, b: Window): Window {
  const offset = Math.min(a.offset, b.offset);
  return { home: a.home, offset, size: Math.max(a.offset + a.size, b.offset + b.size) - offset };
}

/** Batches by what their calls share: the kernel, which may take more numbers where it runs in parts, and which memory each operand lies in. */
class Kinds {
  readonly #kinds = new Map<string, Placed[]>();
  readonly #homes = new Map<Window["home"], number>();

  of({ kernel: { name, params, code }, operands }: Call): Placed[] {
    const homes = operands.map(({ home }) => {
      if (!this.#homes.has(home)) this.#homes.set(home, this.#homes.size);
      return this.#homes.get(home);
    });
    const key = `${name} ${params} ${homes} ${code}`;
    const kind = this.#kinds.get(key) ?? [];
    this.#kinds.set(key, kind);
    return kind;
  }
}

/** All memory in stretches, cut where any operand begins or ends. */
class Stretches {
  readonly #cuts = new Map<Window["home"], Map<number, number>>(); // offset -> number of the stretch that begins there
  readonly #stretches = new Map<Window["home"], Stretch[]>();

  constructor(calls: readonly Call[]) {
    const offsets = new Map<Window["home"], Set<number>>();
    for (const { home, offset, size } of calls.flatMap(({ operands }) => operands)) {
      const set = offsets.get(home) ?? new Set();
      offsets.set(home, set.add(offset).add(offset + size));
    }
    for (const [home, set] of offsets) {
      const sorted = [...set].sort((a, b) => a - b);
      this.#cuts.set(home, new Map(sorted.map((offset, i) => [offset, i])));
      this.#stretches.set(
        home,
        sorted.map(() => ({ writers: [], readers: [] })),
      );
    }
  }

  #of({ home, offset, size }: Window): Stretch[] {
    const cuts = this.#cuts.get(home) as Map<number, number>;
    return (this.#stretches.get(home) as Stretch[]).slice(cuts.get(offset), cuts.get(offset + size));
  }

  /** The batches that a call has to come after. Those before them are followed already. */
  before({ kernel, operands }: Call): Set<Placed> {
    const found = new Set<Placed>();
    for (const [i, operand] of operands.entries()) {
      for (const { writers, readers } of this.#of(operand)) {
        for (const batch of writers) found.add(batch);
        if (i >= kernel.reads.length) for (const batch of readers) found.add(batch);
      }
    }
    return found;
  }

  /** Notes what a call reads and writes as a part of a batch. */
  use({ kernel, operands, set }: Call, batch: Placed): void {
    for (const [i, operand] of operands.entries()) {
      for (const stretch of this.#of(operand)) {
        if (i < kernel.reads.length) {
          if (!stretch.readers.includes(batch)) stretch.readers.push(batch);
        } else if (stretch.writtenBy === set) {
          stretch.writers.push(batch);
        } else {
          stretch.writers = [batch];
          stretch.readers = [];
          stretch.writtenBy = set;
        }
      }
    }
  }
}
