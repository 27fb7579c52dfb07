// The files of an image as one tar: its layers on top of each other.

import { runOutputs } from "../../../exporters/exporter.ts";
import { parseOutput } from "../../../exporters/output-grammar.ts";
import { checkDestinations } from "../../../exporters/writable.ts";
import { hostPlatform } from "../../../solver/graph/platform.ts";
import { isDigest } from "../../../solver/graph/digest.ts";
import { BuildError } from "../../../solver/graph/error.ts";
import { formatPlatform, type Platform } from "../../../solver/graph/op.ts";
import type { BuiltImage, CallContext } from "../../../solver/graph/request.ts";
import type { LocalWorker } from "../../../worker/worker.ts";
import { platformAbsent } from "../local-images.ts";
import { bestOf, claimLayers, outputDeps } from "../local-outputs.ts";
import { transferWorker } from "../pull.ts";
import { openTreeFiles } from "../tree-files.ts";
import type { ImageAddress } from "./contract.ts";
import { imageFor, inParallel, readGraph } from "./graph.ts";
import { fetchBlob } from "./layers.ts";
import { type ImageDeps, type ImageSource, openSource } from "./source.ts";

/** Writes the tar to a path, or to the client (null). Throws PLATFORM_UNSUPPORTED, OUTPUT_*, and what unpacking throws. */
export async function exportRootfs(
  from: ImageAddress,
  platform: Platform | null,
  path: string | null,
  deps: ImageDeps,
): Promise<void> {
  const { parts, options, vertex, scope } = deps;
  const output = parseOutput(`type=tar,${JSON.stringify(`dest=${path ?? "-"}`)}`);
  checkDestinations([output]); // before layers are fetched
  const source = await openSource(from, deps);
  const worker = source.built?.worker ?? scope.use(transferWorker(parts, options));
  const image =
    source.built === undefined
      ? await fetched(source, platform, worker, deps)
      : localOne(source, platform, worker, deps);
  const context: CallContext = { signal: options.signal, session: options.session, emit: options.emit };
  const files = openTreeFiles({ parts, worker, vertex, context });
  await runOutputs(
    [image],
    [output],
    { ...outputDeps(parts, worker, vertex, options), ...files },
    {
      ...{ signal: options.signal, emit: options.emit, vertices: [], multiPlatform: false },
      ...{ epochSeconds: null, nowMs: Date.now },
    },
  );
}

function localOne(
  source: ImageSource,
  platform: Platform | null,
  worker: LocalWorker,
  { parts: { store } }: ImageDeps,
): BuiltImage {
  const images = source.built?.images() ?? [];
  claimLayers(worker, images, store);
  const best = bestOf(images, platform ?? hostPlatform());
  const found = best ?? (platform === null && images.length === 1 ? images[0] : undefined);
  if (found !== undefined) return found;
  throw platformAbsent(
    source.shown,
    formatPlatform(platform ?? hostPlatform()),
    images.map((image) => formatPlatform(image.platform)),
  );
}

/** Its layers are brought into the store, under no name. */
async function fetched(
  source: ImageSource,
  platform: Platform | null,
  worker: LocalWorker,
  deps: ImageDeps,
): Promise<BuiltImage> {
  const {
    parts: { store },
    options,
    lease,
  } = deps;
  const graph = await readGraph(source, options);
  const {
    manifest,
    config,
    platform: own,
  } = await imageFor(graph, platform, hostPlatform(), source, options);
  await inParallel(manifest.layers, 4, options.signal, (layer, signal) =>
    fetchBlob(layer, source, deps, signal),
  );
  const diffIds = (config.rootfs?.diff_ids ?? []).filter(isDigest);
  if (diffIds.length !== manifest.layers.length)
    throw new BuildError(
      "IMAGE_INVALID",
      `${source.shown}: its manifest and its config have different layers`,
    );
  const layers = diffIds.map((diffId, at) => {
    const id = store.layers.idOf(diffId);
    lease.addLayers([id]);
    const description = store.layers.get(id)?.description || `layer ${at + 1} of ${source.shown}`;
    store.layers.update(id, { diffId, description });
    const descriptor = manifest.layers[at];
    if (descriptor !== undefined) worker.claims.add([id], [{ descriptor }]);
    return id;
  });
  return { platform: own, layers, config };
}
