// Finds the packages in a file tree: one pass over the directories, then the files that matter, one after the other.
//
// Trees are made by others. Names are never followed out of them (cache/tree.ts); sizes, counts, depths and the bytes that are read in
// all are bounded; what cannot be read is in the result, and nothing in a tree makes the scan throw.

import { createHash } from "node:crypto";
import {
  baseOf,
  bytesOf,
  joinPath,
  PATH_MAX_BYTES,
  resolvePath,
  textOf,
  type TreeReader,
  type TreeStat,
} from "../../cache/tree.ts";
import type { Cataloger, Shown, TreeContext } from "./cataloger.ts";
import type {
  Distro,
  EvidenceFile,
  FileVersion,
  FoundPackage,
  Location,
  Scan,
  ScanTree,
  Unread,
} from "./contract.ts";
import { catalogerOf } from "./kinds.ts";
import { purlOf } from "./purl.ts";
import { descriptorFile, field, type OpenFile, isUnreadable, Unreadable } from "./source-file.ts";

/** More entries than any image has; what is behind them is not seen. */
const ENTRIES_MAX = 10_000_000;
const PACKAGES_MAX = 100_000;
/** Of one package. */
const LICENSES_MAX = 100;
/** Of all names, licences and places together: what a scan keeps, sends and writes grows with it. */
const TEXT_MAX_CHARS = 32 << 20;
const UNREAD_MAX = 1_000;
/** Of all files together, also when one is read again for another name. */
const READ_MAX_BYTES = 16 * 2 ** 30;
const OS_RELEASE_MAX_BYTES = 64 << 10;

interface Candidate {
  readonly path: string; // byte string
  readonly cataloger: Cataloger;
}

/** Scans a tree. Reads with synchronous calls. */
export async function scanTree(source: ScanTree): Promise<Scan> {
  const { tree } = source;
  const unread = collectUnread();
  const budget: Budget = { left: READ_MAX_BYTES };
  const text = (path: string, maxBytes: number): string | null => textIn(tree, path, { maxBytes, budget });
  const context: TreeContext = { distro: distroOf(text), text, unread: unread.add };
  const merged = openMerge(context.distro);
  const files: EvidenceFile[] = [];
  for (const { path, cataloger } of candidatesIn(tree, unread.add)) {
    const shownPath = textOf(`/${path}`);
    try {
      const versions = source.versionsOf?.(path) ?? [];
      const found = await packagesOf(cataloger, context, shownPath, () => limited(tree.open(path), budget));
      if (found.length === 0) continue;
      const broughtBy = await attribute(found, cataloger, context, { versions, path: shownPath, budget });
      for (const [index, shown] of found.entries()) {
        if (merged.isFull()) break;
        merged.add(cataloger.completed?.(shown, context) ?? shown, cataloger.installedBeside !== undefined, {
          path: shownPath,
          layer: broughtBy[index] ?? null,
        });
      }
      const hashes = hashesOf(limited(tree.open(path), budget));
      files.push({ path: shownPath, layer: versions.at(-1)?.layer ?? null, ...hashes });
    } catch (error) {
      unread.add(shownPath, reasonOf(error));
    }
    if (!merged.isFull()) continue;
    unread.add(
      "/",
      `more than ${PACKAGES_MAX} packages, or names longer than all of them: the others are not listed`,
    );
    break;
  }
  return {
    distro: context.distro,
    packages: merged.sorted(),
    files: files.sort((a, b) => compare(a.path, b.path)),
    unread: unread.sorted(),
  };
}

/** All packages in a file, also those before it turned out to be broken. */
async function packagesOf(
  cataloger: Cataloger,
  context: TreeContext,
  path: string,
  open: () => OpenFile,
): Promise<readonly Shown[]> {
  const found: Shown[] = [];
  let file: OpenFile | null = null;
  try {
    file = open();
    for (const shown of await cataloger.packages(file, path, context)) {
      found.push(shown);
      if (found.length > PACKAGES_MAX) throw new Unreadable(`it lists more than ${PACKAGES_MAX} packages`);
    }
  } catch (error) {
    context.unread(path, reasonOf(error));
  } finally {
    file?.close();
  }
  return found;
}

