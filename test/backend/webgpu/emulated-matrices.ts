// Subgroup matrices on a GPU that has none: their WGSL is rewritten into loops of the threads of a subgroup. It lies if it is told to.
import type { Tile } from "../../../gpu/product.ts";
import type { SubgroupMatrix } from "../../../gpu/tile-matrix.ts";
import { type OpenDevice, openDevice } from "../../../src/backend/webgpu/device.ts";
import { GpuExecutable } from "../../../src/backend/webgpu/executable.ts";
import { Pipelines } from "../../../src/backend/webgpu/pipelines.ts";
import { Storage } from "../../../src/backend/webgpu/storage.ts";
import type { Program } from "../../../src/tape/program.ts";
import { onGpu, skipped } from "./support.ts";

/** What an emulated driver does wrong: it takes columns for rows, sums in halves, forgets the sums so far, or knows no matrices after all. */
export type Lie = "transposes" | "sums in halves" | "forgets" | "refuses";

/** Operands stay in their panels, and are named by whether they lie row by row, by the four where they begin and by their pitch; a thread keeps its part of the sums. */
function rewritten(code: string, { m, n, k, lanes }: SubgroupMatrix, lie?: Lie): string {
  if (!code.includes("chromium_experimental_subgroup_matrix") || lie === "refuses") return code;
  const own = (m * n) / lanes; // sums of a thread: numbers thread, thread + lanes, ...
  const element = (side: "left" | "right") => `
fn ${side}_element(matrix: vec3u, r: u32, c: u32) -> f32 {
  let i = 4u * (matrix.y + matrix.z * select(c, r, matrix.x == 1u)) + select(r, c, matrix.x == 1u);
  return f32(${side}_panel[i / 4u][i % 4u]);
}`;
  const sum = `sum + left_element(a, r, i) * right_element(b, i, c)`;
  return `${code
    .replace("enable chromium_experimental_subgroup_matrix;", "")
    .replace("@diagnostic(off, chromium.subgroup_matrix_uniformity)", "")
    .replace(/alias Left = .*;\nalias Right = .*;\nalias Sums = .*;/, `alias Sums = array<f32, ${own}>;`)
    .replaceAll(
      /subgroupMatrixLoad<\w+, (row|col)_major>\(&\w+, /g,
      (_, major) => `vec3u(${major === "row" || lie === "transposes" ? 1 : 0}u, `,
    )
    .replaceAll("subgroupMatrixMultiplyAccumulate(", "multiply_accumulate(")
    .replaceAll("subgroupMatrixStore<row_major>(&sums, ", "store_sums(")
    .replace("run(group, lane, subgroup);", `thread = lane % ${lanes}u; run(group, lane, subgroup);`)}
var<private> thread: u32;
fn once() -> u32 { return p.k / max(p.k, 1u); } // 1, which no compiler knows, so that none unrolls all of this${element("left")}${element("right")}
fn short(x: f32) -> f32 { return bitcast<f32>((bitcast<u32>(x) + 0x1000u) & 0xffffe000u); } // ten bits behind the first, as halves have
fn multiply_accumulate(a: vec3u, b: vec3u, before: Sums) -> Sums {
  var after: Sums;
  for (var e = 0u; e < ${own}u * once(); e++) {
    let r = (thread + e * ${lanes}u) / ${n}u;
    let c = (thread + e * ${lanes}u) % ${n}u;
    var sum = ${lie === "forgets" ? "0.0" : "before[e]"};
    for (var i = 0u; i < ${k}u * once(); i++) { sum = ${lie === "sums in halves" ? `short(${sum})` : sum}; }
    after[e] = sum;
  }
  return after;
}
fn store_sums(at: u32, matrix: Sums, pitch: u32) {
  for (var e = 0u; e < ${own}u * once(); e++) {
    let place = thread + e * ${lanes}u;
    sums[at + place / ${n}u * pitch + place % ${n}u] = matrix[e];
  }
}`;
}

/**
 * A device whose subgroups seem to multiply matrices of this size. `workgroupBytes`: that gives a workgroup so much at most. `used` is called with each
 * shader that has matrices.
 */
export function withMatrices(
  open: OpenDevice,
  matrix: SubgroupMatrix,
  { lie, workgroupBytes, used }: { lie?: Lie; workgroupBytes?: number; used?: (label: string) => void } = {},
): OpenDevice {
  const { limits } = open.device;
  const device = new Proxy(open.device, {
    get(target, name) {
      if (name === "features") return new Set([...target.features, "chromium-experimental-subgroup-matrix"]);
      if (name === "createShaderModule") {
        return ({ label, code }: GPUShaderModuleDescriptor) => {
          if (code.includes("subgroupMatrix")) used?.(label ?? "");
          return target.createShaderModule({ label, code: rewritten(code, matrix, lie) });
        };
      }
      if (name === "limits" && workgroupBytes) {
        return new Proxy(limits, {
          get: (of, key) => (key === "maxComputeWorkgroupStorageSize" ? workgroupBytes : of[key as keyof GPUSupportedLimits]),
        });
      }
      const value = Reflect.get(target, name, target);
      return typeof value === "function" ? value.bind(target) : value;
    },
  });
  return { ...open, device, adapter: { ...open.adapter, matrix } };
}

/** Of programs that take no turns. */
export const turns = { inTurn: <T>(work: () => Promise<T>) => work(), unlessBroken: <T>(work: Promise<T>) => work };

/** Computes programs on a device as `prove` wants it. */
export function runner({ device }: OpenDevice) {
  const [storage, pipelines] = [new Storage(device), new Pipelines(device)];
  return (program: Program, tile: Tile) => new GpuExecutable(program, device, storage, pipelines, turns, () => tile).run([]);
}

/** Computes only some of a program's products. */
export const some = (run: ReturnType<typeof runner>, which: readonly number[]) => async (program: Program, tile: Tile) => {
  const outputs = program.outputs.filter((_, i) => which.includes(i));
  const made = new Set(outputs.map(({ buffer }) => buffer));
  const wanted = program.steps.filter(({ outputs: [to] }) => made.has(to.buffer));
  const read = new Set(wanted.flatMap(({ inputs }) => inputs.map(({ buffer }) => buffer)));
  const steps = program.steps.filter((step) => wanted.includes(step) || read.has(step.outputs[0].buffer));
  const numbers = await run({ ...program, steps, outputs }, tile);
  return program.outputs.map((output) => numbers[outputs.indexOf(output)] ?? Float32Array.of(0));
};

/** The GPU that a suite of tests emulates matrices on, and what adds a test to it: skipped in sight where kernels of matrices cannot run. */
export async function emulated(suite: Parameters<typeof onGpu>[0] & { after(hook: () => Promise<void>): void }) {
  const found = skipped ? undefined : await openDevice({ software: true });
  suite.after(async () => {
    await found?.close();
  });
  const lacks = (["shader-f16", "subgroups"] as const).filter((feature) => found && !found.device.features.has(feature));
  if (lacks.length) console.log(`Matrices are not computed: the GPU has no ${lacks.join(" and no ")}`);
  return { open: found as OpenDevice, check: lacks.length ? suite.skip : onGpu(suite) };
}
