// PyTorch on the same card as a contender: a Python process that answers line by line.
import { type ChildProcessByStdio, spawn } from "node:child_process";
import { createInterface, type Interface } from "node:readline";
import type { Readable, Writable } from "node:stream";
import { fileURLToPath } from "node:url";
import type { Precision } from "../../../src/tape/trace.ts";
import type { Contender } from "../measure.ts";
import { python } from "../peers/peer.ts";
import type { GpuJob } from "./products.ts";

/** A training step of DINO with ViT-S/16. */
export interface DinoJob {
  readonly op: "dino";
  readonly batch: number;
  readonly outputs: number;
  readonly precision: Precision;
}

interface Reply {
  readonly name?: string;
  readonly times?: number[];
  readonly error?: string;
}

/** A Python process with PyTorch and a GPU. */
export class Torch {
  readonly #child: ChildProcessByStdio<Writable, Readable, null>;
  readonly #lines: Interface;

  /** Throws an Error that says why there is none: no Python with PyTorch. Whether it sees a GPU the first job tells. */
  constructor() {
    const script = fileURLToPath(new URL("torch_gpu.py", import.meta.url));
    this.#child = spawn(python(), [script], { stdio: ["pipe", "pipe", "ignore"] });
    this.#child.stdin.on("error", () => {}); // whoever waits for the answer hears of the end
    this.#lines = createInterface({ input: this.#child.stdout });
  }

  #ask(request: object): Promise<Reply> {
    return new Promise((resolve, reject) => {
      const onEnd = () => reject(new Error("PyTorch's process ended"));
      this.#lines.once("close", onEnd);
      this.#lines.once("line", (line) => {
        this.#lines.off("close", onEnd);
        const reply: Reply = JSON.parse(line);
        if (reply.error) reject(new Error(reply.error));
        else resolve(reply);
      });
      this.#child.stdin.write(`${JSON.stringify(request)}\n`);
    });
  }

  /** Opens a job, on numbers of its own. Rejects with what PyTorch says. */
  async open(job: GpuJob | DinoJob): Promise<Contender> {
    const { name } = await this.#ask({ device: "cuda", job });
    return {
      name: name as string,
      result: async () => new Float32Array(),
      measure: async (stretchMs) => (await this.#ask({ stretchMs })).times as number[],
      close: async () => {},
    };
  }

  close(): void {
    this.#child.kill();
  }
}
