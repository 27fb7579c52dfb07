// What the templates of "imagetools inspect" see: Go's types of buildx, with JSON in their order.
// buildx: util/imagetools/printers.go, loader.go; image-spec specs-go/v1.

import type { GraphImage, GraphNode, OpenImage } from "./engine/images/contract.ts";
import { orderedFields, withoutEmpty } from "../exporters/go-json.ts";
import { readRawIndex, type RawDescriptor, rawDescriptor } from "../exporters/raw-index.ts";
import { IN_TOTO_TYPE, STATEMENT_MAX_BYTES } from "../exporters/attestation/statement.ts";
import { formatPlatform } from "../solver/graph/op.ts";
import { GoStruct, type GoField, type GoType, sortedKeys } from "./go-values.ts";

const text = (name: string, key: string): GoField => ({ name, key, zero: "" });
const list = (name: string, key: string, type?: GoType): GoField => ({
  ...{ name, key, zero: [] },
  ...(type === undefined ? {} : { type }),
});
const map = (name: string, key: string): GoField => ({ name, key, zero: {} });

const PLATFORM: GoType = {
  name: "v1.Platform",
  fields: [
    text("Architecture", "architecture"),
    text("OS", "os"),
    text("OSVersion", "os.version"),
    list("OSFeatures", "os.features"),
    text("Variant", "variant"),
  ],
};
const DESCRIPTOR: GoType = {
  name: "v1.Descriptor",
  fields: [
    text("MediaType", "mediaType"),
    text("Digest", "digest"),
    { name: "Size", key: "size", zero: 0 },
    list("URLs", "urls"),
    map("Annotations", "annotations"),
    list("Data", "data"),
    { name: "Platform", key: "platform", zero: null, type: PLATFORM },
    text("ArtifactType", "artifactType"),
  ],
};
const INDEX: GoType = {
  name: "imagetools.Manifest",
  fields: [
    { name: "SchemaVersion", key: "schemaVersion", zero: 0 },
    text("MediaType", "mediaType"),
    text("Digest", "digest"),
    { name: "Size", key: "size", zero: 0 },
    list("Manifests", "manifests", DESCRIPTOR),
    { name: "Annotations", key: "annotations", zero: null },
  ],
};
const CONFIG: GoType = {
  name: "v1.ImageConfig",
  fields: [
    text("User", "User"),
    map("ExposedPorts", "ExposedPorts"),
    list("Env", "Env"),
    list("Entrypoint", "Entrypoint"),
    list("Cmd", "Cmd"),
    map("Volumes", "Volumes"),
    text("WorkingDir", "WorkingDir"),
    map("Labels", "Labels"),
    text("StopSignal", "StopSignal"),
    { name: "ArgsEscaped", key: "ArgsEscaped", zero: false },
  ],
};
const HISTORY: GoType = {
  name: "v1.History",
  fields: [
    { name: "Created", key: "created", zero: null, type: "time" },
    text("CreatedBy", "created_by"),
    text("Author", "author"),
    text("Comment", "comment"),
    { name: "EmptyLayer", key: "empty_layer", zero: false },
  ],
};
const ROOTFS: GoType = { name: "v1.RootFS", fields: [text("Type", "type"), list("DiffIDs", "diff_ids")] };
const IMAGE: GoType = {
  name: "v1.Image",
  fields: [
    { name: "Created", key: "created", zero: null, type: "time" },
    text("Author", "author"),
    { name: "Platform", key: "", zero: null, type: PLATFORM },
    { name: "Config", key: "config", zero: {}, type: CONFIG },
    { name: "RootFS", key: "rootfs", zero: {}, type: ROOTFS },
    list("History", "history", HISTORY),
  ],
};
const PROVENANCE: GoType = {
  name: "imagetools.provenanceStub",
  fields: [{ name: "SLSA", key: "SLSA", zero: null }],
};
const SBOM: GoType = {
  name: "imagetools.sbomStub",
  fields: [{ name: "SPDX", key: "SPDX", zero: null }, list("AdditionalSPDXs", "AdditionalSPDXs")],
};
const INPUT: GoType = {
  name: "imagetools.tplInput",
  fields: [
    text("Name", "name"),
    { name: "Manifest", key: "manifest", zero: null },
    { name: "Image", key: "image", zero: null },
    { name: "Provenance", key: "Provenance", zero: null },
    { name: "SBOM", key: "SBOM", zero: null },
  ],
};

