// --attest, --provenance and --sbom as docker buildx has them: what is to be said of the results. buildx: util/buildflags/attests.go, build/opt.go.

import {
  type AttestationTerms,
  booleanIn,
  DEFAULT_PROVENANCE,
  parseAttestations,
} from "../exporters/attestation/grammar.ts";
import { BuildError, printable } from "../solver/graph/error.ts";
import { parseCsv } from "./flags-values.ts";

/** The variable by which builds with buildx have no attestations that nobody asked for. Here they have none without it: false asks for those of
 *  buildx. */
const NO_DEFAULT = "BUILDX_NO_DEFAULT_ATTESTATIONS";

export interface AttestFlags {
  readonly attest: readonly string[];
  readonly provenance: string | null;
  readonly sbom: string | null;
}

/** Attributes by type, null for a type that is switched off. Of several for one type the first counts, as in buildx; --provenance and --sbom come
 *  last. Throws USAGE. */
export function readAttestFlags(
  { attest, provenance, sbom }: AttestFlags,
  noDefault: string | undefined,
): ReadonlyMap<string, readonly string[] | null> {
  const asked = new Map<string, readonly string[] | null>();
  const shorthands = [shorthand("provenance", provenance), shorthand("sbom", sbom)];
  for (const one of [...attest.map((text) => ({ text, hint: EXAMPLE })), ...shorthands]) {
    if (one === null) continue;
    const { type, fields } = readOne(one);
    if (!asked.has(type)) asked.set(type, fields);
  }
  if (noDefault !== undefined && noDefault !== "") {
    const isOff = booleanIn(noDefault);
    if (isOff === null)
      throw new BuildError("USAGE", `invalid ${NO_DEFAULT}: ${printable(noDefault, 60)}`, {
        hint: "use true or false",
      });
    if (!isOff && !asked.has("provenance")) asked.set("provenance", DEFAULT_PROVENANCE.split(","));
  }
  return asked;
}

/** The same as terms of a build; null: nothing is asked for. Throws USAGE. */
export function attestationTerms(
  asked: ReadonlyMap<string, readonly string[] | null>,
): AttestationTerms | null {
  return parseAttestations(
    new Map([...asked].flatMap(([type, fields]) => (fields === null ? [] : [[type, fields]]))),
  );
}

/** A value of --attest, and how to write it where it is wrong. */
interface Asked {
  readonly text: string;
  readonly hint: string;
}

/** --provenance=VALUE as --attest; null: it says nothing. */
function shorthand(type: keyof typeof SHORTHANDS, value: string | null): Asked | null {
  if (value === null || value === "") return null;
  const isOn = booleanIn(value);
  const text = isOn === null ? `type=${type},${value}` : `type=${type},disabled=${!isOn}`;
  return { text, hint: SHORTHANDS[type] };
}
const SHORTHANDS = {
  provenance: "use --provenance=true, false, mode=min or mode=max",
  sbom: "use --sbom=true, false or generator=IMAGE",
};

function readOne({ text, hint }: Asked): {
  readonly type: string;
  readonly fields: readonly string[] | null;
} {
  let type = "";
  let isDisabled = false;
  const fields: string[] = [];
  for (const field of parseCsv(text)) {
    const equals = field.indexOf("=");
    if (equals < 0) throw new BuildError("USAGE", `invalid value ${printable(field, 100)}`, { hint });
    const value = field.slice(equals + 1);
    switch (field.slice(0, equals).trim().toLowerCase()) {
      case "type":
        type = value;
        break;
      case "disabled": {
        const parsed = booleanIn(value);
        if (parsed === null)
          throw new BuildError("USAGE", `invalid value ${printable(field, 100)}`, {
            hint: "use true or false",
          });
        isDisabled = parsed;
        break;
      }
      default:
        fields.push(field);
    }
  }
  if (type === "") throw new BuildError("USAGE", "attestation type not specified", { hint: EXAMPLE });
  return { type, fields: isDisabled ? null : fields };
}
const EXAMPLE = "for example --attest type=provenance,mode=max";
