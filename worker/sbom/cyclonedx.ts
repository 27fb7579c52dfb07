// CycloneDX 1.6 in JSON: the specification at cyclonedx.org/docs/1.6/json.

import type { DocumentInputs, FoundPackage, Scan } from "./contract.ts";
import { shortHash, utcTime, uuidOf } from "./identity.ts";
import { isLicenseId, knownExpression } from "./licenses.ts";
import { earliestLayer } from "./spdx.ts";

/** The document as data, its keys in the order of the specification. */
export function cycloneDx(scan: Scan, inputs: DocumentInputs): Record<string, unknown> {
  const { name, kind, digest } = inputs;
  const body = {
    metadata: {
      timestamp: utcTime(inputs.createdEpochSeconds),
      tools: { components: [{ type: "application", name: "tsbuild", version: inputs.toolVersion }] },
      component: {
        type: kind === "image" ? "container" : "application",
        "bom-ref": "root",
        name,
        ...(digest === null ? {} : { version: digest }),
      },
      ...(scan.unread.length === 0
        ? {}
        : {
            properties: scan.unread.map(({ path, reason }) =>
              property("tsbuild:unread", `${path}: ${reason}`),
            ),
          }),
    },
    components: [...systemComponent(scan), ...scan.packages.map((found) => component(found, inputs.layers))],
    // What was not read may hold packages.
    compositions: [{ aggregate: scan.unread.length > 0 ? "incomplete" : "unknown", assemblies: ["root"] }],
  };
  return {
    bomFormat: "CycloneDX",
    specVersion: "1.6",
    serialNumber: `urn:uuid:${uuidOf(JSON.stringify(body))}`,
    version: 1,
    ...body,
  };
}

function component(found: FoundPackage, layers: readonly string[]): Record<string, unknown> {
  const { type, name, version, purl, licenses, supplier, source, declared, locations } = found;
  const [group, ownName] = grouped(found);
  const layer = layers[earliestLayer(found) ?? -1];
  const properties = [
    ...(layer === undefined ? [] : [property("tsbuild:layer:diffId", layer)]),
    ...(source === null ? [] : [property("tsbuild:source", source)]),
    ...(declared ? [property("tsbuild:declared", "true")] : []),
  ];
  return {
    type: "library",
    "bom-ref": `${type}-${shortHash(purl ?? JSON.stringify([type, name, version]))}`,
    ...(supplier === null ? {} : { supplier: { name: supplier } }),
    ...(group === null ? {} : { group }),
    name: ownName,
    ...(version === null ? {} : { version }),
    ...(licenses.length === 0 ? {} : { licenses: licenseChoice(licenses) }),
    ...(purl === null ? {} : { purl }),
    evidence: {
      occurrences: locations.map(({ path, layer: at }) => {
        const diffId = layers[at ?? -1];
        return { location: path, ...(diffId === undefined ? {} : { additionalContext: `layer ${diffId}` }) };
      }),
    },
    ...(properties.length === 0 ? {} : { properties }),
  };
}

/** Scopes of npm, vendors of composer. */
function grouped({ type, name }: FoundPackage): [group: string | null, name: string] {
  const slash = type === "npm" || type === "composer" ? name.indexOf("/") : -1;
  return slash < 0 ? [null, name] : [name.slice(0, slash), name.slice(slash + 1)];
}

/** One expression, or a list of licences by identifier or name: "licenseChoice". */
function licenseChoice(licenses: readonly string[]): readonly Record<string, unknown>[] {
  const known = licenses.map((stated) => ({ stated, expression: knownExpression(stated) }));
  const isList = known.every(({ expression }) => expression === null || isLicenseId(expression));
  const whole = known.every(({ expression }) => expression !== null);
  if (!isList && whole) {
    const parts = [...new Set(known.map(({ expression }) => expression as string))];
    const joined = parts
      .map((part) => (parts.length > 1 && / OR /.test(part) ? `(${part})` : part))
      .join(" AND ");
    return [{ expression: joined }];
  }
  const entries = known.map(({ stated, expression }) =>
    expression !== null && isLicenseId(expression) ? { id: expression } : { name: stated },
  );
  const unique = new Map(entries.map((license) => [JSON.stringify(license), { license }]));
  return [...unique.values()];
}

function systemComponent({ distro }: Scan): readonly Record<string, unknown>[] {
  if (distro === null) return [];
  return [
    {
      type: "operating-system",
      "bom-ref": "operating-system",
      name: distro.id,
      ...(distro.versionId === null ? {} : { version: distro.versionId }),
      ...(distro.prettyName === null ? {} : { description: distro.prettyName }),
    },
  ];
}

function property(name: string, value: string): { readonly name: string; readonly value: string } {
  return { name, value };
}
