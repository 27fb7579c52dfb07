// What an image's provenance says of how to build it again: SLSA v1 and v0.2 as BuildKit and tsbuild write them. Statements are untrusted:
// every field is checked for its type, and what is none is left out.

import type { Store } from "../../../cache/contract.ts";
import { MANIFEST_MAX_BYTES, parseDocument } from "../../../cache/registry/documents.ts";
import { attestedBy, IN_TOTO_TYPE, STATEMENT_MAX_BYTES } from "../../../exporters/attestation/statement.ts";
import { isAttestation } from "../../../exporters/exporter.ts";
import type { Digest } from "../../../solver/graph/digest.ts";
import { BuildError } from "../../../solver/graph/error.ts";
import type { Descriptor } from "../../../solver/graph/request.ts";
import type { BuiltFrom } from "./contract.ts";

type Json = Readonly<Record<string, unknown>>;

/** Reads the provenance that an index attaches to the image; null: there is none. `index`: bytes of the manifest or index that names it.
 *  `fetch`: puts an attestation and its statements into the store. Throws IMAGE_INVALID for a statement that is no JSON. */
export async function readBuiltFrom(
  { content }: Pick<Store, "content">,
  index: Uint8Array,
  image: Digest,
  fetch: (attestation: Descriptor) => Promise<void>,
): Promise<BuiltFrom | null> {
  const top = parseDocument(index, null, image);
  if (top.kind !== "index") return null;
  for (const descriptor of top.manifests) {
    if (!isAttestation(descriptor) || attestedBy(descriptor) !== image) continue;
    await fetch(descriptor);
    const manifest = parseDocument(
      content.read(descriptor.digest, MANIFEST_MAX_BYTES),
      null,
      descriptor.digest,
    );
    if (manifest.kind !== "manifest") continue;
    for (const { digest, mediaType } of manifest.layers) {
      if (mediaType !== IN_TOTO_TYPE) continue;
      const found = builtFrom(parsed(content.read(digest, STATEMENT_MAX_BYTES), digest));
      if (found !== null) return found;
    }
  }
  return null;
}

function parsed(bytes: Uint8Array, digest: string): Json {
  try {
    return object(JSON.parse(Buffer.from(bytes).toString("utf8")));
  } catch (cause) {
    throw new BuildError("IMAGE_INVALID", `the attestation ${digest} is not JSON`, { cause });
  }
}

/** What a statement says; null: it is no provenance of a frontend. */
export function builtFrom(statement: Json): BuiltFrom | null {
  if (!text(statement["predicateType"]).startsWith("https://slsa.dev/provenance/")) return null;
  const predicate = object(statement["predicate"]);
  const definition = object(predicate["buildDefinition"]);
  const parameters = object(definition["externalParameters"]);
  const invocation = object(predicate["invocation"]);
  const request = object(parameters["request"] ?? invocation["parameters"]);
  const source = object(parameters["configSource"] ?? invocation["configSource"]);
  const metadata = object(
    object(object(predicate["runDetails"])["metadata"])["buildkit_metadata"] ??
      object(predicate["metadata"])["https://mobyproject.org/buildkit@v1#metadata"],
  );
  const [info] = list(object(metadata["source"])["infos"]).map(object);
  const uri = text(source["uri"]);
  const name = text(source["path"] ?? source["entryPoint"]) || "Dockerfile";
  const args = Object.entries(object(request["args"])).flatMap(([key, value]) =>
    typeof value === "string" ? [[key, value] as const] : [],
  );
  return {
    dockerfile:
      info === undefined
        ? null
        : {
            name: text(info["filename"]) || name,
            text: Buffer.from(text(info["data"]), "base64").toString("utf8"),
          },
    args: Object.fromEntries(args),
    context: uri === "" ? null : { url: uri, digest: digestIn(source["digest"]) },
    locals: list(request["locals"]).map((one) => text(object(one)["name"])),
    images: list(definition["resolvedDependencies"] ?? predicate["materials"]).flatMap((one) => {
      const { uri: purl, digest } = object(one);
      const reference = imageOf(text(purl));
      const found = digestIn(digest);
      return reference === null || found === null || !found.startsWith("sha256:")
        ? []
        : [{ reference, digest: found }];
    }),
  };
}

/** "alpine:3.20" for pkg:docker/alpine@3.20?platform=linux%2Famd64. https://github.com/package-url/purl-spec */
function imageOf(purl: string): string | null {
  const found = /^pkg:docker\/([^?#]+)/.exec(purl)?.[1];
  if (found === undefined) return null;
  try {
    const [name = "", version = ""] = decodeURIComponent(found).split(/@(.*)/s);
    return version === "" || version.includes(":") ? name : `${name}:${version}`;
  } catch {
    return null; // not encoded as URLs are
  }
}

function digestIn(value: unknown): string | null {
  const [first] = Object.entries(object(value));
  return first === undefined || typeof first[1] !== "string" ? null : `${first[0]}:${first[1]}`;
}

function object(value: unknown): Json {
  return typeof value === "object" && value !== null && !Array.isArray(value) ? (value as Json) : {};
}
function list(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : [];
}
function text(value: unknown): string {
  return typeof value === "string" ? value : "";
}
