// Half precision (IEEE 754 binary16) by arithmetic, and the reference kernels of its two conversions.
import type { Call } from "./reference-kernels.ts";

/** The number that 16 bits stand for. */
export function fromHalf(bits: number): number {
  const [sign, exponent, fraction] = [bits & 0x8000 ? -1 : 1, (bits >> 10) & 31, bits & 1023];
  if (exponent === 31) return fraction ? Number.NaN : sign * Number.POSITIVE_INFINITY;
  return exponent ? sign * (1 + fraction / 1024) * 2 ** (exponent - 15) : sign * fraction * 2 ** -24;
}

/** The bits of the half nearest to a number; of two equally near, the even one. */
export function toHalf(x: number): number {
  const sign = x < 0 || Object.is(x, -0) ? 0x8000 : 0;
  if (Number.isNaN(x)) return 0x7e00;
  const a = Math.abs(x);
  if (a >= 65520) return sign | 0x7c00;
  const exponent = Math.max(-14, Math.floor(Math.log2(a || 1)));
  const units = a / 2 ** (exponent - 10);
  const down = Math.floor(units);
  const up = units - down > 0.5 || (units - down === 0.5 && down % 2 === 1) ? 1 : 0;
  return sign | (down + up + (exponent > -14 || down >= 1024 ? (exponent + 14) * 1024 : 0));
}

const words = new Uint16Array(2);
const word = new Float32Array(words.buffer); // two halves lie in the place of a float

export const halfKernels = {
  toHalf({ inputs: [x], outputs: [y], attrs }: Call): void {
    for (let i = 0; i < (attrs.count as number); i += 2) {
      words[0] = toHalf(x[i]);
      words[1] = i + 1 < x.length ? toHalf(x[i + 1]) : 0;
      y[i / 2] = word[0];
    }
  },
  fromHalf({ inputs: [x], outputs: [y], attrs }: Call): void {
    for (let i = 0; i < (attrs.count as number); i++) {
      word[0] = x[i >> 1];
      y[i] = fromHalf(words[i & 1]);
    }
  },
};
