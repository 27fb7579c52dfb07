// --cache-from and --cache-to of one build: opens the caches, reports on them, and exports the build's result to them.

import type { CacheSource, ImportedResults, ImportProblem } from "../../cache/remote-cache/imports.ts";
import type { EarlyExport } from "../../exporters/cache-early.ts";
import type { BuiltChain } from "../../exporters/cache-export.ts";
import { digestOf } from "../../solver/graph/digest.ts";
import type { Definition } from "../../solver/graph/definition.ts";
import { BuildError } from "../../solver/graph/error.ts";
import type { Emit, ProgressEvent } from "../../solver/graph/event.ts";
import type { BuiltImage, CallContext, Descriptor } from "../../solver/graph/request.ts";
import type { Solution } from "../../solver/solver.ts";
import type { WorkerOptions } from "../../worker/worker.ts";
import { type CacheFrom, type CacheTo, nameOfLocation } from "./cache-location.ts";
import type { BuildTerms } from "./request.ts";
import { fillMount, IN_USE, type MountParts, packMounts, shownId } from "./cache-mounts.ts";
import { isObjects, type OpenRegistry, openPlace } from "./cache-place.ts";
import type { LayerSource } from "../../exporters/contract.ts";

type PlaceTarget = Extract<CacheTo, { kind: "place" }>;

/** Starts reading the caches to import; null: there are none. */
export async function openBuildImports(
  parts: MountParts,
  cacheFrom: readonly CacheFrom[],
  registry: OpenRegistry,
  emit: Emit,
): Promise<ImportedResults | null> {
  if (cacheFrom.length === 0) return null;
  const { openImports } = await import("../../cache/remote-cache/imports.ts");
  const domains = await Promise.all(
    cacheFrom.map(async ({ at }) => (isObjects(at) ? parts.objects.domain(at) : null)),
  );
  const sources = cacheFrom.map(({ at, mounts }, index): CacheSource => {
    const name = nameOfLocation(at);
    const vertex = digestOf(`import cache ${name}`);
    const domain = domains[index] ?? null;
    return {
      name,
      mounts,
      ...(domain === null ? {} : { domain }),
      open: () => {
        emit({ kind: "vertex", vertex, name: `importing cache manifest from ${name}`, inputs: [], at: [] });
        emit({ kind: "started", vertex, atMs: Date.now() });
        return openPlace(at, registry, parts.objects);
      },
    };
  });
  return openImports({
    store: parts.store,
    sources,
    onRead({ name }, problem) {
      emit({ kind: "done", vertex: digestOf(`import cache ${name}`), atMs: Date.now() });
      if (problem !== null) warn(emit, importWords(name, problem));
    },
  });
}

/** Fills new cache mounts from the imported caches. Invalid content is a warning, and the mount starts empty. */
export function mountRestorer(
  parts: MountParts,
  imports: ImportedResults,
  registry: OpenRegistry,
): NonNullable<WorkerOptions["restoreMount"]> {
  return async (id, dir, vertex, { signal, emit }) => {
    try {
      const source = await imports.mount(id, { signal });
      if (source === null) return;
      await fillMount(parts, source, dir, await registry(), {
        signal,
        onBytes: (label, current, total, done) =>
          emit({ kind: "bytes", vertex, label, atMs: Date.now(), current, total, done }),
      });
    } catch (error) {
      if (signal.aborted) throw error;
      warn(emit, `the cache mount ${shownId(id)} starts empty: ${messageOf(error)}`);
    }
  };
}

/**
 * Runs `work`, and again without the imported caches if it fails with an error they may have caused: a layer that they list
 * but that is not available. Failure events of the first run are held back until the outcome is known.
 */
export async function withoutBrokenCaches<T>(
  imports: ImportedResults | null,
  context: CallContext,
  work: (context: CallContext) => Promise<T>,
): Promise<T> {
  if (imports === null) return work(context);
  const held: ProgressEvent[] = [];
  const emit: Emit = (event) => {
    if (event.kind === "failed") held.push(event);
    else context.emit(event);
  };
  try {
    return await work({ ...context, emit });
  } catch (error) {
    if (context.signal.aborted || !imports.mayBlame(error)) {
      for (const event of held) context.emit(event);
      throw error;
    }
    warn(context.emit, `the build continues without imported caches: ${messageOf(error)}`);
    imports.giveUp();
  }
  return work(context);
}

/** Shared by the exports of one build. */
export interface CacheExportParts extends MountParts {
  readonly layers: LayerSource;
  readonly registry: OpenRegistry;
  readonly imports: ImportedResults | null;
}

/** Outcome of a build. */
export interface BuildOutcome {
  readonly images: readonly BuiltImage[];
  readonly solution: Solution;
  readonly definition: Definition;
}

/** Images with the inline cache in their configs, if requested. */
export async function withInlineCaches(
  images: readonly BuiltImage[],
  solution: Solution,
  terms: BuildTerms,
  parts: CacheExportParts,
  signal: AbortSignal,
): Promise<readonly BuiltImage[]> {
  if (!terms.cacheTo.some(({ kind }) => kind === "inline")) return images;
  const [{ inlineCache }, { INLINE_FIELD }] = await Promise.all([
    import("../../exporters/cache-export.ts"),
    import("../../cache/remote-cache/config.ts"),
  ]);
  const chain = chainOf({ images, solution }, parts);
  return Promise.all(
    images.map(async (image) => {
      const value = await inlineCache(chain, image.layers, parts, { signal });
      return value === null ? image : { ...image, config: { ...image.config, [INLINE_FIELD]: value } };
    }),
  );
}

