// Finding a GPU and opening it: WebGPU of the runtime where it has one (Deno, browsers), else Dawn's from the optional package.
import type { SubgroupMatrix } from "../../../gpu/tile-matrix.ts";

/** The bits of the WebGPU specification: Node has no globals for them. */
export const usage = { MAP_READ: 1, COPY_SRC: 4, COPY_DST: 8, UNIFORM: 64, STORAGE: 128, QUERY_RESOLVE: 512 } as const;
export const MAP_READ_MODE = 1;

export interface DeviceOptions {
  /** Part of the adapter's name, in any case; default: the first that there is. */
  name?: string;
  /** Whether a driver that computes on the CPU will do. */
  software?: boolean;
  /** Dawn's null device, which compiles and runs nothing: for checking shaders. */
  nothing?: boolean;
}

/** What people want to know of an adapter. */
export interface AdapterDescription {
  readonly name: string;
  /** All that tells it and its driver from others. */
  readonly identity: string;
  /** Computes on the CPU. */
  readonly software: boolean;
  readonly features: readonly string[];
  readonly limits: Readonly<Record<string, number>>;
  /** The largest matrices that its subgroups multiply with sums in float32, of halves if there are such. */
  readonly matrix?: SubgroupMatrix;
}

/** An open device, with everything that has to stay referenced while it lives. */
export interface OpenDevice {
  readonly device: GPUDevice;
  readonly adapter: AdapterDescription;
  /** Remarks on what could not be had as asked. */
  readonly notes: readonly string[];
  close(): Promise<void>;
}

/** Of the adapter's limits those that kernels profit from; a device has the smallest ones unless asked. */
const WANTED_LIMITS = [
  "maxBufferSize",
  "maxStorageBufferBindingSize",
  "maxStorageBuffersPerShaderStage",
  "maxComputeWorkgroupStorageSize",
  "maxComputeInvocationsPerWorkgroup",
  "maxComputeWorkgroupSizeX",
  "minStorageBufferOffsetAlignment",
] as const;

const WANTED_FEATURES = ["shader-f16", "subgroups", "timestamp-query", "chromium-experimental-subgroup-matrix"];

/**
 * Toggles of Dawn. Matrices of subgroups are behind the first; NVIDIA's f16 behind the second; exact times behind the third; and
 * SwiftShader compiles kernels with workgroup memory ten times faster without the fourth, which keeps that memory zeroed in another way.
 */
const TOGGLES = ["enable-dawn-features=allow_unsafe_apis,vulkan_enable_f16_on_nvidia", "disable-dawn-features=timestamp_quantization"];
const SWIFTSHADER_TOGGLES = `${TOGGLES[1]},use_vulkan_zero_initialize_workgroup_memory_extension`;

interface Dawn {
  create(options: string[]): GPU;
}

/** Why there is no GPU to be had; the message says what would do. */
export class NoGpuError extends Error {
  constructor(reason: string) {
    super(`Cannot compute on a GPU: ${reason}`);
    this.name = "NoGpuError";
  }
}

/** The runtime's own entry, or Dawn's. The object must stay referenced as long as anything made from it. */
async function entry(toggles: readonly string[]): Promise<GPU> {
  const own = (globalThis.navigator as Navigator | undefined)?.gpu;
  if (own) return own;
  const name = "webgpu"; // not a literal in the import: the package is optional
  const dawn: Dawn | undefined = await import(name).catch((error) => {
    if (error.code === "ERR_MODULE_NOT_FOUND") return undefined;
    throw new NoGpuError(`the package \`webgpu\` does not load here (${error.message.split("\n")[0]})`);
  });
  if (!dawn) throw new NoGpuError("the optional package `webgpu` is not installed; `npm install webgpu` adds it");
  process.env.NODEVICE_SELECT ??= "1"; // Mesa's layer that orders devices wants a desktop and complains where there is none
  return dawn.create([...toggles]);
}

/** What Dawn says of an adapter's matrices. */
interface MatrixInfo {
  readonly subgroupMatrixConfigs?: Iterable<{ componentType: string; resultComponentType: string; M: number; N: number; K: number }>;
  readonly subgroupMaxSize?: number;
}

/** The largest matrices with sums in float32, of halves if there are such. Sums in halves would cost more accuracy than halves do. */
export function matrixOf({ subgroupMatrixConfigs = [], subgroupMaxSize = 0 }: MatrixInfo): SubgroupMatrix | undefined {
  const found = [...subgroupMatrixConfigs].flatMap(({ componentType: type, resultComponentType, M: m, N: n, K: k }): SubgroupMatrix[] =>
    resultComponentType === "f32" && (type === "f16" || type === "f32") ? [{ m, n, k, type, lanes: subgroupMaxSize }] : [],
  );
  const amount = ({ type, m, n, k }: SubgroupMatrix) => (type === "f16" ? 2 ** 20 : 1) * m * n * k;
  return subgroupMaxSize ? found.toSorted((a, b) => amount(b) - amount(a))[0] : undefined;
}

function describe(adapter: GPUAdapter): AdapterDescription {
  const { vendor, architecture, device, description } = adapter.info;
  const name = description || [vendor, architecture, device].filter(Boolean).join(" ") || "unnamed adapter";
  const software = adapter.info.isFallbackAdapter || /llvmpipe|lavapipe|swiftshader/i.test(`${name} ${architecture} ${device}`);
  const limits: Record<string, number> = {};
  for (const key in adapter.limits) {
    const value = adapter.limits[key as keyof GPUSupportedLimits];
    if (typeof value === "number") limits[key] = value;
  }
  const identity = [vendor, architecture, device, description].join("/");
  return { name, identity, software, features: [...adapter.features].sort(), limits, matrix: matrixOf(adapter.info) };
}

