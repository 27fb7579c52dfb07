// Signed requests to S3 and compatible services. The only file that imports aws4fetch, which creates signatures (version 4) and
// nothing else; connections, proxies and limits are the common ones.
// https://docs.aws.amazon.com/AmazonS3/latest/API/Welcome.html

import { createHash } from "node:crypto";
import { BuildError } from "../../solver/graph/error.ts";
import type { Answer } from "../registry/exchange.ts";
import { transferMs } from "../registry/calls.ts";
import type { WebCall, WebCalls, WebDocument, WebProblem } from "./web-calls.ts";

export interface S3Credentials {
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
  readonly sessionToken: string | null;
}

export interface S3Bucket {
  /** For messages: s3://bucket/prefix. */
  readonly name: string;
  readonly bucket: string;
  /** Where its objects are: the bucket's own host or its path at an endpoint; ends in "/". */
  readonly base: URL;
  readonly region: string;
  /** Asked once, before the first request. Throws REGISTRY_DENIED. */
  readonly credentials: () => Promise<S3Credentials>;
}

/** One request to a bucket. */
export interface S3Call {
  readonly method: WebCall["method"];
  /** "" is the bucket itself. */
  readonly key: string;
  readonly query?: Readonly<Record<string, string>>;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: WebCall["body"];
  /** Of the body, in hex: it is a part of the signature, and the server checks what came. */
  readonly sha256?: string;
  /** Bytes of the body, for streams. */
  readonly size?: number;
  /** Bytes of the answer that is expected: it may take the longer. */
  readonly answerSize?: number;
  readonly ok: readonly number[];
  readonly signal: AbortSignal;
  readonly isTransfer?: boolean;
}

export interface S3Calls {
  call(call: S3Call): Promise<Answer>;
  document(call: S3Call, maxBytes: number): Promise<WebDocument>;
}

const EMPTY_SHA256 = createHash("sha256").digest("hex");

/**
 * Address of a bucket's objects. `endpoint` null: Amazon's own. Buckets with dots have no certificate for a host of theirs.
 * https://docs.aws.amazon.com/AmazonS3/latest/userguide/VirtualHosting.html
 */
export function bucketBase(bucket: string, region: string, endpoint: URL | null, usePathStyle: boolean): URL {
  const suffix = region.startsWith("cn-") ? "amazonaws.com.cn" : "amazonaws.com";
  const base = new URL(endpoint ?? `https://s3.${region}.${suffix}`);
  base.search = base.hash = base.username = base.password = "";
  if (!base.pathname.endsWith("/")) base.pathname += "/";
  const inPath = endpoint === null ? bucket.includes(".") : usePathStyle;
  if (inPath) base.pathname += `${encodeURIComponent(bucket)}/`;
  else base.hostname = `${bucket}.${base.hostname}`;
  return base;
}

/** Opens what calls a bucket. */
export function openS3Calls(bucket: S3Bucket, calls: WebCalls): S3Calls {
  let credentials: Promise<S3Credentials> | null = null;
  const keys = new Map<string, ArrayBuffer>(); // aws4fetch: derived once a day

  const webCall = (call: S3Call): WebCall => {
    const url = new URL(bucket.base);
    url.pathname += call.key.split("/").map(encodeURIComponent).join("/");
    for (const [name, value] of Object.entries(call.query ?? {})) url.searchParams.set(name, value);
    const { method, body, size, signal, ok } = call;
    const length = body instanceof Uint8Array ? body.length : size;
    const sha256 = call.sha256 ?? (body === undefined ? EMPTY_SHA256 : sha256Of(body));
    return {
      method,
      url,
      async headers() {
        credentials ??= bucket.credentials();
        const [{ AwsV4Signer }, { sessionToken, ...keyPair }] = await Promise.all([
          import("aws4fetch"),
          credentials,
        ]);
        const signed = await new AwsV4Signer({
          method,
          url: url.href,
          headers: { ...call.headers, "x-amz-content-sha256": sha256 },
          ...keyPair,
          ...(sessionToken === null ? {} : { sessionToken }),
          service: "s3",
          region: bucket.region,
          cache: keys,
        }).sign();
        return {
          ...Object.fromEntries(signed.headers as unknown as Iterable<[string, string]>),
          ...(length === undefined ? {} : { "content-length": String(length) }),
        };
      },
      ...(body === undefined ? {} : { body }),
      ok,
      name: bucket.name,
      explain: explainS3,
      isTransfer: call.isTransfer ?? false,
      ...(call.isTransfer ? { totalMs: transferMs(length ?? call.answerSize ?? 0) } : {}),
      signal,
    };
  };
  return {
    call: (call) => calls.call(webCall(call)),
    document: (call, maxBytes) => calls.document(webCall(call), maxBytes),
  };
}

function sha256Of(body: NonNullable<WebCall["body"]>): string {
  if (!(body instanceof Uint8Array)) return "UNSIGNED-PAYLOAD";
  return createHash("sha256").update(body).digest("hex");
}

/** Text of the first element with this name; null: there is none. */
export function xmlText(xml: string, name: string): string | null {
  const text = new RegExp(`<${name}>([^<]{0,4096})</${name}>`).exec(xml)?.[1];
  if (text === undefined) return null;
  const entities: Readonly<Record<string, string>> = { lt: "<", gt: ">", quot: '"', apos: "'", amp: "&" };
  return text.replace(/&(lt|gt|quot|apos|amp);/g, (_, entity: string) => entities[entity] ?? "");
}

// https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html
function explainS3(status: number, xml: string): WebProblem {
  const code = xmlText(xml, "Code") ?? "";
  const said = [code, xmlText(xml, "Message")].filter(Boolean).join(": ");
  const region = xmlText(xml, "Region");
  switch (code) {
    case "AuthorizationHeaderMalformed":
    case "PermanentRedirect":
    case "TemporaryRedirect":
      return {
        message: said,
        hint: `the bucket is in another region${region === null ? "" : ` (${region})`}: say region=`,
      };
    case "NoSuchBucket":
      return { message: said, hint: "check bucket=, region= and endpoint_url=", code: "REGISTRY_NOT_FOUND" };
    default:
      return {
        message: said,
        hint:
          status === 401 || status === 403
            ? "check the access key (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY) and its permissions on the bucket"
            : null,
      };
  }
}

/** An answer with status 200 may still be a failure: S3 begins to answer before it has joined the parts. */
export function throwIfFailed(document: WebDocument, name: string): void {
  const text = Buffer.from(document.bytes).toString("utf8");
  if (!/<Error>/.test(text)) return;
  const { message, hint } = explainS3(document.status, text);
  throw new BuildError("REGISTRY_UNREACHABLE", `${name}: ${message}`, { hint });
}
