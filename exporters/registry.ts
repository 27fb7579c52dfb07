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
import { pushReferrer } from "./referrers.ts";
import { during, lineOf } from "./shown.ts";
import type { ExportDeps, OutputContext } from "./contract.ts";
import type { RemoteBlob } from "../cache/contract.ts";
import type { TransferOptions } from "../cache/registry/contract.ts";

/** Registries answer HEAD fast and PUT slowly; more at once gain nothing and hold memory. */
const UPLOADS_AT_ONCE = 6;

export type PushDeps = Pick<ExportDeps, "store" | "registry" | "isSent">;

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
  const pushed: Reference[] = [];
  for (const group of byRepository(output, names)) {
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

/** The names by repository, in their order: those of one share all but the last step. */
export function byRepository(
  { insecure }: Pick<ImageOutput, "insecure">,
  names: readonly string[],
): readonly (readonly Reference[])[] {
  const groups = new Map<string, Reference[]>();
  for (const name of names) {
    const reference = { ...parseReference(name), askedAs: name, ...(insecure ? { insecure: true } : {}) };
    const key = formatRepository(reference);
    groups.set(key, [...(groups.get(key) ?? []), reference]);
  }
  return [...groups.values()];
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
  target: Target,
  deps: PushDeps,
  context: OutputContext,
): Promise<void> {
  const { signal } = context;
  const { digest, size } = descriptor;
  if (deps.isSent?.(target.repository, digest)) return;
  const isConfig = assembled.images.some(({ config }) => config.descriptor.digest === digest);
  const line = lineOf(context, `pushing ${isConfig ? "config" : "layer"} ${digest}`);
  const onBytes = (current: number): void => line.report(current, size);
  const how = await sendBlob(descriptor, assembled.remotes, target, deps, { signal, onBytes });
  if (how === "uploaded") line.end(size, size); // of what is there already nothing is to be seen
}

/** Makes a blob be in a repository. `remotes`: where blobs are that the content store does not have. */
export async function sendBlob(
  descriptor: Descriptor,
  remotes: ReadonlyMap<Digest, RemoteBlob>,
  { repository, mountFrom: known }: Target,
  deps: PushDeps,
  options: TransferOptions,
): Promise<"exists" | "mounted" | "uploaded"> {
  const mountFrom = [...known];
  const remote = remotes.get(descriptor.digest);
  if (remote !== undefined && isRepository(remote.from)) {
    const from = parseReference(remote.from);
    if (from.host === repository.host) mountFrom.push(from.repository);
  }
  const registry = await deps.registry();
  const open = (): AsyncIterable<Uint8Array> => blobBytes({ remotes }, descriptor, deps, options.signal);
  return registry.uploadBlob(repository, descriptor, open, {
    ...options,
    mountFrom: [...new Set(mountFrom)],
  });
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
      if (isFirst)
        for (const referrer of assembled.referrers ?? [])
          await pushReferrer(registry, repository, referrer, { signal });
      // Whoever asks for signatures finds them with the name.
      if (isFirst && (context.signings?.length ?? 0) > 0) {
        const { signPushed } = await import("./signature/output.ts");
        await signPushed(assembled, repository, context.signings ?? [], deps, context);
      }
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
