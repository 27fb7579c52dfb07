// What the references of a build stand for, as its lock file says, and what the build adds to that: tags of images, URLs, branches and tags
// of git repositories. Every source passes here once the policies have let it pass (source-gate.ts).

import { formatReference, parseReference, withDefaultTag } from "../../cache/registry/reference.ts";
import type { ResolvedImage } from "../../frontend/contract.ts";
import { type Digest, isDigest } from "../../solver/graph/digest.ts";
import { BuildError, printable, redactUrl } from "../../solver/graph/error.ts";
import { formatPlatform, type Platform, type SourceOp } from "../../solver/graph/op.ts";
import { UPLOAD_HOST } from "../../solver/graph/session.ts";

/** By key, see keyOf(). */
export interface Lock {
  readonly images: ReadonlyMap<string, LockedImage>;
  /** The sha256 of the file that a URL gave. */
  readonly urls: ReadonlyMap<string, Digest>;
  /** The commit that a ref stood for, in hex. */
  readonly git: ReadonlyMap<string, string>;
}

export interface LockedImage {
  /** Of the index or manifest that the tag stood for. */
  readonly digest: Digest;
  /** Manifest of each platform that was asked for ("linux/arm64"). */
  readonly platforms: ReadonlyMap<string, Digest>;
  /** It was in the local image store alone, as far as is known: nobody else can fetch it. */
  readonly isLocal: boolean;
}

export const EMPTY_LOCK: Lock = { images: new Map(), urls: new Map(), git: new Map() };

/** What a build is to do about its lock file. */
export interface LockTerms {
  /** For messages. */
  readonly file: string;
  readonly entries: Lock;
  /** add: what is not listed is resolved, and added. frozen: it is an error. update: as add, but registries are asked before the local image
   *  store, and no step is run for its result. */
  readonly mode: "add" | "frozen" | "update";
}

export type LockKind = keyof Lock;
export interface LockKey {
  readonly kind: LockKind;
  readonly key: string;
}

export const KEY_MAX_CHARS = 4096;

/** SHA-1 or SHA-256, in full. */
export const COMMIT: RegExp = /^(?:[0-9a-f]{40}|[0-9a-f]{64})$/;

/** The entry of a source; null: it has none, since it is a directory or layout of the client, or says itself which bytes it means. Images:
 *  "docker.io/library/alpine:3.20". URLs and repositories: without user and password; repositories with "#REF", where one is given. */
