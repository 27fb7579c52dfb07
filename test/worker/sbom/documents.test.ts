// The documents of a scan: valid by readers that are not ours, the same each time, with everything that was found.

import assert from "node:assert/strict";
import { Spec, Validation } from "@cyclonedx/cyclonedx-library";
import {
  CYCLONEDX_PREDICATE_TYPE,
  cycloneDxPredicate,
  documentText,
  SPDX_PREDICATE_TYPE,
  spdxPredicate,
} from "../../../worker/sbom/documents.ts";
import type { DocumentInputs, FoundPackage, Scan } from "../../../worker/sbom/contract.ts";
import { expressionOf } from "../../../worker/sbom/licenses.ts";
import { readSpdx } from "./spdx-reader.ts";

const DIFF_IDS = ["1", "2", "3"].map((digit) => `sha256:${digit.repeat(64)}`);
const INPUTS: DocumentInputs = {
  name: "example/app:1",
  kind: "image",
  toolVersion: "9.9.9",
  createdEpochSeconds: 1_700_000_000,
  layers: DIFF_IDS,
  digest: `sha256:${"a".repeat(64)}`,
  namespace: null,
};

function found(fields: Partial<FoundPackage> & Pick<FoundPackage, "type" | "name">): FoundPackage {
  const [path, layer] = ["/var/lib/dpkg/status", 0];
  return {
    version: "1.0",
    purl: `pkg:${fields.type}/${fields.name}@1.0`,
    ...{ licenses: [], supplier: null, source: null, declared: false, locations: [{ path, layer }] },
    ...fields,
  };
}

const SCAN: Scan = {
  distro: { id: "debian", versionId: "12", prettyName: "Debian GNU/Linux 12 (bookworm)" },
  packages: [
    found({
      type: "deb",
      name: "libc6",
      licenses: ["GPL-2+ or Expat", "LGPL-2.1+"],
      supplier: "Jane <j@example.org>",
    }),
    found({
      type: "deb",
      name: "odd",
      licenses: ["Nobody's licence (draft)", "MIT"],
      source: "odd-source 2",
    }),
    found({ type: "golang", name: "example.org/a", version: null, purl: "pkg:golang/example.org/a" }),
    found({
      type: "npm",
      name: "@scope/one",
      licenses: ["MIT"],
      declared: true,
      locations: [
        { path: "/b/yarn.lock", layer: 2 },
        { path: "/c/yarn.lock", layer: 1 },
      ],
    }),
    found({ type: "maven", name: "bare", purl: null, supplier: "Someone" }),
    found({ type: "rpm", name: "r", supplier: "Example Project", licenses: ["(MIT OR Apache-2.0) AND ISC"] }),
  ],
  files: [
    { path: "/b/yarn.lock", layer: 2, sha1: "1".repeat(40), sha256: "1".repeat(64) },
    { path: "/c/yarn.lock", layer: 1, sha1: "2".repeat(40), sha256: "2".repeat(64) },
    { path: "/var/lib/dpkg/status", layer: 2, sha1: "3".repeat(40), sha256: "3".repeat(64) },
  ],
  unread: [{ path: "/var/lib/rpm/Packages", reason: "it is not read" }],
};
const EMPTY: Scan = { distro: null, packages: [], files: [], unread: [] };

