// npm run pack:gpu -- [--out FILE]
//
// Packs what a machine without network, Node or compiler needs to train, check and measure on its GPU: this Node's own binary, the program,
// its kernels, Dawn for this platform alone, the op rows and the benchmark. One archive, to be unpacked anywhere.
import { spawnSync } from "node:child_process";
import { chmodSync, copyFileSync, cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { emitJavaScript } from "../emit.ts";

const root = fileURLToPath(new URL("../..", import.meta.url));
const platform = `${process.platform}-${process.arch}`;
const MOST_BYTES = 60e6;

/** What can be typed on the host, and the module behind it. */
const launchers = {
  autodidact: "cli/main.js",
  check: "test/host/check.js",
  bench: "test/bench/gpu/index.js",
};

/** Where a loader of Vulkan drivers may lie; servers with a driver do not always have one. Dawn also looks beside itself. */
const LOADERS = ["/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib64", "/usr/lib"].map((at) =>
  join(at, "libvulkan.so.1"),
);

/** Modules of a folder, from the root: workers are imported by nobody. */
function modules(folder: string): string[] {
  return readdirSync(join(root, folder), { recursive: true, encoding: "utf8" })
    .filter((file) => file.endsWith(".ts"))
    .map((file) => join(folder, file));
}

/** This Node, without symbols for debuggers where `strip` can take them out. */
function packNode(to: string): void {
  const shared = Object.entries(process.config.variables).filter(([name, value]) => name.startsWith("node_shared") && value === true);
  if (shared.length)
    throw new Error(
      `Cannot pack this Node: it needs libraries of its system (${shared.map(([name]) => name.slice(12)).join(", ") || "libnode"})`,
    );
  if (spawnSync("strip", ["-o", to, process.execPath]).status !== 0) copyFileSync(process.execPath, to);
  chmodSync(to, 0o755);
}

function packProgram(folder: string): void {
  const dist = join(folder, "dist");
  emitJavaScript([...modules("cli"), ...modules("src"), ...modules("gpu"), "test/host/check.ts", "test/bench/gpu/index.ts"], dist);
  const kernels = readdirSync(join(root, "dist")).filter((file) => file.endsWith(".wasm"));
  if (!kernels.length) throw new Error("Cannot pack without kernels: run `npm run build` first");
  for (const file of kernels) copyFileSync(join(root, "dist", file), join(dist, file));
  cpSync(join(root, "src/demo/emoji"), join(folder, "src/demo/emoji"), { recursive: true });
  copyFileSync(join(root, "test/bench/gpu/torch_gpu.py"), join(dist, "test/bench/gpu/torch_gpu.py"));
  for (const file of ["package.json", "LICENSE"]) copyFileSync(join(root, file), join(folder, file));
}

function packPackages(folder: string): void {
  const from = join(root, "node_modules");
  const dawn = join("webgpu/dist", platform);
  if (!existsSync(join(from, dawn)))
    throw new Error(`Cannot pack for ${platform}: the optional package \`webgpu\` is not installed for it`);
  const parts = ["@cwasm/jpeg-turbo", "@cwasm/webp", dawn, ...["package.json", "index.js", "LICENSE.md"].map((file) => `webgpu/${file}`)];
  for (const part of parts) cpSync(join(from, part), join(folder, "node_modules", part), { recursive: true });
  const loader = process.platform === "linux" && LOADERS.find((path) => existsSync(path));
  if (loader) copyFileSync(loader, join(folder, "node_modules", dawn, "libvulkan.so.1"));
}

function packLaunchers(folder: string): void {
  for (const [name, module] of Object.entries(launchers)) {
    const script = `#!/bin/sh\nhere=$(CDPATH= cd -- "$(dirname -- "$0")" && pwd)\nexec "$here/node" "$here/dist/${module}" "$@"\n`;
    writeFileSync(join(folder, name), script, { mode: 0o755 });
  }
  copyFileSync(fileURLToPath(new URL("README.md", import.meta.url)), join(folder, "README.md"));
}

/** Writes the archive. Gives its size in bytes. */
export function pack(archive: string): number {
  const work = mkdtempSync(join(tmpdir(), "autodidact-pack-"));
  try {
    const folder = join(work, "autodidact-gpu");
    mkdirSync(folder);
    packProgram(folder);
    packPackages(folder);
    packLaunchers(folder);
    packNode(join(folder, "node"));
    mkdirSync(dirname(archive), { recursive: true });
    const { status, stderr } = spawnSync("tar", ["-C", work, "-czf", archive, "autodidact-gpu"], { encoding: "utf8" });
    if (status !== 0) throw new Error(`Cannot write ${archive}: ${stderr}`);
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
  return statSync(archive).size;
}

const { values: flags } = parseArgs({ options: { out: { type: "string", default: `.cache/autodidact-gpu-${platform}.tar.gz` } } });
const archive = resolve(flags.out);
const bytes = pack(archive);
console.log(`${archive}: ${(bytes / 1e6).toFixed(1)} MB`);
if (bytes > MOST_BYTES) throw new Error(`The archive is larger than ${MOST_BYTES / 1e6} MB`);
