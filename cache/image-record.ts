// Images of the local store: one record per name. An image without a name has a record under its ID, as docker keeps
// dangling images: it can be run, tagged and saved by ID, and stays until it is removed or pruned.

import type { Digest } from "../solver/graph/digest.ts";

/** Space of the records that holds ImageRecord by normalized name, or by ID. */
export const IMAGE_SPACE = "image";

/** The key (and `name`) of an image without a name: its ID. No normalized name looks like it: those begin with a host and a "/". */
export function namelessKey(id: Digest): string {
  return id;
}

/** Is it the key of an image without a name? */
export function isNameless(name: string): boolean {
  return name.startsWith("sha256:");
}
