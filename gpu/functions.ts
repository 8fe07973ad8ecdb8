// Elementwise ops as WGSL. Functions that GPUs compute loosely are written out, with the polynomials of assembly/simd.ts.

/** The expression of an op; operands are names of registers. */
const expressions: Record<string, (a: string, b: string, c: string) => string> = {
  neg: (a) => `-${a}`,
  exp: (a) => `exp(${a})`,
  log: (a) => `log(${a})`,
  sqrt: (a) => `sqrt(${a})`,
  rsqrt: (a) => `inverseSqrt(${a})`,
  square: (a) => `${a} * ${a}`,
  abs: (a) => `abs(${a})`,
  floor: (a) => `floor(${a})`,
  tanh: (a) => `tanh_of(${a})`,
  sigmoid: (a) => `1.0 / (1.0 + exp(-${a}))`,
  relu: (a) => `select(${a}, 0.0, ${a} <= 0.0)`,
  gelu: (a) => `${a} * normal_below(${a})`,
  geluDerivative: (a) => `normal_below(${a}) + ${a} * 0.39894228 * exp(-0.5 * ${a} * ${a})`,
  add: (a, b) => `${a} + ${b}`,
  sub: (a, b) => `${a} - ${b}`,
  mul: (a, b) => `${a} * ${b}`,
  div: (a, b) => `${a} / ${b}`,
  maximum: (a, b) => `larger(${a}, ${b})`,
  minimum: (a, b) => `-larger(-${a}, -${b})`,
  greater: (a, b) => `f32(${a} > ${b})`,
  greaterEqual: (a, b) => `f32(${a} >= ${b})`,
  equal: (a, b) => `f32(${a} == ${b})`,
  where: (c, a, b) => `select(${b}, ${a}, ${c} != 0.0)`,
};

export const elementwiseOps: readonly string[] = Object.keys(expressions);

/** The WGSL expression of an elementwise op. */
export function expression(op: string, operands: readonly string[]): string {
  const of = expressions[op];
  if (!of) throw new TypeError(`Cannot run "${op}" on the gpu backend: it has no kernel there`);
  return of(operands[0], operands[1], operands[2]);
}

const declarations: Record<string, string> = {
  is_nan: "fn is_nan(x: f32) -> bool { return (bitcast<u32>(x) & 0x7fffffffu) > 0x7f800000u; }",
  // The larger, NaN if one is.
  larger: "fn larger(a: f32, b: f32) -> f32 { return select(a, b, b > a || is_nan(b)); }",
  // An odd polynomial below 0.625, 1 - 2 / (exp(2|x|) + 1) beyond: see tanh4.
  tanh_of: `fn tanh_of(x: f32) -> f32 {
  let a = abs(x);
  let u = x * x;
  let poly = (((-0.0057170057 * u + 0.0206505495) * u - 0.0537434855) * u + 0.1333149112) * u - 0.3333328392;
  let far = 1.0 - 2.0 / (exp(2.0 * min(a, 20.0)) + 1.0);
  return select(select(sign(x) * far, x, is_nan(x)), x * u * poly + x, a < 0.625);
}`,
  // The normal distribution function: 1 - exp(-x^2 / 2) R(t), t = 1 / (1 + |x| / 4), R fitted to 4e-9: see phi4.
  normal_below: `fn normal_below(x: f32) -> f32 {
  let t = 1.0 / (1.0 + 0.25 * abs(x));
  var r = -0.088903191 * t + 0.327591157;
  r = r * t - 0.2368188129;
  r = r * t + 0.2467411566;
  r = r * t + 0.0467427352;
  r = r * t + 0.1047977953;
  r = r * t + 0.099849156;
  let tail = exp(-0.5 * x * x) * r * t;
  return select(1.0 - tail, tail, x < 0.0);
}`,
};

/** Declarations of the functions that code calls, each once. */
export function functionsFor(code: string): string {
  const needed = new Set<string>();
  const visit = (text: string) => {
    for (const [name, declaration] of Object.entries(declarations)) {
      if (needed.has(name) || !text.includes(`${name}(`)) continue;
      needed.add(name);
      visit(declaration);
    }
  };
  visit(code);
  return [...needed].map((name) => declarations[name]).join("\n");
}
