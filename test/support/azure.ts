// Azure Blob Storage for tests, on the loopback interface: containers and block blobs of one account. It checks what the service checks of
// a request: the signature of an account key, or a shared access signature in the address.
// https://learn.microsoft.com/rest/api/storageservices/authorize-with-shared-key

import { createHmac, randomBytes } from "node:crypto";
import { once } from "node:events";
import { createServer, type IncomingHttpHeaders, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";

export interface AzureRequest {
  readonly method: string;
  readonly url: string;
  readonly headers: IncomingHttpHeaders;
}

export interface RunningAzure extends AsyncDisposable {
  /** http://127.0.0.1:PORT */
  readonly url: string;
  readonly account: string;
  readonly key: string;
  /** The query of a signature for the blobs of all containers that are there. */
  readonly sas: string;
  readonly requests: AzureRequest[];
  /** Blobs by "container/name". */
  readonly blobs: Map<string, Buffer>;
  /** Set: answers itself (true). */
  intercept: ((request: AzureRequest, response: ServerResponse) => boolean) | null;
}

type Reply = readonly [status: number, body?: Buffer | string, headers?: Readonly<Record<string, string>>];

const SIGNATURE = "c2lnbmVk/+=";

/** Starts an account without containers. */
export async function startAzure(): Promise<RunningAzure> {
  const account = "testaccount";
  const key = randomBytes(64).toString("base64");
  const containers = new Set<string>();
  const blobs = new Map<string, Buffer>();
  const blocks = new Map<string, Map<string, Buffer>>();
  const requests: AzureRequest[] = [];
  const running = { intercept: null as RunningAzure["intercept"] };

  const server = createServer((incoming, response) => {
    const { method = "", url = "", headers } = incoming;
    const chunks: Buffer[] = [];
    incoming.on("data", (chunk: Buffer) => chunks.push(chunk));
    incoming.on("end", () => {
      const request = { method, url, headers };
      requests.push(request);
      if (running.intercept?.(request, response) === true) return;
      const [status, body = "", more = {}] = answer(request, Buffer.concat(chunks));
      response.writeHead(status, { "content-length": String(Buffer.byteLength(body)), ...more });
      response.end(method === "HEAD" ? undefined : body);
    });
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");

  function answer(request: AzureRequest, body: Buffer): Reply {
    const { method, headers } = request;
    const url = new URL(request.url, "http://any");
    const [container = "", ...rest] = url.pathname.slice(1).split("/").map(decodeURIComponent);
    const name = rest.join("/");
    const isSas = url.searchParams.get("sig") === SIGNATURE;
    if (!isSas && headers.authorization !== `SharedKey ${account}:${signature(request, account, key)}`)
      return wrong(403, "AuthenticationFailed");
    if (name === "") {
      if (isSas || url.searchParams.get("restype") !== "container")
        return wrong(403, "AuthorizationPermissionMismatch");
      if (method === "HEAD") return containers.has(container) ? [200] : wrong(404, "ContainerNotFound");
      if (containers.has(container)) return wrong(409, "ContainerAlreadyExists");
      containers.add(container);
      return [201];
    }
    if (!containers.has(container)) return wrong(404, "ContainerNotFound");
    const id = `${container}/${name}`;
    const known = blobs.get(id);
    if (method === "GET" || method === "HEAD") {
      if (known === undefined) return wrong(404, "BlobNotFound");
      const from = Number(/^bytes=(\d+)-$/.exec(headers.range ?? "")?.[1] ?? -1);
      if (from < 0) return [200, known, { "content-length": String(known.length) }];
      const range = `bytes ${from}-${known.length - 1}/${known.length}`;
      return [206, known.subarray(from), { "content-range": range }];
    }
    const comp = url.searchParams.get("comp");
    if (comp === "block") {
      const staged = blocks.get(id) ?? new Map<string, Buffer>();
      blocks.set(id, staged.set(url.searchParams.get("blockid") ?? "", body));
      return [201];
    }
    if (headers["if-none-match"] === "*" && known !== undefined) return wrong(409, "BlobAlreadyExists");
    if (comp === "blocklist") {
      const parts = [...body.toString().matchAll(/<Latest>([^<]+)<\/Latest>/g)].map(([, one = ""]) =>
        blocks.get(id)?.get(one),
      );
      if (parts.includes(undefined)) return wrong(400, "InvalidBlockList");
      blobs.set(id, Buffer.concat(parts as Buffer[]));
      return [201];
    }
    if (headers["x-ms-blob-type"] !== "BlockBlob") return wrong(400, "MissingRequiredHeader");
    blobs.set(id, body);
    return [201];
  }

  return Object.assign(running, {
    ...{ account, key, requests, blobs },
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    sas: `sv=2021-08-06&sp=racw&sig=${encodeURIComponent(SIGNATURE)}`,
    async [Symbol.asyncDispose]() {
      const closed = once(server, "close");
      server.close();
      server.closeAllConnections();
      await closed;
    },
  });
}

function wrong(status: number, code: string): Reply {
  return [status, `<?xml version="1.0"?><Error><Code>${code}</Code><Message>no</Message></Error>`];
}

/** As the service makes it of what it has received. */
function signature({ method, url, headers }: AzureRequest, account: string, key: string): string {
  const of = (name: string): string => String(headers[name] ?? "");
  const { pathname, searchParams } = new URL(url, "http://any");
  let text = `${method}\n${of("content-encoding")}\n${of("content-language")}\n`;
  text += `${of("content-length") === "0" ? "" : of("content-length")}\n${of("content-md5")}\n`;
  text += `${of("content-type")}\n${of("date")}\n${of("if-modified-since")}\n${of("if-match")}\n`;
  text += `${of("if-none-match")}\n${of("if-unmodified-since")}\n${of("range")}\n`;
  for (const name of Object.keys(headers).sort())
    if (name.startsWith("x-ms-")) text += `${name}:${of(name)}\n`;
  text += `/${account}${pathname}`;
  for (const name of [...new Set(searchParams.keys())].sort())
    text += `\n${name}:${searchParams.getAll(name).sort().join(",")}`;
  return createHmac("sha256", Buffer.from(key, "base64")).update(text, "utf8").digest("base64");
}
