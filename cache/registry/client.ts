// The distribution API: resolve, fetch and send, with limits on all responses.
// https://github.com/opencontainers/distribution-spec/blob/main/spec.md

import { type Digest, digestOf, isDigest } from "../../solver/graph/digest.ts";
import { BuildError } from "../../solver/graph/error.ts";
import type { Descriptor } from "../../solver/graph/request.ts";
import { MANIFEST_MAX_BYTES, MEDIA_TYPES, parseDocument } from "./documents.ts";
import {
  formatReference,
  formatRepository,
  type Reference,
  type Repository,
  shownRepository,
  withDefaultTag,
} from "./reference.ts";
import { openReferrers } from "./referrers.ts";
import { openRemembered } from "./remembered.ts";
import { resumedBlob, wrongDigest as wrongContent } from "./resumed.ts";
import { rangeHeader } from "./blob-range.ts";
import { type Call, openCalls, transferMs, unexpected } from "./calls.ts";
import { type Answer, Fault } from "./exchange.ts";
import { chunkLength, chunkMinOf, locationOf, sendChunks, type UploadSession } from "./chunked-upload.ts";
import type { Fetched, Registry, RegistryOptions, TransferOptions } from "./contract.ts";

const ACCEPT = [
  MEDIA_TYPES.ociManifest,
  MEDIA_TYPES.ociIndex,
  MEDIA_TYPES.dockerManifest,
  MEDIA_TYPES.dockerIndex,
].join(", ");
const UPLOADS_MAX = 5;
// All parts of a build see a tag stand for the same image, whatever is pushed meanwhile; a process that lives on sees the new
// one after this time.
const RESOLVED_MS = 5 * 60_000;
const RESOLVED_MAX = 1000;
// undici pays for blobs of some size: its load takes 25 ms, and 200 blobs of 4 KB come in 0.5 s by node:http and in 0.7 s by it.
const TRANSFER_MIN_BYTES = 1 << 20;

