// Layers that a step of this store produced and that are known by diffId elsewhere: an image that was built here has the same layers
// wherever it comes from, so builds on it refer to them by diffId ("d-…"), as after a pull. The directory, or the tar, of the
// step's layer is then used instead of fetching it.
//
// Claims are not used here: a diffId is recorded only when the directory was packed, or unpacked and compared (claims.ts).

import { isBaseLayer, type Descriptor, type LayerId } from "../solver/graph/request.ts";
import { type Digest, hexOf } from "../solver/graph/digest.ts";
import type { LayerRecord, MadeHere, Records } from "./contract.ts";

/** Id of a layer by diffId → id of the layer here that is the same. */
export const MADE_SPACE = "made";

/** Id of a layer by its diffId. */
export function idOf(diffId: Digest): LayerId {
  return `d-${hexOf(diffId)}` as LayerId;
}

/** Notes what the layer is by diffId. `record` has just been written, its directory is there. */
export function noteMade(records: Records, record: LayerRecord): void {
  if (!record.unpacked || !record.id.startsWith("r-")) return;
  for (const id of namesOf(record))
    if (records.get<LayerId>(MADE_SPACE, id) !== record.id) records.put(MADE_SPACE, id, record.id);
}

/** Takes back what was noted of a layer. */
export function forgetMade(records: Records, record: LayerRecord): void {
  for (const id of namesOf(record))
    if (records.get<LayerId>(MADE_SPACE, id) === record.id) records.remove(MADE_SPACE, id);
}

function namesOf({ diffId, diffIds }: LayerRecord): readonly LayerId[] {
  return [...(diffId === null ? [] : [diffId]), ...Object.values(diffIds)].map(idOf);
}

/** What stands in for the layer; null: nothing that was made here. `get`: LayerStore.get. */
export function findMade(
  records: Pick<Records, "get">,
  get: (id: LayerId) => LayerRecord | null,
  id: LayerId,
): MadeHere | null {
  if (!isBaseLayer(id)) return null;
  const made = records.get<LayerId>(MADE_SPACE, id);
  const record = made === null ? null : get(made);
  if (record === null) return null;
  const times = timesOf(record, id);
  if (times === null) return null;
  const suffix = times === "" ? "" : `+${times}`;
  const blobs = Object.entries(record.blobs).flatMap(([form, blob]): [string, Descriptor][] => {
    if (form.startsWith("estargz")) return []; // it has a diffId of its own
    const isOfTimes = times === "" ? !/\+epoch=/.test(form) : `${form}+`.includes(`${suffix}+`);
    return isOfTimes ? [[form.replace(suffix, ""), blob]] : [];
  });
  return {
    id: record.id,
    epochSeconds: times === "" ? null : Number(times.slice("epoch=".length)),
    blobs: Object.fromEntries(blobs),
    record,
  };
}

/** The name of the times with which the layer has this diffId: "" as they are, "epoch=0"…; null: with none. */
function timesOf(record: LayerRecord, id: LayerId): string | null {
  if (record.diffId !== null && idOf(record.diffId) === id) return "";
  const found = Object.entries(record.diffIds).find(
    ([name, diffId]) => /^epoch=-?\d+$/.test(name) && idOf(diffId) === id,
  );
  return found?.[0] ?? null;
}
