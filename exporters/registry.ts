// Push: blobs in parallel, then configs, manifests, and names last, so that a name never refers to something incomplete.

import {
  formatRepository,
  isRepository,
  parseReference,
  type Reference,
} from "../cache/registry/reference.ts";
import type { Digest } from "../solver/graph/digest.ts";
import { BuildError } from "../solver/graph/error.ts";
import type { Descriptor } from "../solver/graph/request.ts";
import { Scope } from "../solver/graph/scope.ts";
import { type Assembled, blobBytes, layersOf } from "./assembled.ts";
import type { ImageOutput } from "./output-grammar.ts";
import { during, lineOf } from "./shown.ts";
import type { ExportDeps, OutputContext } from "./contract.ts";

/** Registries answer HEAD fast and PUT slowly; more at once gain nothing and hold memory. */
const UPLOADS_AT_ONCE = 6;

export type PushDeps = Pick<ExportDeps, "store" | "registry">;

/** One repository that an image is pushed to. */
interface Target {
  readonly repository: Reference;
  /** Repositories of the same host that have the image's blobs by now: they are mounted from there. */
  readonly mountFrom: readonly string[];
}

/** Pushes an image under all names. What a registry has is not sent; other repositories of it are mounted from. Throws REGISTRY_*. */
export async function pushImage(
  assembled: Assembled,
  output: Pick<ImageOutput, "insecure" | "pushByDigest">,
  names: readonly string[],
  deps: PushDeps,
  context: OutputContext,
): Promise<void> {
  // Names of one repository share all but the last step; a second repository of a host mounts from the first.
  const references = names.map((name) => ({
    ...parseReference(name),
    askedAs: name,
    ...(output.insecure ? { insecure: true } : {}),
  }));
  const byRepository = groupByRepository(references);
  const pushed: Reference[] = [];
  for (const group of byRepository.values()) {
    const [first] = group;
    if (first === undefined) continue;
    const target: Target = {
      repository: first,
      mountFrom: pushed.filter(({ host }) => host === first.host).map(({ repository }) => repository),
    };
    try {
      await during(context, "pushing layers", () => pushBlobs(assembled, target, deps, context));
      await pushManifests(assembled, group, output.pushByDigest, deps, context);
    } catch (error) {
      throw context.signal.aborted ? error : asPush(error);
    }
    pushed.push(first);
  }
}

/** In the words of buildx. What packing a layer threw is no matter of the registry. */
function asPush(error: unknown): unknown {
  if (!(error instanceof BuildError) || !error.code.startsWith("REGISTRY_")) return error;
  const { code, hint } = error;
  return new BuildError(code, `failed to push ${error.message}`, { cause: error, hint });
}

async function pushBlobs(
  assembled: Assembled,
  target: Target,
  deps: PushDeps,
  context: OutputContext,
): Promise<void> {
  await using scope = new Scope(context.signal);
  const waiting = [...layersOf(assembled), ...configsOf(assembled)];
  const work = async (signal: AbortSignal) => {
    for (let descriptor = waiting.shift(); descriptor !== undefined; descriptor = waiting.shift()) {
      await pushBlob(assembled, descriptor, target, deps, { ...context, signal });
    }
  };
  await scope.all(Array.from({ length: Math.min(UPLOADS_AT_ONCE, waiting.length) }, () => work));
}

async function pushBlob(
  assembled: Assembled,
  descriptor: Descriptor,
  { repository, mountFrom: known }: Target,
  deps: PushDeps,
  context: OutputContext,
): Promise<void> {
  const { signal } = context;
  const { digest, size } = descriptor;
  const isConfig = assembled.images.some(({ config }) => config.descriptor.digest === digest);
  const line = lineOf(context, `pushing ${isConfig ? "config" : "layer"} ${digest}`);
  const mountFrom = [...known];
  const remote = assembled.remotes.get(descriptor.digest);
  if (remote !== undefined && isRepository(remote.from)) {
    const from = parseReference(remote.from);
    if (from.host === repository.host) mountFrom.push(from.repository);
  }
  const how = await (await deps.registry()).uploadBlob(
    repository,
    descriptor,
    () => blobBytes(assembled, descriptor, deps, signal),
    {
      signal,
      mountFrom: [...new Set(mountFrom)],
      onBytes: (current) => line.report(current, size),
    },
  );
  if (how === "uploaded") line.end(size, size); // of what is there already nothing is to be seen
}

async function pushManifests(
  assembled: Assembled,
  names: readonly Reference[],
  byDigest: boolean,
  deps: PushDeps,
  context: OutputContext,
): Promise<void> {
  const [repository] = names;
  if (repository === undefined) return;
  const { signal } = context;
  const registry = await deps.registry();
  const put = (name: string, { bytes, descriptor }: Assembled["top"]) =>
    registry.putManifest({ ...repository, askedAs: nameFor(name) }, name, bytes, descriptor.mediaType, {
      signal,
    });
  // Names of one repository share what comes before: here the one that fails is known.
  const nameFor = (put: string): string =>
    names.find(({ tag }) => tag === put)?.askedAs ?? repository.askedAs ?? put;
  const { top } = assembled;
  const { digest } = top.descriptor;
  const tags = byDigest ? [digest] : [...new Set(names.map(({ tag }) => tag ?? digest))];
  let isFirst = true;
  for (const tag of tags) {
    const name = `${formatRepository(repository)}${tag === digest ? "" : `:${tag}`}@${digest}`;
    await during(context, `pushing manifest for ${name}`, async () => {
      if (isFirst && assembled.isIndex)
        for (const { manifest } of assembled.images) await put(manifest.descriptor.digest, manifest);
      isFirst = false;
      await put(tag, top);
    });
  }
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
