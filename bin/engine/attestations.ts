// What is said of the results of a build, as the exporters get it: each attestation is one entry here. Loaded for builds that ask for one.

import { randomBytes } from "node:crypto";
import type { ProvenanceTerms } from "../../exporters/attestation/grammar.ts";
import type { Attestation } from "../../exporters/contract.ts";
import type { Definition } from "../../solver/graph/definition.ts";
import type { Platform } from "../../solver/graph/op.ts";
import type { Origins } from "../../solver/solver.ts";
import { provenanceAttestation, type ProvenanceBuild, type ProvenanceOf } from "./provenance.ts";
import type { Seen } from "./provenance-seen.ts";
import type { BuildTerms, EngineBuildOptions, ResultProvenance } from "./request.ts";
import type { BridgeResult } from "./bridge-contract.ts";

/** What a build that is attested was watched for. */
export interface Attesting {
  readonly seen: Seen;
  /** As in EngineBuildOptions. */
  readonly onProvenance: NonNullable<EngineBuildOptions["onProvenance"]> | null;
}

/** An image of a result, and its graph. */
export interface AttestedResult {
  readonly platform: Platform;
  readonly definition: Definition;
}

/** Of a solved build. */
export interface SolvedBuild {
  /** Steps that ask for no particular network have none. */
  readonly isOffline: boolean;
  readonly originsOf: (image: AttestedResult) => Origins;
}

/** In the history everything is known of a build that provenance can say. */
const OF_HISTORY: ProvenanceTerms = {
  ...{ mode: "max", version: "v1", builderId: "", filename: "provenance.json" },
  ...{ reproducible: null, inlineOnly: false, completeMaterials: false },
};

/** Attestations of each image, by its place. Throws SOURCE_FAILED where the terms ask for more than is known. */
export async function attestationsOf(
  {
    images,
    call,
    multiPlatform,
  }: Pick<BridgeResult, "call" | "multiPlatform"> & { readonly images: readonly AttestedResult[] },
  { seen, onProvenance }: Attesting,
  terms: Pick<BuildTerms, "attestations" | "reproducible">,
  { isOffline, originsOf }: SolvedBuild,
): Promise<readonly (readonly Attestation[])[]> {
  // Whether the cache was used is a matter of one run, too.
  const { "no-cache": noCache, ...args } = call?.args ?? {};
  const said = noCache === undefined || terms.reproducible ? args : { ...args, "no-cache": noCache };
  const published = call === null ? null : seen.call(call.frontend, said, null);
  const provenances = images.map((image): ProvenanceOf => {
    const origins = originsOf(image);
    return { platform: image.platform, origins, root: rootOf(image, origins), call: published };
  });
  const own = new Set(provenances.map(({ root }) => root?.vertex));
  const build: ProvenanceBuild = {
    ...{ seen, isOffline, nowMs: Date.now },
    platforms: images.map(({ platform }) => platform),
    others: seen.others.filter(({ roots }) => !own.has(roots[0]?.vertex)),
    isReproducible: terms.reproducible,
    invocationId: invocationId(),
  };
  const asked = terms.attestations?.provenance ?? null;
  onProvenance?.(async (mode, version = OF_HISTORY.version) =>
    Promise.all(
      provenances.map(async (of): Promise<ResultProvenance> => {
        const all = { ...OF_HISTORY, mode, version, builderId: asked?.builderId ?? "" };
        const { predicateType, predicate } = provenanceAttestation(of, all, {
          ...build,
          isReproducible: false, // the record is of this one build
        });
        const text = await predicate({ layers: null, createdSeconds: null });
        return { platform: multiPlatform ? of.platform : null, predicateType, predicate: text };
      }),
    ),
  );
  return provenances.map((of) => [...(asked === null ? [] : [provenanceAttestation(of, asked, build)])]);
}

/** The result of an image in the graph as it was solved, which policies may have changed. */
function rootOf({ definition: { root } }: AttestedResult, origins: Origins): ProvenanceOf["root"] {
  if (root === null) return null;
  return origins.rootOf(root);
}

/** 25 characters, as BuildKit's. */
function invocationId(): string {
  return BigInt(`0x${randomBytes(17).toString("hex")}`)
    .toString(36)
    .padStart(25, "0")
    .slice(-25);
}
