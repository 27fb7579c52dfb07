// The cache permissions in the runner's token: which scopes (refs) its job may read and write. Only the service can verify the token;
// here it is parsed to find out which names to look up.

import { createHash } from "node:crypto";

export interface CacheScope {
  /** refs/heads/main, refs/pull/1/merge */
  readonly scope: string;
  readonly canWrite: boolean;
}

const READ = 1;
const WRITE = 2;
const SCOPES_MAX = 16;

/**
 * Readable scopes of a token: first those that can be written, then the others as the token has them (the default branch, and the
 * base branch of a pull request). Services that put no scopes into their tokens have one, without a name.
 */
export function scopesOf(token: string): readonly CacheScope[] {
  const scopes = claimed(token).slice(0, SCOPES_MAX);
  if (scopes.length === 0) return [{ scope: "", canWrite: true }];
  return [...scopes.filter(({ canWrite }) => canWrite), ...scopes.filter(({ canWrite }) => !canWrite)];
}

/** The claim "ac" of the JWT (RFC 7519): JSON in JSON, [{"Scope": "refs/heads/main", "Permission": 3}]. */
function claimed(token: string): readonly CacheScope[] {
  try {
    const claims = JSON.parse(Buffer.from(token.split(".")[1] ?? "", "base64url").toString("utf8")) as {
      ac?: unknown;
    };
    const list = JSON.parse(String(claims.ac)) as readonly { Scope?: unknown; Permission?: unknown }[];
    return list.flatMap(({ Scope: scope, Permission: permission }) =>
      typeof scope === "string" && typeof permission === "number" && (permission & READ) !== 0
        ? [{ scope, canWrite: (permission & WRITE) !== 0 }]
        : [],
    );
  } catch {
    return []; // no JWT, or no such claim
  }
}

/** In names of entries: "index-buildkit-1-" + this. */
export function scopeHash(scope: string): string {
  return createHash("sha256").update(scope).digest("hex").slice(0, 8);
}
