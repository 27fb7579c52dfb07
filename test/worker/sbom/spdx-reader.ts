// A reader of SPDX 2.3 documents that knows nothing of how ours are written: property names are closed, values are checked by the
// specification's clauses, and every reference leads somewhere. No package of npm carries the published schema, so its constraints (as far as
// scanners' documents reach) are stated here: github.com/spdx/spdx-spec, support/2.3, schemas/spdx-schema.json.

import assert from "node:assert/strict";
import parse from "spdx-expression-parse";

type Value = Readonly<Record<string, unknown>>;
type Check = (value: unknown, at: string) => void;

const text: Check = (value, at) => assert.ok(typeof value === "string" && value !== "", `${at}: no text`);
const matches =
  (pattern: RegExp): Check =>
  (value, at) =>
    assert.ok(typeof value === "string" && pattern.test(value), `${at}: ${String(value)}`);
const oneOf =
  (...values: readonly string[]): Check =>
  (value, at) =>
    assert.ok(values.includes(value as string), `${at}: ${String(value)}`);
const isFalse: Check = (value, at) => assert.equal(value, false, at);
const listOf =
  (check: Check): Check =>
  (value, at) => {
    assert.ok(Array.isArray(value) && value.length > 0, `${at}: no list`);
    value.forEach((one, index) => check(one, `${at}[${index}]`));
  };
/** Properties with "?" may be missing; others than these may not be there. */
const object =
  (shape: Readonly<Record<string, Check>>): Check =>
  (value, at) => {
    assert.ok(typeof value === "object" && value !== null && !Array.isArray(value), `${at}: no object`);
    const known = new Map(
      Object.entries(shape).map(([key, check]) => [key.replace("?", ""), { key, check }]),
    );
    for (const [name, inner] of Object.entries(value)) {
      const found = known.get(name);
      assert.ok(found !== undefined, `${at}: unknown property ${name}`);
      found.check(inner, `${at}.${name}`);
    }
    for (const [name, { key }] of known) assert.ok(key.endsWith("?") || name in value, `${at}: no ${name}`);
  };

const id = matches(/^SPDXRef-[a-zA-Z0-9.-]+$/); // clause 3.2
const time = matches(/^\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])T([01]\d|2[0-3]):[0-5]\d:[0-5]\dZ$/); // clause 6.9
const none = oneOf("NOASSERTION", "NONE");
/** Annex D. */
const license: Check = (value, at) => {
  if (value !== "NOASSERTION" && value !== "NONE")
    assert.doesNotThrow(() => parse(value as string), `${at}: ${String(value)}`);
};
const checksums = listOf(
  object({
    algorithm: oneOf("SHA1", "SHA256"),
    checksumValue: matches(/^[0-9a-f]+$/),
  }),
);

const DOCUMENT = object({
  spdxVersion: oneOf("SPDX-2.3"),
  dataLicense: oneOf("CC0-1.0"), // clause 6.2
  SPDXID: oneOf("SPDXRef-DOCUMENT"), // clause 6.3
  name: text,
  documentNamespace: matches(/^[a-z][a-z0-9+.-]*:[^#\s]+$/), // a URI without "#", clause 6.5
  creationInfo: object({ created: time, creators: listOf(matches(/^(?:Tool|Person|Organization): \S/)) }),
  packages: listOf(
    object({
      SPDXID: id,
      name: text,
      "versionInfo?": text,
      "supplier?": matches(/^(?:NOASSERTION|(?:Person|Organization): \S.*)$/), // clause 7.5
      downloadLocation: none,
      filesAnalyzed: isFalse,
      "checksums?": checksums,
      "sourceInfo?": text,
      "summary?": text,
      licenseConcluded: license,
      licenseDeclared: license,
      copyrightText: text,
      "comment?": text,
      "primaryPackagePurpose?": oneOf("CONTAINER", "SOURCE", "OPERATING_SYSTEM"), // clause 7.24
      "externalRefs?": listOf(
        object({
          referenceCategory: oneOf("PACKAGE-MANAGER"), // annex F.3
          referenceType: oneOf("purl"),
          referenceLocator: matches(/^pkg:[a-z]+\/[^\s]+$/),
        }),
      ),
    }),
  ),
  "files?": listOf(
    object({
      SPDXID: id,
      fileName: text,
      checksums,
      licenseConcluded: license,
      licenseInfoInFiles: listOf(license),
      copyrightText: text,
      "comment?": matches(/^layerID: sha256:[0-9a-f]{64}$/),
    }),
  ),
  "hasExtractedLicensingInfos?": listOf(
    object({ licenseId: matches(/^LicenseRef-[a-zA-Z0-9.-]+$/), name: text, extractedText: text }),
  ),
  relationships: listOf(
    object({
      spdxElementId: id,
      relationshipType: oneOf("DESCRIBES", "CONTAINS", "OTHER"), // clause 11.1
      relatedSpdxElement: id,
      "comment?": text,
    }),
  ),
  "annotations?": listOf(
    object({
      annotationDate: time,
      annotationType: oneOf("OTHER"),
      annotator: matches(/^Tool: \S/),
      comment: text,
    }),
  ),
});

export interface SpdxPackage {
  readonly SPDXID: string;
  readonly name: string;
  readonly versionInfo?: string;
  readonly licenseDeclared: string;
  readonly comment?: string;
  readonly externalRefs?: readonly { readonly referenceLocator: string }[];
}
export interface SpdxDocument {
  readonly documentNamespace: string;
  readonly creationInfo: { readonly created: string };
  readonly packages: readonly SpdxPackage[];
  readonly files?: readonly { readonly fileName: string; readonly comment?: string }[];
  readonly annotations?: readonly { readonly comment: string }[];
}

/** Reads a document. Throws AssertionError for what is not SPDX 2.3. */
export function readSpdx(json: string): SpdxDocument {
  const document = JSON.parse(json) as Value;
  DOCUMENT(document, "document");
  const {
    packages,
    files = [],
    relationships,
    hasExtractedLicensingInfos = [],
  } = document as {
    packages: Value[];
    files?: Value[];
    relationships: Value[];
    hasExtractedLicensingInfos?: Value[];
  };
  const ids = ["SPDXRef-DOCUMENT", ...[...packages, ...files].map(({ SPDXID }) => SPDXID as string)];
  assert.equal(new Set(ids).size, ids.length, "an identifier is there twice");
  for (const { spdxElementId, relatedSpdxElement } of relationships)
    for (const end of [spdxElementId, relatedSpdxElement])
      assert.ok(ids.includes(end as string), String(end));
  const described = relationships.filter(({ relationshipType }) => relationshipType === "DESCRIBES");
  assert.equal(described.length, 1); // clause 11.1: a document describes something
  const [root] = described.map(({ relatedSpdxElement }) => relatedSpdxElement);
  for (const { SPDXID } of packages)
    assert.ok(
      SPDXID === root ||
        relationships.some((one) => one.spdxElementId === root && one.relatedSpdxElement === SPDXID),
      `${String(SPDXID)} is not contained in what is described`,
    );
  const refs = new Set(hasExtractedLicensingInfos.map(({ licenseId }) => licenseId as string));
  const used = new Set(
    packages.flatMap(
      ({ licenseDeclared }) => (licenseDeclared as string).match(/LicenseRef-[a-zA-Z0-9.-]+/g) ?? [],
    ),
  );
  assert.deepEqual([...used].sort(), [...refs].sort());
  return document as unknown as SpdxDocument;
}
