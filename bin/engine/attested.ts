// What has to be known of the attestations of a build before its images are solved: by which scanner they are made, and what frontends bring.

import type { AttestationTerms } from "../../exporters/attestation/grammar.ts";
import type { Attestation } from "../../exporters/contract.ts";
import { digestOf } from "../../solver/graph/digest.ts";
import { printable } from "../../solver/graph/error.ts";
import type { CallContext } from "../../solver/graph/request.ts";
import type { Bridge, RefImage } from "./bridge-contract.ts";
import type { Scanning } from "./export-request.ts";
import type { OpenBuild } from "./parts.ts";
import type { ScannerImage } from "./sbom-scanner.ts";

export interface Attested {
  /** Resolves the scanner, if it is an image: once, so that one that is not there fails a build before its first step. Throws as
   *  resolveScanner(). */
  prepare(pull: boolean): Promise<void>;
  /** What makes bills of materials of the images; null: they are not asked for, or frontends have brought some. */
  scanning(images: readonly { readonly attestations: readonly Attestation[] }[]): Promise<Scanning | null>;
  /** What the frontend attests of an image, read from its results. Throws as attestationsIn(). */
  byFrontend(
    image: Pick<RefImage, "ref" | "attestations">,
    build: OpenBuild,
    context: CallContext,
  ): Promise<readonly Attestation[]>;
}

export function openAttested(
  terms: AttestationTerms | null,
  { resolveSource, look, emit }: Pick<Bridge, "resolveSource" | "look"> & Pick<CallContext, "emit">,
): Attested {
  let scanner: Promise<ScannerImage> | null = null;
  const scannerOf = async (resolveMode: string): Promise<ScannerImage | null> => {
    const { sbom = null } = terms ?? {};
    if (sbom === null || sbom.generator === null) return null;
    const asked = { ...sbom, generator: sbom.generator };
    scanner ??= import("./sbom-scanner.ts").then(({ resolveScanner }) =>
      resolveScanner(asked, resolveSource, resolveMode),
    );
    return await scanner;
  };
  return {
    async prepare(pull) {
      await scannerOf(pull ? "pull" : "");
    },
    async scanning(images) {
      if (!terms?.sbom) return null;
      const { SPDX_PREDICATE } = await import("../../exporters/attestation/grammar.ts");
      const isOfFrontend = ({ predicateType }: Attestation): boolean => predicateType === SPDX_PREDICATE;
      if (images.some(({ attestations }) => attestations.some(isOfFrontend))) return null;
      const found = await scannerOf("");
      if (found !== null) return { kind: "image", scanner: found };
      const idle = Object.keys(terms.sbom.params).filter((name) => name !== "");
      if (idle.length > 0) {
        const shown = idle.map((name) => JSON.stringify(printable(name, 60))).join(", ");
        const message = `--sbom: the built-in scanner has no attribute ${shown}, ignored; a scanner in an image is given by generator=IMAGE`;
        emit({ kind: "warning", message, rule: "", detail: "", url: "", at: [] });
      }
      return { kind: "built-in" };
    },
    async byFrontend({ ref, attestations = [] }, build, context) {
      if (attestations.length === 0) return [];
      const { attestationsIn, coreFirst, readBudget } = await import("./statements.ts");
      const { supplementOf } = await import("./attest.ts");
      const vertex = ref.definition.root?.vertex ?? digestOf("scratch");
      const supplement = supplementOf(build, vertex, context);
      const budget = readBudget();
      const found: Attestation[] = [];
      for (const { ref: files, written, core, inlineOnly } of attestations) {
        const own = await attestationsIn(written, {
          ...{ who: "the frontend", core, inlineOnly, supplement, budget },
          look: (path, question) => look(files, path, question),
        });
        found.push(...coreFirst(own, core));
      }
      return found;
    },
  };
}
