// pull: fetches an image from a registry into the local store. push: push.ts.

import { IMAGE_SPACE } from "../../cache/image-record.ts";
import { loadImage } from "../../cache/registry/image.ts";
import { MANIFEST_MAX_BYTES, parseDocument } from "../../cache/registry/documents.ts";
import {
  formatReference,
  formatRepository,
  parseReference,
  withDefaultTag,
} from "../../cache/registry/reference.ts";
import { digestOf } from "../../solver/graph/digest.ts";
import { asStep } from "../../solver/graph/event.ts";
import { formatPlatform, type Platform } from "../../solver/graph/op.ts";
import { hostPlatform } from "../../solver/graph/platform.ts";
import type { CallContext, Descriptor } from "../../solver/graph/request.ts";
import { openWorker, type LocalWorker } from "../../worker/worker.ts";
import type { EngineParts } from "./parts.ts";
import type { EngineTransferOptions } from "./request.ts";
import { resolvConfOf } from "./host-network.ts";
import type { ImageRecord } from "../../cache/contract.ts";

/** Fetches manifest, config and layers and gives them their name. Throws REGISTRY_*, PLATFORM_UNSUPPORTED. */
export async function pullImage(
  parts: EngineParts,
  reference: string,
  platform: Platform | null,
  options: EngineTransferOptions,
): Promise<Descriptor> {
  const { store } = parts;
  const context: CallContext = { signal: options.signal, session: options.session, emit: options.emit };
  const named = withDefaultTag(parseReference(reference));
  const name = formatReference(named);
  const wanted = platform ?? hostPlatform();
  const registry = await parts.registry(options.session);
  await using worker = transferWorker(parts, options);
  await using lease = store.lease();
  const vertex = digestOf(`pull ${name}`);
  options.emit({ kind: "vertex", vertex, name: `pull ${name}`, inputs: [], at: [] });
  options.emit({ kind: "started", vertex, atMs: Date.now() });
  return await asStep({ ...options, vertex, nowMs: Date.now }, async () => {
    const image = await worker.images.load(`docker-image://${name}`, {}, wanted, options);
    const loaded = await loadImage(registry, store, { ...named, tag: null, digest: image.digest }, wanted, {
      signal: options.signal,
      lease,
    });
    lease.addLayers(image.layers);
    await Promise.all(image.layers.map((id) => worker.unpacker.fetch(id, vertex, context)));
    // The local name refers to the registry's index: one platform is local, others may be pulled later.
    const bytes = store.content.read(loaded.digest, MANIFEST_MAX_BYTES);
    const target: Descriptor =
      loaded.digest === loaded.manifestDescriptor.digest
        ? loaded.manifestDescriptor
        : {
            mediaType: parseDocument(bytes, null, name).mediaType,
            digest: loaded.digest,
            size: bytes.length,
          };
    const before = store.records.get<ImageRecord>(IMAGE_SPACE, name);
    const known = before?.target.digest === target.digest ? before : null;
    const record: ImageRecord = {
      name,
      target,
      createdAtMs: Date.now(),
      layers: { ...known?.layers, [formatPlatform(wanted)]: image.layers },
      confirmed: [...new Set([...(known?.confirmed ?? []), formatRepository(named)])],
    };
    store.records.put(IMAGE_SPACE, name, record);
    return target;
  });
}

/** A worker for transfers: image names are resolved by the registry, not by the local store. */
export function transferWorker(parts: EngineParts, options: EngineTransferOptions): LocalWorker {
  return openWorker({
    store: parts.store,
    keeper: parts.keeper,
    registry: () => parts.registry(options.session),
    transport: parts.transport,
    gitVariables: parts.gitVariables,
    entitlements: new Set(),
    resolveMode: "registry",
    resolvConf: resolvConfOf(parts.config.dns ?? null),
    defaultPlatform: hostPlatform(),
    signal: options.signal,
  });
}
