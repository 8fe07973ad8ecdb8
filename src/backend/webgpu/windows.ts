// Tensors larger than what a kernel sees as one buffer: a call becomes several, each of some of its groups, that see only what these touch,
// and each with a part of the table that indices lead anywhere in.
import type { View } from "../../tape/program.ts";
import { size as sizeOf } from "../../tape/shape.ts";
import type { Operand, Window } from "./place.ts";

/** Places of an operand, counted from where its view begins. */
export type Range = readonly [begin: number, end: number];

/** What groups begin .. end - 1 of a kernel touch of an operand, or a little more. */
export type Reach = (begin: number, end: number) => Range;

/** A group makes `made` elements; every `per` of them belong together and take `floats` neighbours of the operand, after those of the ones before. */
export const through =
  (made: number, per: number, floats: number): Reach =>
  (begin, end) => [Math.floor((begin * made) / per) * floats, Math.ceil((end * made) / per) * floats];

/** A group touches as many neighbours, after those of the group before. */
export const each = (floats: number): Reach => through(1, 1, floats);

/** From the first to the last of what indices within ranges reach: `step` apart each. */
export function box(axes: readonly { step: number; from: number; to: number }[]): Range {
  let [begin, end] = [0, 1];
  for (const { step, from, to } of axes) {
    begin += Math.min(step * from, step * Math.max(to - 1, from));
    end += Math.max(step * from, step * Math.max(to - 1, from));
  }
  return [begin, end];
}

/** Places of elements begin .. end - 1 of a view, counted row by row. */
export function hull({ shape, strides }: Pick<View, "shape" | "strides">, begin: number, end: number): Range {
  let inner = sizeOf(shape);
  let same = true; // so far both ends have the same indices
  const axes = shape.map((n, axis) => {
    inner /= n;
    const from = same ? Math.floor(begin / inner) % n : 0;
    const to = same ? (Math.floor((end - 1) / inner) % n) + 1 : n;
    if (to !== from + 1) same = false;
    return { step: strides[axis], from, to };
  });
  return box(axes);
}

/** What a device lets a kernel see. */
export interface Sight {
  /** Bytes of one buffer. */
  readonly bytes: number;
  /** Bytes between possible beginnings of a window. */
  readonly alignment: number;
}

/** Operands of a call, and what is known of them. */
export interface Reached {
  readonly operand: Operand;
  readonly view: View;
  /** Missing where every group may touch all of the view. */
  readonly reach?: Reach;
  /** Bytes of a number. */
  readonly bytes: number;
}

/** Parts of a view without gaps that can be seen one at a time, in their order: itself where it is in sight. */
export function rangesOf({ operand, view, bytes }: Reached, sight: Sight): Range[] {
  const size = sizeOf(view.shape);
  if (operand.size <= sight.bytes) return [[0, size]];
  const most = Math.floor((sight.bytes - 2 * sight.alignment) / bytes);
  return Array.from({ length: Math.ceil(size / most) }, (_, i) => [most * i, Math.min(most * (i + 1), size)]);
}

/** A part of a call. */
export interface Part {
  readonly begin: number;
  readonly end: number;
  readonly operands: readonly Operand[];
}

/** Cuts `groups` in halves until what each part touches can be seen. Undefined where a single group touches too much. */
export function cutGroups(list: readonly Reached[], groups: number, sight: Sight): Part[] | undefined {
  const cut = (begin: number, end: number): Part[] | undefined => {
    const windows = windowsOf(list, begin, end, sight.alignment);
    if (windows.every(({ size }) => size <= sight.bytes)) {
      return [{ begin, end, operands: list.map(({ operand }, i) => ({ ...operand, offset: windows[i].offset, size: windows[i].size })) }];
    }
    if (end - begin < 2) return undefined;
    const middle = Math.ceil((begin + end) / 2);
    const first = cut(begin, middle);
    const second = first && cut(middle, end);
    return second && [...first, ...second];
  };
  return cut(0, groups);
}

/** A window for each operand; those that meet are one, since a kernel must not see the same place through two. */
function windowsOf(list: readonly Reached[], begin: number, end: number, alignment: number): Window[] {
  const windows = list.map(({ operand, view, reach, bytes }): Window => {
    const { home, offset, size, at } = operand;
    const [from, to] = reach?.(begin, end) ?? hull(view, 0, sizeOf(view.shape));
    const first = Math.max(offset, Math.floor((at + bytes * from) / alignment) * alignment);
    const last = Math.min(offset + size, Math.ceil((at + bytes * to) / 16) * 16);
    return { home, offset: first, size: Math.max(last - first, 16) };
  });
  const joined: Window[] = [];
  for (const { home, offset, size } of [...windows].sort((a, b) => a.offset - b.offset)) {
    const i = joined.findLastIndex((other) => other.home === home);
    const before = joined[i];
    const meet = before && offset < before.offset + before.size;
    if (meet) joined[i] = { ...before, size: Math.max(before.size, offset + size - before.offset) };
    else joined.push({ home, offset, size });
  }
  const holds = (a: Window, b: Window) => a.home === b.home && a.offset <= b.offset && b.offset < a.offset + a.size;
  return windows.map((window) => joined.find((other) => holds(other, window)) as Window);
}
