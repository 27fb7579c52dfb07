// Build caches in S3, with BuildKit's layout: PREFIX + "blobs/" + digest, PREFIX + "manifests/" + name.
// BuildKit cache/remotecache/s3/s3.go

import { transferMs } from "../registry/calls.ts";
import { createHash } from "node:crypto";
import { hexOf } from "../../solver/graph/digest.ts";
import { BuildError } from "../../solver/graph/error.ts";
import type { Descriptor } from "../../solver/graph/request.ts";
import { rangeHeader } from "../registry/blob-range.ts";
import { resumedBlob } from "../registry/resumed.ts";
import type { ObjectStore } from "./object-place.ts";
import { sendPieces } from "./pieces.ts";
import { openS3Calls, type S3Bucket, type S3Calls, throwIfFailed, xmlText } from "./s3-calls.ts";
import type { WebCalls } from "./web-calls.ts";
import type { SignalOptions, TransferOptions } from "../registry/contract.ts";

export interface S3Layout {
  readonly prefix: string;
  readonly blobsPrefix: string;
  readonly manifestsPrefix: string;
  /** The document is written under all of them and read from the first. Not empty. */
  readonly names: readonly string[];
}

export interface S3Options {
  readonly uploadsAtOnce: number;
  /** A blob that is there already and was not written for so long is copied onto itself: rules of the bucket that expire
   *  objects by their age then spare it. */
  readonly touchRefreshMs: number;
  readonly nowMs: () => number;
  /** Larger blobs go in parts; for tests. */
  readonly singleMaxBytes?: number;
}

/** A bucket and what asks it. */
interface OpenBucket {
  readonly bucket: S3Bucket;
  readonly calls: S3Calls;
  readonly web: WebCalls;
}

const FROM = "s3:";
/** Larger blobs go in parts, of which each can be sent again. */
const SINGLE_MAX_BYTES = 64 << 20;
// https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html: 10,000 parts of at least 5 MiB; copies of at most 5 GiB.
const PART_BYTES = 8 << 20;
const PARTS_MAX = 10_000;
const PARTS_AT_ONCE = 2;
const COPY_MAX_BYTES = 5 * 2 ** 30;
const ANSWER_MAX_BYTES = 1 << 20;
const TRANSFER_MIN_BYTES = 1 << 20;

/** A cache in a bucket. */
export function s3Store(bucket: S3Bucket, layout: S3Layout, options: S3Options, web: WebCalls): ObjectStore {
  const calls = openS3Calls(bucket, web);
  const opened: OpenBucket = { bucket, calls, web };
  const blobKey = ({ digest }: Descriptor): string => `${layout.prefix}${layout.blobsPrefix}${digest}`;
  const documentKey = (name: string): string => `${layout.prefix}${layout.manifestsPrefix}${name}`;
  const { name } = bucket;
  const singleMaxBytes = options.singleMaxBytes ?? SINGLE_MAX_BYTES;

  async function touch(key: string, { signal }: SignalOptions): Promise<void> {
    // Colons as they are: not every server decodes them here.
    const encoded = (part: string): string => encodeURIComponent(part).replaceAll("%3A", ":");
    const source = `${bucket.bucket}/${key}`.split("/").map(encoded).join("/");
    const headers = {
      "x-amz-copy-source": `/${source}`,
      "x-amz-metadata-directive": "REPLACE",
      "x-amz-meta-updated-at": new Date(options.nowMs()).toISOString(),
    };
    throwIfFailed(
      await calls.document({ method: "PUT", key, headers, ok: [200], signal }, ANSWER_MAX_BYTES),
      name,
    );
  }

  return {
    name,
    from: fromOf(bucket, layout),
    uploadsAtOnce: options.uploadsAtOnce,
    async document(maxBytes, { signal }) {
      const key = documentKey(layout.names[0] ?? "");
      const found = await calls.document({ method: "GET", key, ok: [200, 404], signal }, maxBytes);
      if (found.status === 200) return found.bytes;
      const text = Buffer.from(found.bytes).toString("utf8");
      if (xmlText(text, "Code") !== "NoSuchBucket") return null;
      throw new BuildError("REGISTRY_NOT_FOUND", `${name}: the bucket does not exist`, {
        hint: "check bucket=, region= and endpoint_url=",
      });
    },
    async putDocument(bytes, { signal }) {
      for (const one of layout.names) {
        const headers = { "content-type": "application/json" };
        const answer = await calls.call({
          method: "PUT",
          key: documentKey(one),
          headers,
          body: bytes,
          ok: [200],
          signal,
        });
        await answer.discard();
      }
    },
    blob: (descriptor, transfer) => readBlob(opened, blobKey(descriptor), descriptor, transfer),
    async putBlob(descriptor, open, { signal }) {
      const key = blobKey(descriptor);
      const known = await calls.call({ method: "HEAD", key, ok: [200, 404], signal });
      await known.discard();
      const isThere = known.status === 200 && Number(known.headers["content-length"]) === descriptor.size;
      const writtenMs = Date.parse(known.headers["last-modified"] ?? "");
      const isFresh = !(options.nowMs() - writtenMs > options.touchRefreshMs);
      if (isThere && isFresh) return false;
      if (isThere && descriptor.size <= COPY_MAX_BYTES) {
        await touch(key, { signal });
        return false;
      }
      if (descriptor.size > singleMaxBytes) await sendParts(opened, key, descriptor, open(), signal);
      else await sendWhole(opened, key, descriptor, open, signal);
      return true;
    },
  };
}

