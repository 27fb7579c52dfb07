// The second half of a build: from steps to images, from images to outputs and caches.

import { mkdtempSync, rmSync } from "node:fs";
import { join } from "node:path";
import type { ImageOptions, Output } from "../../exporters/output-grammar.ts";
import type { Input } from "../../solver/graph/definition.ts";
import { mergeDefinitions } from "../../solver/graph/definition.ts";
import { digestOf, type Digest } from "../../solver/graph/digest.ts";
import { BuildError } from "../../solver/graph/error.ts";
import type { BuiltImage, CallContext, LayerId, Result } from "../../solver/graph/request.ts";
import type { TraceRequest } from "../../solver/solver.ts";
import { openLayerSource } from "./layer-source.ts";
import { normalizeName } from "./local-images.ts";
import type { OpenBuild } from "./parts.ts";
import type { BuildReport, BuildRequest } from "./request.ts";
import type { ExportOutcome } from "../../exporters/contract.ts";
import type { Converted } from "../../frontend/contract.ts";

/** Of outputs without an image. */
export const EMPTY_REPORT: BuildReport = {
  imageDigest: null,
  configDigest: null,
  descriptor: null,
  outputs: [],
  names: [],
  metadata: {},
  answer: null,
};

/** Solves the frontend's definitions and runs the outputs. */
export async function solveAndExport(
  build: OpenBuild,
  converted: Converted,
  trace: TraceRequest,
  context: CallContext,
): Promise<BuildReport> {
  const { parts, request, worker, solver, registry, imports } = build;
  const { store } = parts;
  const epochSeconds = converted.sourceDateEpoch;
  const outputs = await outputsOf(request, epochSeconds);
  const vertices = outputs.map(({ kind }, index) =>
    kind === "cacheonly" ? null : digestOf(`export ${index} ${request.tags.join(",")}`),
  );
  const firstExport = vertices.find((one) => one !== null) ?? digestOf("export"); // where fetches for any of them are shown
  const layers = openLayerSource({
    ...{ store, keeper: parts.keeper, unpacker: worker.unpacker, vertex: firstExport, context },
    pinnedCompressor: request.reproducible,
  });

  const roots: Input[] = converted.images.flatMap(({ definition }) =>
    definition.root === null ? [] : [definition.root],
  );
  const { checkOutputs, runOutputs } = await import("../../exporters/exporter.ts");
  const client = context.session.outputs;
  checkOutputs(outputs, { isIndex: converted.multiPlatform || converted.images.length > 1, client });
  await checkPlaces(outputs, request);
  const definition = mergeDefinitions(converted.images.map((image) => image.definition));
  const caches =
    request.cacheFrom.length + request.cacheTo.length > 0 ? await import("./build-caches.ts") : null;
  const { keeper, objects } = parts;
  const cacheParts = { store, keeper, objects, layers, registry, imports };
  await using early = (await caches?.openEarlyExports(request, cacheParts, context.signal)) ?? null;
  await using solution = await solver.solve({ definition, noCache: request.noCache }, roots, context, {
    trace,
    ...(early === null
      ? {}
      : { onResult: (_, result, isCached) => (isCached ? undefined : early.offer(result)) }),
  });
  const results = [...solution.results];
  const built: BuiltImage[] = [];
  for (const image of converted.images) {
    const result: Result | undefined =
      image.definition.root === null ? { kind: "layers", layers: [] } : results.shift();
    if (result === undefined) throw new Error("the solver gave fewer results than roots");
    built.push({
      platform: image.platform,
      layers: await worker.layersOf(result, context),
      config: image.config,
      baseHistory: image.baseHistory,
    });
  }
  const images =
    (await caches?.withInlineCaches(built, solution, request, cacheParts, context.signal)) ?? built;
  const inputs = roots.map((root) => root.vertex);
  outputs.forEach((output, index) => {
    const vertex = vertices[index] ?? null;
    if (vertex === null) return;
    context.emit({ kind: "vertex", vertex, name: exportName(output), inputs, at: [] });
    context.emit({ kind: "started", vertex, atMs: Date.now() });
  });
  if (outputs.some((output) => output.kind === "image" && output.store)) {
    const fetch = (id: LayerId, signal: AbortSignal) =>
      worker.unpacker.fetch(id, firstExport, { ...context, signal });
    await caches?.fetchBorrowed(images, cacheParts, fetch, context.signal).catch((error: unknown) => {
      if (error instanceof BuildError)
        context.emit({ kind: "failed", vertex: firstExport, atMs: Date.now(), error });
      throw error;
    });
  }
  const outcomes = await runOutputs(
    images,
    outputs,
    {
      store,
      layers,
      registry,
      files: async ({ trees, form, dest, output, epochSeconds: clamp }, { signal }) => {
        const ready = await Promise.all(
          trees.map(async ({ layers: ids, folder }) => ({
            folder,
            dirs: await worker.unpacker.directories(ids, firstExport, { ...context, signal }),
          })),
        );
        const scratch = mkdtempSync(join(store.tempDir(), "trees-"));
        try {
          const to = { form, dest, output, scratch, epochSeconds: clamp } as const;
          return await parts.keeper().run({ kind: "export", trees: ready, ...to }, { signal });
        } finally {
          rmSync(scratch, { recursive: true, force: true });
        }
      },
      client,
      loaders: [
        ["docker", "load"],
        ["podman", "load"],
      ],
      env: parts.config.env,
    },
    {
      signal: context.signal,
      emit: context.emit,
      vertices,
      multiPlatform: converted.multiPlatform,
      epochSeconds,
      nowMs: Date.now,
    },
  );
  await caches?.exportCaches({ images, solution, definition }, request, cacheParts, early, context);
  return reportOf(outcomes);
}

