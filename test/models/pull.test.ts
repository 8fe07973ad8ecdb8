import { createHash } from "node:crypto";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { backboneError } from "../../src/models/backbones.ts";
import { published } from "../../src/models/published.ts";
import { cacheFolder, checkpointFile, publishedPath, pull } from "../../src/models/pull.ts";
import { run } from "../cli/support.ts";

const pulls = suite<{ folder: string }>("pull");
pulls.before.each(async (context) => {
  context.folder = await mkdtemp(join(tmpdir(), "pull-"));
});
pulls.after.each(({ folder }) => rm(folder, { recursive: true }));

pulls("every published checkpoint has an address of its own, a network that exists and a score in per cent", () => {
  const entries = Object.entries(published);
  assert.is(new Set(entries.map(([, { url }]) => url)).size, entries.length);
  for (const [name, { url, backbone, md5, sha256, linear, knn, finetune }] of entries) {
    assert.match(url, /^https:\/\//, name);
    if (backbone) assert.is(backboneError(backbone), undefined, name);
    for (const digest of [md5, sha256]) if (digest) assert.match(digest, /^[0-9a-f]{6,}$/, name);
    for (const score of [linear, knn, finetune]) if (score !== undefined) assert.ok(score > 50 && score < 100, name);
  }
});

pulls("models --published lists all of them", async () => {
  const { out } = await run("models --published --json");
  assert.equal(
    JSON.parse(out).published.map(({ name }: { name: string }) => name),
    Object.keys(published),
  );
  assert.match((await run("models --published")).out, /\nmae-vit-base-16 +MAE +vit-base-16 +linear 67\.8 %, fine-tuned 83\.7 %\n/);
});

pulls("a checkpoint is fetched into the cache under its name", async ({ folder }) => {
  const content = Buffer.from("numbers");
  const server = createServer((_, response) => response.end(content));
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  const md5 = createHash("md5").update(content).digest("hex").slice(0, 6);
  const catalogue = { small: { method: "MAE", url: `http://127.0.0.1:${port}/a/small.pth`, md5, source: "nobody" } };
  const got = await pull("small", { cache: folder, env: {}, catalogue });
  assert.equal(got, { path: join(folder, "small", "small.pth"), bytes: 7, fetched: true, verified: true });
  server.close();
  const again = await pull("small", { cache: folder, env: {}, catalogue });
  assert.is(again.fetched, false);
});

pulls("where the network says no, the address and the place for the file are shown", async ({ folder }) => {
  const { code, err } = await run(["pull", "mae-vit-base-16", "--cache", folder], { env: { HTTPS_PROXY: "http://127.0.0.1:1" } });
  assert.is(code, 1);
  assert.match(err, /error: Cannot fetch https:\/\/dl\.fbaipublicfiles\.com\/mae\/pretrain\/mae_pretrain_vit_base\.pth: .*ECONNREFUSED/);
  assert.ok(err.includes(`put it at ${join(folder, "mae-vit-base-16", "mae_pretrain_vit_base.pth")}`), err);
  const browse = await run(["pull", "simclr-v2-r50", "--cache", folder]);
  assert.match(browse.err, /it is a folder: its checkpoint's \.index and \.data files are needed/);
  assert.match((await run("pull mae-vit-bas-16")).err, /did you mean "mae-vit-base-16"/);
});

pulls("a name stands for its file once that is here; a path stands for itself", async ({ folder }) => {
  const env = { AUTODIDACT_CACHE: folder };
  assert.throws(() => checkpointFile("dino-r50", env), /published and not here yet; `autodidact pull dino-r50` fetches it/);
  const path = publishedPath("dino-r50", folder);
  await mkdir(dirname(path), { recursive: true });
  await writeFile(path, "");
  assert.is(checkpointFile("dino-r50", env), path);
  assert.is(checkpointFile("some/file.pth", env), "some/file.pth");
  assert.is(cacheFolder({ XDG_CACHE_HOME: "/x" }), join("/x", "autodidact"));
});

pulls.run();