/** Bytes of a blob by what RemoteBlob.from says of it; null: that is none of S3. */
export function s3Blob(
  from: string,
  credentials: S3Bucket["credentials"],
  web: WebCalls,
): ((descriptor: Descriptor, options: TransferOptions) => AsyncIterable<Uint8Array>) | null {
  if (!from.startsWith(`${FROM}http`)) return null;
  const base = new URL(from.slice(FROM.length));
  const region = decodeURIComponent(base.hash.slice(1));
  base.hash = "";
  // The base is that of the blobs: what reads has no need of the bucket's name.
  const bucket = { name: `s3 at ${base.host}${base.pathname}`, bucket: "", base, region, credentials };
  const opened: OpenBucket = { bucket, calls: openS3Calls(bucket, web), web };
  return (descriptor, options) => readBlob(opened, descriptor.digest, descriptor, options);
}

/** All that is needed to read blobs later, but for the credentials: where they are, and the region that signatures name. */
function fromOf({ base, region }: S3Bucket, { prefix, blobsPrefix }: S3Layout): string {
  const url = new URL(base);
  url.pathname += `${prefix}${blobsPrefix}`.split("/").map(encodeURIComponent).join("/");
  url.hash = encodeURIComponent(region);
  return `${FROM}${url.href}`;
}

function readBlob(
  { bucket, calls, web }: OpenBucket,
  key: string,
  descriptor: Descriptor,
  { signal, onBytes }: TransferOptions,
): AsyncIterable<Uint8Array> {
  const name = `${bucket.name} ${descriptor.digest}`;
  return resumedBlob({
    descriptor,
    name,
    sender: bucket.base.host,
    async ask(range) {
      const answer = await calls.call({
        method: "GET",
        key,
        headers: rangeHeader(range),
        answerSize: descriptor.size,
        ok: [200, 206, 404],
        signal: range.signal,
        isTransfer: descriptor.size > TRANSFER_MIN_BYTES,
      });
      if (answer.status !== 404) return answer;
      await answer.discard();
      throw new BuildError("REGISTRY_NOT_FOUND", `${name}: not found`);
    },
    unreachable: (fault) => web.unreachable(bucket.name, bucket.base, fault),
    pause: (attempt, own) => web.pause(attempt, own),
    totalMs: transferMs(descriptor.size),
    onBytes,
    connections: web.connections(bucket.base.host),
    signal,
  });
}

async function sendWhole(
  { calls }: OpenBucket,
  key: string,
  descriptor: Descriptor,
  open: () => AsyncIterable<Uint8Array>,
  signal: AbortSignal,
): Promise<void> {
  const { digest, size } = descriptor;
  const answer = await calls.call({
    method: "PUT",
    key,
    headers: { "content-type": "application/octet-stream" },
    body: open,
    sha256: hexOf(digest),
    size,
    ok: [200],
    signal,
    isTransfer: size > TRANSFER_MIN_BYTES,
  });
  await answer.discard();
}

/** https://docs.aws.amazon.com/AmazonS3/latest/userguide/mpuoverview.html. What fails leaves no parts behind: they would be
 *  paid for. */
async function sendParts(
  { bucket: { name }, calls }: OpenBucket,
  key: string,
  { size }: Descriptor,
  data: AsyncIterable<Uint8Array>,
  signal: AbortSignal,
): Promise<void> {
  const begun = await calls.document(
    { method: "POST", key, query: { uploads: "" }, ok: [200], signal },
    ANSWER_MAX_BYTES,
  );
  const uploadId = xmlText(Buffer.from(begun.bytes).toString("utf8"), "UploadId");
  if (uploadId === null)
    throw new BuildError("REGISTRY_PROTOCOL", `${name}: an upload started without an upload id`);
  try {
    const etags: string[] = [];
    const partBytes = Math.max(PART_BYTES, Math.ceil(size / (PARTS_MAX - 1)));
    const sent = await sendPieces(data, partBytes, PARTS_AT_ONCE, { signal }, async (piece, pieceSignal) => {
      const answer = await calls.call({
        method: "PUT",
        key,
        query: { partNumber: String(piece.index + 1), uploadId },
        body: piece.bytes,
        sha256: createHash("sha256").update(piece.bytes).digest("hex"),
        ok: [200],
        signal: pieceSignal,
        isTransfer: true,
      });
      await answer.discard();
      etags[piece.index] = answer.headers.etag ?? "";
    });
    if (sent !== size) throw new BuildError("STORE_CORRUPT", `a blob of ${size} bytes has ${sent} on disk`);
    const parts = etags.map(
      (etag, index) =>
        `<Part><PartNumber>${index + 1}</PartNumber><ETag>${etag.replace(/[<>&]/g, "")}</ETag></Part>`,
    );
    const xml = `<CompleteMultipartUpload xmlns="http://s3.amazonaws.com/doc/2006-03-01/">${parts.join("")}</CompleteMultipartUpload>`;
    const done = await calls.document(
      {
        method: "POST",
        key,
        query: { uploadId },
        headers: { "content-type": "application/xml" },
        body: Buffer.from(xml),
        ok: [200],
        signal,
      },
      ANSWER_MAX_BYTES,
    );
    throwIfFailed(done, name);
  } catch (error) {
    const cleanUp = AbortSignal.timeout(10_000);
    await calls
      .call({ method: "DELETE", key, query: { uploadId }, ok: [204, 404], signal: cleanUp })
      .then((answer) => answer.discard())
      .catch(() => {}); // the first error is what counts
    throw error;
  }
}
