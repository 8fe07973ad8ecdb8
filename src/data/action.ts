// What is done to one view of one picture: steps whose draws are made.
import type { Box } from "./picture.ts";
import type { Interpolation } from "./views.ts";

/** A step with its draws made. Factors and angles as in torchvision's functions of the same names; hue in turns. */
export type Action =
  | readonly ["crop", box: Box, width: number, height: number, interpolation: Interpolation]
  | readonly ["flip"]
  | readonly ["brightness", factor: number]
  | readonly ["brighten", delta: number]
  | readonly ["contrast", factor: number]
  | readonly ["saturation", factor: number]
  | readonly ["hue", turns: number]
  | readonly ["grayscale"]
  | readonly ["blur", sigma: number, kernel?: number]
  | readonly ["solarize", threshold: number];

type Rest<A> = A extends readonly [string, ...infer R] ? R : never;

/** One definition of every action, on pictures of type P. */
export type Operations<P> = {
  [A in Action as A[0]]: (picture: P, ...args: Rest<A>) => P;
};
