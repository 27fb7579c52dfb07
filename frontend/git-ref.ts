// Git repositories as sources: recognizes their URLs, and creates the source op. Formats: Docker documentation, "Build
// context", Git repositories; scp-like addresses as in git-clone(1), "GIT URLS".

import { posix } from "node:path";
import { BuildError, redactUrl } from "../solver/graph/error.ts";
import type { SourceOp } from "../solver/graph/op.ts";
import { parseBool } from "./go-strings.ts";

export interface GitRef {
  readonly remote: string; // what git fetches from
  readonly host: string;
  readonly path: string;
  readonly ref: string; // branch, tag or commit; "": the default branch
  readonly subdir: string; // "": all
  readonly keepGitDir: boolean | null; // null: not said
  readonly submodules: boolean | null;
  readonly checksum: string; // commit or tag object that the ref must stand for, or its beginning; "": any
  /** Times of the files: of the commit, or of when they were laid out. null: not said. */
  readonly mtime: "checkout" | "commit" | null;
  /** The checksum is the commit that is fetched; the ref is only its name. */
  readonly fetchByCommit: boolean;
  /** "github.com/user/repo", which a directory may be called as well. */
  readonly looksLocal: boolean;
}

const SCP_FORM = /^([a-zA-Z0-9\-_]+)@([a-zA-Z0-9\-.]+):(.*?)(?:\?(.*?))?(?:#(.*))?$/;

/** The repository a text names, or null when it names none. Throws USAGE for a query that makes no sense. */
export function parseGitRef(text: string): GitRef | null {
  if (text.startsWith("./") || text.startsWith("../")) return null;
  if (text.startsWith("github.com/")) return fromUrl(`https://${text}`, true);
  if (/^[a-zA-Z0-9]+:\/\//.test(text)) return fromUrl(text, false);
  const scp = SCP_FORM.exec(text);
  if (scp === null) return null;
  const [, user = "", host = "", path = "", query = "", fragment = ""] = scp;
  return finish({ remote: `${user}@${host}:${path}`, host, path, looksLocal: false }, query, fragment);
}

function fromUrl(text: string, looksLocal: boolean): GitRef | null {
  const scheme = /^([a-zA-Z0-9]+):/.exec(text)?.[1]?.toLowerCase() ?? "";
  if (!["http", "https", "ssh", "git"].includes(scheme)) return null;
  if (!URL.canParse(text)) return null;
  const hash = text.indexOf("#");
  const fragment = hash < 0 ? "" : decode(text.slice(hash + 1));
  const beforeHash = hash < 0 ? text : text.slice(0, hash);
  const question = beforeHash.indexOf("?");
  const query = question < 0 ? "" : beforeHash.slice(question + 1);
  const remote = question < 0 ? beforeHash : beforeHash.slice(0, question);
  const [, host = "", path = ""] = /^[^:]+:\/\/(?:[^@/]*@)?([^/]*)(\/.*)?$/.exec(remote) ?? [];
  // Any web address would do as a repository; only the suffix tells them apart.
  if (scheme.startsWith("http") && !looksLocal && !path.endsWith(".git")) return null;
  return finish({ remote: remote.replace(/^[^:]+/, scheme), host, path, looksLocal }, query, fragment);
}

type Place = Pick<GitRef, "remote" | "host" | "path" | "looksLocal">;

function finish(place: Place, query: string, fragment: string): GitRef {
  const { remote } = place;
  const colon = fragment.indexOf(":");
  const found: { -readonly [key in keyof GitRef]: GitRef[key] } = {
    ...place,
    ref: colon < 0 ? fragment : fragment.slice(0, colon),
    subdir: colon < 0 ? "" : posix.join("/", fragment.slice(colon + 1)).replace(/^\/|\/$/g, ""),
    keepGitDir: null,
    submodules: null,
    checksum: "",
    mtime: null,
    fetchByCommit: false,
  };
  const parameters = new URLSearchParams(query);
  const named = new Map<string, string>(); // what tag and branch stand for
  for (const key of new Set(parameters.keys())) {
    const [value = "", ...more] = parameters.getAll(key);
    if (more.length > 0) throw usage(remote, `query ${JSON.stringify(key)} has multiple values`);
    if (key === "keep-git-dir") found.keepGitDir = readBool(remote, key, value);
    else if (key === "submodules") found.submodules = readBool(remote, key, value);
    else if (key === "fetch-by-commit") found.fetchByCommit = readBool(remote, key, value);
    else if (value === "") throw usage(remote, `query ${JSON.stringify(key)} has no value`);
    else if (key === "ref") found.ref = same(remote, "ref", found.ref, value);
    else if (key === "tag") named.set(key, prefixed("refs/tags/", value));
    else if (key === "branch") named.set(key, prefixed("refs/heads/", value));
    else if (key === "subdir") found.subdir = cleanSubdir(same(remote, "subdir", found.subdir, value));
    else if (key === "checksum" || key === "commit") found.checksum = value;
    else if (key === "mtime") found.mtime = readTime(remote, value);
    else throw usage(remote, `unexpected query ${JSON.stringify(key)}`);
  }
  if (named.size > 1) throw usage(remote, "branch conflicts with tag");
  for (const ref of named.values()) found.ref = same(remote, "ref", found.ref, ref);
  return found;
}

/** The one value of two, where "" is none. */
function same(remote: string, what: string, before: string, value: string): string {
  if (before === "" || before === value) return value;
  throw usage(remote, `${what} conflicts: ${JSON.stringify(before)} vs ${JSON.stringify(value)}`);
}

function prefixed(prefix: string, name: string): string {
  return name.startsWith(prefix) ? name : `${prefix}${name}`;
}

/** "/" and "." are the whole repository. */
function cleanSubdir(text: string): string {
  return text === "/" || text === "." || text === "./" ? "" : text;
}

function readBool(remote: string, key: string, value: string): boolean {
  const said = value === "" ? true : parseBool(value);
  if (said === null) throw usage(remote, `invalid ${key} value: ${JSON.stringify(value)}`);
  return said;
}

function readTime(remote: string, value: string): "checkout" | "commit" {
  if (value === "checkout" || value === "commit") return value;
  throw usage(remote, `invalid mtime value: ${JSON.stringify(value)} (must be "checkout" or "commit")`);
}

function usage(remote: string, what: string): BuildError {
  return new BuildError("USAGE", `git repository ${redactUrl(remote)}: ${what}`);
}

function decode(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text; // a lone "%": taken as it stands, as net/url does for opaque parts
  }
}

/** What is said of a repository besides its address. */
export interface GitSourceOptions {
  readonly keepGitDir: boolean;
  readonly checksum?: string;
  readonly mtime?: GitRef["mtime"];
}

/** The op that fetches a repository, with all that its address says and `options` in its place; attributes as in moby/buildkit
 *  solver/pb/attr.go. */
export function gitSource(ref: GitRef, options: GitSourceOptions): SourceOp {
  const place = ref.host + `/${ref.path}`.replace(/\/{2,}/g, "/");
  const fragment = ref.subdir === "" ? ref.ref : `${ref.ref}:${ref.subdir}`;
  const { keepGitDir, checksum = ref.checksum, mtime = ref.mtime } = options;
  return {
    kind: "source",
    // The same repository over ssh and https is the same source.
    identifier: `git://${place}${fragment === "" ? "" : `#${fragment}`}`,
    attrs: {
      "git.fullurl": ref.remote,
      "git.authheadersecret": "GIT_AUTH_HEADER",
      "git.authtokensecret": "GIT_AUTH_TOKEN",
      ...(keepGitDir ? { "git.keepgitdir": "true" } : {}),
      ...(checksum === "" ? {} : { "git.checksum": checksum }),
      ...(ref.submodules === false ? { "git.skipsubmodules": "true" } : {}),
      ...(mtime === null ? {} : { "git.mtime": mtime }),
      ...(ref.fetchByCommit ? { "git.fetchbycommit": "true" } : {}),
      ...(/^(?:ssh:|[^/:]+@)/.test(ref.remote) ? { "git.mountsshsock": "default" } : {}),
    },
  };
}

/** A main context that is a repository, or null. BUILDKIT_CONTEXT_KEEP_GIT_DIR keeps .git too, and where there is a
 *  SOURCE_DATE_EPOCH times are those of the commit, unless the address says otherwise: dockerui, context.go. */
export function gitContext(text: string, buildArgs: ReadonlyMap<string, string>): SourceOp | null {
  const git = parseGitRef(text);
  if (git === null) return null;
  const keeps = parseBool(buildArgs.get("BUILDKIT_CONTEXT_KEEP_GIT_DIR") ?? "") ?? false;
  const hasEpoch = (buildArgs.get("SOURCE_DATE_EPOCH") ?? "") !== "";
  return gitSource(git, {
    keepGitDir: keeps || git.keepGitDir === true,
    mtime: git.mtime ?? (hasEpoch ? "commit" : null),
  });
}
