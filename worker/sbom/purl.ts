// Package URLs: the purl specification (ECMA-427), by packageurl-js.

import { PackageURL } from "packageurl-js";
import type { Shown } from "./cataloger.ts";
import type { Distro } from "./contract.ts";

/** Packages of distributions are named within one. */
const OF_DISTRO: ReadonlySet<string> = new Set(["apk", "deb", "rpm"]);

/** null: what is known makes no package URL. */
export function purlOf(shown: Shown, distro: Distro | null): string | null {
  const { type, version, nameless } = shown;
  if (nameless === true) return null;
  const isOfDistro = OF_DISTRO.has(type);
  const namespace = shown.namespace ?? (isOfDistro ? (distro?.id ?? null) : null);
  const prefix = `${shown.namespace}/`;
  const name = shown.name.startsWith(prefix) ? shown.name.slice(prefix.length) : shown.name;
  const qualifiers = {
    ...shown.qualifiers,
    ...(isOfDistro && distro?.versionId != null ? { distro: `${distro.id}-${distro.versionId}` } : {}),
  };
  try {
    const purl = new PackageURL(type, namespace, name, version, qualifiers);
    // Everything but letters, digits, ".-_~" and ":" is percent-encoded ("Character encoding"); some readers take a plus for a space.
    return purl.toString().replaceAll("+", "%2B");
  } catch {
    return null; // a name that no package of this type may have
  }
}