/**
 * For each package the layer that brought it to the file: the first one from which on every copy of the file shows it. A database of
 * packages is written anew by each layer that installs one, so its own layer says little.
 */
async function attribute(
  found: readonly Shown[],
  cataloger: Cataloger,
  context: TreeContext,
  { versions, path, budget }: { versions: readonly FileVersion[]; path: string; budget: Budget },
): Promise<readonly (number | null)[]> {
  const newest = versions.at(-1)?.layer ?? null;
  const layers: (number | null)[] = found.map(() => newest);
  let pending = new Set(found.keys());
  for (const version of versions.slice(0, -1).reverse()) {
    if (pending.size === 0) break;
    // What is wrong with a copy that is covered is nobody's concern.
    const earlier = await packagesOf(cataloger, { ...context, unread: () => {} }, path, () =>
      limited(version.open(), budget),
    );
    const keys = new Set(earlier.map(keyOf));
    pending = new Set([...pending].filter((index) => keys.has(keyOf(found[index] as Shown))));
    for (const index of pending) layers[index] = version.layer;
  }
  return layers;
}

function keyOf({ type, name, version, qualifiers }: Shown): string {
  return JSON.stringify([type, name, version, qualifiers?.arch ?? null]);
}

/** The files of the tree that are looked into, in the order of their paths. */
function candidatesIn(
  tree: TreeReader,
  unread: (path: string, reason: string) => void,
): readonly Candidate[] {
  const found: Candidate[] = [];
  const todo: string[] = [""];
  let entries = 0;
  while (todo.length > 0) {
    const directory = todo.pop() as string;
    try {
      const children = tree.children(directory);
      entries += children.length;
      if (entries > ENTRIES_MAX)
        throw new Unreadable(`the tree has more than ${ENTRIES_MAX} entries: the others are not looked at`);
      for (const { name, stat } of children) {
        const path = joinPath(directory, name);
        const cataloger = stat.type === "file" ? catalogerOf(path, name, stat) : null;
        if (cataloger === null || path.length > PATH_MAX_BYTES) continue;
        const installed = cataloger.installedBeside;
        if (installed === undefined || tree.lstat(joinPath(directory, installed)) === null)
          found.push({ path, cataloger });
      }
      const directories = children.flatMap(({ name, stat }) => (stat.type === "directory" ? [name] : []));
      for (const name of directories) {
        const path = joinPath(directory, name);
        if (path.length > PATH_MAX_BYTES) unread(textOf(`/${directory}`), "it holds paths that are too long");
        else todo.push(path);
      }
    } catch (error) {
      unread(textOf(`/${directory}`), reasonOf(error));
      if (entries > ENTRIES_MAX) break;
    }
  }
  return found.sort((a, b) => compare(a.path, b.path));
}

/** One package for each package URL, with all places where it was found. */
function openMerge(distro: Distro | null) {
  const packages = new Map<string, { found: FoundPackage; locations: Location[] }>();
  let chars = 0;
  return {
    isFull: () => packages.size > PACKAGES_MAX || chars > TEXT_MAX_CHARS,
    add(shown: Shown, isDeclared: boolean, location: Location): void {
      const { type, name, version, supplier, source } = shown;
      const licenses = shown.licenses.slice(0, LICENSES_MAX);
      for (const text of [name, version, supplier, source, location.path, ...licenses])
        chars += text?.length ?? 0;
      const purl = purlOf(shown, distro);
      const key = purl ?? JSON.stringify([type, name, version]);
      const known = packages.get(key);
      if (known === undefined) {
        const found = {
          type,
          name,
          version,
          purl,
          licenses,
          supplier,
          source,
          declared: isDeclared,
          locations: [],
        };
        packages.set(key, { found, locations: [location] });
        return;
      }
      // Found in one file more than once: an archive that holds the same one twice.
      if (known.locations.at(-1)?.path !== location.path) known.locations.push(location);
      const declared = known.found.declared && isDeclared;
      const said = known.found.licenses.length > 0 ? known.found.licenses : licenses;
      known.found = { ...known.found, declared, licenses: said };
    },
    sorted: (): readonly FoundPackage[] =>
      [...packages.values()]
        .map(({ found, locations }) => ({ ...found, locations }))
        .map((found) => ({
          found,
          key: [found.type, found.name, found.version ?? "", found.purl ?? ""].join("\0"),
        }))
        .sort((a, b) => compare(a.key, b.key))
        .map(({ found }) => found),
  };
}

