// Every row of the op table in a browser: headless Chromium opens a page of ours, which sends back what it finds.
// npm run test:chromium: $CHROMIUM, or the first of the usual names that runs.
import { spawn, spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync } from "node:fs";
import { rm } from "node:fs/promises";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join, normalize } from "node:path";
import { emitJavaScript } from "../../emit.ts";
import { holdRows, MissingRuntime, Reports } from "./hold.ts";

const NAMES = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];

/** Chromium hides WebGPU on Linux without the second flag, and drivers that compute on the CPU without the third. */
const FLAGS = ["--headless=new", "--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader", "--no-first-run"];

const PAGE = `<!doctype html><title>op rows</title><script type="module">
import { runRows } from "./test/backend/runtimes/rows.js";
await runRows((report) => fetch("/", { method: "POST", body: JSON.stringify(report) }));
</script>`;

function findChromium(): string {
  const names = process.env.CHROMIUM ? [process.env.CHROMIUM] : NAMES;
  const found = names.find((name) => spawnSync(name, ["--version"]).status === 0);
  if (!found) throw new MissingRuntime(`no Chromium here (tried ${names.join(", ")}; $CHROMIUM names another)`);
  return found;
}

/** Serves the page and the modules in `folder`, and takes in reports. */
function serve(folder: string, reports: Reports): Promise<Server> {
  const server = createServer(async (request, response) => {
    if (request.method === "POST") {
      const body = await request.setEncoding("utf8").toArray();
      reports.add(JSON.parse(body.join("")));
      return response.end();
    }
    if (request.url === "/") return response.setHeader("content-type", "text/html").end(PAGE);
    try {
      const script = readFileSync(join(folder, normalize(`/${request.url}`)));
      response.setHeader("content-type", "text/javascript").end(script);
    } catch {
      response.writeHead(404).end();
    }
  });
  return new Promise((resolve) => server.listen(0, "127.0.0.1", () => resolve(server)));
}

await holdRows("Chromium", async () => {
  const name = findChromium();
  const folder = mkdtempSync(join(tmpdir(), "autodidact-chromium-"));
  const reports = new Reports();
  emitJavaScript(["test/backend/runtimes/rows.ts"], folder);
  const server = await serve(folder, reports);
  const address = `http://127.0.0.1:${(server.address() as AddressInfo).port}/`;
  const sandbox = process.getuid?.() === 0 ? ["--no-sandbox"] : []; // Chromium does not start as root with it
  const chromium = spawn(name, [...FLAGS, ...sandbox, `--user-data-dir=${join(folder, "profile")}`, address], { stdio: "ignore" });
  const ended = new Promise<void>((resolve) => chromium.on("close", () => resolve()));
  chromium.on("error", ({ message }) => reports.fail(message));
  chromium.on("close", (code) => reports.fail(`Chromium ended with code ${code} before it was done`));
  return reports.all.finally(async () => {
    server.close();
    server.closeAllConnections();
    chromium.kill();
    await ended;
    await rm(folder, { recursive: true, force: true, maxRetries: 20, retryDelay: 100 }).catch(() => {}); // its helpers may still write there
  });
});
