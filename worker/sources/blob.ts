// Single blobs as files: docker-image+blob://REPOSITORY@DIGEST from a registry, oci-layout+blob://NAME@DIGEST from a store of the client.

import { BuildError, redactUrl } from "../../solver/graph/error.ts";
import { type Digest, digestOf, hexOf, isDigest } from "../../solver/graph/digest.ts";
import type { SourceOp } from "../../solver/graph/op.ts";
import type { CallContext, LayerId } from "../../solver/graph/request.ts";
import { blobBytes, pullBlob } from "../../cache/registry/image.ts";
import { openLayout } from "../../cache/registry/layout.ts";
import { isFrom, noteOrigin } from "../../cache/origins.ts";
import { formatRepository, parseReference } from "../../cache/registry/reference.ts";
import type { Registry } from "../../cache/registry/contract.ts";
import type { Store } from "../../cache/contract.ts";
import type { Pin } from "../contract.ts";
import type { Keeper } from "../keeper/keeper.ts";
import { lookIn } from "./attributes.ts";
import { storeOf } from "./image.ts";
import { safeName, singleFileLayer } from "./single-file.ts";

/** Largest blob that becomes a file. */
const BLOB_MAX_BYTES = 64 * 1024 ** 3;

interface BlobAddress {
  readonly isLayout: boolean;
  readonly reference: string;
  readonly digest: Digest;
  readonly name: string;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
}

export interface BlobDeps {
  readonly store: Store;
  readonly registry: () => Promise<Registry>;
  readonly keeper: () => Keeper;
}

function parseAddress({ identifier, attrs }: SourceOp): BlobAddress {
  const isLayout = identifier.startsWith("oci-layout+blob://");
  const reference = identifier.slice(identifier.indexOf("://") + 3);
  const digest = reference.slice(reference.lastIndexOf("@") + 1);
  if (!reference.includes("@") || !isDigest(digest))
    throw new BuildError("SOURCE_FAILED", `${redactUrl(identifier)} does not end with the digest of a blob`);
  if (isLayout && (attrs["oci.store"] ?? "") === "")
    throw new BuildError("SOURCE_FAILED", `${redactUrl(identifier)} names no store (oci.store)`);
  const filename = attrs["http.filename"] ?? "";
  const name = filename === "" ? hexOf(digest) : safeName(filename);
  return { isLayout, reference, digest, name, ...lookIn(attrs) };
}

/** The digest says which bytes; name, mode and owner are the source's own. Who does not have the blob is not given what others
 *  brought. Throws SOURCE_FAILED, CONTEXT_MISSING, IMAGE_UNKNOWN, REGISTRY_*. */
export async function pinBlob(op: SourceOp, context: CallContext, deps: BlobDeps): Promise<Pin> {
  const address = parseAddress(op);
  const { digest, name, mode, uid, gid } = address;
  if (address.isLayout) await sizeAtClient(op, digest, context);
  else await checkRepository(address, context, deps);
  return {
    digest: digestOf(JSON.stringify(["tsbuild.blob.v1", digest, name, mode, uid, gid])),
    result: null,
    material: digest,
  };
}

/** A layer with the blob in its root. Throws SOURCE_FAILED, CONTEXT_MISSING, REGISTRY_*. */
export async function fetchBlob(op: SourceOp, context: CallContext, deps: BlobDeps): Promise<LayerId> {
  const address = parseAddress(op);
  const { digest } = address;
  const { store, keeper } = deps;
  const description = redactUrl(op.identifier);
  // A file on the disk may be damaged: what is not whole is set aside, and fetched again (threat model R3).
  if (!store.content.has(digest) || !(await store.content.isWhole(digest, context)))
    await (address.isLayout ? fromClient(op, digest, context, store) : fromRegistry(address, context, deps));
  return await singleFileLayer({ ...address, mtimeSeconds: 0 }, store, keeper, description, context);
}

async function checkRepository(address: BlobAddress, context: CallContext, deps: BlobDeps): Promise<void> {
  const repository = formatRepository(parseReference(address.reference));
  if (isFrom(deps.store.records, repository, address.digest)) return;
  await sizeInRegistry(address, context, deps);
  noteOrigin(deps.store.records, repository, address.digest);
}

async function sizeInRegistry(
  { reference, digest }: BlobAddress,
  { signal }: CallContext,
  { registry }: BlobDeps,
): Promise<number> {
  const size = await (await registry()).blobSize(parseReference(reference), digest, { signal });
  if (size === null) throw new BuildError("REGISTRY_NOT_FOUND", `${redactUrl(reference)}: not found`);
  return size;
}

/** null: the client is here, and its layout is a directory that is read when the blob is. */
async function sizeAtClient(
  { attrs }: SourceOp,
  digest: Digest,
  { session, signal }: CallContext,
): Promise<number | null> {
  const id = attrs["oci.store"] ?? "";
  const blobs = await storeOf(session, id, attrs["oci.session"] ?? "", signal);
  if (blobs.kind === "here") return null;
  const size = await blobs.size(digest, { signal });
  if (size === null) throw new BuildError("IMAGE_UNKNOWN", `the client has no ${digest} in its store ${id}`);
  return size;
}

async function fromRegistry(address: BlobAddress, context: CallContext, deps: BlobDeps): Promise<void> {
  const { reference, digest } = address;
  const { signal } = context;
  const { store } = deps;
  const repository = parseReference(reference);
  const size = await sizeInRegistry(address, context, deps);
  const registry = await deps.registry();
  checkSize(size, digest);
  const descriptor = { mediaType: "application/octet-stream", digest, size };
  await pullBlob(descriptor, store, () => registry.blob(repository, descriptor, { signal }), { signal });
}

async function fromClient(op: SourceOp, digest: Digest, context: CallContext, store: Store): Promise<void> {
  const { attrs } = op;
  const { session, signal } = context;
  const id = attrs["oci.store"] ?? "";
  const blobs = await storeOf(session, id, attrs["oci.session"] ?? "", signal);
  if (blobs.kind === "here") {
    const layout = openLayout(blobs.path);
    const descriptor = { digest, size: BLOB_MAX_BYTES };
    await using ingest = store.content.ingest();
    let size = 0;
    for await (const chunk of layout.blob(descriptor, { signal })) {
      size += chunk.length;
      ingest.write(chunk);
    }
    ingest.commit({ digest, size, trusted: true }); // the reading side has hashed it
    return;
  }
  const size = (await sizeAtClient(op, digest, context)) as number;
  checkSize(size, digest);
  await pullBlob({ digest, size }, store, () => blobBytes(blobs, { digest, size }, { signal }), { signal });
}

function checkSize(size: number, digest: Digest): void {
  if (size > BLOB_MAX_BYTES)
    throw new BuildError(
      "LIMIT_EXCEEDED",
      `the blob ${digest} has ${size} bytes, which is over ${BLOB_MAX_BYTES}`,
    );
}