describe("documents of a scan", () => {
  it("are SPDX 2.3: all packages, licences, suppliers, layers, and what was not read", () => {
    const document = readSpdx(documentText("spdx-json", SCAN, INPUTS));
    const byName = new Map(document.packages.map((one) => [one.name, one]));
    assert.equal(document.packages.length, SCAN.packages.length + 2);
    assert.equal(byName.get("libc6")?.licenseDeclared, "(GPL-2.0-or-later OR MIT) AND LGPL-2.1-or-later");
    assert.match(
      byName.get("odd")?.licenseDeclared ?? "",
      /^LicenseRef-Nobody-s-licence-draft-[0-9a-f]{8} AND MIT$/,
    );
    assert.equal(byName.get("r")?.licenseDeclared, "(MIT OR Apache-2.0) AND ISC");
    assert.equal(byName.get("libc6")?.comment, `layerID: ${DIFF_IDS[0]}`);
    assert.equal(byName.get("@scope/one")?.comment, `layerID: ${DIFF_IDS[1]}`);
    assert.equal(byName.get("bare")?.externalRefs, undefined);
    assert.equal(byName.get("example.org/a")?.versionInfo, undefined);
    assert.equal(document.creationInfo.created, "2023-11-14T22:13:20Z");
    assert.deepEqual(
      document.annotations?.map(({ comment }) => comment),
      ["not read: /var/lib/rpm/Packages: it is not read"],
    );
    assert.equal(
      document.files?.find(({ fileName }) => fileName === "/var/lib/dpkg/status")?.comment,
      `layerID: ${DIFF_IDS[2]}`,
    );
  });

  it("are CycloneDX 1.6, by its published schema", async () => {
    const validator = new Validation.JsonStrictValidator(Spec.Version.v1dot6);
    for (const scan of [SCAN, EMPTY]) {
      const problems = await validator.validate(documentText("cyclonedx-json", scan, INPUTS));
      assert.equal(problems, null, JSON.stringify(problems));
    }
    const broken = documentText("cyclonedx-json", SCAN, INPUTS).replace('"library"', '"nonsense"');
    assert.notEqual(await validator.validate(broken), null, "the validator finds nothing");
    const { components, compositions } = cycloneDxPredicate(SCAN, INPUTS) as {
      components: { name: string; group?: string; licenses?: unknown; properties?: unknown }[];
      compositions: { aggregate: string }[];
    };
    const one = components.find(({ name }) => name === "one");
    assert.equal(one?.group, "@scope");
    assert.deepEqual(one?.licenses, [{ license: { id: "MIT" } }]);
    assert.deepEqual(one?.properties, [
      { name: "tsbuild:layer:diffId", value: DIFF_IDS[1] },
      { name: "tsbuild:declared", value: "true" },
    ]);
    assert.deepEqual(components.find(({ name }) => name === "libc6")?.licenses, [
      { expression: "(GPL-2.0-or-later OR MIT) AND LGPL-2.1-or-later" },
    ]);
    assert.deepEqual(components.find(({ name }) => name === "odd")?.licenses, [
      { license: { name: "Nobody's licence (draft)" } },
      { license: { id: "MIT" } },
    ]);
    assert.equal(compositions[0]?.aggregate, "incomplete");
  });

  it("are predicates of in-toto statements", () => {
    assert.equal(SPDX_PREDICATE_TYPE, "https://spdx.dev/Document");
    assert.equal(CYCLONEDX_PREDICATE_TYPE, "https://cyclonedx.org/bom");
    assert.deepEqual(spdxPredicate(SCAN, INPUTS), JSON.parse(documentText("spdx-json", SCAN, INPUTS)));
  });

  it("are the same for the same scan, and have another name for anything else", () => {
    for (const format of ["spdx-json", "cyclonedx-json"] as const)
      assert.equal(
        documentText(format, SCAN, INPUTS),
        documentText(format, structuredClone(SCAN), { ...INPUTS }),
      );
    const nameOf = (scan: Scan, inputs: DocumentInputs): string =>
      readSpdx(documentText("spdx-json", scan, inputs)).documentNamespace;
    const names = [
      nameOf(SCAN, INPUTS),
      nameOf(EMPTY, INPUTS),
      nameOf(SCAN, { ...INPUTS, digest: null }),
      nameOf(SCAN, { ...INPUTS, createdEpochSeconds: 0 }),
      nameOf(SCAN, { ...INPUTS, name: "other", kind: "directory", layers: [] }),
    ];
    assert.equal(new Set(names).size, names.length);
    for (const name of names)
      assert.match(name, /^urn:uuid:[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
    assert.equal(
      nameOf(SCAN, { ...INPUTS, namespace: "https://example.org/sbom/1" }),
      "https://example.org/sbom/1",
    );
  });

  it("have licences as SPDX names them where their meaning is beyond doubt, else as they were found", () => {
    const cases: readonly (readonly [string, string])[] = [
      ["MIT", "MIT"],
      ["mit", "MIT"],
      ["Expat", "MIT"],
      ["Apache License, Version 2.0", "Apache-2.0"],
      ["apache-2.0", "Apache-2.0"],
      ["GPL-2+ or Artistic", "GPL-2.0-or-later OR Artistic-1.0-Perl"],
      ["GPLv2+ and MIT", "GPL-2.0-or-later AND MIT"],
      ["LGPL-3", "LGPL-3.0-only"],
      ["(MIT OR ISC)", "(MIT OR ISC)"],
      ["BSD-3-clause", "BSD-3-Clause"],
      ["GPL-2.0-only WITH Classpath-exception-2.0", "GPL-2.0-only WITH Classpath-exception-2.0"],
      ["LicenseRef-Fedora-Public-Domain", "LicenseRef-Fedora-Public-Domain"],
    ];
    for (const [stated, expression] of cases) assert.equal(expressionOf([stated])?.text, expression, stated);
    for (const unknown of [
      "BSD",
      "GPL",
      "public-domain",
      "MIT and so on",
      "(",
      "x".repeat(5000),
      "(".repeat(1000),
    ])
      assert.match(expressionOf([unknown])?.text ?? "", /^LicenseRef-[A-Za-z0-9.-]+$/, unknown);
    assert.equal(expressionOf([]), null);
    const [a, b] = ["a b", "a/b"].map((stated) => expressionOf([stated])?.text);
    assert.notEqual(a, b, "different words have different names");
  });
});
