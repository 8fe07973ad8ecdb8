import { createHash } from "node:crypto";
import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { DownloadError, download } from "../../src/checkpoint/download.ts";
import { get, proxyFor } from "../../src/checkpoint/http.ts";

const content = Buffer.from(Uint8Array.from({ length: 300_001 }, (_, i) => (i * 7 + (i >> 8)) & 255));
const md5 = createHash("md5").update(content).digest("hex");

interface Context {
  folder: string;
  servers: Server[];
}
type Answer = (request: IncomingMessage, response: ServerResponse) => void;

/** A server's address. */
async function serve(servers: Server[], answer: Answer): Promise<string> {
  const server = createServer(answer);
  servers.push(server);
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

/** Serves `content` with ranges. `cut` bytes into an answer the connection breaks. */
function files(
  { etag = '"one"', cut }: { etag?: string; cut?: () => number | undefined } = {},
  asked: (string | undefined)[] = [],
): Answer {
  return ({ headers }, response) => {
    asked.push(headers.range);
    const from = headers.range && headers["if-range"] === etag ? Number(/\d+/.exec(headers.range)) : 0;
    const length = content.length - from;
    response.writeHead(from ? 206 : 200, {
      etag,
      "content-length": length,
      ...(from ? { "content-range": `bytes ${from}-${content.length - 1}/${content.length}` } : {}),
    });
    const stop = cut?.();
    if (stop === undefined) response.end(content.subarray(from));
    else response.write(content.subarray(from, from + stop), () => setTimeout(() => response.destroy(), 50));
  };
}

const failure = async (work: Promise<unknown>): Promise<DownloadError> => {
  const error = await work.catch((e: unknown) => e);
  assert.instance(error, DownloadError);
  return error as DownloadError;
};

const downloads = suite<Context>("download");
downloads.before.each(async (context) => {
  context.folder = await mkdtemp(join(tmpdir(), "download-"));
  context.servers = [];
});
downloads.after.each(async ({ folder, servers }) => {
  for (const server of servers) {
    server.closeAllConnections();
    server.close();
  }
  await rm(folder, { recursive: true });
});

downloads("a file comes whole, is checked, and is not fetched again", async ({ folder, servers }) => {
  const asked: (string | undefined)[] = [];
  const url = await serve(servers, files({}, asked));
  const path = join(folder, "deep", "model.pth");
  const seen: [number, number | undefined][] = [];
  const got = await download(url, path, { md5: md5.slice(0, 8), onProgress: (...progress) => seen.push(progress) });
  assert.equal(got, { path, bytes: content.length, fetched: true, verified: true });
  assert.ok(content.equals(await readFile(path)));
  assert.equal(seen.at(-1), [content.length, content.length]);
  assert.equal(await readdir(join(folder, "deep")), ["model.pth"]);
  assert.is((await download(url, path, { md5 })).fetched, false);
  assert.is(asked.length, 1);
});

downloads("what broke off is continued where it stopped", async ({ folder, servers }) => {
  const asked: (string | undefined)[] = [];
  const cuts = [100_000, undefined];
  const url = await serve(servers, files({ cut: () => cuts.shift() }, asked));
  const path = join(folder, "model.pth");
  const error = await failure(download(url, path, { md5 }));
  assert.ok(error.message.startsWith(`Cannot fetch ${url}: `), error.message);
  assert.is(error.tip, `fetch it in some other way and put it at ${path}`);
  assert.equal((await readdir(folder)).sort(), ["model.pth.part", "model.pth.part.version"]);
  await download(url, path, { md5 });
  assert.equal(asked, [undefined, "bytes=100000-"]);
  assert.ok(content.equals(await readFile(path)));
});

downloads("parts of two versions are never joined", async ({ folder, servers }) => {
  const path = join(folder, "model.pth");
  await writeFile(`${path}.part`, "of an older version");
  await writeFile(`${path}.part.version`, '"zero"');
  await download(await serve(servers, files()), path, { md5 });
  assert.ok(content.equals(await readFile(path)));
});

downloads("a file with another digest is refused and leaves what was there", async ({ folder, servers }) => {
  const path = join(folder, "model.pth");
  await writeFile(path, "mine");
  const error = await failure(download(await serve(servers, files()), path, { md5: "00000000" }));
  assert.match(error.message, new RegExp(`not the published file: its md5 begins with ${md5.slice(0, 8)}, expected 00000000`));
  assert.is(await readFile(path, "utf8"), "mine");
  assert.equal(await readdir(folder), ["model.pth"]);
});

downloads("an address without a file, a machine that is not there and a range that is refused are errors", async ({ folder, servers }) => {
  const path = join(folder, "model.pth");
  const none = await serve(servers, (_, response) => response.writeHead(404).end());
  assert.match((await failure(download(none, path))).message, /answered 404 Not Found$/);
  const refusing = await serve(servers, (_, response) => response.writeHead(416).end());
  await writeFile(`${path}.part`, "x");
  await writeFile(`${path}.part.version`, '"x"');
  assert.match((await failure(download(refusing, path))).message, /answered 416/);
  assert.match((await failure(download("http://127.0.0.1:1/x", path))).message, /ECONNREFUSED/);
  assert.match((await failure(download("ftp://127.0.0.1/x", path))).message, /ftp: addresses are not fetched/);
});

downloads("redirects are followed, and no circle of them", async ({ folder, servers }) => {
  const target = await serve(servers, files());
  const there = await serve(servers, (_, response) => response.writeHead(302, { location: target }).end());
  assert.is((await download(there, join(folder, "a"))).bytes, content.length);
  const circle = await serve(servers, (_, response) => response.writeHead(302, { location: "/" }).end());
  assert.match((await failure(download(circle, join(folder, "b")))).message, /sends on more than 8 times/);
});

downloads("a stop keeps the part and is thrown as it is", async ({ folder, servers }) => {
  const url = await serve(servers, files({ cut: () => 50_000 }));
  const stop = new AbortController();
  const path = join(folder, "model.pth");
  const error = await download(url, path, { signal: stop.signal, onProgress: () => stop.abort(new Error("enough")) }).catch(
    (e: Error) => e,
  );
  assert.is((error as Error).message, "enough");
  assert.ok((await readdir(folder)).includes("model.pth.part"));
});

downloads("HTTP goes through the proxy with its name and password, and not to exempt hosts", async ({ folder, servers }) => {
  const asked: [string | undefined, string | undefined][] = [];
  const direct = await serve(servers, files());
  const proxy = await serve(servers, (request, response) => {
    asked.push([request.url, request.headers["proxy-authorization"]]);
    files()(request, response);
  });
  const HTTP_PROXY = proxy.replace("http://", "http://me:secret@");
  await download("http://models.example/a.pth", join(folder, "a"), { env: { HTTP_PROXY }, md5 });
  assert.equal(asked, [["http://models.example/a.pth", `Basic ${Buffer.from("me:secret").toString("base64")}`]]);
  await download(direct, join(folder, "b"), { env: { HTTP_PROXY, NO_PROXY: "127.0.0.1" }, md5 });
  assert.is(asked.length, 1);
});

downloads("HTTPS goes through the proxy's CONNECT, with TLS inside", async ({ servers }) => {
  const heard = new Promise<[string | undefined, number]>((resolve) => {
    const server = createServer();
    servers.push(server);
    server.on("connect", ({ url }, socket) => {
      socket.write("HTTP/1.1 200 OK\r\n\r\n");
      socket.once("data", (data: Buffer) => {
        resolve([url, data[0]]);
        socket.destroy();
      });
    });
    server.listen(0, "127.0.0.1", () => {
      const { port } = server.address() as AddressInfo;
      get("https://models.example/a.pth", { env: { https_proxy: `127.0.0.1:${port}` } }).catch(() => {});
    });
  });
  assert.equal(await heard, ["models.example:443", 0x16]); // a TLS handshake begins with 22
  const refusing = createServer();
  servers.push(refusing);
  refusing.on("connect", (_, socket) => socket.end("HTTP/1.1 403 Forbidden\r\n\r\n"));
  await new Promise<void>((resolve) => refusing.listen(0, "127.0.0.1", resolve));
  const env = { HTTPS_PROXY: `http://127.0.0.1:${(refusing.address() as AddressInfo).port}` };
  const error = await get("https://models.example/", { env }).catch((e: Error) => e);
  assert.match((error as Error).message, /the proxy .* answered 403 to CONNECT models\.example:443/);
});

downloads("the proxy is chosen by scheme, host and domain", () => {
  const env = { http_proxy: "p:1", HTTPS_PROXY: "http://q:2", NO_PROXY: "local, .example.org,*.net" };
  const chosen = (url: string) => proxyFor(new URL(url), env)?.host;
  assert.equal(
    ["http://a.com", "https://a.com", "http://local", "https://x.example.org", "https://y.net", "https://notlocal"].map(chosen),
    ["p:1", "q:2", undefined, undefined, undefined, "q:2"],
  );
  assert.is(proxyFor(new URL("http://a.com"), { HTTP_PROXY: "p:1", no_proxy: "*" }), undefined);
});

downloads.run();