export function keyOf(source: SourceOp): LockKey | null {
  const { identifier, attrs } = source;
  const [scheme = "", rest = ""] = identifier.split(/:\/\/(.*)/s);
  switch (scheme) {
    case "docker-image": {
      const key = imageKey(rest);
      return key === null ? null : { kind: "images", key };
    }
    case "http":
    case "https":
      if (attrs["http.checksum"] || hostOf(identifier) === UPLOAD_HOST) return null;
      return { kind: "urls", key: withoutUser(identifier) };
    case "git": {
      const { url, ref } = gitParts(source);
      if (
        COMMIT.test(ref) ||
        COMMIT.test(attrs["git.checksum"] ?? "") ||
        attrs["git.fetchbycommit"] === "true"
      )
        return null;
      return { kind: "git", key: `${withoutUser(url)}${ref === "" ? "" : `#${ref}`}` };
    }
    default:
      return null;
  }
}

function imageKey(text: string): string | null {
  try {
    const reference = withDefaultTag(parseReference(text));
    return reference.digest === null ? formatReference(reference) : null;
  } catch {
    return null; // an ID of the local image store; other mistakes are told by who loads it
  }
}

function hostOf(url: string): string {
  return URL.canParse(url) ? new URL(url).host : "";
}

const HAS_TRANSPORT = /^(?:[a-z]+:\/\/|[\w-]+@)/i;

function gitParts({ identifier, attrs }: SourceOp): {
  readonly url: string;
  readonly ref: string;
  readonly directory: string | null;
} {
  const [plain = "", fragment = ""] = identifier.split(/#(.*)/s);
  const [ref = "", directory = null] = fragment.split(/:(.*)/s);
  const full = attrs["git.fullurl"] ?? plain.replace(/^git:/, "https:");
  return { url: HAS_TRANSPORT.test(full) ? full : `https://${full}`, ref, directory };
}

/** As printed elsewhere, and the same for all users: a name that ssh needs stays. */
function withoutUser(url: string): string {
  const [, scheme = "", rest = url] = /^([a-z]+):\/\/(.*)$/s.exec(url) ?? [];
  if (scheme === "" || scheme === "ssh") return redactUrl(url);
  return redactUrl(`${scheme}://${rest.replace(/^[^/?#]*@/, "")}`);
}

/** The lock of a running build. */
export interface BuildLock {
  /** The source with the digest, checksum or commit it is locked to. Throws NOT_LOCKED. */
  apply(source: SourceOp): SourceOp;
  /** What a source stood for that apply() was asked about. Throws CONTEXT_CHANGED if it stood for something else before, FILE_INVALID
   *  if the lock contradicts itself. */
  image(source: SourceOp, platform: Platform, image: ResolvedImage): void;
  url(url: string, digest: string): void;
  /** The material of a source in a solved graph: as in Origins. */
  material(source: SourceOp, platform: Platform | null, material: string): void;
  /** The entries that this build used, with what it added to them. */
  used(): Lock;
}

export function openBuildLock({ file, entries, mode }: LockTerms): BuildLock {
  const images = new Map<string, LockedImage>();
  const urls = new Map<string, Digest>();
  const git = new Map<string, string>();
  /** What this build asked for, by its key. */
  const asked = { images: new Set<string>(), urls: new Set<string>(), git: new Set<string>() };

  /** What a key is known to stand for. */
  function known({ kind, key }: LockKey): string | null {
    if (kind === "images") return (entries.images.get(key) ?? images.get(key))?.digest ?? null;
    return entries[kind].get(key) ?? (kind === "urls" ? urls : git).get(key) ?? null;
  }

  function add(kind: "urls" | "git", key: string, value: string): void {
    const before = known({ kind, key });
    if (before !== null && before !== value) throw changed(key, before, value);
    if (kind === "urls") urls.set(key, value as Digest);
    else git.set(key, value);
  }

  function addImage(
    key: string,
    platform: Platform,
    { digest, manifest, isPrivate = false }: ResolvedImage,
  ): void {
    const before = entries.images.get(key) ?? images.get(key);
    if (before !== undefined && before.digest !== digest) throw changed(key, before.digest, digest);
    const platforms = new Map(images.get(key)?.platforms ?? entries.images.get(key)?.platforms);
    const name = formatPlatform(platform);
    if (manifest !== undefined) {
      const listed = platforms.get(name);
      if (listed !== undefined && listed !== manifest)
        throw new BuildError(
          "FILE_INVALID",
          `${file}: ${key} is locked to ${digest}, which has ${manifest} for ${name} and not ${listed}`,
          { hint: "the file was edited; tsbuild update writes the entry again" },
        );
      platforms.set(name, manifest);
    }
    images.set(key, { digest, platforms, isLocal: isPrivate });
  }

  return {
    apply(source) {
      const entry = keyOf(source);
      if (entry === null) return source;
      if (entry.key.length > KEY_MAX_CHARS)
        throw new BuildError("LIMIT_EXCEEDED", `too long for a lock file: ${printable(entry.key, 100)}`);
      const value = known(entry);
      if (value === null && mode === "frozen") throw notLocked(entry, file);
      asked[entry.kind].add(entry.key);
      if (value === null) return source;
      if (entry.kind === "git" && entries.git.has(entry.key)) git.set(entry.key, value);
      return locked(source, entry, value);
    },
    image({ identifier }, platform, image) {
      const [scheme = "", rest = ""] = identifier.split(/:\/\/(.*)/s);
      if (scheme !== "docker-image") return;
      // With a digest: of the lock, or of the Dockerfile, where the same tag may stand elsewhere without one.
      const at = rest.indexOf("@");
      const key = imageKey(at < 0 ? rest : rest.slice(0, at));
      if (key === null || !asked.images.has(key)) return;
      if (at >= 0 && known({ kind: "images", key }) !== rest.slice(at + 1)) return;
      addImage(key, platform, image);
    },
    url(url, digest) {
      const key = withoutUser(url);
      if (asked.urls.has(key)) add("urls", key, digest);
    },
    material(source, platform, material) {
      const { identifier } = source;
      if (/^https?:/.test(identifier)) return this.url(identifier, material);
      const entry = keyOf(source);
      if (entry === null || !asked[entry.kind].has(entry.key)) return;
      if (entry.kind === "git") add("git", entry.key, material);
      if (entry.kind === "images" && platform !== null && isDigest(material))
        addImage(entry.key, platform, { digest: material, config: new Uint8Array() });
    },
    used: () => ({ images, urls, git }),
  };
}

/** The source as the lock has it. Cache keys of what is made of it stay the same: solver/cache-key.ts. */
function locked(source: SourceOp, { kind, key }: LockKey, value: string): SourceOp {
  const { identifier, attrs } = source;
  switch (kind) {
    case "images":
      return { ...source, identifier: `docker-image://${key}@${value}` };
    case "urls":
      return { ...source, attrs: { ...attrs, "http.checksum": value } };
    case "git": {
      // The beginning of a tag object's digest, which only its server can confirm.
      if (!value.startsWith(attrs["git.checksum"] ?? "")) return source;
      // A repository that is kept has the branch by name, which the commit alone does not say.
      if (attrs["git.keepgitdir"] === "true")
        return { ...source, attrs: { ...attrs, "git.checksum": value, "git.fetchbycommit": "true" } };
      const { directory } = gitParts(source);
      const [plain = ""] = identifier.split("#", 1);
      const below = directory === null ? "" : `:${directory}`;
      return { ...source, identifier: `${plain}#${value}${below}` };
    }
  }
}

function notLocked({ kind, key }: LockKey, file: string): BuildError {
  const what = { images: "the image", urls: "the URL", git: "the repository" }[kind];
  return new BuildError("NOT_LOCKED", `${what} ${printable(key)} is not in the lock file ${file}`, {
    hint: "'tsbuild update' adds it, and shows what changes",
  });
}

function changed(key: string, before: string, now: string): BuildError {
  return new BuildError("CONTEXT_CHANGED", `${key} stood for ${before} and then for ${now}`, {
    hint: "it was published again meanwhile: run the command again",
  });
}

/** Two locks as one; entries of `over` count before those of `base`. */
export function mergeLocks(base: Lock, over: Lock): Lock {
  return {
    images: new Map([...base.images, ...over.images]),
    urls: new Map([...base.urls, ...over.urls]),
    git: new Map([...base.git, ...over.git]),
  };
}