/** Sends layers during the build, to external caches with mode=max; null: there are none. */
export async function openEarlyExports(
  terms: BuildTerms,
  parts: CacheExportParts,
  signal: AbortSignal,
): Promise<EarlyExport | null> {
  const targets = earlyTargets(terms);
  if (targets.length === 0) return null;
  const { openEarlyExport } = await import("../../exporters/cache-early.ts");
  return openEarlyExport(
    targets.map(({ at, form }) => ({ form, open: () => openPlace(at, parts.registry, parts.objects) })),
    { store: parts.store, layers: parts.layers, registry: parts.registry },
    signal,
  );
}

function earlyTargets({ cacheTo }: BuildTerms): readonly PlaceTarget[] {
  return cacheTo.filter(
    (one): one is PlaceTarget =>
      one.kind === "place" && one.at.kind !== "local" && one.at.kind !== "client" && one.form.mode === "max",
  );
}

/** Exports the build to all requested caches, one after the other. Returns the last manifest, if any was written. Rethrows errors of an export, unless ignore-error is set. */
export async function exportCaches(
  outcome: BuildOutcome,
  terms: BuildTerms,
  parts: CacheExportParts,
  early: EarlyExport | null,
  context: CallContext,
): Promise<Descriptor | null> {
  const targets = terms.cacheTo.filter((one) => one.kind === "place");
  if (targets.length === 0) return null;
  await early?.finish();
  const content: ExportContent = {
    chain: chainOf(outcome, parts),
    mountIds: mountIds(outcome.definition),
  };
  let manifest: Descriptor | null = null;
  for (const target of targets) {
    const sentBytes = early?.sentBytes(earlyTargets(terms).indexOf(target)) ?? 0;
    manifest = (await exportTo(target, content, parts, sentBytes, context)) ?? manifest;
  }
  return manifest;
}

/** What every place gets, as far as it asks for it. */
interface ExportContent {
  readonly chain: BuiltChain;
  readonly mountIds: readonly string[];
}

async function exportTo(
  target: PlaceTarget,
  { chain, mountIds }: ExportContent,
  parts: CacheExportParts,
  /** Already sent during the build. */
  earlyBytes: number,
  { emit, signal }: CallContext,
): Promise<Descriptor | null> {
  const { exportCache } = await import("../../exporters/cache-export.ts");
  const name = nameOfLocation(target.at);
  const vertex = digestOf(`export cache ${name}`);
  emit({ kind: "vertex", vertex, name: `exporting cache to ${name}`, inputs: [], at: [] });
  emit({ kind: "started", vertex, atMs: Date.now() });
  try {
    const place = await openPlace(target.at, parts.registry, parts.objects);
    await using mounts = target.mounts ? await packMounts(parts, mountIds, place, signal) : null;
    for (const { id, left } of mounts?.reports ?? [])
      if (left !== null && left !== IN_USE)
        warn(emit, `the cache mount ${shownId(id)} is not exported to ${name}: ${left}`);
    const deps = { store: parts.store, layers: parts.layers, registry: parts.registry };
    const outcome = await exportCache(
      { chain, extra: mounts?.blobs ?? [] },
      { place, form: target.form },
      deps,
      { signal, emit, vertex, nowMs: Date.now },
    );
    const sentBytes = outcome.sentBytes + earlyBytes;
    const line = `${outcome.records} records, ${outcome.layers} layers; ${sentBytes} bytes sent\n`;
    emit({ kind: "log", vertex, atMs: Date.now(), fd: 1, data: Buffer.from(line) });
    emit({ kind: "done", vertex, atMs: Date.now() });
    return outcome.manifest;
  } catch (error) {
    if (signal.aborted) throw error;
    if (target.ignoreError) {
      emit({ kind: "done", vertex, atMs: Date.now() });
      warn(emit, `the cache was not exported to ${name}: ${messageOf(error)}`);
      return null;
    }
    if (error instanceof BuildError) emit({ kind: "failed", vertex, atMs: Date.now(), error });
    throw error;
  }
}

function chainOf(
  { images, solution }: Pick<BuildOutcome, "images" | "solution">,
  { imports }: CacheExportParts,
): BuiltChain {
  return {
    steps: solution.chain(),
    finals: images.map(({ layers }) => layers),
    knownAs: (diffIds) => imports?.knownAs(diffIds) ?? [],
  };
}

/** Ids of the cache mounts a definition has. */
function mountIds(definition: Definition): readonly string[] {
  const ids = new Set<string>();
  for (const { op } of definition.vertices.values()) {
    if (op.kind !== "exec") continue;
    for (const mount of op.mounts) if (mount.kind === "cache" && mount.input === null) ids.add(mount.id);
  }
  return [...ids];
}

function importWords(name: string, problem: ImportProblem): string {
  if (problem.kind === "absent") return `cache ${name} not found, nothing to import`;
  const words = problem.words.startsWith(`${name}: `) ? problem.words.slice(name.length + 2) : problem.words;
  return problem.kind === "unread"
    ? `the cache ${name} is not used: ${words}`
    : `the cache ${name} is only partly used: ${words}`;
}

function warn(emit: Emit, message: string): void {
  emit({ kind: "warning", rule: "", message, detail: "", url: "", at: [] });
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
