// Sends a blob in chunks, to registries that ask for it by OCI-Chunk-Min-Length: a connection that broke costs at most one of them.
// https://github.com/opencontainers/distribution-spec/blob/main/spec.md, "Pushing a blob in chunks"

import { BuildError, printable } from "../../solver/graph/error.ts";
import type { Call, Called, Calls } from "./calls.ts";
import { transferMs } from "./calls.ts";
import { Fault } from "./exchange.ts";
import type { Repository } from "./reference.ts";

/** An upload that a registry has begun. */
export interface UploadSession {
  readonly repository: Repository;
  readonly location: URL;
  /** How long a chunk is at least, as the registry asks; null: it asks for none. */
  readonly chunkMinBytes: number | null;
}

/** Of a chunk, which is in memory until the registry has it; more than the largest is sent as a whole blob, as any registry takes it. */
const CHUNK_BYTES = 16 << 20;
const CHUNK_MAX_BYTES = 32 << 20;
const SLICE_BYTES = 256 << 10;
/** Attempts in a row that brought nothing, or less than what was there already. */
const STALLS_MAX = 5;
/** Of all of them, whatever they bring. */
const RESUMES_MAX = 50;

/** What a registry says at the start of an upload. RFC 9110 numbers: digits only. */
export function chunkMinOf({ headers }: Pick<Called, "headers">): number | null {
  const stated = headers["oci-chunk-min-length"];
  return typeof stated === "string" && /^[1-9]\d{0,14}$/.test(stated) ? Number(stated) : null;
}

/** The length of the chunks for a blob; null: it is sent as a whole. */
export function chunkLength({ chunkMinBytes }: UploadSession, size: number): number | null {
  if (chunkMinBytes === null) return null;
  const length = Math.max(chunkMinBytes, CHUNK_BYTES);
  return length > CHUNK_MAX_BYTES || size <= length ? null : length;
}

export interface ChunkedBlob {
  readonly size: number;
  readonly bytes: AsyncIterable<Uint8Array>;
  /** For messages. */
  readonly name: string;
  readonly part?: string;
  readonly signal: AbortSignal;
  readonly onBytes: (current: number) => void;
}

/** Sends all of a blob but the end of the upload. Returns where that is to be asked for. Throws a Fault when it has to be begun again. */
export async function sendChunks(
  calls: Calls,
  session: UploadSession,
  length: number,
  blob: ChunkedBlob,
): Promise<URL> {
  const { size, name, part, signal } = blob;
  const common: Pick<Call, "name" | "part" | "actions" | "signal" | "retry" | "totalMs"> = {
    ...{ name, actions: "pull,push", signal, retry: false, totalMs: transferMs(size) },
    ...(part === undefined ? {} : { part }),
  };
  let { location } = session;
  let stalls = 0;
  let resumes = 0;

  const call = async (
    request: Pick<Call, "method" | "headers" | "ok" | "body" | "isTransfer">,
  ): Promise<Called> => {
    const called = await calls.call(session.repository, { ...common, ...request, path: location });
    await called.discard();
    location = locationOf(called, name) ?? location;
    return called;
  };

  /** How many bytes of the blob the registry has. Throws a Fault when it does not say. */
  const offset = async (): Promise<number> => {
    const called = await call({ method: "GET", headers: {}, ok: [204, 202, 200, 404] });
    if (called.status === 404) throw new Fault("ECONNRESET", "the registry has forgotten the upload");
    return receivedOf(called);
  };

  /** Sends bytes of the blob that begin at `start`, and what is missing of them after a fault. */
  const sendOne = async (chunk: Buffer, start: number): Promise<void> => {
    for (let at = start; at < start + chunk.length; ) {
      const rest = chunk.subarray(at - start);
      let next: number;
      try {
        const answer = await call({
          method: "PATCH",
          headers: {
            "content-type": "application/octet-stream",
            "content-length": String(rest.length),
            "content-range": `${at}-${at + rest.length - 1}`, // as the specification has it, not RFC 9110
          },
          body: () => slices(rest, (sent) => blob.onBytes(at + sent)),
          ok: [202, 204, 201, 200, 416],
          isTransfer: true,
        });
        next = answer.status === 416 ? await offset() : (statedEnd(answer) ?? at + rest.length);
      } catch (error) {
        if (!(error instanceof Fault) || stalls >= STALLS_MAX) throw error;
        await calls.pause(stalls, signal, error.retryAfterMs);
        next = await offset();
      }
      stalls = next > at ? 0 : stalls + 1;
      // Less than it has said before is lost, and more was never sent.
      if (
        next < start ||
        next > start + chunk.length ||
        stalls > STALLS_MAX ||
        (next < start + chunk.length && ++resumes > RESUMES_MAX)
      )
        throw new Fault("ECONNRESET", `the registry has ${next} bytes of the upload after ${at}`);
      at = next;
    }
  };

  let start = 0;
  for await (const chunk of inChunks(blob.bytes, length, size)) {
    await sendOne(chunk, start);
    start += chunk.length;
  }
  if (start !== size)
    throw new BuildError("STORE_CORRUPT", `${name}: the blob to upload is not ${size} bytes long`);
  return location;
}

