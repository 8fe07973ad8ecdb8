// Shaders become pipelines once for each text; programs share them.

/** What a shader does not compile to, with the step that wanted it. */
export class ShaderError extends Error {
  constructor(label: string, message: string) {
    super(`Cannot compile the kernel of ${label} for this GPU: ${message}`);
    this.name = "ShaderError";
  }
}

export class Pipelines {
  readonly #device: GPUDevice;
  readonly #layouts: GPUBindGroupLayout[] = [];
  readonly #pipelines = new Map<string, Promise<GPUComputePipeline>>();

  constructor(device: GPUDevice) {
    this.#device = device;
  }

  /** Binding 0 holds the numbers of a kernel's `p`, bindings 1 to `buffers` what it reads and writes. */
  layout(buffers: number): GPUBindGroupLayout {
    const storage = Array.from({ length: buffers }, () => ({ type: "storage" as const }));
    this.#layouts[buffers] ??= this.#device.createBindGroupLayout({
      label: `${buffers} buffers`,
      entries: [{ type: "uniform" as const }, ...storage].map((buffer, binding) => ({ binding, visibility: 4, buffer })),
    });
    return this.#layouts[buffers];
  }

  /** The pipeline of a shader. Rejects with a ShaderError. */
  get(shader: string, buffers: number, label: string): Promise<GPUComputePipeline> {
    const known = this.#pipelines.get(shader);
    if (known) return known;
    const made = this.#compile(shader, buffers, label);
    this.#pipelines.set(shader, made);
    return made;
  }

  async #compile(code: string, buffers: number, label: string): Promise<GPUComputePipeline> {
    const module = this.#device.createShaderModule({ label, code });
    const layout = this.#device.createPipelineLayout({ label, bindGroupLayouts: [this.layout(buffers)] });
    try {
      return await this.#device.createComputePipelineAsync({ label, layout, compute: { module, entryPoint: "main" } });
    } catch (error) {
      const { messages } = await module.getCompilationInfo();
      const first = messages.find(({ type }) => type === "error");
      throw new ShaderError(label, first ? `line ${first.lineNum}: ${first.message}` : (error as Error).message);
    }
  }
}