/** Reports unwritable outputs before the first step. */
async function checkPlaces(outputs: readonly Output[], { cacheTo }: BuildRequest): Promise<void> {
  const caches = cacheTo.flatMap((to) =>
    to.kind === "place" && to.at.kind === "local" && !to.ignoreError ? [to.at.path] : [],
  );
  const isFile = (output: Output): boolean => "dest" in output && output.dest?.kind === "path";
  if (caches.length === 0 && !outputs.some(isFile)) return;
  const { checkDestinations, checkDirectory } = await import("../../exporters/writable.ts");
  checkDestinations(outputs);
  for (const path of caches) checkDirectory(path);
}

/** The outputs given with -o, or the local image store; with names, annotations and times from the other flags. */
async function outputsOf(request: BuildRequest, epochSeconds: number | null): Promise<readonly Output[]> {
  const { parseOutput } = await import("../../exporters/output-grammar.ts");
  // As in buildx, tags replace name=.
  const tagged =
    request.tags.length === 0
      ? {}
      : { names: request.tags.map(normalizeName), writtenNames: request.tags.join(",") };
  const complete = (image: ImageOptions): ImageOptions => ({
    ...image,
    ...tagged,
    annotations: [...image.annotations, ...request.annotations],
    ...(request.reproducible
      ? { rewriteTimestamp: true, epochSeconds: image.epochSeconds ?? epochSeconds }
      : {}),
  });
  const outputs = request.outputs.length > 0 ? request.outputs : [parseOutput("type=image")];
  return outputs.map((output) => {
    if (output.kind === "image" || output.kind === "archive")
      return { ...output, image: complete(output.image) };
    return output.kind === "files" && request.reproducible
      ? { ...output, epochSeconds: output.epochSeconds ?? epochSeconds }
      : output;
  });
}

/** The names of BuildKit's exporters. */
function exportName(output: Output): string {
  if (output.kind === "archive") return `exporting to ${output.format} image format`;
  if (output.kind === "files")
    return `exporting to client ${output.form === "tar" ? "tarball" : "directory"}`;
  return "exporting to image";
}

function reportOf(outcomes: readonly ExportOutcome[]): BuildReport {
  // As in BuildKit the last output determines it; but a digest of a registry has priority over one of this store only.
  const isPushed = ({ output }: ExportOutcome): boolean => output.kind === "image" && output.push;
  const image = outcomes.findLast(isPushed) ?? outcomes.findLast((outcome) => outcome.descriptor !== null);
  const outputs = outcomes.map(({ descriptor }) => descriptor);
  if (image === undefined || image.descriptor === null) return { ...EMPTY_REPORT, outputs };
  const imageName = outcomes.findLast((outcome) => outcome.imageName !== null)?.imageName ?? null;
  const digest: Digest = image.descriptor.digest;
  return {
    imageDigest: digest,
    configDigest: image.configDigest,
    descriptor: image.descriptor,
    outputs,
    names: imageName?.split(",") ?? [],
    metadata: {
      ...(image.configDigest === null ? {} : { "containerimage.config.digest": image.configDigest }),
      "containerimage.descriptor": image.descriptor,
      "containerimage.digest": digest,
      ...(imageName === null ? {} : { "image.name": imageName }),
    },
    answer: null,
  };
}
