// The words of attestations: attributes of --attest, and of BuildKit's `attest:TYPE`. BuildKit: frontend/attestations/parse.go, control.go;
// docs/attestations/slsa-provenance.md and sbom.md.

import { posix } from "node:path";
import { BuildError, printable } from "../../solver/graph/error.ts";
import type { SlsaVersion } from "./provenance.ts";

/** Name of the file beside exported files, unless `filename` gives another one. */
const PROVENANCE_FILE = "provenance.json";

export interface ProvenanceTerms {
  readonly mode: "min" | "max";
  readonly version: SlsaVersion;
  readonly builderId: string;
  readonly filename: string;
  /** Claimed with reproducible=; null: nothing is claimed. */
  readonly reproducible: boolean | null;
  readonly inlineOnly: boolean;
  /** The build fails when a source is not known by its digest. */
  readonly completeMaterials: boolean;
}

/** A bill of materials of each result. */
export interface SbomTerms {
  /** Image of the scanner; null: none was named. */
  readonly generator: string | null;
  /** Fields for the scanner, by name; it has them as variables. */
  readonly params: Readonly<Record<string, string>>;
}

/** Predicate type of SPDX documents (in-toto attestation framework, predicates/spdx.md). */
export const SPDX_PREDICATE = "https://spdx.dev/Document";

/** What is to be said of the results of a build. */
export interface AttestationTerms {
  /** null: no provenance. */
  readonly provenance: ProvenanceTerms | null;
  /** null: no bill of materials. */
  readonly sbom: SbomTerms | null;
}

/** Provenance as clients ask for it who are asked for nothing: `docker buildx build`. */
export const DEFAULT_PROVENANCE = "mode=min,inline-only=true";

/** Reads attributes by type of attestation, fields KEY=VALUE each; unknown fields count for nothing, as in BuildKit. null: none is asked
 *  for. Throws USAGE. */
export function parseAttestations(asked: ReadonlyMap<string, readonly string[]>): AttestationTerms | null {
  let provenance: ProvenanceTerms | null = null;
  let sbom: SbomTerms | null = null;
  for (const [type, fields] of asked) {
    switch (type) {
      case "provenance":
        provenance = provenanceOf(fields);
        break;
      case "sbom":
        sbom = sbomOf(fields);
        break;
      default:
        throw new BuildError("USAGE", `unknown attestation type ${JSON.stringify(printable(type, 60))}`, {
          hint: "types are provenance and sbom",
        });
    }
  }
  return provenance === null && sbom === null ? null : { provenance, sbom };
}

function valuesOf(fields: readonly string[]): Map<string, string> {
  return new Map(
    fields.map((field): [string, string] => {
      const equals = field.indexOf("=");
      return equals < 0 ? [field, ""] : [field.slice(0, equals), field.slice(equals + 1)];
    }),
  );
}

function sbomOf(fields: readonly string[]): SbomTerms {
  const values = valuesOf(fields);
  const generator = values.get("generator") ?? null;
  if (generator === "") throw new BuildError("USAGE", "sbom generator cannot be empty");
  values.delete("generator");
  values.delete("type"); // clients write it once more
  return { generator, params: Object.fromEntries(values) };
}

/** The fields that parseAttestations() reads as these terms. */
export function sbomFields({ generator, params }: SbomTerms): readonly string[] {
  return [
    ...(generator === null ? [] : [`generator=${generator}`]),
    ...Object.entries(params).map(([name, value]) => `${name}=${value}`),
  ];
}

/** The fields that parseAttestations() reads as these terms. */
export function provenanceFields(terms: ProvenanceTerms): readonly string[] {
  const { mode, version, builderId, filename, reproducible, inlineOnly, completeMaterials } = terms;
  return [
    ...[`mode=${mode}`, `version=${version}`],
    ...(builderId === "" ? [] : [`builder-id=${builderId}`]),
    ...(filename === PROVENANCE_FILE ? [] : [`filename=${filename}`]),
    ...(reproducible === null ? [] : [`reproducible=${reproducible}`]),
    ...(inlineOnly ? ["inline-only=true"] : []),
    ...(completeMaterials ? ["complete-materials=true"] : []),
  ];
}

function provenanceOf(fields: readonly string[]): ProvenanceTerms {
  const values = valuesOf(fields);
  const version = values.get("version") ?? "v1";
  if (version !== "v1" && version !== "v0.2")
    throw new BuildError(
      "USAGE",
      version === ""
        ? "provenance SLSA version cannot be empty"
        : `invalid provenance SLSA version: ${printable(version, 60)}`,
      { hint: "versions are v1 and v0.2" },
    );
  return {
    mode: modeOf(values.get("mode")),
    version,
    builderId: values.get("builder-id") ?? "",
    filename: filenameOf(values.get("filename")),
    reproducible: booleanOf(values.get("reproducible"), "reproducible"),
    inlineOnly: booleanIn(values.get("inline-only")) ?? false,
    completeMaterials: booleanOf(values.get("complete-materials"), "complete-materials") ?? false,
  };
}

/** The last part of a path, as in BuildKit. */
function filenameOf(text: string | undefined): string {
  const name = posix.basename(text || PROVENANCE_FILE);
  if (name !== "" && name !== "." && name !== ".." && !name.includes("\0")) return name;
  throw new BuildError("USAGE", `invalid filename ${JSON.stringify(printable(text ?? "", 60))}`, {
    hint: `for example filename=${PROVENANCE_FILE}`,
  });
}

function modeOf(text: string | undefined): ProvenanceTerms["mode"] {
  if (text === undefined || text === "max" || text === "full") return "max";
  if (text === "min") return "min";
  throw new BuildError("USAGE", `invalid mode ${JSON.stringify(printable(text, 60))}`, {
    hint: "modes are min and max",
  });
}

function booleanOf(text: string | undefined, name: string): boolean | null {
  if (text === undefined) return null;
  const value = booleanIn(text);
  if (value !== null) return value;
  throw new BuildError("USAGE", `failed to parse ${name} flag ${JSON.stringify(printable(text, 60))}`, {
    hint: "use true or false",
  });
}

/** Go's strconv.ParseBool; null: it is none. */
export function booleanIn(text: string | undefined): boolean | null {
  if (text !== undefined && /^(?:1|t|T|true|TRUE|True)$/.test(text)) return true;
  return text !== undefined && /^(?:0|f|F|false|FALSE|False)$/.test(text) ? false : null;
}
