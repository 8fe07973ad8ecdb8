// GET over HTTP and HTTPS, through the proxy that the environment names, following redirects. Node's own `fetch` knows no proxy before
// Node 24, so this stands on node:http.
import { request as httpRequest, type IncomingMessage, type RequestOptions } from "node:http";
import { request as httpsRequest } from "node:https";
import type { Socket } from "node:net";
import { connect as tlsConnect } from "node:tls";

export type Environment = Readonly<Record<string, string | undefined>>;

export interface GetOptions {
  headers?: Readonly<Record<string, string>>;
  /** Where proxies are named: HTTPS_PROXY, HTTP_PROXY and NO_PROXY, in capitals or not. */
  env?: Environment;
  signal?: AbortSignal;
}

/** A server that says nothing for so long is given up. */
const idleMs = 60_000;
const mostRedirects = 8;

const variable = (env: Environment, name: string): string | undefined => env[name] || env[name.toLowerCase()] || undefined;

/** The proxy for an address, if any. NO_PROXY lists hosts and, as suffixes, domains; "*" stands for all. */
export function proxyFor(url: URL, env: Environment): URL | undefined {
  const exempt = (variable(env, "NO_PROXY") ?? "").split(",").map((host) => host.trim().replace(/^\*?\./, ""));
  const spared = (host: string) => host === "*" || url.hostname === host || url.host === host || url.hostname.endsWith(`.${host}`);
  if (exempt.some((host) => host && spared(host))) return undefined;
  const proxy = variable(env, url.protocol === "https:" ? "HTTPS_PROXY" : "HTTP_PROXY") ?? variable(env, "ALL_PROXY");
  return proxy ? new URL(/^\w+:\/\//.test(proxy) ? proxy : `http://${proxy}`) : undefined;
}

const authorization = ({ username, password }: URL): Record<string, string> =>
  username
    ? {
        "proxy-authorization": `Basic ${Buffer.from(`${decodeURIComponent(username)}:${decodeURIComponent(password)}`).toString("base64")}`,
      }
    : {};

const place = ({ protocol, hostname, port }: URL) => ({
  host: hostname.replace(/^\[|\]$/g, ""),
  port: port ? Number(port) : protocol === "https:" ? 443 : 80,
});

const send = (url: URL, options: RequestOptions, signal?: AbortSignal): Promise<IncomingMessage> =>
  new Promise((resolve, reject) => {
    const request = (url.protocol === "https:" ? httpsRequest : httpRequest)({ ...options, signal, timeout: idleMs });
    request.on("timeout", () => request.destroy(new Error(`${url.hostname} did not answer for ${idleMs / 1000} s`)));
    request.on("error", reject);
    request.on("response", resolve);
    request.end();
  });

/** A connection to `url` through a proxy's CONNECT, with TLS inside. */
function tunnel(url: URL, proxy: URL, signal?: AbortSignal): Promise<Socket> {
  const { host, port } = place(url);
  const target = `${url.hostname}:${port}`;
  return new Promise((resolve, reject) => {
    const make = proxy.protocol === "https:" ? httpsRequest : httpRequest;
    const headers = { host: target, ...authorization(proxy) };
    const request = make({ ...place(proxy), method: "CONNECT", path: target, headers, agent: false, signal, timeout: idleMs });
    request.on("timeout", () => request.destroy(new Error(`the proxy ${proxy.host} did not answer for ${idleMs / 1000} s`)));
    request.on("error", reject);
    request.on("response", ({ statusCode }) => reject(new Error(`the proxy ${proxy.host} answered ${statusCode} to CONNECT ${target}`)));
    request.on("connect", ({ statusCode }, socket) => {
      if (statusCode !== 200) {
        socket.destroy();
        return reject(new Error(`the proxy ${proxy.host} answered ${statusCode} to CONNECT ${target}`));
      }
      const secure = tlsConnect({ socket, servername: host }, () => resolve(secure));
      secure.on("error", reject);
    });
    request.end();
  });
}

async function once(url: URL, { headers = {}, env = {}, signal }: GetOptions): Promise<IncomingMessage> {
  const proxy = proxyFor(url, env);
  const path = `${url.pathname}${url.search}`;
  const own = { host: url.host, "user-agent": "autodidact", ...headers };
  if (!proxy) return send(url, { ...place(url), path, headers: own }, signal);
  if (url.protocol === "https:") {
    const socket = await tunnel(url, proxy, signal);
    return send(url, { ...place(url), path, headers: own, agent: false, createConnection: () => socket }, signal);
  }
  return send(proxy, { ...place(proxy), path: url.href, headers: { ...own, ...authorization(proxy) } }, signal);
}

/** The answer to a GET, whatever its status but a redirect. Rejects where there is none. */
export async function get(address: string, options: GetOptions = {}): Promise<IncomingMessage> {
  let url = new URL(address);
  for (let i = 0; i < mostRedirects; i++) {
    if (url.protocol !== "http:" && url.protocol !== "https:") throw new Error(`${url.protocol} addresses are not fetched`);
    const response = await once(url, options);
    const { statusCode = 0, headers } = response;
    if (statusCode < 300 || statusCode >= 400 || statusCode === 304 || !headers.location) return response;
    response.destroy();
    const next = new URL(headers.location, url);
    if (url.protocol === "https:" && next.protocol === "http:") throw new Error(`${url.host} sends on to an address without encryption`);
    url = next;
  }
  throw new Error(`${address} sends on more than ${mostRedirects} times`);
}
