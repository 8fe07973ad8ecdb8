// The image kernels, a module of their own: each data worker has an instance with its own, unshared memory. Pictures are
// uint8 [h, w, 3] without padding between rows. The host places buffers behind `heap` and leaves 64 bytes of slack behind
// each, so that the last vector of a buffer may be read and written whole.
export const heap: usize = __heap_base;

export { coefficients, resampleHorizontal, resampleVertical } from "./resize";
export { grayscale, hue, luminance, lut, saturation } from "./color";
export { boxHorizontal, boxVertical } from "./blur";
export { flip, normalize } from "./pixels";
export {
  channelSums, flipFloats, fromGrey, hsv, invertAbove, standardize, stretch, weighHorizontal, weighVertical,
} from "./floats";
