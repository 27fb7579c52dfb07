// Paths in Windows images, which are built on Linux from COPY and metadata: drive letters and backslashes as in BuildKit,
// util/system/path.go. Within a build they have slashes and no drive; the config has backslashes.

import { posix } from "node:path";
import { BuildError } from "../solver/graph/error.ts";

/** An absolute path with slashes and without a drive, relative to `parent`, an absolute one. keepSlash: a slash or "/." at the end
 *  says something, and stays. Throws DOCKERFILE_SYNTAX for another drive than C and for network paths. */
export function windowsPath(parent: string, path: string, keepSlash: boolean): string {
  const slashes = path.replaceAll("\\", "/");
  const stripped = withoutDrive(slashes === "" ? parent : slashes, keepSlash);
  const found = stripped.startsWith("/") ? stripped : trimmed(posix.join("/", parent, stripped));
  if (!keepSlash) return found;
  if (slashes.endsWith("/") && !found.endsWith("/")) return `${found}/`;
  return slashes.endsWith("/.") ? `${found === "/" ? "" : found}/.` : found;
}

/** Absolute for Windows: with or without a drive. */
export function isWindowsAbsolute(path: string): boolean {
  return /^(?:[cC]:)?[\\/]/.test(path);
}

/** As it stands in an image's config. */
export function toBackslashes(path: string): string {
  return path.replaceAll("/", "\\");
}

function withoutDrive(path: string, keepSlash: boolean): string {
  if (/^.:$/s.test(path)) throw refused(`No relative path specified in ${JSON.stringify(path)}`);
  if (path.startsWith("//")) throw refused("UNC paths are not supported");
  const colon = path.indexOf(":");
  if (colon >= 0 && path.slice(0, colon).toLowerCase() !== "c") {
    throw refused("The specified path is not on the system drive (C:)");
  }
  const clean = posix.normalize(path.slice(colon + 1));
  return keepSlash ? clean : trimmed(clean);
}

function trimmed(path: string): string {
  return path.length > 1 ? path.replace(/\/$/, "") : path;
}

function refused(why: string): BuildError {
  return new BuildError("DOCKERFILE_SYNTAX", `removing drive letter: ${why}`);
}
