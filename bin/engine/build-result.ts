// The second half of a build: from steps to images, from images to outputs and caches.

import type { ImageOptions, Output } from "../../exporters/output-grammar.ts";
import type { Definition, Input } from "../../solver/graph/definition.ts";
import { mergeDefinitions } from "../../solver/graph/definition.ts";
import { digestOf, type Digest } from "../../solver/graph/digest.ts";
import { BuildError } from "../../solver/graph/error.ts";
import {
  type BuiltImage,
  type CallContext,
  type LayerId,
  type Result,
  SCRATCH,
} from "../../solver/graph/request.ts";
import { Scope } from "../../solver/graph/scope.ts";
import { openEarlyResults } from "./early-outputs.ts";
import { openLayerSource } from "./layer-source.ts";
import { normalizeName } from "./local-images.ts";
import type { OpenBuild } from "./parts.ts";
import { openTreeFiles } from "./tree-files.ts";
import type { ExportRequest, SolvedBy } from "./export-request.ts";
import { type BuildReport, type BuildTerms, EMPTY_REPORT } from "./request.ts";
import type { ResultWords } from "./bridge-contract.ts";
import type { ExportOutcome } from "../../exporters/contract.ts";

/** Solves the graphs of the images and runs the outputs. `build`: what is used for the rest. */
export async function solveAndExport(
  build: OpenBuild,
  asked: ExportRequest,
  context: CallContext,
): Promise<BuildReport> {
  const { parts, terms, worker, registry, imports } = build;
  const { store } = parts;
  const { sourceDateEpoch: epochSeconds, trace, words } = asked;
  const outputs = await outputsOf(terms, asked.outputs, words, epochSeconds);
  const vertices = outputs.map(({ kind }, index) =>
    kind === "cacheonly" ? null : digestOf(`export ${index} ${terms.tags.join(",")}`),
  );
  const firstExport = vertices.find((one) => one !== null) ?? digestOf("export"); // where fetches for any of them are shown
  const layers = openLayerSource({
    ...{ store, keeper: parts.keeper, unpacker: worker.unpacker, vertex: firstExport, context },
    pinnedCompressor: terms.reproducible,
  });

  const { checkOutputs, runOutputs } = await import("../../exporters/exporter.ts");
  const client = context.session.outputs;
  const multiPlatform = asked.multiPlatform || asked.images.length > 1;
  const asksProvenance = terms.attestations?.provenance ?? null;
  const attested = [
    ...(asked.scanning === null ? [] : [{ inlineOnly: false }]),
    ...asked.images.flatMap((image) => image.attestations),
    ...(asksProvenance === null ? [] : [asksProvenance]),
  ];
  checkOutputs(outputs, { isIndex: multiPlatform, client, attestations: attested });
  const { signings = [] } = terms;
  if (signings.length > 0)
    (await import("../../exporters/signature/output.ts")).checkSigning(
      outputs,
      signings,
      attested.length > 0,
    );
  await checkPlaces(outputs, terms);
  const { scanning } = asked;
  const attesting = attested.length > 0 || asked.attesting !== null ? await import("./attest.ts") : null;
  const groups = groupsOf(asked.images, (image) =>
    scanning === null || attesting === null ? [] : attesting.scanGraphs(image, scanning),
  );
  const caches =
    groups.some(({ build }) => build.imports !== null) || terms.cacheTo.length > 0
      ? await import("./build-caches.ts")
      : null;
  const { keeper, objects } = parts;
  const cacheParts = { store, keeper, objects, layers, registry, imports };
  await using earlyCaches = (await caches?.openEarlyExports(terms, cacheParts, context.signal)) ?? null;
  await using early = openEarlyResults(async () => {
    const { openEarlyOutputs } = await import("../../exporters/early.ts");
    const { signal } = context;
    return openEarlyOutputs(outputs, { store, layers, registry }, { signal, epochSeconds });
  });
  await using scope = new Scope(context.signal);
  const solutions = await scope.all(
    groups.map(
      ({ build: { solver, session }, noCache, definition, roots, scans }) =>
        async (signal: AbortSignal) => {
          const request = {
            noCache,
            definition: scans.length === 0 ? definition : mergeDefinitions([definition, ...scans]),
          };
          const scanRoots = scans.flatMap(({ root }) => (root === null ? [] : [root]));
          const offer = early.onResult(definition, roots);
          return scope.use(
            await solver
              .solve(
                request,
                [...roots, ...scanRoots],
                { ...context, session, signal },
                {
                  ...(trace === null ? {} : { trace }),
                  onResult(input, result, isCached) {
                    if (!isCached) earlyCaches?.offer(result);
                    offer(input, result, isCached);
                  },
                },
              )
              .catch((error: unknown) => {
                throw scanning === null ? error : attesting?.scanError(error, scanning, scanRoots);
              }),
          );
        },
    ),
  );
  const [solution] = solutions; // caches get the steps of one solver: that of the first image
  const resultOf = new Map<SolvedBy, Result>();
  const scanned = new Map<SolvedBy, readonly Result[]>();
  groups.forEach((group, index) => {
    const results = [...(solutions[index]?.results ?? [])];
    const next = ({ root }: Definition): Result => {
      const result = root === null ? SCRATCH : results.shift();
      if (result === undefined) throw new Error("the solver gave fewer results than roots");
      return result;
    };
    for (const image of group.images) resultOf.set(image, next(image.definition));
    for (const image of group.images) scanned.set(image, (group.scansOf.get(image) ?? []).map(next));
  });
  const built: BuiltImage[] = [];
  for (const image of asked.images) {
    const { platform, config, baseHistory } = image;
    const { worker: own, session } = image.build;
    const stack = await own.layersOf(resultOf.get(image) ?? SCRATCH, { ...context, session });
    built.push({ platform, layers: stack, config, baseHistory });
  }
  const images =
    solution === undefined
      ? built
      : ((await caches?.withInlineCaches(built, solution, terms, cacheParts, context.signal)) ?? built);
  const roots = groups.flatMap((group) => group.roots);
  for (const solution of solutions) await asked.onOrigins(solution.origins());
  const attestations = await attesting?.attest(images, asked, {
    ...{ build, context, scanned: (image) => scanned.get(image) ?? [] },
    originsOf(image) {
      const index = groups.findIndex((group) => group.images.some((one) => one === image));
      return (solutions[index] as (typeof solutions)[number]).origins();
    },
  });
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
    const isBorrowed = (from: string): boolean => objects.isBorrowed(from) || worker.images.isOfClient(from);
    const { fetchBorrowed } = await import("./borrowed-layers.ts");
    const borrowedParts = { store, claims: worker.claims, isBorrowed };
    await fetchBorrowed(images, borrowedParts, fetch, context.signal).catch((error: unknown) => {
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
      ...(await early.finish()),
      ...openTreeFiles({ parts, worker, vertex: firstExport, context }),
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
      multiPlatform,
      epochSeconds,
      nowMs: Date.now,
      attestations: attestations ?? [],
      signings,
    },
  );
  const [first] = groups;
  const manifest =
    solution === undefined || first === undefined
      ? null
      : await caches?.exportCaches(
          { images, solution, definition: first.definition },
          terms,
          cacheParts,
          earlyCaches,
          context,
        );
  const report = reportOf(outcomes);
  if (!manifest) return report;
  return { ...report, metadata: { ...report.metadata, "cache.manifest": JSON.stringify(manifest) } };
}

