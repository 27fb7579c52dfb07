// Which files are looked into, by path. All catalogers in one place: one question for each file of a walk.

import type { Cataloger } from "./cataloger.ts";
import { apk, isApkDatabase } from "./catalogers/apk.ts";
import { binaries, mayBeBinary } from "./catalogers/binaries.ts";
import { composerInstalled, composerLock } from "./catalogers/composer.ts";
import { dpkg, isDpkgStatus } from "./catalogers/dpkg.ts";
import { gem, isGemspec } from "./catalogers/gem.ts";
import { isJavaArchive, java } from "./catalogers/java.ts";
import { isInstalledManifest, npmInstalled, npmLock, pnpmLock, yarnLock } from "./catalogers/npm.ts";
import { isPythonMetadata, python } from "./catalogers/python.ts";
import { rpmCataloger } from "./catalogers/rpm.ts";

/** What reads a regular file; null: nothing does. `path`: byte string below the root. */
export function catalogerOf(
  path: string,
  name: string,
  { mode, size }: { readonly mode: number; readonly size: number },
): Cataloger | null {
  switch (name) {
    case "package.json":
      return isInstalledManifest(path) ? npmInstalled : null;
    case "package-lock.json":
    case "npm-shrinkwrap.json":
      // Of a published package it says what its developers had.
      return path.includes("node_modules/") ? null : npmLock;
    case "pnpm-lock.yaml":
      return path.includes("node_modules/") ? null : pnpmLock;
    case "yarn.lock":
      return path.includes("node_modules/") ? null : yarnLock;
    case "METADATA":
    case "PKG-INFO":
      return isPythonMetadata(path) ? python : null;
    case "composer.lock":
      return composerLock;
    case "installed.json":
      return path.endsWith("vendor/composer/installed.json") ? composerInstalled : null;
    case "installed":
      return isApkDatabase(path) ? apk : null;
  }
  if (name.endsWith(".gemspec")) return isGemspec(path) ? gem : null;
  if (name.endsWith(".egg-info")) return python;
  if (isJavaArchive(name)) return java;
  if (isDpkgStatus(path)) return dpkg;
  return rpmCataloger(path) ?? (mayBeBinary(name, mode, size) ? binaries : null);
}
