// Push: blobs side by side, then configs, manifests, and names last, so that a name never stands for something unfinished.

import {
  formatRepository,
  isRepository,
  parseReference,
  type Reference,
} from "../cache/registry/reference.ts";
import type { Digest } from "../solver/graph/digest.ts";
import type { Descriptor } from "../solver/graph/request.ts";
import { Scope } from "../solver/graph/scope.ts";
import { type Assembled, blobBytes, layersOf } from "./assembled.ts";
import type { ExportContext, ExportDeps } from "./exporter.ts";
import type { ImageOutput } from "./output-grammar.ts";

/** Registries answer HEAD fast and PUT slowly; more at once gain nothing and hold memory. */
const UPLOADS_AT_ONCE = 6;

/** Pushes an image under all names. What a registry has is not sent; other repositories of it are mounted from. Throws REGISTRY_*. */
export async function pushImage(
  assembled: Assembled,
  output: ImageOutput,
  names: readonly string[],
  deps: ExportDeps,
  context: ExportContext,
): Promise<void> {
  // Names of one repository share all but the last step; a second repository of a host mounts from the first.
  const references = names.map((name) => ({
    ...parseReference(name),
    ...(output.insecure ? { insecure: true } : {}),
  }));
  const byRepository = groupByRepository(references);
  const pushed: Reference[] = [];
  for (const group of byRepository.values()) {
    const [first] = group;
    if (first === undefined) continue;
    await pushBlobs(assembled, first, pushed, deps, context);
    await pushManifests(assembled, group, output.pushByDigest, deps, context.signal);
    pushed.push(first);
  }
}

async function pushBlobs(
  assembled: Assembled,
  repository: Reference,
  pushed: readonly Reference[],
  deps: ExportDeps,
  context: ExportContext,
): Promise<void> {
  await using scope = new Scope(context.signal);
  const waiting = [...layersOf(assembled), ...configsOf(assembled)];
  const work = async (signal: AbortSignal) => {
    for (let descriptor = waiting.shift(); descriptor !== undefined; descriptor = waiting.shift()) {
      await pushBlob(assembled, descriptor, repository, pushed, deps, { ...context, signal });
    }
  };
  await scope.all(Array.from({ length: Math.min(UPLOADS_AT_ONCE, waiting.length) }, () => work));
}

async function pushBlob(
  assembled: Assembled,
  descriptor: Descriptor,
  repository: Reference,
  pushed: readonly Reference[],
  deps: ExportDeps,
  { signal, emit, vertex, nowMs }: ExportContext,
): Promise<void> {
  const label = `pushing layer ${descriptor.digest}`;
  const report = (current: number, done: boolean) => {
    if (vertex === null) return;
    emit({ kind: "bytes", vertex, label, atMs: nowMs(), current, total: descriptor.size, done });
  };
  const mountFrom = pushed.filter(({ host }) => host === repository.host).map((one) => one.repository);
  const remote = assembled.remotes.get(descriptor.digest);
  if (remote !== undefined && isRepository(remote.from)) {
    const from = parseReference(remote.from);
    if (from.host === repository.host) mountFrom.push(from.repository);
  }
  await (await deps.registry()).uploadBlob(
    repository,
    descriptor,
    () => blobBytes(assembled, descriptor, deps, signal),
    {
      signal,
      mountFrom: [...new Set(mountFrom)],
      onBytes: (current) => report(current, false),
    },
  );
  report(descriptor.size, true);
}

async function pushManifests(
  assembled: Assembled,
  names: readonly Reference[],
  byDigest: boolean,
  deps: ExportDeps,
  signal: AbortSignal,
): Promise<void> {
  const [repository] = names;
  if (repository === undefined) return;
  const registry = await deps.registry();
  const put = (name: string, { bytes, descriptor }: Assembled["top"]) =>
    registry.putManifest(repository, name, bytes, descriptor.mediaType, { signal });
  if (assembled.isIndex) {
    for (const { manifest } of assembled.images) await put(manifest.descriptor.digest, manifest);
  }
  const { digest } = assembled.top.descriptor;
  const tags = byDigest ? [digest] : [...new Set(names.map(({ tag }) => tag ?? digest))];
  for (const tag of tags) await put(tag, assembled.top);
}

function configsOf(assembled: Assembled): readonly Descriptor[] {
  const configs = new Map<Digest, Descriptor>();
  for (const { config } of assembled.images) configs.set(config.descriptor.digest, config.descriptor);
  return [...configs.values()];
}

function groupByRepository(references: readonly Reference[]): ReadonlyMap<string, readonly Reference[]> {
  const groups = new Map<string, Reference[]>();
  for (const reference of references) {
    const key = formatRepository(reference);
    groups.set(key, [...(groups.get(key) ?? []), reference]);
  }
  return groups;
}