/** Images that are solved together. */
interface SolveGroup {
  readonly build: OpenBuild;
  readonly noCache: boolean;
  readonly images: readonly SolvedBy[];
  readonly definition: Definition;
  readonly roots: readonly Input[];
  /** Graphs that are solved as well, of all images and of each. */
  readonly scans: readonly Definition[];
  readonly scansOf: ReadonlyMap<SolvedBy, readonly Definition[]>;
}

function groupsOf(
  images: readonly SolvedBy[],
  scansOf: (image: SolvedBy) => readonly Definition[],
): readonly SolveGroup[] {
  const groups: { build: OpenBuild; noCache: boolean; images: SolvedBy[] }[] = [];
  for (const image of images) {
    const { build, noCache } = image;
    const known = groups.find((group) => group.build === build && group.noCache === noCache);
    if (known === undefined) groups.push({ build, noCache, images: [image] });
    else known.images.push(image);
  }
  return groups.map((group) => {
    const scans = new Map(group.images.map((image) => [image, scansOf(image)]));
    return {
      ...group,
      definition: mergeDefinitions(group.images.map(({ definition }) => definition)),
      roots: group.images.flatMap(({ definition: { root } }) => (root === null ? [] : [root])),
      scans: [...scans.values()].flat(),
      scansOf: scans,
    };
  });
}

/** Reports unwritable outputs before the first step. */
async function checkPlaces(outputs: readonly Output[], { cacheTo }: BuildTerms): Promise<void> {
  const caches = cacheTo.flatMap((to) =>
    to.kind === "place" && to.at.kind === "local" && !to.ignoreError ? [to.at.path] : [],
  );
  const isFile = (output: Output): boolean => "dest" in output && output.dest?.kind === "path";
  if (caches.length === 0 && !outputs.some(isFile)) return;
  const { checkDestinations, checkDirectory } = await import("../../exporters/writable.ts");
  checkDestinations(outputs);
  for (const path of caches) checkDirectory(path);
}

/** The outputs given with -o, or the local image store; with names, annotations and times from the other flags and from the frontend. */
async function outputsOf(
  request: BuildTerms,
  more: readonly Output[],
  words: ResultWords,
  epochSeconds: number | null,
): Promise<readonly Output[]> {
  const { parseOutput, withFrontendName } = await import("../../exporters/output-grammar.ts");
  // As in buildx, tags replace name=.
  const tagged =
    request.tags.length === 0
      ? {}
      : { names: request.tags.map(normalizeName), writtenNames: request.tags.join(",") };
  const complete = (image: ImageOptions): ImageOptions => ({
    ...withFrontendName(image, words.imageName),
    ...tagged,
    annotations: [...words.annotations, ...image.annotations, ...request.annotations],
    ...(request.reproducible
      ? { rewriteTimestamp: true, epochSeconds: image.epochSeconds ?? epochSeconds }
      : {}),
  });
  const own = request.outputs.length > 0 ? request.outputs : [parseOutput("type=image")];
  const outputs = [...own, ...more];
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
