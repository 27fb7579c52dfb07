// S3 for tests, on the loopback interface: s3rver stores the objects, and what it does not check is checked before it gets a
// request: the signature (version 4), and the stated sha256 of the body.
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html

import { createHash, createHmac } from "node:crypto";
import { once } from "node:events";
import { mkdirSync } from "node:fs";
import {
  createServer,
  type IncomingHttpHeaders,
  type IncomingMessage,
  request as httpRequest,
  type RequestListener,
  type Server,
  type ServerResponse,
} from "node:http";
import { createRequire } from "node:module";
import type { AddressInfo } from "node:net";
import { temporaryDir } from "./store.ts";

/** Has no types of its own; this much of it is used. */
type S3rver = new (options: {
  readonly silent: boolean;
  readonly directory: string;
  readonly configureBuckets: readonly { readonly name: string }[];
}) => { callback(): RequestListener; configureBuckets(): Promise<unknown> };

export interface S3Request {
  readonly method: string;
  readonly url: string;
  readonly headers: IncomingHttpHeaders;
}

export interface RunningS3 extends AsyncDisposable {
  /** http://127.0.0.1:PORT */
  readonly endpoint: string;
  readonly bucket: string;
  readonly keys: { readonly accessKeyId: string; readonly secretAccessKey: string };
  /** All requests so far. */
  readonly requests: S3Request[];
  /** Set: answers itself (true), and s3rver does not see the request. */
  intercept: ((request: S3Request, response: ServerResponse) => boolean) | null;
}

const KEYS = { accessKeyId: "S3RVER", secretAccessKey: "S3RVER" }; // the account that s3rver has

/** Starts a server with one empty bucket. */
export async function startS3(): Promise<RunningS3> {
  const S3rver = createRequire(import.meta.url)("s3rver") as S3rver;
  const dir = temporaryDir();
  const bucket = "caches";
  mkdirSync(dir.at("data"));
  const s3 = new S3rver({ silent: true, directory: dir.at("data"), configureBuckets: [{ name: bucket }] });
  await s3.configureBuckets();
  const inner = await listening(createServer(s3.callback()));
  const requests: S3Request[] = [];
  const running = { intercept: null as RunningS3["intercept"] };

  const answer = async (incoming: IncomingMessage, response: ServerResponse): Promise<void> => {
    const { method = "", url = "", headers } = incoming;
    const request = { method, url, headers };
    requests.push(request);
    const body = await bodyOf(incoming);
    if (running.intercept?.(request, response) === true) return;
    const wrong = whatIsWrong(request, body);
    if (wrong !== null) {
      response.writeHead(403, { "content-type": "application/xml" });
      response.end(`<Error><Code>${wrong}</Code><Message>refused</Message></Error>`);
      return;
    }
    const forwarded = httpRequest({ host: "127.0.0.1", port: portOf(inner), method, path: url, headers });
    forwarded.on("error", (error) => response.destroy(error));
    forwarded.on("response", (from) => {
      response.writeHead(from.statusCode ?? 500, from.headers);
      from.pipe(response);
    });
    forwarded.end(body);
  };
  const outer = await listening(
    createServer((incoming, response) => {
      answer(incoming, response).catch((error: Error) => response.destroy(error));
    }),
  );
  return Object.assign(running, {
    endpoint: `http://127.0.0.1:${portOf(outer)}`,
    bucket,
    keys: KEYS,
    requests,
    async [Symbol.asyncDispose]() {
      for (const server of [outer, inner]) {
        const closed = once(server, "close");
        server.close();
        server.closeAllConnections();
        await closed;
      }
      dir[Symbol.dispose]();
    },
  });
}

async function listening(server: Server): Promise<Server> {
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return server;
}

function portOf(server: Server): number {
  return (server.address() as AddressInfo).port;
}

async function bodyOf(incoming: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of incoming) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks);
}

/** Code of the error, or null. */
function whatIsWrong({ method, url, headers }: S3Request, body: Buffer): string | null {
  const [, keyId, date = "", region = "", names = "", signature] =
    /^AWS4-HMAC-SHA256 Credential=([^/]+)\/(\d{8})\/([\w-]+)\/s3\/aws4_request, SignedHeaders=([\w;-]+), Signature=([0-9a-f]{64})$/.exec(
      headers.authorization ?? "",
    ) ?? [];
  if (keyId !== KEYS.accessKeyId) return "InvalidAccessKeyId";
  const time = String(headers["x-amz-date"] ?? "");
  if (Math.abs(Date.now() - timeOf(time)) > 15 * 60_000) return "RequestTimeTooSkewed";
  const signed = names.split(";");
  const mustBeSigned = ["host", ...Object.keys(headers).filter((name) => name.startsWith("x-amz-"))];
  if (!mustBeSigned.every((name) => signed.includes(name))) return "AccessDenied";

  const sha256 = String(headers["x-amz-content-sha256"] ?? "");
  const { pathname, searchParams } = new URL(url, "http://any");
  const canonical = [
    method,
    pathname
      .split("/")
      .map((part) => encoded(decodeURIComponent(part)))
      .join("/"),
    [...searchParams]
      .map(([name, value]) => `${encoded(name)}=${encoded(value)}`)
      .sort()
      .join("&"),
    ...signed.map(
      (name) =>
        `${name}:${String(headers[name] ?? "")
          .trim()
          .replace(/ +/g, " ")}`,
    ),
    "",
    names,
    sha256,
  ].join("\n");
  const scope = `${date}/${region}/s3/aws4_request`;
  const text = ["AWS4-HMAC-SHA256", time, scope, createHash("sha256").update(canonical).digest("hex")].join(
    "\n",
  );
  let key: string | Buffer = `AWS4${KEYS.secretAccessKey}`;
  for (const part of [date, region, "s3", "aws4_request"]) key = hmac(key, part);
  if (hmac(key, text).toString("hex") !== signature) return "SignatureDoesNotMatch";
  return createHash("sha256").update(body).digest("hex") === sha256 ? null : "XAmzContentSHA256Mismatch";
}

function hmac(key: string | Buffer, text: string): Buffer {
  return createHmac("sha256", key).update(text).digest();
}

function encoded(text: string): string {
  return encodeURIComponent(text).replace(
    /[!'()*]/g,
    (char) => `%${char.charCodeAt(0).toString(16).toUpperCase()}`,
  );
}

/** 20260102T030405Z */
function timeOf(text: string): number {
  return Date.parse(text.replace(/^(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z$/, "$1-$2-$3T$4:$5:$6Z"));
}
