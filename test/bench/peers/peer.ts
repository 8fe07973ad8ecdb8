// Other runtimes as contenders: each in a process of its own, which reads a line of JSON for a request and answers with one.
// Tensors pass as files of float32.
import { type ChildProcessByStdio, spawn, spawnSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { platform, tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface, type Interface } from "node:readline";
import type { Readable, Writable } from "node:stream";
import { fileURLToPath } from "node:url";
import type { Host } from "../../../src/tape/trace.ts";
import { type Job, values } from "../jobs.ts";
import type { Contender } from "../measure.ts";
import { onnxModel } from "./onnx.ts";

export interface Peer {
  readonly name: string;
  /** npm packages with their versions; none for what the machine has or has not. */
  readonly packages: readonly string[];
  /** Is native code, which the others are not compared with. */
  readonly native: boolean;
  /** Wants a job as a model file. */
  readonly onnx?: true;
  /** The process that carries it; `folder` is where the packages are. */
  command(folder: string): readonly [command: string, ...args: string[]];
}

const beside = (file: string): string => fileURLToPath(new URL(file, import.meta.url));

/** In plain JavaScript without a loader in front: under one that translates TypeScript onnxruntime-web's threads do not start, without a word. */
const javascript =
  (library: string, ...more: string[]) =>
  (folder: string) =>
    [process.execPath, beside("worker.mjs"), beside(library), folder, ...more] as const;

/** This project, in a process like those of the others: a large one collects its garbage, and so its results, more slowly. */
export const ours: Peer = {
  name: "Autodidact",
  packages: [],
  native: false,
  command: (folder) => [process.execPath, ...process.execArgv, beside("worker.mjs"), beside("../ours.ts"), folder],
};

export const peers: readonly Peer[] = [
  {
    name: "onnxruntime-web",
    packages: ["onnxruntime-web@1.30.0"],
    native: false,
    onnx: true,
    command: javascript("onnxruntime.mjs", "onnxruntime-web"),
  },
  {
    name: "TensorFlow.js wasm",
    packages: ["@tensorflow/tfjs@4.22.0", "@tensorflow/tfjs-backend-wasm@4.22.0"],
    native: false,
    command: javascript("tensorflow.mjs"),
  },
  { name: "jax-js", packages: ["@jax-js/jax@0.1.25"], native: false, command: javascript("jax.mjs") },
  {
    name: "onnxruntime-node",
    packages: ["onnxruntime-node@1.30.0"],
    native: true,
    onnx: true,
    command: javascript("onnxruntime.mjs", "onnxruntime-node"),
  },
  { name: "PyTorch", packages: [], native: true, command: () => [python(), beside("torch_products.py")] },
];

let found: string | undefined;

/** A Python that has torch: $PYTHON, or the first of the usual names. */
export function python(): string {
  const names = [process.env.PYTHON, "python3", "/usr/bin/python3"].filter((name): name is string => !!name);
  found ??= names.find((name) => spawnSync(name, ["-c", "import torch"]).status === 0);
  if (!found) throw new Error(`no Python with torch (tried ${names.join(", ")}; $PYTHON names another)`);
  return found;
}

/** Installs a peer's packages into a folder that outlives the run. Gives the folder; throws where the network says no. */
export function fetchPeer({ name, packages }: Peer, offline: boolean): string {
  const folder = fileURLToPath(new URL("../../../.cache/peers", import.meta.url));
  const missing = packages.filter((id) => !existsSync(join(folder, "node_modules", id.slice(0, id.lastIndexOf("@")))));
  if (!missing.length) return folder;
  if (offline) throw new Error(`${name} is not fetched (--offline)`);
  mkdirSync(folder, { recursive: true });
  const args = ["install", "--no-save", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix", folder];
  const installed = spawnSync("npm", [...args, ...peers.flatMap((peer) => peer.packages)], {
    encoding: "utf8",
    shell: platform() === "win32",
  });
  if (installed.status !== 0) throw new Error(`npm could not install ${missing.join(" ")}: ${installed.stderr.trim().split("\n").at(-1)}`);
  return folder;
}

/** What a process answers. */
interface Reply {
  /** File of the result. */
  readonly result?: string;
  readonly times?: number[];
  readonly error?: string;
}

/** A process that answers line by line. */
class Talk {
  readonly #child: ChildProcessByStdio<Writable, Readable, null>;
  readonly #lines: Interface;

  constructor([command, ...args]: readonly [string, ...string[]]) {
    this.#child = spawn(command, args, { stdio: ["pipe", "pipe", "ignore"] });
    this.#lines = createInterface({ input: this.#child.stdout });
  }

  ask(request: object): Promise<Reply> {
    return new Promise((resolve, reject) => {
      const onEnd = () => reject(new Error("its process ended"));
      this.#child.once("error", reject);
      this.#lines.once("close", onEnd);
      this.#lines.once("line", (line) => {
        this.#lines.off("close", onEnd);
        const reply: Reply = JSON.parse(line);
        if (reply.error) reject(new Error(reply.error));
        else resolve(reply);
      });
      this.#child.stdin.on("error", reject);
      this.#child.stdin.write(`${JSON.stringify(request)}\n`);
    });
  }

  close(): void {
    this.#child.kill();
  }
}

/** Opens a peer on a job. Throws with a reason if it cannot do it. */
export async function openPeer(peer: Peer, job: Job, threads: number, folder: string): Promise<Contender> {
  const files = mkdtempSync(join(tmpdir(), "bench-"));
  const write = (name: string, bytes: Uint8Array): string => {
    const path = join(files, name);
    writeFileSync(path, bytes);
    return path;
  };
  const tensors = Object.fromEntries(
    Object.entries(values(job)).map(([name, { data, shape }]) => [name, { file: write(name, bytesOf(data)), shape }]),
  );
  const talk = new Talk(peer.command(folder));
  const close = async () => {
    talk.close();
    rmSync(files, { recursive: true, force: true });
  };
  try {
    const model = peer.onnx && write("model.onnx", await onnxModel(job));
    const { result } = await talk.ask({ job, threads, tensors, model, result: join(files, "result") });
    const bytes = readFileSync(result as string);
    return {
      name: peer.name,
      result: async () => new Float32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4),
      measure: async (stretchMs) => (await talk.ask({ stretchMs })).times as number[],
      close,
    };
  } catch (error) {
    await close();
    throw error;
  }
}

const bytesOf = (data: Host["data"]): Uint8Array => new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
