// Keys of a repository's cache entries from GitHub's own API: one request per hundred keys, where the cache service needs one
// per key. https://docs.github.com/rest/actions/cache

import { BuildError } from "../../solver/graph/error.ts";
import { BLOB_PREFIX } from "./gha.ts";
import type { WebCalls } from "./web-calls.ts";
import type { SignalOptions } from "../registry/contract.ts";

export interface RepositoryAccess {
  /** Of the API; ends in "/". */
  readonly url: URL;
  /** owner/name */
  readonly repository: string;
  readonly token: string;
  /** Entries of other refs are out of reach for the job. */
  readonly refs: readonly string[];
}

const PAGE = 100;
const PAGES_MAX = 100;
const ANSWER_MAX_BYTES = 4 << 20;

/** Keys of all blobs in reach. Throws REGISTRY_*. */
export async function listBlobKeys(
  access: RepositoryAccess,
  web: WebCalls,
  { signal }: SignalOptions,
): Promise<ReadonlySet<string>> {
  const name = `caches of ${access.repository}`;
  const keys = new Set<string>();
  for (let page = 1; page <= PAGES_MAX; page++) {
    const url = new URL(`repos/${access.repository}/actions/caches`, access.url);
    url.search = `per_page=${PAGE}&page=${page}&key=${encodeURIComponent(BLOB_PREFIX)}`;
    const { bytes } = await web.document(
      {
        method: "GET",
        url,
        headers: () => ({
          authorization: `Bearer ${access.token}`,
          accept: "application/vnd.github+json",
          "x-github-api-version": "2022-11-28",
        }),
        ok: [200],
        name,
        signal,
      },
      ANSWER_MAX_BYTES,
    );
    const entries = entriesIn(bytes, name);
    for (const { key, ref } of entries) {
      if (typeof key === "string" && access.refs.includes(String(ref))) keys.add(key);
    }
    if (entries.length < PAGE) break;
  }
  return keys;
}

function entriesIn(
  bytes: Uint8Array,
  name: string,
): readonly { readonly key?: unknown; readonly ref?: unknown }[] {
  try {
    const json = JSON.parse(Buffer.from(bytes).toString("utf8")) as { actions_caches?: unknown };
    if (Array.isArray(json.actions_caches)) return json.actions_caches as object[];
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
  }
  throw new BuildError("REGISTRY_PROTOCOL", `${name}: the response is not a list of caches`);
}