/** The value of the templates. `name`: as it is printed. Statements are read only if `withAttestations`. Throws IMAGE_INVALID. */
export async function inspectFields(
  image: OpenImage,
  name: string,
  withAttestations: boolean,
): Promise<GoStruct> {
  const images = await image.images();
  const [single, ...more] = images;
  const attested = withAttestations
    ? await Promise.all(images.map((one) => attestationsOf(one, image)))
    : images.map(() => NOTHING_SAID);
  const byPlatform = <T>(of: (at: number) => T | null): Record<string, T> =>
    Object.fromEntries(
      images.flatMap((one, at) => {
        const value = of(at);
        return value === null ? [] : [[formatPlatform(one.platform), value] as const];
      }),
    );
  const isMany = more.length > 0;
  const configs = images.map((one) => new GoStruct(IMAGE, configFields(one)));
  const provenance = (at: number) => attested[at]?.provenance ?? null;
  const sbom = (at: number) => attested[at]?.sbom ?? null;
  return new InspectInput({
    name,
    manifest: manifestFields(image.graph),
    ...(single === undefined ? {} : { image: isMany ? byPlatform((at) => configs[at] ?? null) : configs[0] }),
    Provenance: isMany ? byPlatform(provenance) : (provenance(0) ?? new GoStruct(PROVENANCE, {})),
    SBOM: isMany ? byPlatform(sbom) : (sbom(0) ?? new GoStruct(SBOM, {})),
  });
}

/** Attestations are no part of its JSON. */
class InspectInput extends GoStruct {
  constructor(fields: Readonly<Record<string, unknown>>) {
    super(INPUT, fields);
  }
  override toJSON(): unknown {
    const { name, manifest, image } = this.json;
    return { name, manifest, ...(image === undefined ? {} : { image }) };
  }
}

function manifestFields({ bytes, descriptor, document }: GraphNode): GoStruct {
  const { mediaType, digest, size } = descriptor;
  if (document?.kind !== "index" || bytes === null)
    return new GoStruct(DESCRIPTOR, { mediaType, digest, size });
  const { manifests, annotations } = readRawIndex(bytes);
  return new GoStruct(INDEX, {
    ...{ schemaVersion: 2, mediaType, digest, size, manifests: manifests.map(rawDescriptor) },
    ...withoutEmpty({ annotations: Object.keys(annotations).length === 0 ? undefined : sorted(annotations) }),
  });
}

const CONFIG_ORDER = [...CONFIG.fields.map(({ key }) => key), "Healthcheck", "OnBuild", "Shell"];
const HISTORY_ORDER = HISTORY.fields.map(({ key }) => key);

function configFields({ configBytes }: GraphImage): Record<string, unknown> {
  const json = JSON.parse(Buffer.from(configBytes).toString("utf8")) as Record<string, unknown>;
  const container = (json["config"] ?? {}) as Record<string, unknown>;
  const { type = "", diff_ids = null } = (json["rootfs"] ?? {}) as Record<string, unknown>;
  const history = (json["history"] ?? []) as readonly RawDescriptor[];
  const { created, author, architecture = "", os = "", variant } = json;
  return {
    ...withoutEmpty({ created, author }),
    ...{ architecture, os },
    ...withoutEmpty({ "os.version": json["os.version"], "os.features": json["os.features"], variant }),
    config: orderedFields(sortedMaps(container), CONFIG_ORDER),
    rootfs: { type, diff_ids },
    ...withoutEmpty({ history: history.map((entry) => orderedFields(entry, HISTORY_ORDER)) }),
  };
}

function sortedMaps(fields: Readonly<Record<string, unknown>>): Record<string, unknown> {
  const maps = ["ExposedPorts", "Volumes", "Labels"];
  return Object.fromEntries(
    Object.entries(fields).map(([key, value]) => [key, maps.includes(key) ? sorted(value) : value]),
  );
}

/** Maps of Go are written with sorted keys. */
function sorted(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sorted);
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(
    sortedKeys(value).map((key) => [key, sorted((value as Record<string, unknown>)[key])]),
  );
}

interface Said {
  readonly provenance: GoStruct | null;
  readonly sbom: GoStruct | null;
}
const NOTHING_SAID: Said = { provenance: null, sbom: null };

/** What the index says of one image. */
async function attestationsOf({ node }: GraphImage, image: OpenImage): Promise<Said> {
  const about = image.graph.children.filter(
    ({ descriptor: { annotations } }) =>
      annotations?.["vnd.docker.reference.digest"] === node.descriptor.digest,
  );
  let slsa: unknown = null;
  const spdx: unknown[] = [];
  for (const { document } of about) {
    if (document?.kind !== "manifest") continue;
    for (const layer of document.layers) {
      const type = layer.annotations?.["in-toto.io/predicate-type"] ?? "";
      const isProvenance = type.startsWith("https://slsa.dev/provenance/");
      if (layer.mediaType !== IN_TOTO_TYPE || !(isProvenance || type === "https://spdx.dev/Document"))
        continue;
      const statement = JSON.parse(
        Buffer.from(await image.read(layer, STATEMENT_MAX_BYTES)).toString("utf8"),
      ) as { readonly predicate?: unknown };
      if (isProvenance) slsa = sorted(statement.predicate ?? null);
      else spdx.push(sorted(statement.predicate ?? null));
    }
  }
  const [first, ...others] = spdx;
  return {
    provenance: slsa === null ? null : new GoStruct(PROVENANCE, { SLSA: slsa }),
    sbom:
      first === undefined
        ? null
        : new GoStruct(SBOM, { SPDX: first, ...withoutEmpty({ AdditionalSPDXs: others }) }),
  };
}