/** Opens a client for all registries. Nothing is loaded or connected before the first request. */
export function openRegistry(options: RegistryOptions): Registry {
  const calls = openCalls(options);
  const resolved = openRemembered<Descriptor>(RESOLVED_MAX);

  async function head(reference: Reference, signal: AbortSignal): Promise<Descriptor | null> {
    const name = reference.askedAs ?? formatReference(reference);
    const answer = await calls.read(reference, {
      method: "HEAD",
      path: `manifests/${reference.digest ?? reference.tag ?? "latest"}`,
      headers: { accept: ACCEPT },
      ok: [200, 404, 405, 400, 501],
      name,
      signal,
    });
    await answer.discard();
    if (answer.status === 404) throw notFound(name);
    if (answer.status !== 200) return null; // a registry without HEAD
    const digest = answer.headers["docker-content-digest"];
    const length = Number(answer.headers["content-length"]);
    const mediaType = contentType(answer);
    // An answer that says too little is asked again with GET.
    if (typeof digest !== "string" || !isDigest(digest) || !Number.isSafeInteger(length) || length <= 0)
      return null;
    if (mediaType === null || !ACCEPT.includes(mediaType) || length > MANIFEST_MAX_BYTES) return null;
    if (reference.digest !== null && digest !== reference.digest)
      throw wrongDigest(name, reference.digest, digest);
    return { mediaType, digest, size: length };
  }

  async function getManifest(
    reference: Reference,
    signal: AbortSignal,
    noMirrors: boolean = false,
  ): Promise<Fetched> {
    const name = reference.askedAs ?? formatReference(reference);
    const request = {
      method: "GET",
      path: `manifests/${reference.digest ?? reference.tag ?? "latest"}`,
      headers: { accept: ACCEPT },
      ok: [200, 404],
      name,
      signal,
      wholeMax: MANIFEST_MAX_BYTES,
    } as const;
    const answer = noMirrors
      ? await calls.call(reference, { ...request, actions: "pull,push" })
      : await calls.read(reference, request);
    if (answer.status === 404) {
      await answer.discard();
      throw notFound(name);
    }
    const bytes = await answer.bytes();
    const digest = digestOf(bytes);
    if (reference.digest !== null && digest !== reference.digest)
      throw wrongDigest(name, reference.digest, digest);
    const stated = answer.headers["docker-content-digest"];
    if (typeof stated === "string" && isDigest(stated) && stated !== digest)
      throw wrongDigest(name, stated, digest);
    const type = contentType(answer);
    const document = parseDocument(
      bytes,
      type === "application/json" || type === "text/plain" ? null : type,
      name,
    );
    return { bytes, descriptor: { mediaType: document.mediaType, digest, size: bytes.length } };
  }

  async function* fetchBlob(
    repository: Repository,
    descriptor: Descriptor,
    { signal, onBytes }: TransferOptions,
  ): AsyncGenerator<Uint8Array, void, undefined> {
    const { digest, size } = descriptor;
    const { name, part } = shown(repository, digest);
    const whole = part === undefined ? name : `${name} (${part})`;
    yield* resumedBlob({
      descriptor,
      name: whole,
      sender: "the registry",
      async ask(range) {
        const headers = rangeHeader(range);
        const answer = await calls.read(repository, {
          method: "GET",
          path: `blobs/${digest}`,
          headers,
          ok: headers["range"] === undefined ? [200, 404] : [200, 206, 404],
          ...shown(repository, digest),
          signal: range.signal,
          totalMs: transferMs(size),
          isTransfer: size > TRANSFER_MIN_BYTES,
        });
        if (answer.status !== 404) return answer;
        await answer.discard();
        throw notFound(whole);
      },
      unreachable: (fault) => calls.unreachable(repository.host, fault, name),
      pause: (attempt, own) => calls.pause(attempt, own),
      totalMs: transferMs(size),
      onBytes,
      connections: calls.connections(repository.host),
      signal,
    });
  }

  async function hasBlob(
    repository: Repository,
    digest: Digest,
    signal: AbortSignal,
    actions: Call["actions"],
  ): Promise<boolean> {
    const answer = await calls.call(repository, {
      method: "HEAD",
      path: `blobs/${digest}`,
      headers: {},
      ok: [200, 404],
      ...shown(repository, digest),
      actions,
      signal,
    });
    await answer.discard();
    return answer.status === 200;
  }

  async function blobSize(
    repository: Repository,
    digest: Digest,
    { signal }: { readonly signal: AbortSignal },
  ): Promise<number | null> {
    const { name, part } = shown(repository, digest);
    const answer = await calls.read(repository, {
      method: "HEAD",
      path: `blobs/${digest}`,
      headers: {},
      ok: [200, 404],
      ...(part === undefined ? { name } : { name, part }),
      signal,
    });
    await answer.discard();
    if (answer.status === 404) return null;
    const size = Number(answer.headers["content-length"]);
    if (Number.isSafeInteger(size) && size >= 0) return size;
    throw new BuildError("REGISTRY_PROTOCOL", `${name}: the registry does not say how large ${digest} is`);
  }

  /** POST that begins an upload, or mounts; null: mounted. The address of the end of the upload still lacks the digest. */
  async function begin(
    repository: Repository,
    digest: Digest,
    from: string | null,
    signal: AbortSignal,
  ): Promise<UploadSession | null> {
    const mount =
      from === null ? "" : `?mount=${encodeURIComponent(digest)}&from=${encodeURIComponent(from)}`;
    const name = shownRepository(repository);
    const answer = await calls.call(repository, {
      method: "POST",
      path: `blobs/uploads/${mount}`,
      headers: { "content-length": "0" },
      // Without the right to read the other repository a registry may refuse the mount instead of starting an upload.
      ok: from === null ? [202] : [201, 202, 400, 401, 403, 404, 405],
      name,
      actions: "pull,push",
      ...(from === null ? {} : { alsoPull: from }),
      signal,
    });
    await answer.discard();
    if (answer.status === 201) return null;
    if (answer.status !== 202) return await begin(repository, digest, null, signal);
    const location = locationOf(answer, name);
    if (location === null) throw protocol(name, "the registry started an upload without a location");
    return { repository, location, chunkMinBytes: chunkMinOf(answer) };
  }

  async function send(
    session: UploadSession,
    descriptor: Descriptor,
    open: () => AsyncIterable<Uint8Array>,
    { signal, onBytes }: TransferOptions,
  ): Promise<void> {
    const { digest, size } = descriptor;
    const { repository } = session;
    const { name, part } = shown(repository, digest);
    const length = chunkLength(session, size);
    let target = session.location;
    if (length !== null) {
      const onSent = (current: number): void => onBytes?.(current, size);
      const about = part === undefined ? { name } : { name, part };
      target = await sendChunks(calls, session, length, {
        ...about,
        size,
        bytes: open(),
        signal,
        onBytes: onSent,
      });
    }
    target = new URL(target);
    target.search += `${target.search === "" ? "?" : "&"}digest=${encodeURIComponent(digest)}`;
    const answer = await calls.call(repository, {
      method: "PUT",
      path: target,
      headers: {
        "content-type": "application/octet-stream",
        "content-length": String(length === null ? size : 0),
      },
      ...(length === null ? { body: () => counted(open(), size, name, onBytes) } : {}),
      ok: [201, 204, 200],
      name,
      ...(part === undefined ? {} : { part }),
      actions: "pull,push",
      retry: false, // an upload session that broke is begun again
      signal,
      totalMs: transferMs(descriptor.size),
      isTransfer: descriptor.size > TRANSFER_MIN_BYTES,
    });
    await answer.discard();
    const stated = answer.headers["docker-content-digest"];
    if (typeof stated === "string" && stated !== descriptor.digest)
      throw wrongDigest(name, descriptor.digest, stated);
  }

  /** Builds do not need it. */
  async function management(): Promise<Pick<Registry, "hasManifest" | "tags" | "remove">> {
    const { openManagement } = await import("./management.ts");
    return openManagement(calls, (reference) => resolved.forget(resolvedKey(reference)));
  }

  return {
    async resolve(reference, { signal }) {
      const ask = async (asking: AbortSignal) => ({
        value: (await head(reference, asking)) ?? (await getManifest(reference, asking)).descriptor,
        validMs: reference.digest === null ? RESOLVED_MS : null,
      });
      return await resolved.get(resolvedKey(reference), ask, { signal });
    },
    manifest: (reference, { signal, noMirrors }) => getManifest(reference, signal, noMirrors),
    blob: fetchBlob,
    ...(options.elsewhere === undefined ? {} : { elsewhere: options.elsewhere }),
    hasBlob: (repository, digest, { signal }) => hasBlob(repository, digest, signal, "pull"),
    blobSize,
    async uploadBlob(repository, descriptor, open, options) {
      const { signal, mountFrom = [] } = options;
      if (await hasBlob(repository, descriptor.digest, signal, "pull,push")) return "exists";
      let session: UploadSession | null = null;
      for (const from of mountFrom) {
        if (from === repository.repository) continue;
        session = await begin(repository, descriptor.digest, from, signal);
        if (session === null) return "mounted";
      }
      for (let attempt = 0; ; attempt++) {
        try {
          session ??= await begin(repository, descriptor.digest, null, signal);
          if (session !== null) await send(session, descriptor, open, options);
          return "uploaded";
        } catch (error) {
          if (!(error instanceof Fault)) throw error;
          if (attempt + 1 >= UPLOADS_MAX) {
            throw calls.unreachable(repository.host, error, shown(repository, descriptor.digest).name);
          }
          session = null;
          await calls.pause(attempt, signal, error.retryAfterMs);
        }
      }
    },
    async putManifest(repository, name, bytes, mediaType, { signal }) {
      const text =
        repository.askedAs ?? `${formatRepository(repository)}${isDigest(name) ? "@" : ":"}${name}`;
      const answer = await calls.call(repository, {
        method: "PUT",
        path: `manifests/${name}`,
        headers: { "content-type": mediaType, "content-length": String(bytes.length) },
        body: bytes,
        ok: [201, 200, 202, 204],
        name: text,
        actions: "pull,push",
        signal,
      });
      await answer.discard();
      if (!isDigest(name)) resolved.forget(resolvedKey({ ...repository, tag: name, digest: null }));
      const stated = answer.headers["docker-content-digest"];
      const digest = digestOf(bytes);
      if (typeof stated === "string" && isDigest(stated) && stated !== digest)
        throw wrongDigest(text, digest, stated);
      const subject = answer.headers["oci-subject"];
      return { subject: typeof subject === "string" ? subject : null };
    },
    hasManifest: async (...args) => (await management()).hasManifest(...args),
    tags: async (...args) => (await management()).tags(...args),
    remove: async (...args) => (await management()).remove(...args),
    referrers: openReferrers(calls),
    async login(host, { signal }) {
      // distribution spec, "Determining Support": GET /v2/ is what a registry answers to who may come in.
      const answer = await calls.call(
        { host, repository: "" },
        { method: "GET", path: "", headers: {}, ok: [200], name: host, actions: "pull", signal },
      );
      await answer.discard();
    },
    close: () => calls.close(),
  };
}

