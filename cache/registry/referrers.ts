// What a registry lists as said of an image. distribution spec 1.1, "Listing Referrers" and "Referrers Tag Schema".

import { type Digest, hexOf } from "../../solver/graph/digest.ts";
import type { Descriptor } from "../../solver/graph/request.ts";
import { type Calls, unexpected } from "./calls.ts";
import type { Registry } from "./contract.ts";
import { MANIFEST_MAX_BYTES, MEDIA_TYPES, parseDocument } from "./documents.ts";
import { formatRepository } from "./reference.ts";

/** Pages of one list. Each may have thousands of entries. */
const PAGES_MAX = 16;

/** The tag under which the list of a digest's referrers is where the registry makes none. */
export function referrersTag(digest: Digest): string {
  return `sha256-${hexOf(digest)}`;
}

/** See `Registry.referrers`. Errors as its other functions. */
export function openReferrers(calls: Pick<Calls, "read">): Registry["referrers"] {
  return async (repository, digest, { signal }) => {
    const name = repository.askedAs ?? `${formatRepository(repository)}@${digest}`;
    const found: Descriptor[] = [];
    let path: string | null = `referrers/${digest}`;
    for (let page = 0; path !== null; page++) {
      if (page >= PAGES_MAX)
        throw unexpected(name, `the registry's list of referrers has more than ${PAGES_MAX} pages`);
      const answer = await calls.read(repository, {
        method: "GET",
        path,
        headers: { accept: MEDIA_TYPES.ociIndex },
        // 400, 405 and 501: of registries that do not know the path at all.
        ok: [200, 400, 404, 405, 501],
        name,
        signal,
        wholeMax: MANIFEST_MAX_BYTES,
      });
      // A registry without the API may have a page for people at any path.
      const type = answer.headers["content-type"]?.split(";")[0]?.trim().toLowerCase();
      if (answer.status !== 200 || type !== MEDIA_TYPES.ociIndex) {
        if (answer.status !== 200) await answer.discard();
        return null;
      }
      const list = parseDocument(await answer.bytes(), null, `the referrers of ${name}`);
      if (list.kind !== "index") throw unexpected(name, "the registry's list of referrers is not an index");
      found.push(...list.manifests);
      path = nextPage(answer.headers.link, digest);
    }
    return found;
  };
}

/** RFC 8288. Only the query is taken: the list goes on where it began. */
function nextPage(link: string | string[] | undefined, digest: Digest): string | null {
  const [, target = ""] = /^\s*<([^>]*)>\s*;\s*rel="?next"?/.exec(String(link ?? "")) ?? [];
  const query = target.indexOf("?");
  return query < 0 ? null : `referrers/${digest}${target.slice(query)}`;
}
