// What is in a repository, and removing it. distribution spec, "Listing Tags", "Deleting tags", "Deleting manifests".

import { type Digest, isDigest } from "../../solver/graph/digest.ts";
import { BuildError } from "../../solver/graph/error.ts";
import { type Calls, unexpected } from "./calls.ts";
import { MEDIA_TYPES } from "./documents.ts";
import { formatRepository, type Reference, type Repository } from "./reference.ts";
import type { Registry, SignalOptions } from "./contract.ts";

const PAGE_MAX_BYTES = 8 << 20;
const PAGES_MAX = 10_000;
const TAGS_MAX = 1_000_000;
const TAGS_AT_ONCE = 1000;

/** The part of the client that lists and removes. `forget`: what a name stands for is not known any more. */
export function openManagement(
  calls: Calls,
  forget: (reference: Reference) => void,
): Pick<Registry, "hasManifest" | "tags" | "remove"> {
  return {
    async hasManifest(repository, digest, { signal }) {
      const answer = await calls.call(repository, {
        method: "HEAD",
        path: `manifests/${digest}`,
        headers: {
          accept: [
            MEDIA_TYPES.ociManifest,
            MEDIA_TYPES.ociIndex,
            MEDIA_TYPES.dockerManifest,
            MEDIA_TYPES.dockerIndex,
          ].join(", "),
        },
        ok: [200, 404, 400, 405, 501],
        name: repository.askedAs ?? `${formatRepository(repository)}@${digest}`,
        actions: "pull,push",
        signal,
      });
      await answer.discard();
      return answer.status === 200;
    },
    tags: (repository, options) => allTags(calls, repository, options),
    async remove(repository, name, { signal }) {
      const isByDigest = isDigest(name);
      const text = repository.askedAs ?? `${formatRepository(repository)}${isByDigest ? "@" : ":"}${name}`;
      const answer = await calls.call(repository, {
        method: "DELETE",
        path: `manifests/${name}`,
        headers: {},
        ok: [200, 202, 204, 400, 404, 405, 501],
        name: text,
        actions: "delete",
        signal,
      });
      await answer.discard();
      if (answer.status === 404)
        throw new BuildError("REGISTRY_NOT_FOUND", `${text}: not found`, {
          hint: "tsbuild image ls-remote lists the tags of a repository",
        });
      if (answer.status >= 400) return "unsupported";
      if (isByDigest) forget({ ...repository, tag: null, digest: name as Digest });
      else forget({ ...repository, tag: name, digest: null });
      return "removed";
    },
  };
}

/** Pages follow each other by a Link header (RFC 5988) of the same registry. */
async function allTags(
  calls: Calls,
  repository: Repository,
  { signal }: SignalOptions,
): Promise<readonly string[]> {
  const name = repository.askedAs ?? formatRepository(repository);
  const tags: string[] = [];
  let path: string | null = `tags/list?n=${TAGS_AT_ONCE}`;
  for (let page = 0; path !== null; page++) {
    if (page >= PAGES_MAX) throw unexpected(name, "the registry's list of tags has no end");
    const answer = await calls.call(repository, {
      method: "GET",
      path,
      headers: { accept: "application/json" },
      ok: [200, 404],
      name,
      actions: "pull",
      signal,
      wholeMax: PAGE_MAX_BYTES,
    });
    if (answer.status === 404) {
      await answer.discard();
      throw new BuildError("REGISTRY_NOT_FOUND", `${name}: the registry has no such repository`, {
        hint: "check the name; for private repositories, log in first",
      });
    }
    for (const tag of tagsOf(await answer.bytes(), name)) tags.push(tag);
    if (tags.length > TAGS_MAX) throw new BuildError("LIMIT_EXCEEDED", `${name}: more than ${TAGS_MAX} tags`);
    path = nextPage(answer.headers.link, answer.url);
  }
  return tags;
}

function tagsOf(bytes: Uint8Array, name: string): readonly string[] {
  let json: unknown;
  try {
    json = JSON.parse(Buffer.from(bytes).toString("utf8"));
  } catch (cause) {
    throw new BuildError("REGISTRY_PROTOCOL", `${name}: the registry's list of tags is not JSON`, { cause });
  }
  const tags = (json as { tags?: unknown } | null)?.tags ?? [];
  if (!Array.isArray(tags) || !tags.every((tag) => typeof tag === "string"))
    throw unexpected(name, "the registry's list of tags is not a list of texts");
  return tags;
}

/** Only the query counts: where the registry is, is known. */
function nextPage(link: string | string[] | undefined, from: URL): string | null {
  const text = Array.isArray(link) ? link.join(",") : (link ?? "");
  const target = /<([^<>]{1,4096})>\s*;\s*rel="?next"?/.exec(text)?.[1];
  if (target === undefined || !URL.canParse(target, from.href)) return null;
  const { search } = new URL(target, from.href);
  return search === "" || search === from.search ? null : `tags/list${search}`;
}
