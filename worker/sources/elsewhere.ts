// Names of the layers of images that were built here: those that they have where the image is pulled.

import { asVerified } from "../../cache/claims.ts";
import type { ContentStore, LayerRecord, LayerStore } from "../../cache/contract.ts";
import { DIFF_ID_ANNOTATION } from "../../cache/table-annotations.ts";
import type { Digest } from "../../solver/graph/digest.ts";
import type { Descriptor, LayerId } from "../../solver/graph/request.ts";

export interface BuiltHere {
  /** For messages. */
  readonly name: string;
  /** As they were made, and in the same order what its config and its manifest say of them. */
  readonly layers: readonly LayerId[];
  readonly diffIds: readonly string[];
  readonly blobs: readonly Descriptor[];
}

/** Layers that were made here under the names that they have where the image is pulled: what is built on the image is then the same to the
 *  cache, and leaves with the same base. */
export function asElsewhere(
  { name, layers, diffIds, blobs }: BuiltHere,
  store: Pick<LayerStore, "get" | "update" | "made" | "idOf">,
  content: Pick<ContentStore, "has">,
): readonly LayerId[] {
  if (diffIds.length !== layers.length) return layers;
  return layers.map((made, index) => {
    const diffId = diffIds[index] as Digest;
    const id = store.idOf(diffId);
    const record = made.startsWith("r-") ? store.get(made) : null;
    if (record === null) return made;
    // Noted once more where need be: the layer of the note may be gone.
    if (record.unpacked && store.made(id) === null) store.update(made, { diffId: record.diffId });
    const description = `layer ${index + 1} of ${name}`;
    const found = store.made(id);
    if (found === null) {
      const own = packedOf(record, blobs[index]?.digest, diffId);
      if (own === null || !content.has(own.digest)) return made; // promised by a cache, and not here yet
      store.update(id, { diffId, description, ...asVerified(store.get(id) ?? { verified: [] }, own) });
      return id;
    }
    if (store.get(id)?.diffId === diffId) return id;
    const times = found.epochSeconds === null ? "" : `epoch=${found.epochSeconds}`;
    const tarBytes = found.record.tarBytes?.[times];
    store.update(id, {
      diffId,
      ...(tarBytes === undefined ? {} : { tarBytes: { "": tarBytes } }),
      description,
    });
    return id;
  });
}

/** The blob that was packed of a step's layer in a form with a diffId of its own (eStargz). The step's directory holds the same files, and
 *  cannot be packed as this tar again: the blob is unpacked, as after a pull. */
function packedOf({ blobs }: LayerRecord, blob: Digest | undefined, diffId: Digest): Descriptor | null {
  const own = Object.values(blobs).find(({ digest }) => digest === blob);
  if (own?.annotations?.[DIFF_ID_ANNOTATION] !== diffId) return null;
  const { mediaType, digest, size } = own;
  return { mediaType, digest, size };
}
