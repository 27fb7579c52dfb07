// Debian packages: the status file of dpkg(1), and status.d/ of images without dpkg ("distroless"). Format: deb-control(5).

import { type Cataloger, type Shown, shown, type TreeContext } from "../cataloger.ts";
import { field } from "../source-file.ts";
import { stanzas } from "../stanzas.ts";

const STATUS_MAX_BYTES = 64 << 20;
const COPYRIGHT_MAX_BYTES = 1 << 20;

export const dpkg: Cataloger = {
  name: "dpkg",
  *packages(file) {
    for (const get of stanzas(file.whole(STATUS_MAX_BYTES).toString("utf8"))) {
      const [name, version] = [field(get("package")), field(get("version"))];
      if (name === null || version === null || !isInstalled(get("status"))) continue;
      yield describe(name, version, get);
    }
  },
  completed(found, context) {
    return { ...found, licenses: licensesOf(found.name, context) };
  },
};

/** "want flag state" of dpkg's status; packages of status.d have none. What was removed but for its configuration is not there. */
function isInstalled(status: string | undefined): boolean {
  const state = status?.trim().split(/\s+/)[2];
  return state === undefined || !["not-installed", "config-files"].includes(state);
}

function describe(name: string, version: string, get: (key: string) => string | undefined): Shown {
  // "Source: name (version)": the version where it is not that of the package.
  const source = /^(\S+)(?:\s+\(([^)]+)\))?/.exec(field(get("source")) ?? "");
  const architecture = field(get("architecture"));
  return shown({
    type: "deb",
    name,
    version,
    supplier: field(get("maintainer")),
    source: source === null ? null : `${source[1]} ${source[2] ?? version}`,
    ...(architecture === null ? {} : { qualifiers: { arch: architecture } }),
  });
}

/** Licences in a machine-readable copyright file (DEP 5), else the common licences that its text refers to. */
function licensesOf(name: string, context: TreeContext): readonly string[] {
  const text = context.text(`usr/share/doc/${name.split(":")[0]}/copyright`, COPYRIGHT_MAX_BYTES);
  if (text === null) return [];
  const found = new Set<string>();
  if (/^Format:\s*\S+/m.test(text.slice(0, 4096))) {
    for (const [, license = ""] of text.matchAll(/^License:[ \t]*(\S[^\n]*)$/gm)) {
      const said = field(license);
      if (said !== null) found.add(said);
    }
  } else {
    for (const [, license = ""] of text.matchAll(
      /\/usr\/share\/common-licenses\/([A-Za-z0-9][A-Za-z0-9.+-]*)/g,
    ))
      found.add(license.replace(/[.-]+$/, ""));
  }
  return [...found].sort();
}

export function isDpkgStatus(path: string): boolean {
  if (!path.startsWith("var/lib/dpkg/")) return false; // asked for each file of a tree
  return path === "var/lib/dpkg/status" || /^var\/lib\/dpkg\/status\.d\/[^/]+(?<!\.md5sums)$/.test(path);
}