function collectUnread() {
  const all = new Map<string, Unread>();
  let isFull = false;
  return {
    add(path: string, reason: string): void {
      if (all.size < UNREAD_MAX) all.set(`${path}\0${reason}`, { path, reason });
      else isFull = true;
    },
    sorted(): readonly Unread[] {
      const sorted = [...all].sort(([a], [b]) => compare(a, b)).map(([, one]) => one);
      return isFull
        ? [...sorted, { path: "/", reason: "more files could not be read; they are not listed" }]
        : sorted;
    },
  };
}

interface Budget {
  left: number; // bytes
}

function limited(fd: number, budget: Budget): OpenFile {
  const file = descriptorFile(fd);
  const spend = (bytes: Buffer): Buffer => {
    budget.left -= bytes.length;
    return bytes;
  };
  const check = (): void => {
    if (budget.left < 0)
      throw new Unreadable(`more than ${READ_MAX_BYTES} bytes were read of the tree before it`);
  };
  return {
    ...file,
    at(offset, length) {
      check();
      return spend(file.at(offset, length));
    },
    whole(maxBytes) {
      check();
      return spend(file.whole(maxBytes));
    },
  };
}

const HASH_BLOCK_BYTES = 1 << 20;

function hashesOf(file: OpenFile): { readonly sha1: string; readonly sha256: string } {
  const [sha1, sha256] = [createHash("sha1"), createHash("sha256")];
  try {
    for (let offset = 0; offset < file.size; ) {
      const block = file.at(offset, HASH_BLOCK_BYTES);
      if (block.length === 0) break;
      sha1.update(block);
      sha256.update(block);
      offset += block.length;
    }
  } finally {
    file.close();
  }
  return { sha1: sha1.digest("hex"), sha256: sha256.digest("hex") };
}

/** os-release(5): /etc/os-release, which may be a link, else /usr/lib/os-release. */
function distroOf(text: TreeContext["text"]): Distro | null {
  const content =
    text("etc/os-release", OS_RELEASE_MAX_BYTES) ?? text("usr/lib/os-release", OS_RELEASE_MAX_BYTES);
  if (content === null) return null;
  const value = (key: string): string | null =>
    field(new RegExp(`^${key}=(["']?)(.*)\\1[ \\t]*$`, "m").exec(content)?.[2]);
  const id = value("ID");
  if (id === null || !/^[a-z0-9._-]+$/.test(id)) return null;
  return { id, versionId: value("VERSION_ID"), prettyName: value("PRETTY_NAME") };
}

/** Text of a regular file, links followed within the tree; null: there is none, it is too large, or it cannot be read. */
function textIn(
  tree: TreeReader,
  path: string,
  { maxBytes, budget }: { readonly maxBytes: number; readonly budget: Budget },
): string | null {
  try {
    const found = resolvePath(tree, bytesOf(path), true);
    const stat: TreeStat | null = tree.lstat(found);
    if (stat === null || stat.type !== "file" || stat.size > maxBytes || baseOf(found) === "") return null;
    const file = limited(tree.open(found), budget);
    try {
      return file.whole(maxBytes).toString("utf8");
    } finally {
      file.close();
    }
  } catch {
    return null; // a loop of links, a directory that may not be entered: as if it were not there
  }
}

/** A failed system call by its name: its own message has paths of this machine. */
function reasonOf(error: unknown): string {
  if (isUnreadable(error)) return error.message;
  // Node's errors have the name in `code`, those of worker/sys in `errno`.
  const { code, errno } = (error ?? {}) as { readonly code?: unknown; readonly errno?: unknown };
  for (const name of [code, errno])
    if (typeof name === "string" && /^E[A-Z0-9]+$/.test(name)) return `it cannot be read: ${name}`;
  // A number in it leads outside of it (RangeError), or it is nested too deep.
  return "it is not valid";
}

function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
