// Planning: when each intermediate lives is known, so all of them get offsets in one arena before anything runs.
import { mapViews, viewsRead, writes } from "./assign.ts";
import type { Buffer, Draft, Program, Step, View } from "./program.ts";
import { sameShape } from "./shape.ts";
import { isContiguous } from "./view.ts";

/** Buffers begin at multiples of this many floats: a cache line. */
const ALIGN = 16;

interface Life {
  readonly buffer: Buffer;
  first: number;
  last: number;
}

export interface Placement {
  /** Offsets are multiples of so many floats. */
  readonly align?: number;
  /** Values in half precision lie together, before all others. */
  readonly halvesFirst?: boolean;
  /** Buffers of at most so many floats share their memory with no other, so that steps that only seem to depend on each other do not. */
  readonly apart?: number;
  /** No buffer reaches over a multiple of so many floats, where one memory ends and the next begins. */
  readonly segment?: number;
}

/** Gives every arena buffer its offset. Chains write over an input that nothing reads any more. */
export function plan(draft: Draft, { align = ALIGN, apart = 0, halvesFirst, segment = Number.POSITIVE_INFINITY }: Placement = {}): Program {
  const { steps, outputs } = share(draft);
  const always = { first: 0, last: steps.length };
  const lives = [...lifetimes(steps, outputs).values()]
    .filter(({ buffer }) => buffer.kind === "arena")
    .map((life) => (life.buffer.size <= apart ? { ...life, ...always } : life));
  const first = ({ buffer }: Life) => !!halvesFirst && buffer.dtype === "f16";
  const halves = place(lives.filter(first), align, segment, 0);
  const arena = place(
    lives.filter((life) => !first(life)),
    align,
    segment,
    halves,
  );
  const buffers = [...new Set([...steps.flatMap((step) => [...viewsRead(step), ...writes(step)]), ...outputs].map((view) => view.buffer))];
  return { steps, buffers, arena, outputs };
}

function lifetimes(steps: readonly Step[], outputs: readonly View[]): Map<Buffer, Life> {
  const lives = new Map<Buffer, Life>();
  const touch = ({ buffer }: View, at: number) => {
    const life = lives.get(buffer);
    if (life) life.last = at;
    else lives.set(buffer, { buffer, first: at, last: at });
  };
  for (const [at, step] of steps.entries()) for (const view of [...viewsRead(step), ...writes(step)]) touch(view, at);
  for (const view of outputs) touch(view, steps.length);
  return lives;
}

/**
 * Lets a chain store over an input of the same layout that dies there, and a product gather its sums where its epilogue
 * stores, so that one buffer does for two.
 */
function share(draft: Draft): Draft {
  const lives = lifetimes(draft.steps, draft.outputs);
  const into = new Map<Buffer, Buffer>();
  const now = (buffer: Buffer): Buffer => {
    let at = buffer;
    for (let next = into.get(at); next; next = into.get(at)) at = next;
    return at;
  };
  const dies = (buffer: Buffer, at: number) => buffer.kind === "arena" && (lives.get(buffer) as Life).last === at;
  const begins = (buffer: Buffer, at: number) => buffer.kind === "arena" && (lives.get(buffer) as Life).first === at && !into.has(buffer);
  for (const [at, { epilogue, body, outputs }] of draft.steps.entries()) {
    const product = outputs[0]?.buffer;
    const target = epilogue?.outputs[0]?.view.buffer;
    if (epilogue && target && target !== product && dies(product, at) && begins(target, at) && alike(target, product)) {
      if ((lives.get(product) as Life).first === at) into.set(product, target);
    }
    for (const { view: output } of body?.outputs ?? []) {
      const once = (view: View) => body?.inputs.filter((other) => now(other.buffer) === now(view.buffer)).length === 1;
      const free = body?.inputs.find((view) => sameLayout(view, output) && dies(now(view.buffer), at) && once(view));
      if (!free || !begins(output.buffer, at)) continue;
      const home = now(free.buffer);
      into.set(output.buffer, home);
      (lives.get(home) as Life).last = (lives.get(output.buffer) as Life).last;
    }
  }
  const moved = (view: View): View => ({ ...view, buffer: now(view.buffer) });
  return { buffers: draft.buffers, steps: draft.steps.map((step) => mapViews(step, moved)), outputs: draft.outputs.map(moved) };
}

const alike = (a: Buffer, b: Buffer) => a.size === b.size && a.dtype === b.dtype;

const sameLayout = (input: View, output: View) =>
  sameShape(input.shape, output.shape) && isContiguous(input) && input.offset === 0 && alike(input.buffer, output.buffer);

/** Floats of 32 bits that a buffer takes. */
const floats = ({ size, dtype }: Buffer): number => (dtype === "f16" ? Math.ceil(size / 2) : size);

/**
 * Offsets from `from` on by size, largest first, each in the smallest gap among those that live at the same time. Returns the end of the
 * last, in floats.
 */
function place(lives: readonly Life[], align: number, segment: number, from: number): number {
  const placed: { life: Life; begin: number; end: number }[] = [];
  let arena = from;
  for (const life of [...lives].sort((a, b) => floats(b.buffer) - floats(a.buffer) || a.first - b.first)) {
    const room = Math.ceil(floats(life.buffer) / align) * align;
    const within = (begin: number) =>
      room <= segment && (begin % segment) + room > segment ? Math.ceil(begin / segment) * segment : begin;
    let at = within(from);
    let best = -1;
    let gap = Number.POSITIVE_INFINITY;
    for (const other of placed) {
      if (other.life.first > life.last || other.life.last < life.first) continue;
      if (other.begin - at >= room && other.begin - at < gap) {
        best = at;
        gap = other.begin - at;
      }
      at = within(Math.max(at, other.end));
    }
    const begin = best >= 0 ? best : at;
    life.buffer.offset = begin;
    const index = placed.findIndex((other) => other.begin > begin);
    placed.splice(index < 0 ? placed.length : index, 0, { life, begin, end: begin + room });
    arena = Math.max(arena, begin + room);
  }
  return arena;
}
