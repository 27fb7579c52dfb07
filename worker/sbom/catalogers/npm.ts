// npm packages: installed ones by their package.json in node_modules, and the lock files of npm, pnpm and yarn.
// Formats: docs.npmjs.com, "package.json" and "package-lock.json"; the lock files of pnpm and yarn are written by machines, one
// key a line, and read that way: a YAML parser would build what is not needed.

import { type Cataloger, type Shown, shown } from "../cataloger.ts";
import { field, isRecord, jsonObject, type SourceFile, Unreadable } from "../source-file.ts";

const MANIFEST_MAX_BYTES = 8 << 20;
const LOCK_MAX_BYTES = 64 << 20;
/** Levels of the nested lists of the first lock files. */
const DEPTH_MAX = 200;

export const npmInstalled: Cataloger = {
  name: "npm",
  *packages(file) {
    const manifest = jsonObject(file.whole(MANIFEST_MAX_BYTES));
    const [name, version] = [field(manifest.name), field(manifest.version)];
    if (name === null || version === null) return;
    yield npmPackage(name, version, { licenses: licensesOf(manifest), supplier: authorOf(manifest.author) });
  },
};

/** package-lock.json, npm-shrinkwrap.json, and .package-lock.json that npm keeps in node_modules. */
export const npmLock: Cataloger = {
  name: "npm",
  installedBeside: "node_modules",
  *packages(file) {
    const lock = jsonObject(file.whole(LOCK_MAX_BYTES));
    if (isRecord(lock.packages)) {
      for (const [path, entry] of Object.entries(lock.packages)) {
        if (!isRecord(entry) || entry.dev === true || entry.link === true) continue;
        const at = path.lastIndexOf("node_modules/");
        const [name, version] = [
          field(entry.name) ?? (at < 0 ? null : field(path.slice(at + 13))),
          field(entry.version),
        ];
        // "" is the project itself, other paths without node_modules are its workspaces.
        if (at < 0 || name === null || version === null) continue;
        yield npmPackage(name, version, { licenses: licensesOf(entry) });
      }
    } else if (isRecord(lock.dependencies)) yield* nested(lock.dependencies, 0);
  },
};

/** "dependencies" of lockfileVersion 1, which nest. */
function* nested(dependencies: Readonly<Record<string, unknown>>, depth: number): Generator<Shown> {
  if (depth > DEPTH_MAX)
    throw new Unreadable(`its dependencies are nested more than ${DEPTH_MAX} levels deep`);
  for (const [key, entry] of Object.entries(dependencies)) {
    if (!isRecord(entry)) continue;
    const [name, version] = [field(key), field(entry.version)];
    // An alias has "npm:name@version", other sources an address.
    if (entry.dev !== true && name !== null && version !== null) {
      const alias = /^npm:(.+)@([^@]+)$/.exec(version);
      yield npmPackage(alias?.[1] ?? name, alias?.[2] ?? version);
    }
    if (isRecord(entry.dependencies)) yield* nested(entry.dependencies, depth + 1);
  }
}

/** pnpm-lock.yaml: the keys of "packages". "/name/1.0.0" (5), "/name@1.0.0(peer@2.0.0)" (6), "name@1.0.0" (9). */
export const pnpmLock: Cataloger = {
  name: "pnpm",
  installedBeside: "node_modules",
  *packages(file) {
    let inside = false;
    let pending: Shown | null = null;
    let isLock = false;
    for (const line of linesOf(file)) {
      isLock ||= line.startsWith("lockfileVersion:");
      if (/^\S/.test(line)) inside = line.startsWith("packages:");
      if (!inside) continue;
      const key = /^ {2}(?:'([^']+)'|"([^"]+)"|([^\s'":][^\s]*)):\s*$/.exec(line);
      if (key !== null) {
        if (pending !== null) yield pending;
        pending = ofPnpmKey(key[1] ?? key[2] ?? key[3] ?? "");
      } else if (/^ {4}dev: true\s*$/.test(line)) pending = null;
    }
    if (pending !== null) yield pending;
    if (!isLock) throw new Unreadable("it has no lockfileVersion");
  },
};

function ofPnpmKey(key: string): Shown | null {
  const plain = key.replace(/^\//, "").replace(/\(.*$/, "");
  const parts =
    /^((?:@[^/]+\/)?[^/@]+)@([^/]+)$/.exec(plain) ?? /^((?:@[^/]+\/)?[^/@]+)\/([^/_]+)(?:_.*)?$/.exec(plain);
  const [name, version] = [field(parts?.[1]), field(parts?.[2])];
  return name === null || version === null ? null : npmPackage(name, version);
}

/** yarn.lock of yarn 1 ('version "1.0.0"') and of later ones ("version: 1.0.0", with a resolution). */
export const yarnLock: Cataloger = {
  name: "yarn",
  installedBeside: "node_modules",
  *packages(file) {
    let header: string | null = null;
    let version: string | null = null;
    let resolution: string | null = null;
    const end = function* (): Generator<Shown> {
      if (header === null || version === null || resolution?.includes("@workspace:") === true) return;
      const from = resolution ?? header;
      // Also of an alias: "name@npm:other@^1.0.0".
      const name =
        /(?:@npm:)((?:@[^/@]+\/)?[^/@]+)@/.exec(from)?.[1] ?? /^((?:@[^/@]+\/)?[^/@]+)@/.exec(from)?.[1];
      if (name !== undefined && !from.includes("@workspace:")) yield npmPackage(name, version);
    };
    for (const line of linesOf(file)) {
      if (/^[^\s#].*:\s*$/.test(line)) {
        yield* end();
        header = field(line.replace(/:\s*$/, "").split(",")[0]?.replaceAll('"', ""));
        version = resolution = null;
        if (header === "__metadata") header = null;
        continue;
      }
      const entry = /^ {2}(version|resolution):? "?([^"]+)"?\s*$/.exec(line);
      if (entry?.[1] === "version") version = field(entry[2]);
      else if (entry?.[1] === "resolution") resolution = field(entry[2]);
    }
    yield* end();
  },
};

/** Longer lines hold nothing that is looked for; the expressions above take time that grows faster than the line. */
const LINE_MAX_CHARS = 4096;

function linesOf(file: SourceFile): readonly string[] {
  const lines = file.whole(LOCK_MAX_BYTES).toString("utf8").split(/\r?\n/);
  return lines.filter((line) => line.length <= LINE_MAX_CHARS);
}

function npmPackage(name: string, version: string, more: Partial<Shown> = {}): Shown {
  const slash = name.startsWith("@") ? name.indexOf("/") : -1;
  return shown({ type: "npm", name, version, namespace: slash < 0 ? null : name.slice(0, slash), ...more });
}

/** "license", and the forms it had before: an object, a list. */
function licensesOf({ license, licenses }: Readonly<Record<string, unknown>>): readonly string[] {
  const said = Array.isArray(licenses) && license === undefined ? licenses : [license];
  const names = said.slice(0, 100).map((one) => field(isRecord(one) ? one.type : one));
  // A list of old manifests offers a choice.
  const known = names.filter((name) => name !== null);
  return known.length > 1 ? [known.join(" OR ")] : known;
}

function authorOf(author: unknown): string | null {
  if (!isRecord(author)) return field(author);
  const [name, email] = [field(author.name), field(author.email)];
  return name !== null && email !== null ? `${name} <${email}>` : name;
}

/** The package.json of an installed package. */
export function isInstalledManifest(path: string): boolean {
  return /(?:^|\/)node_modules\/(?:@[^/]+\/)?[^/@.][^/]*\/package\.json$/.test(path);
}