/** Where an upload goes on. Throws REGISTRY_PROTOCOL for an address that is not allowed; null: none is given. */
export function locationOf({ headers, url }: Pick<Called, "headers" | "url">, name: string): URL | null {
  const { location } = headers;
  if (location === undefined) return null;
  const target = URL.canParse(location, url.href) ? new URL(location, url) : null;
  const isFine =
    target !== null &&
    (target.protocol === "https:" || (target.protocol === "http:" && url.protocol === "http:"));
  if (isFine) return target;
  throw new BuildError("REGISTRY_PROTOCOL", `${name}: the registry's upload location is not usable`);
}

/** `Range: 0-<last>` of an answer. Throws a Fault without a usable one. */
function receivedOf(called: Called): number {
  const end = statedEnd(called);
  if (end === null) throw new Fault("EPROTO", "the registry does not say how much of the upload it has");
  return end;
}

function statedEnd({ headers }: Called): number | null {
  const stated = String(headers["range"] ?? "");
  const last = /^(?:bytes=)?0-(\d{1,15})$/.exec(stated)?.[1];
  if (last === undefined && stated !== "")
    throw new Fault("EPROTO", `the registry states the range ${printable(stated, 40)} of an upload`);
  // distribution has said "0-0" of an upload without bytes for all of its time.
  return last === undefined ? null : last === "0" ? 0 : Number(last) + 1;
}

/** Chunks of a length, the last with what is left. Of more bytes than `size` some are left out. */
async function* inChunks(
  bytes: AsyncIterable<Uint8Array>,
  length: number,
  size: number,
): AsyncGenerator<Buffer, void, undefined> {
  let total = 0;
  let filled = 0;
  let chunk = Buffer.alloc(0);
  for await (const piece of bytes) {
    total += piece.length;
    if (total > size) return; // what is missing at the end is noticed
    for (let at = 0; at < piece.length; ) {
      if (filled === 0) chunk = Buffer.allocUnsafeSlow(length);
      const part = piece.subarray(at, at + length - filled);
      chunk.set(part, filled);
      at += part.length;
      filled += part.length;
      if (filled < length) continue;
      yield chunk;
      filled = 0;
    }
  }
  if (filled > 0) yield chunk.subarray(0, filled);
}

async function* slices(
  chunk: Buffer,
  onBytes: (sent: number) => void,
): AsyncGenerator<Uint8Array, void, undefined> {
  for (let at = 0; at < chunk.length; at += SLICE_BYTES) {
    const slice = chunk.subarray(at, at + SLICE_BYTES);
    yield slice;
    onBytes(at + slice.length);
  }
}
