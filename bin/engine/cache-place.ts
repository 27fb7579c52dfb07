// The place of an external cache, opened from what the request says of its location.

import type { Registry } from "../../cache/registry/contract.ts";
import type { CachePlace } from "../../cache/remote-cache/place.ts";
import type { CacheLocation } from "./cache-location.ts";
import type { ObjectCaches, ObjectLocation } from "./object-caches.ts";

export type OpenRegistry = () => Promise<Registry>;

/** Is it neither a registry nor a directory of this machine? */
export function isObjects(at: CacheLocation): at is ObjectLocation {
  return at.kind !== "registry" && at.kind !== "local";
}

/** An opened cache location. */
export async function openPlace(
  at: CacheLocation,
  registry: OpenRegistry,
  objects: ObjectCaches,
): Promise<CachePlace> {
  if (isObjects(at)) return objects.place(at);
  const { directoryPlace, registryPlace } = await import("../../cache/remote-cache/place.ts");
  if (at.kind === "local") return directoryPlace(at.path, at.tag, at.digest);
  const { parseReference } = await import("../../cache/registry/reference.ts");
  return registryPlace(await registry(), {
    ...parseReference(at.ref),
    askedAs: at.ref,
    ...(at.insecure ? { insecure: true } : {}),
  });
}
