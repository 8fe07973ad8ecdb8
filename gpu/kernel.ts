// A kernel as text: what it touches by name, and WGSL that knows those names only. Which buffer a name lies in, and where, is
// filled in here, so one kernel serves operands in buffers of their own as well as operands that share one.

export interface Kernel {
  readonly name: string;
  /** Operands that the code reads, as functions `name(i)` of an element's place. */
  readonly reads: readonly string[];
  /** Operands that the code writes, as functions `set_name(i, value)`; `name(i)` reads them. */
  readonly writes: readonly string[];
  /** Of `reads` those that the code also reads as `name4(i)`, four at once from a place that is a multiple of 4. */
  readonly fours?: readonly string[];
  /** The operand that indices lead anywhere in, if any: the code asks `sees(i)` whether this call is for place i of it, and else does nothing there. */
  readonly table?: string;
  /** Fields of `p`, each "name: u32", "name: i32" or "name: f32". */
  readonly params: readonly string[];
  /** Whether several calls can be one dispatch: barriers, if any, must not depend on `p`. */
  readonly batches?: true;
  /** Extensions of WGSL that the code needs; buffers of halves bring "f16" along. */
  readonly enables?: readonly string[];
  /** Whether `run` takes the number of the thread's subgroup, too; it is the same in all threads of one. */
  readonly subgroups?: boolean;
  /** Threads of a workgroup. */
  readonly lanes: number;
  /**
   * Declares `fn run(group: u32, lane: u32)`, or with `subgroup: u32` behind these, which LANES threads call for each group; group is the
   * same in all of them.
   */
  readonly code: string;
}

/** Fields of `p` in their order: the number of groups, each operand's place in its binding, and the kernel's own. */
export function fields({ reads, writes, params }: Kernel): { name: string; type: string }[] {
  const own = params.map((param) => {
    const [name, type] = param.split(": ");
    return { name, type };
  });
  return [{ name: "groups", type: "u32" }, ...[...reads, ...writes].map((name) => ({ name: `${name}_at`, type: "u32" })), ...own];
}

/** Buffers of vectors: those of which something is read four at once, and to which nothing is written, since writing one number writes all four. */
function vectorBuffers({ reads, fours = [] }: Kernel, bindings: readonly number[]): ReadonlySet<number> {
  const written = new Set(bindings.slice(reads.length));
  return new Set(fours.map((name) => bindings[reads.indexOf(name)]).filter((b) => !written.has(b)));
}

/** What operands and code need of the rest: buffers, functions of operands, the kernel's own declarations. Code sees float32 everywhere. */
function body(kernel: Kernel, { bindings, types }: Bindings): string {
  const { reads, writes, fours = [], table, params, subgroups, lanes, code } = kernel;
  const vectors = vectorBuffers(kernel, bindings);
  const stored = (b: number) => (vectors.has(b) ? `vec4<${types[b]}>` : types[b]);
  const place = (b: number, at: string) => (vectors.has(b) ? `buffer${b}[(${at}) / 4u][(${at}) % 4u]` : `buffer${b}[${at}]`);
  const element = (b: number, at: string) => (types[b] === "f16" ? `f32(${place(b, at)})` : place(b, at));
  const four = (b: number, at: string) =>
    vectors.has(b) ? `vec4f(buffer${b}[(${at}) / 4u])` : `vec4f(${[0, 1, 2, 3].map((j) => element(b, `${at} + ${j}u`)).join(", ")})`;
  return [
    ...types.map((_, b) => `@group(0) @binding(${b + 1}) var<storage, read_write> buffer${b}: array<${stored(b)}>;`),
    ...[...reads, ...writes].map((name, i) => `fn ${name}(i: u32) -> f32 { return ${element(bindings[i], `p.${name}_at + i`)}; }`),
    ...fours.map((name) => `fn ${name}4(i: u32) -> vec4f { return ${four(bindings[reads.indexOf(name)], `p.${name}_at + i`)}; }`),
    ...writes.map((name, i) => {
      const b = bindings[reads.length + i];
      return `fn set_${name}(i: u32, value: f32) { buffer${b}[p.${name}_at + i] = ${types[b] === "f16" ? "f16(value)" : "value"}; }`;
    }),
    ...(table
      ? [`fn sees(i: u32) -> bool { return ${params.includes(TABLE_RANGE[0]) ? "i >= p.table_begin && i < p.table_end" : "true"}; }`]
      : []),
    `const LANES = ${lanes}u;`,
    code,
    "@compute @workgroup_size(LANES)",
    "fn main(@builtin(workgroup_id) id: vec3u, @builtin(num_workgroups) grid: vec3u, @builtin(local_invocation_index) lane: u32",
    subgroups ? ", @builtin(subgroup_id) subgroup: u32) {" : ") {",
    "  let group = id.x + id.y * grid.x;",
  ].join("\n");
}

/** The storage buffers of a shader. */
export interface Bindings {
  /** For each operand, reads first, the number of the buffer that it lies in, from 0. */
  readonly bindings: readonly number[];
  /** How numbers are stored in each buffer. */
  readonly types: readonly ("f32" | "f16")[];
}

function enables({ enables: own = [] }: Kernel, { types }: Bindings): string {
  return [...new Set([...(types.includes("f16") ? ["f16"] : []), ...own])].map((name) => `enable ${name};\n`).join("");
}

/** Parameters of kernels that may run for some places of their table only: from which one on, and before which. */
export const TABLE_RANGE = ["table_begin: u32", "table_end: u32"] as const;

/** A parameter of kernels that may run for some of their groups only: the number of the first of them. */
export const FIRST_GROUP = "first_group: u32";

const callOf = ({ params, subgroups }: Kernel, group: string) =>
  `run(${group}${params.includes(FIRST_GROUP) ? " + p.first_group" : ""}, lane${subgroups ? ", subgroup" : ""});`;

const members = (kernel: Kernel) => fields(kernel).map(({ name, type }) => `${name}: ${type}`);

/** The whole shader. Binding 0 is `p`, storage buffer b is binding b + 1. Groups beyond 65,535 go on in a second row of the grid. */
export function shader(kernel: Kernel, bindings: Bindings): string {
  return `${enables(kernel, bindings)}struct Params { ${members(kernel).join(", ")} }
@group(0) @binding(0) var<uniform> p: Params;
${body(kernel, bindings)}
  if (group < p.groups) { ${callOf(kernel, "group")} }
}
`;
}

/**
 * The shader of \`calls\` calls of one kernel in one dispatch. Binding 0 holds the number of all groups, padded to 16 bytes, and for
 * each call its \`p\`, padded likewise, with the number of its first group in place of the number of its groups.
 */
export function batchShader(kernel: Kernel, bindings: Bindings, calls: number): string {
  const own = members(kernel);
  const padding = Array.from({ length: (4 - (own.length % 4)) % 4 }, (_, i) => `padding${i}: u32`); // said aloud: naga takes no @align of a struct
  return `${enables(kernel, bindings)}struct Params { ${[...own, ...padding].join(", ")} }
struct Batch { groups: u32, @align(16) calls: array<Params, ${calls}> }
@group(0) @binding(0) var<uniform> batch: Batch;
var<private> p: Params;
${body(kernel, bindings)}
  if (group >= batch.groups) { return; }
  var call = 0u; // the last one that begins at or before this group
  for (var end = ${calls}u; end - call > 1u;) {
    let middle = (call + end) / 2u;
    if (batch.calls[middle].groups <= group) { call = middle; } else { end = middle; }
  }
  p = batch.calls[call];
  ${callOf(kernel, "group - p.groups")}
}
`;
}
