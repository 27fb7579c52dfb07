// Unverified claims about layers: "the blob with this digest contains the layer with this diffId". A manifest and a config make such a
// claim together, and so does a build cache, and nobody has verified it. Digest and diffId are of different bytes, so verifying a blob's
// digest does not verify the diffId (threat model C1).
//
// Therefore a claim applies only to the image or cache that made it: a build may pass on, unverified, what an image says about its own
// layers, and is then as good or bad as that image. Only what was unpacked here can be trusted by all (LayerRecord.verified and blobs).
// Of untrusted claims the store keeps only where a blob of some digest is available: bytes fetched from there are verified.

import type { Digest } from "../solver/graph/digest.ts";
import type { Descriptor, LayerId } from "../solver/graph/request.ts";
import type { LayerRecord, RemoteBlob } from "./contract.ts";
import { tableAnnotations, withTable } from "./table-annotations.ts";

/** Places remembered for a layer, and for one blob of it. One that is pushed out comes back with the next image that names it. */
const REMOTES_MAX = 24;
const REMOTES_OF_BLOB_MAX = 4;
const VERIFIED_MAX = 8;

/** A blob that something in use says to hold a layer. from: where it can be had; none: look into the record. */
export interface Claim {
  readonly descriptor: Descriptor;
  readonly from: readonly string[];
}

/** What the images that a build uses say of their layers. */
export interface Claims {
  /** blobs[n] is said to hold layers[n]. A second call for the same image changes nothing. */
  add(
    layers: readonly LayerId[],
    blobs: readonly { readonly descriptor: Descriptor; readonly from?: string }[],
  ): void;
  /** In an order that depends on the claims only. More than one: they contradict each other, or are several forms of the layer. */
  of(layer: LayerId): readonly Claim[];
}

/** Opens an empty collection, for one build or transfer. */
export function openClaims(): Claims {
  const known = new Map<LayerId, Map<string, Claim>>();
  return {
    add(layers, blobs) {
      layers.forEach((id, index) => {
        const blob = blobs[index];
        if (blob === undefined) return;
        const { mediaType, digest, size } = blob.descriptor;
        const ofLayer = known.get(id) ?? new Map<string, Claim>();
        known.set(id, ofLayer);
        // One blob as gzip and as zstd, or with two sizes, is two claims, of which one is wrong.
        const key = `${digest} ${size} ${/[.+](gzip|zstd)$/.exec(mediaType)?.[1] ?? ""}`;
        const before = ofLayer.get(key);
        const said = before?.descriptor ?? withTable(blob.descriptor);
        // Where they contradict each other nothing is said of its table.
        const [one, other] = [said, blob.descriptor].map((of) => JSON.stringify(tableAnnotations(of)));
        const from = new Set([...(before?.from ?? []), ...(blob.from === undefined ? [] : [blob.from])]);
        ofLayer.set(key, { descriptor: one === other ? said : withoutTable(said), from: [...from] });
      });
    },
    of(layer) {
      const all = [...(known.get(layer) ?? [])];
      return all.sort(([a], [b]) => (a < b ? -1 : 1)).map(([, claim]) => claim);
    },
  };
}

function withoutTable({ mediaType, digest, size }: Descriptor): Descriptor {
  return { mediaType, digest, size };
}

/** Blobs that surely hold the layer with its times as they are: packed here, or unpacked here. Those in eStargz hold more, and so
 *  have another diffId. */
export function sureForms(record: LayerRecord): readonly Descriptor[] {
  const packed = Object.entries(record.blobs).flatMap(([form, blob]) =>
    /\+epoch=|^estargz/.test(form) ? [] : [blob],
  );
  return [...packed, ...(record.verified ?? [])];
}

/** Is the blob surely the layer's? */
export function isSure(record: LayerRecord, blob: Digest): boolean {
  return sureForms(record).some(({ digest }) => digest === blob);
}

/** The places of a record with one more, which becomes the first; null: it is among them. Of too many the oldest go, those of sure
 *  blobs last. */
export function withRemote(record: LayerRecord | null, remote: RemoteBlob): readonly RemoteBlob[] | null {
  const known = record?.remotes ?? [];
  const { mediaType, digest, size } = remote.descriptor;
  const isSame = (one: RemoteBlob): boolean =>
    one.from === remote.from && one.descriptor.digest === digest && one.descriptor.size === size;
  if (known.some(isSame)) return null;
  const all: RemoteBlob[] = [{ descriptor: { mediaType, digest, size }, from: remote.from }];
  const count = new Map<Digest, number>([[digest, 1]]);
  const kept = record === null ? [] : [...known].sort((a, b) => rank(record, a) - rank(record, b));
  for (const one of kept) {
    const ofBlob = count.get(one.descriptor.digest) ?? 0;
    if (all.length >= REMOTES_MAX || ofBlob >= REMOTES_OF_BLOB_MAX) continue;
    count.set(one.descriptor.digest, ofBlob + 1);
    all.push(one);
  }
  return all;
}

function rank(record: LayerRecord, remote: RemoteBlob): number {
  return isSure(record, remote.descriptor.digest) ? 0 : 1;
}

/** The change of a record that makes known what a blob turned out to be. */
export function asVerified(
  record: Pick<LayerRecord, "verified">,
  blob: Descriptor,
): Pick<LayerRecord, "verified"> {
  const others = (record.verified ?? []).filter(({ digest }) => digest !== blob.digest);
  return { verified: [blob, ...others].slice(0, VERIFIED_MAX) };
}

/** The change of a record that forgets a blob which is something else. */
export function asRefuted(record: LayerRecord, blob: Digest): Pick<LayerRecord, "remotes" | "verified"> {
  return {
    remotes: record.remotes.filter(({ descriptor }) => descriptor.digest !== blob),
    verified: (record.verified ?? []).filter(({ digest }) => digest !== blob),
  };
}
