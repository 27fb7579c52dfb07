// Tags of repositories: listed, and removed.

import { isAttachedTag } from "../../../cache/registry/layout.ts";
import { formatReference, formatRepository, type Reference } from "../../../cache/registry/reference.ts";
import { BuildError } from "../../../solver/graph/error.ts";
import type { Registry } from "../../../cache/registry/contract.ts";
import type { ListingOptions, RemoteTag } from "./contract.ts";
import { inParallel } from "./graph.ts";
import type { ImageDeps } from "./source.ts";

const ASKED_AT_ONCE = 8;
/** Tags that are looked at before a manifest is removed for one of them. */
const NEIGHBOURS_MAX = 2000;

/** Tags of a repository, sorted as texts with numbers; with digests each is asked for. `withAttached`: also tags that are no names of images, but hold what is
 *  said about one. Throws REGISTRY_*. */
export async function remoteTags(
  repository: Reference,
  { withDigests, withAttached }: ListingOptions,
  { parts, options }: ImageDeps,
): Promise<readonly RemoteTag[]> {
  const registry = await parts.registry(options.session);
  const all = await registry.tags(repository, options);
  const tags = all.filter((tag) => withAttached || !isAttachedTag(tag)).toSorted(inOrder);
  if (!withDigests) return tags.map((tag) => ({ tag, descriptor: null }));
  return await inParallel(tags, ASKED_AT_ONCE, options.signal, async (tag, signal) => ({
    tag,
    descriptor: await resolved(registry, { ...repository, tag, digest: null }, signal),
  }));
}

// Like versions: 1.9 before 1.10. One collator, in a fixed language, so that the order is the same everywhere.
const inOrder = new Intl.Collator("en", { numeric: true }).compare;

/** null: it was removed meanwhile, or lists of the registry name what it does not have. */
async function resolved(
  registry: Registry,
  reference: Reference,
  signal: AbortSignal,
): Promise<RemoteTag["descriptor"]> {
  try {
    return await registry.resolve(reference, { signal });
  } catch (error) {
    if (error instanceof BuildError && error.code === "REGISTRY_NOT_FOUND") return null;
    throw error;
  }
}

/** Removes a tag; a manifest if the reference has a digest. Where a registry can remove only manifests, the one of the tag is removed if no
 *  other tag stands for it. Throws REGISTRY_NOT_FOUND, REGISTRY_DENIED, OUTPUT_INVALID. */
export async function removeRemote(
  reference: Reference,
  { withOtherTags }: { readonly withOtherTags: boolean },
  deps: ImageDeps,
): Promise<string> {
  const { parts, options } = deps;
  const registry = await parts.registry(options.session);
  const shown = formatReference(reference);
  const { tag, digest, host } = reference;
  if (digest === null && tag !== null && (await registry.remove(reference, tag, options)) === "removed")
    return shown;
  const found = digest ?? (await registry.resolve(reference, options)).digest;
  if (digest === null && !withOtherTags) {
    const tags = await registry.tags(reference, options);
    if (tags.length > NEIGHBOURS_MAX)
      throw new BuildError(
        "OUTPUT_INVALID",
        `${shown}: the registry ${host} cannot remove tags alone, and the repository has too many to compare`,
        {
          hint: `--force removes ${found} with all its tags`,
        },
      );
    const others = await inParallel(
      tags.filter((one) => one !== tag),
      ASKED_AT_ONCE,
      options.signal,
      async (other, signal) => {
        const descriptor = await resolved(registry, { ...reference, tag: other, digest: null }, signal);
        return descriptor?.digest === found ? [other] : [];
      },
    );
    if (others.flat().length > 0)
      throw new BuildError(
        "OUTPUT_INVALID",
        `${shown}: the registry ${host} cannot remove a tag alone, and ${others.flat().slice(0, 5).join(", ")} stands for the same manifest`,
        { hint: `--force removes ${found} with all its tags` },
      );
  }
  if ((await registry.remove({ ...reference, askedAs: shown }, found, options)) === "unsupported")
    throw new BuildError(
      "REGISTRY_DENIED",
      `${shown}: the registry ${host} does not allow manifests to be deleted`,
      {
        hint: "its administrator can enable it (REGISTRY_STORAGE_DELETE_ENABLED=true of docker's registry); hosted ones often have their own interface for it",
      },
    );
  return `${formatRepository(reference)}@${found}`;
}
