// Which repositories are known to have a manifest or a blob. That its bytes are in the store does not mean that a repository has them:
// they may come from another one, which this client may not read, or which its author did not mean (a name on the wrong registry).

import type { Digest } from "../solver/graph/digest.ts";
import type { Records } from "./contract.ts";

/** Space of the records that holds repositories (host/repo) by digest, the latest first. */
const ORIGIN_SPACE = "origin";
/** Repositories remembered for one digest. One that is pushed out costs one request when it is used again. */
const ORIGINS_MAX = 16;

/** Has the repository's registry been seen to have it? */
export function isFrom(records: Pick<Records, "get">, repository: string, digest: Digest): boolean {
  return records.get<readonly string[]>(ORIGIN_SPACE, digest)?.includes(repository) === true;
}

/** Notes that the repository's registry has it. */
export function noteOrigin(
  records: Pick<Records, "get" | "merge">,
  repository: string,
  digest: Digest,
): void {
  if (isFrom(records, repository, digest)) return;
  records.merge<readonly string[]>(ORIGIN_SPACE, digest, (known) =>
    [repository, ...(known ?? []).filter((one) => one !== repository)].slice(0, ORIGINS_MAX),
  );
}

/** Repositories whose registry has been seen to have it, the latest first. */
export function originsOf(records: Pick<Records, "get">, digest: Digest): readonly string[] {
  return records.get<readonly string[]>(ORIGIN_SPACE, digest) ?? [];
}