/** A blob for messages. */
function shown(repository: Repository, digest: Digest): Pick<Call, "name" | "part"> {
  const { askedAs } = repository;
  if (askedAs === undefined) return { name: `${formatRepository(repository)}@${digest}` };
  return { name: askedAs, part: `blob ${digest}` };
}

/** insecure is a part of it: such a name may be answered by another server. */
function resolvedKey(reference: Reference): string {
  return `${reference.insecure ?? false} ${formatReference(withDefaultTag(reference))}`;
}

async function* counted(
  data: AsyncIterable<Uint8Array>,
  size: number,
  name: string,
  onBytes: TransferOptions["onBytes"],
): AsyncGenerator<Uint8Array, void, undefined> {
  let sent = 0;
  for await (const chunk of data) {
    sent += chunk.length;
    if (sent > size) break;
    yield chunk;
    onBytes?.(sent, size);
  }
  if (sent !== size)
    throw new BuildError("STORE_CORRUPT", `${name}: the blob to upload is not ${size} bytes long`);
}

function contentType(answer: Pick<Answer, "headers">): string | null {
  return answer.headers["content-type"]?.split(";")[0]?.trim().toLowerCase() || null;
}

function notFound(name: string): BuildError {
  return new BuildError("REGISTRY_NOT_FOUND", `${name}: not found`, {
    hint: "check the name and the tag; for private images, log in first",
  });
}

function wrongDigest(name: string, expected: string, actual: string): BuildError {
  return wrongContent(name, "the registry", expected, actual);
}

function protocol(name: string, problem: string): BuildError {
  return unexpected(name, problem);
}
