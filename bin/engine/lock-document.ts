// The lock file: JSON, sorted, a line for each fact, so that a change of it can be reviewed. docs/locks.md describes it.

import { formatReference, parseReference } from "../../cache/registry/reference.ts";
import { type Digest, isDigest } from "../../solver/graph/digest.ts";
import { BuildError, printable } from "../../solver/graph/error.ts";
import { COMMIT, KEY_MAX_CHARS, type Lock, type LockedImage } from "./lock.ts";
import { JsonFault, type JsonNode, type JsonObject, readJson } from "./strict-json.ts";

export const LOCK_MAX_BYTES: number = 4 << 20;
const ENTRIES_MAX = 10_000;
const PLATFORMS_MAX = 100;
const VERSION = 1;

/** The same text for the same entries. */
export function formatLock({ images, urls, git }: Lock): string {
  const document = {
    version: VERSION,
    images: sorted(images, ({ digest, platforms, isLocal }) => ({
      digest,
      ...(isLocal ? { local: true } : {}),
      platforms: sorted(platforms, (manifest) => manifest),
    })),
    urls: sorted(urls, (checksum) => ({ checksum })),
    git: sorted(git, (commit) => ({ commit })),
  };
  return `${JSON.stringify(document, null, 2)}\n`;
}

function sorted<T, U>(entries: ReadonlyMap<string, T>, show: (value: T) => U): Record<string, U> {
  const list = [...entries].sort(([a], [b]) => (a < b ? -1 : 1));
  return Object.fromEntries(list.map(([key, value]) => [key, show(value)]));
}

/** Reads a lock file; `file`: for messages. Throws FILE_INVALID with the line. */
export function parseLock(text: string, file: string): Lock {
  try {
    const top = objectIn(readJson(text), "the lock");
    const version = top.get("version");
    if (version === undefined) throw new JsonFault('"version" is missing', 1);
    if (version.value !== VERSION)
      throw new JsonFault(
        `version ${printable(JSON.stringify(version.value) ?? "", 20)} is not known, only ${VERSION}`,
        version.line,
      );
    for (const [name, { line }] of top)
      if (!["version", "images", "urls", "git"].includes(name)) throw unknown(name, line);
    return {
      images: section(top, "images", imageOf, isImageKey),
      urls: section(
        top,
        "urls",
        (node) => digestIn(node, "checksum"),
        (key) => /^https?:\/\/./.test(key),
      ),
      git: section(top, "git", commitOf, (key) => /^[\w.+-]+(?::\/\/|@)./.test(key)),
    };
  } catch (cause) {
    if (!(cause instanceof JsonFault)) throw cause;
    throw new BuildError("FILE_INVALID", `${file}:${cause.line}: ${cause.message}`, {
      cause,
      hint: "take the file of the last commit, or let 'tsbuild update' write it again without it",
    });
  }
}

function section<T>(
  top: JsonObject,
  name: string,
  read: (node: JsonNode) => T,
  isKey: (key: string) => boolean,
): ReadonlyMap<string, T> {
  const node = top.get(name);
  if (node === undefined) return new Map();
  const entries = objectIn(node, JSON.stringify(name));
  if (entries.size > ENTRIES_MAX) throw new JsonFault(`more than ${ENTRIES_MAX} entries`, node.line);
  const found = new Map<string, T>();
  for (const [key, one] of entries) {
    if (key.length > KEY_MAX_CHARS || !isKey(key))
      throw new JsonFault(`${JSON.stringify(printable(key, 100))} is no reference of "${name}"`, one.line);
    found.set(key, read(one));
  }
  return found;
}

function isImageKey(key: string): boolean {
  try {
    const reference = parseReference(key);
    return reference.tag !== null && reference.digest === null && formatReference(reference) === key;
  } catch {
    return false;
  }
}

function imageOf(node: JsonNode): LockedImage {
  const fields = fieldsIn(node, ["digest", "local", "platforms"]);
  const platforms = fields.get("platforms");
  const list = platforms === undefined ? [] : [...objectIn(platforms, '"platforms"')];
  if (list.length > PLATFORMS_MAX) throw new JsonFault(`more than ${PLATFORMS_MAX} platforms`, node.line);
  const local = fields.get("local");
  if (local !== undefined && typeof local.value !== "boolean")
    throw new JsonFault('"local" is neither true nor false', local.line);
  return {
    digest: digestOf(fields.get("digest"), "digest", node.line),
    platforms: new Map(
      list.map(([name, one]) => {
        if (!/^[\w.-]+\/[\w.-]+(?:\/[\w.-]+)?$/.test(name))
          throw new JsonFault(`${JSON.stringify(printable(name, 100))} is no platform`, one.line);
        return [name, digestOf(one, name, one.line)];
      }),
    ),
    isLocal: local?.value === true,
  };
}

function digestIn(node: JsonNode, name: string): Digest {
  return digestOf(fieldsIn(node, [name]).get(name), name, node.line);
}

function digestOf(node: JsonNode | undefined, name: string, line: number): Digest {
  const value = node?.value;
  if (typeof value === "string" && isDigest(value)) return value;
  throw new JsonFault(`"${name}" is no sha256 digest`, node?.line ?? line);
}

function commitOf(node: JsonNode): string {
  const commit = fieldsIn(node, ["commit"]).get("commit");
  if (typeof commit?.value === "string" && COMMIT.test(commit.value)) return commit.value;
  throw new JsonFault('"commit" is no full digest of a commit', commit?.line ?? node.line);
}

function fieldsIn(node: JsonNode, known: readonly string[]): JsonObject {
  const fields = objectIn(node, "an entry");
  for (const [name, { line }] of fields) if (!known.includes(name)) throw unknown(name, line);
  return fields;
}

function objectIn({ value, line }: JsonNode, what: string): JsonObject {
  if (value instanceof Map) return value as JsonObject;
  throw new JsonFault(`${what} is not an object`, line);
}

function unknown(name: string, line: number): JsonFault {
  return new JsonFault(`${JSON.stringify(printable(name, 100))} is not known here`, line);
}
