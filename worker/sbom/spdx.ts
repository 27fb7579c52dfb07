// SPDX 2.3 in JSON: the specification at spdx.github.io/spdx-spec/v2.3, and its schema (schemas/spdx-schema.json).

import type { DocumentInputs, FoundPackage, Scan } from "./contract.ts";
import { shortHash, utcTime, uuidOf } from "./identity.ts";
import { expressionOf, type LicenseRef } from "./licenses.ts";

const NONE = "NOASSERTION";
const ROOT = "SPDXRef-DocumentRoot";
const SYSTEM = "SPDXRef-OperatingSystem";

/** The document as data, its keys in the order of the specification. */
export function spdxDocument(scan: Scan, inputs: DocumentInputs): Record<string, unknown> {
  const created = utcTime(inputs.createdEpochSeconds);
  const tool = `Tool: tsbuild-${inputs.toolVersion}`;
  const layerOf = (layer: number | null): { comment?: string } => {
    const diffId = layer === null ? undefined : inputs.layers[layer];
    // The words that BuildKit has for files in its documents.
    return diffId === undefined ? {} : { comment: `layerID: ${diffId}` };
  };
  const refs = new Map<string, LicenseRef>();
  const packages = scan.packages.map((found) => {
    const license = expressionOf(found.licenses);
    for (const ref of license?.refs ?? []) refs.set(ref.id, ref);
    return spdxPackage(found, license?.text ?? NONE, layerOf(earliestLayer(found)));
  });
  const body = {
    packages: [rootPackage(inputs), ...systemPackage(scan), ...packages],
    files: scan.files.map((file) => ({
      SPDXID: fileId(file.path),
      fileName: file.path,
      checksums: [
        { algorithm: "SHA1", checksumValue: file.sha1 },
        { algorithm: "SHA256", checksumValue: file.sha256 },
      ],
      licenseConcluded: NONE,
      licenseInfoInFiles: [NONE],
      copyrightText: NONE,
      ...layerOf(file.layer),
    })),
    hasExtractedLicensingInfos: [...refs.values()]
      .sort((a, b) => (a.id < b.id ? -1 : 1))
      .map(({ id, name }) => ({ licenseId: id, name, extractedText: name })),
    relationships: relationships(scan),
    annotations: scan.unread.map(({ path, reason }) => ({
      annotationDate: created,
      annotationType: "OTHER",
      annotator: tool,
      comment: `not read: ${path}: ${reason}`,
    })),
  };
  const namespace =
    inputs.namespace ??
    `urn:uuid:${uuidOf(JSON.stringify([inputs.name, inputs.digest, created, tool, body]))}`;
  return {
    spdxVersion: "SPDX-2.3",
    dataLicense: "CC0-1.0",
    SPDXID: "SPDXRef-DOCUMENT",
    name: inputs.name,
    documentNamespace: namespace,
    creationInfo: { created, creators: [tool] },
    ...Object.fromEntries(Object.entries(body).filter(([, list]) => list.length > 0)),
  };
}

function spdxPackage(
  found: FoundPackage,
  license: string,
  layer: { comment?: string },
): Record<string, unknown> {
  const { name, version, purl, supplier, source } = found;
  const paths = found.locations.map(({ path }) => path).join(", ");
  const origin = `${found.declared ? "required by" : "found in"} ${paths}${source === null ? "" : `; built from ${source}`}`;
  return {
    SPDXID: packageId(found),
    name,
    ...(version === null ? {} : { versionInfo: version }),
    supplier: supplier === null ? NONE : supplierOf(found, supplier),
    downloadLocation: NONE,
    filesAnalyzed: false,
    sourceInfo: origin,
    licenseConcluded: NONE,
    licenseDeclared: license,
    copyrightText: NONE,
    ...layer,
    ...(purl === null
      ? {}
      : {
          externalRefs: [
            { referenceCategory: "PACKAGE-MANAGER", referenceType: "purl", referenceLocator: purl },
          ],
        }),
  };
}

function rootPackage({ name, kind, digest }: DocumentInputs): Record<string, unknown> {
  return {
    SPDXID: ROOT,
    name,
    ...(digest === null ? {} : { versionInfo: digest }),
    supplier: NONE,
    downloadLocation: NONE,
    filesAnalyzed: false,
    ...(digest === null
      ? {}
      : { checksums: [{ algorithm: "SHA256", checksumValue: digest.replace(/^sha256:/, "") }] }),
    licenseConcluded: NONE,
    licenseDeclared: NONE,
    copyrightText: NONE,
    primaryPackagePurpose: kind === "image" ? "CONTAINER" : "SOURCE",
  };
}

function systemPackage({ distro }: Scan): readonly Record<string, unknown>[] {
  if (distro === null) return [];
  return [
    {
      SPDXID: SYSTEM,
      name: distro.id,
      ...(distro.versionId === null ? {} : { versionInfo: distro.versionId }),
      ...(distro.prettyName === null ? {} : { summary: distro.prettyName }),
      supplier: NONE,
      downloadLocation: NONE,
      filesAnalyzed: false,
      licenseConcluded: NONE,
      licenseDeclared: NONE,
      copyrightText: NONE,
      primaryPackagePurpose: "OPERATING_SYSTEM",
    },
  ];
}

function relationships(scan: Scan): readonly Record<string, unknown>[] {
  const contains = (to: string) => ({
    spdxElementId: ROOT,
    relationshipType: "CONTAINS",
    relatedSpdxElement: to,
  });
  const files = new Set(scan.files.map(({ path }) => path));
  return [
    { spdxElementId: "SPDXRef-DOCUMENT", relationshipType: "DESCRIBES", relatedSpdxElement: ROOT },
    ...(scan.distro === null ? [] : [contains(SYSTEM)]),
    ...scan.packages.flatMap((found) => [
      contains(packageId(found)),
      ...found.locations
        .filter(({ path }) => files.has(path))
        .map(({ path }) => ({
          spdxElementId: packageId(found),
          relationshipType: "OTHER",
          relatedSpdxElement: fileId(path),
          comment: "evident-by: the file shows that the package is there",
        })),
    ]),
  ];
}

/** "Person: name (address)" or "Organization: name", clause 7.5. */
function supplierOf({ type }: FoundPackage, supplier: string): string {
  const person = /^(.+?)\s*<([^<>]+)>$/.exec(supplier);
  if (person !== null) return `Person: ${person[1]} (${person[2]})`;
  return `${type === "rpm" ? "Organization" : "Person"}: ${supplier}`;
}

/** Letters, digits, "." and "-" only: clause 3.2. */
function packageId(found: FoundPackage): string {
  const { type, name, version, purl } = found;
  const plain = name.replaceAll(/[^A-Za-z0-9.-]+/g, "-").slice(0, 80);
  return `SPDXRef-Package-${type}-${plain}-${shortHash(purl ?? JSON.stringify([type, name, version]))}`;
}

function fileId(path: string): string {
  return `SPDXRef-File-${shortHash(path)}`;
}

/** The layer that first brought a package; null: the tree has no layers. */
export function earliestLayer({ locations }: FoundPackage): number | null {
  const layers = locations.map(({ layer }) => layer).filter((layer) => layer !== null);
  return layers.length === 0 ? null : Math.min(...layers);
}
