// pull and push between the local image store and registries.

import { IMAGE_SPACE, runOutputs } from "../exporters/exporter.ts";
import { parseOutput } from "../exporters/output-grammar.ts";
import type { ImageRecord } from "../cache/store.ts";
import { loadImage } from "../cache/registry/image.ts";
import { formatReference, parseReference, withDefaultTag } from "../cache/registry/reference.ts";
import { digestOf } from "../solver/graph/digest.ts";
import { BuildError } from "../solver/graph/error.ts";
import { formatPlatform, type Platform } from "../solver/graph/op.ts";
import { hostPlatform } from "../solver/graph/platform.ts";
import type { BuiltImage, CallContext, Descriptor } from "../solver/graph/request.ts";
import { openWorker, type LocalWorker } from "../worker/worker.ts";
import type { EngineParts } from "./engine.ts";
import type { EngineTransferOptions } from "./config.ts";
import { resolvConfFor } from "./host-network.ts";
import { openLayerSource } from "./layer-source.ts";
import { findImage } from "./local-images.ts";

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
  const image = await worker.images.load(`docker-image://${name}`, {}, wanted, options);
  const loaded = await loadImage(registry, store, { ...named, tag: null, digest: image.digest }, wanted, {
    signal: options.signal,
    lease,
  });
  lease.addLayers(image.layers);
  await Promise.all(image.layers.map((id) => worker.unpacker.blob(id, vertex, context)));
  const target = loaded.manifestDescriptor;
  const record: ImageRecord = {
    name,
    target,
    createdAtMs: Date.now(),
    layers: { [formatPlatform(wanted)]: image.layers },
  };
  store.records.put(IMAGE_SPACE, name, record);
  options.emit({ kind: "done", vertex, atMs: Date.now() });
  return target;
}

/** Sends an image under its name; layers are packed as gzip on the way. Throws IMAGE_UNKNOWN, REGISTRY_*. */
export async function pushImage(
  parts: EngineParts,
  reference: string,
  options: EngineTransferOptions,
): Promise<Descriptor> {
  const { store } = parts;
  const context: CallContext = { signal: options.signal, session: options.session, emit: options.emit };
  const found = findImage(store, reference);
  const images: BuiltImage[] = found.manifests.map(({ config, descriptor }) => {
    const platform: Platform = descriptor.platform ?? {
      os: config.os,
      architecture: config.architecture,
      ...(config.variant ? { variant: config.variant } : {}),
    };
    const layers = found.record.layers[formatPlatform(platform)] ?? Object.values(found.record.layers)[0];
    if (layers === undefined)
      throw new BuildError("STORE_CORRUPT", `${reference}: the layers of the image are not known`);
    return { platform, layers, config };
  });
  await using worker = transferWorker(parts, options);
  const name = formatReference(withDefaultTag(parseReference(reference)));
  const output = parseOutput(`type=image,name=${name},push=true,store=false`);
  const vertex = digestOf(`push ${name}`);
  options.emit({ kind: "vertex", vertex, name: `pushing ${name}`, inputs: [], at: [] });
  options.emit({ kind: "started", vertex, atMs: Date.now() });
  let registry: ReturnType<EngineParts["registry"]> | null = null;
  const [outcome] = await runOutputs(
    images,
    [output],
    {
      store,
      registry: () => (registry ??= parts.registry(options.session)),
      layers: openLayerSource({
        store,
        keeper: parts.keeper,
        fetch: async (id, signal) =>
          store.content.path(await worker.unpacker.blob(id, null, { ...context, signal })),
        unpack: async (id, signal) => {
          const [dir] = await worker.unpacker.directories([id], vertex, { ...context, signal });
          if (dir === undefined) throw new Error("no directory");
          return dir;
        },
        pinnedCompressor: false,
      }),
      files: async () => {
        throw new Error("a push writes no files");
      },
      stdout: null,
      loaders: [],
      env: parts.config.env,
    },
    {
      signal: options.signal,
      emit: options.emit,
      vertex,
      multiPlatform: images.length > 1,
      epochSeconds: null,
      nowMs: Date.now,
    },
  );
  options.emit({ kind: "done", vertex, atMs: Date.now() });
  if (outcome?.descriptor == null) throw new Error("the push gave no image");
  return outcome.descriptor;
}

function transferWorker(parts: EngineParts, options: EngineTransferOptions): LocalWorker {
  return openWorker({
    store: parts.store,
    keeper: parts.keeper,
    registry: () => parts.registry(options.session),
    entitlements: new Set(),
    resolveMode: "pull",
    resolvConf: resolvConfFor,
    defaultNetwork: parts.defaultNetwork,
    defaultPlatform: hostPlatform(),
    signal: options.signal,
  });
}