interface FoundAdapter {
  /** What it comes from, to be kept referenced. */
  readonly gpu: GPU;
  readonly adapter: GPUAdapter;
}

/** Asks for an adapter. Throws a NoGpuError that says why there is none. */
async function findAdapter({ name, nothing }: DeviceOptions): Promise<FoundAdapter> {
  const wanted = [...(nothing ? ["backend=null"] : []), ...(name ? [`adapter=${await wholeName(name)}`] : [])];
  const ask = async (toggles: readonly string[]) => {
    const gpu = await entry([...toggles, ...wanted]);
    const adapter = await gpu.requestAdapter({ powerPreference: "high-performance" }).catch((error: Error) => {
      throw new NoGpuError((name ? `no adapter is called "${name}"; ${error.message}` : error.message).replaceAll(/\s+/g, " "));
    });
    if (!adapter)
      throw new NoGpuError("WebGPU found no adapter; a Vulkan driver for this machine's GPU is needed (`vulkaninfo --summary` lists them)");
    return { gpu, adapter };
  };
  const found = await ask(TOGGLES);
  return found.adapter.info.architecture === "swiftshader" ? ask([TOGGLES[0], SWIFTSHADER_TOGGLES]) : found;
}

/** What `requestAdapter` gives here, without opening it. Throws a NoGpuError. */
export async function describeAdapter(options: DeviceOptions = {}): Promise<AdapterDescription> {
  return describe((await findAdapter(options)).adapter);
}

/** Names of all adapters, as far as the runtime tells. */
async function adapterNames(): Promise<string[]> {
  const gpu = await entry(["adapter=?"]); // no name holds it: Dawn answers with those that do exist, a browser takes no notice
  const refusal: string = await gpu.requestAdapter().then(
    () => "",
    (error: Error) => error.message,
  );
  return [...new Set([...refusal.matchAll(/name: '([^']+)'/g)].map(([, name]) => name))];
}

/** The first name that has this in it, in any case, since Dawn minds it; the part itself where there is none, for Dawn to refuse. */
async function wholeName(part: string): Promise<string> {
  const names = await adapterNames();
  return names.find((name) => name.toLowerCase().includes(part.toLowerCase())) ?? part;
}

/** Every adapter that there is, software too. Throws a NoGpuError where there is none. */
export async function listAdapters(): Promise<AdapterDescription[]> {
  const names = await adapterNames();
  if (names.length === 0) return [await describeAdapter()];
  return Promise.all(names.map((name) => describeAdapter({ name })));
}

/** What open devices were made from: Dawn dies if its entry is collected while a device lives. */
const alive = new Set<unknown>();

/** Opens a device with all that the adapter offers. Throws a NoGpuError where there is none that will do. */
export async function openDevice(options: DeviceOptions = {}): Promise<OpenDevice> {
  const found = await findAdapter(options);
  const description = describe(found.adapter);
  if (description.software && !options.software) {
    throw new NoGpuError(`the only adapter, ${description.name}, is software that computes on the CPU, slower than the wasm backend`);
  }
  const { device, notes, ...made } = await requestDevice(found, description, options);
  alive.add(made);
  return {
    device,
    adapter: description,
    notes,
    async close() {
      await destroy(device);
      alive.delete(made);
    },
  };
}

/** A feature, or a limit with its value. */
interface Wish {
  readonly name: string;
  readonly limit?: number;
}

const requestFor = (wishes: readonly Wish[]): GPUDeviceDescriptor => ({
  requiredFeatures: wishes.flatMap(({ name, limit }) => (limit === undefined ? [name as GPUFeatureName] : [])),
  requiredLimits: Object.fromEntries(wishes.flatMap(({ name, limit }) => (limit === undefined ? [] : [[name, limit]]))),
});

/**
 * All that an adapter says it has. Where it refuses that, since a driver may offer more than it has, each wish is made on top of those that
 * were granted, so that the notes name what was refused and nothing else is given up.
 */
async function requestDevice(found: FoundAdapter, { name, features, limits }: AdapterDescription, options: DeviceOptions) {
  const wishes: Wish[] = [
    ...WANTED_FEATURES.filter((feature) => features.includes(feature)).map((feature) => ({ name: feature })),
    ...WANTED_LIMITS.filter((key) => limits[key] !== undefined).map((key) => ({ name: key, limit: limits[key] })),
  ];
  const ask = async (from: FoundAdapter, granted: readonly Wish[]) => ({
    ...from,
    device: await from.adapter.requestDevice(requestFor(granted)),
  });
  const refusal = (what: string, error: Error) => `${name} refused ${what} (${error.message.replaceAll(/\s+/g, " ")})`;
  const notes: string[] = [];
  const all = await ask(found, wishes).catch(() => undefined);
  if (all) return { ...all, notes };
  let made = await ask(await findAdapter(options), []).catch((error) => {
    throw new NoGpuError(refusal("a device", error));
  });
  const granted: Wish[] = [];
  for (const wish of wishes) {
    const from = await findAdapter(options); // an adapter serves one request
    try {
      const more = await ask(from, [...granted, wish]);
      await destroy(made.device);
      made = more;
      granted.push(wish);
    } catch (error) {
      notes.push(refusal(`the ${wish.name}${wish.limit === undefined ? "" : ` of ${wish.limit}`} that it offers`, error as Error));
    }
  }
  return { ...made, notes };
}

async function destroy(device: GPUDevice): Promise<void> {
  device.destroy();
  await device.lost;
}
