// Parses -o/--output: CSV of key=value as in buildx, with the attributes of BuildKit's exporters.
// docs: https://docs.docker.com/build/exporters/, BuildKit exptypes/exporters.go

import { levelFault } from "../cache/layers/levels.ts";
import { formatReference, parseNewName } from "../cache/registry/reference.ts";
import { BuildError, printable } from "../solver/graph/error.ts";
import { nearest } from "../solver/graph/nearest.ts";
import type { ImageConfig } from "../solver/graph/request.ts";
import { type Annotation, parseAnnotationAttribute } from "./annotations.ts";

export const LAYER_COMPRESSIONS = ["gzip", "zstd", "estargz", "zstd:chunked", "uncompressed"] as const;
export type LayerCompression = (typeof LAYER_COMPRESSIONS)[number];

/** client: sent to the client under a name, "-" for its standard output. */
export type Destination =
  | { readonly kind: "path"; readonly path: string }
  | { readonly kind: "client"; readonly name: string };

/** `source-date-epoch`: overrides SOURCE_DATE_EPOCH of the build, an empty one with none; null: the build's. */
export type OutputEpoch = number | "none" | null;

/** The epoch of an output of a build that has `build`. */
export function epochOf(own: OutputEpoch, build: number | null): number | null {
  return own === "none" ? null : (own ?? build);
}

/** How an image is made, the same for all outputs that hold one. */
export interface ImageOptions {
  /** Full names: docker.io/library/app:latest. */
  readonly names: readonly string[];
  /** The same as the user wrote them, joined with commas: an image that is pushed by its digest has no tag. */
  readonly writtenNames: string;
  /** Takes the name that the frontend gives its result. */
  readonly frontendName: boolean;
  /** The config it has instead of the result's, by platform ("linux/arm64"); "": for all that have none of their own. */
  readonly configs: ReadonlyMap<string, ImageConfig>;
  /** false: Docker's media types. */
  readonly ociTypes: boolean;
  readonly compression: LayerCompression;
  /** Was `compression` or its level asked for? */
  readonly compressionChosen: boolean;
  readonly compressionLevel: number | null;
  /** Also layers of the base image get this compression. */
  readonly forceCompression: boolean;
  /** Times in new layers are at most SOURCE_DATE_EPOCH. */
  readonly rewriteTimestamp: boolean;
  /** Such layers say so in an annotation, as BuildKit has it. */
  readonly marksRewritten: boolean;
  readonly epochSeconds: OutputEpoch;
  readonly annotations: readonly Annotation[];
  /** Attestations that are only wanted inline are attached to an image alone, too, which makes it an index. */
  readonly attestationInline: boolean;
  /** Attestation manifests are OCI artifacts; false: they look like images; null: artifacts where the types are OCI's. */
  readonly ociArtifact: boolean | null;
  /** Where attestations are: in the image's index, or beside the image, as artifacts that refer to it. */
  readonly attestations: "index" | "referrers";
}

export interface ImageOutput {
  readonly kind: "image";
  readonly image: ImageOptions;
  readonly push: boolean;
  readonly pushByDigest: boolean;
  readonly insecure: boolean; // registry.insecure
  readonly store: boolean; // keep in the local image store under its names
  readonly unpack: boolean; // accepted; layers are always unpacked when they are needed
  readonly nameCanonical: boolean; // also name@digest
  readonly danglingNamePrefix: string | null;
}
export interface ArchiveOutput {
  readonly kind: "archive";
  readonly format: "oci" | "docker";
  readonly image: ImageOptions;
  /** null: handed to `docker load` (only docker). */
  readonly dest: Destination | null;
  readonly tar: boolean; // false: a directory
}
export interface FilesOutput {
  readonly kind: "files";
  readonly form: "directory" | "tar";
  readonly dest: Destination;
  /** Folders linux_amd64 … ; null: only with several platforms. */
  readonly platformSplit: boolean | null;
  readonly epochSeconds: OutputEpoch;
  /** Begins the names of files with attestations. */
  readonly attestationPrefix: string;
}
export interface NoOutput {
  readonly kind: "cacheonly";
}
export type Output = ImageOutput | ArchiveOutput | FilesOutput | NoOutput;

const TYPES = ["image", "registry", "oci", "docker", "local", "tar", "cacheonly"];
const BOOLEANS = new Map([
  ...["1", "t", "T", "TRUE", "true", "True"].map((text) => [text, true] as const),
  ...["0", "f", "F", "FALSE", "false", "False"].map((text) => [text, false] as const),
]);

/** Attributes not yet used; what is left at the end is unknown. */
interface Attributes {
  text(name: string): string | null;
  boolean(name: string): boolean | null; // an empty value is true, as BuildKit has it,
  plainBoolean(name: string): boolean | null; // but for these, where it is wrong
  integer(name: string): number | null;
  /** It is there, without a value. */
  isEmpty(name: string): boolean;
  annotations(): readonly Annotation[];
  done(): void;
}

/**
 * Reads one --output. `onUnknown` gets attributes that the type does not have, as KEY=VALUE, with the type; null: they are errors. A plain PATH is type=local, "-" is a tar on standard output. Paths stay as written. Throws OUTPUT_INVALID,
 * REFERENCE_INVALID.
 */
export function parseOutput(
  text: string,
  onUnknown: ((attribute: string, type: string) => void) | null = null,
): Output {
  const fields = splitCsv(text);
  if (fields.length === 1 && fields[0] === text && !text.startsWith("type=")) {
    if (text === "")
      throw invalid(
        "an output must have a type or a path",
        "for example -o type=oci,dest=image.tar or -o out",
      );
    const rest = { platformSplit: null, epochSeconds: null, attestationPrefix: "" };
    return text === "-"
      ? { kind: "files", form: "tar", dest: STDOUT, ...rest }
      : { kind: "files", form: "directory", dest: { kind: "path", path: text }, ...rest };
  }
  const pairs = new Map<string, string>();
  for (const field of fields) {
    const equals = field.indexOf("=");
    if (equals < 0)
      throw invalid(
        `invalid value ${JSON.stringify(printable(field, 100))} in --output ${printable(text, 100)}`,
        "attributes have the form key=value",
      );
    const written = field.slice(0, equals).trim();
    // Keys are read without regard to case, but the key of an annotation is the user's.
    const key = /^annotation/i.test(written)
      ? written.replace(/^[^.[]*/, (head) => head.toLowerCase())
      : written.toLowerCase();
    pairs.set(key, field.slice(equals + 1));
  }
  const type = pairs.get("type");
  if (type === undefined || type === "")
    throw invalid("type is required for output", `types are ${TYPES.join(", ")}`);
  pairs.delete("type");
  const attributes = attributesOf(pairs, type);
  const output = outputOf(type, attributes);
  if (onUnknown === null) attributes.done();
  else for (const [name, value] of pairs) onUnknown(`${printable(name, 60)}=${printable(value, 60)}`, type);
  return output;
}

function outputOf(type: string, attributes: Attributes): Output {
  switch (type) {
    case "image":
    case "registry": {
      const push = attributes.boolean("push") ?? type === "registry";
      const output: ImageOutput = {
        kind: "image",
        push,
        pushByDigest: attributes.boolean("push-by-digest") ?? false,
        insecure: attributes.boolean("registry.insecure") ?? false,
        store: attributes.boolean("store") ?? true,
        unpack: attributes.boolean("unpack") ?? false,
        nameCanonical: attributes.boolean("name-canonical") ?? false,
        danglingNamePrefix: attributes.text("dangling-name-prefix"),
        image: imageOptionsOf(attributes, { attestationInline: true }),
      };
      return output;
    }
    case "oci":
    case "docker": {
      const tar = attributes.boolean("tar") ?? true;
      const dest = destinationOf(attributes.text("dest"), type === "docker" && tar ? null : type, tar);
      attributes.text("context"); // which docker context loads it is docker's own matter
      return {
        kind: "archive",
        format: type,
        dest,
        tar,
        image: imageOptionsOf(attributes, { attestationInline: false }),
      };
    }
    case "local":
    case "tar": {
      const dest = destinationOf(attributes.text("dest"), type, type === "tar");
      return {
        kind: "files",
        form: type === "tar" ? "tar" : "directory",
        dest: dest as Destination,
        platformSplit: attributes.boolean("platform-split"),
        epochSeconds: epochAttribute(attributes),
        attestationPrefix: prefixOf(attributes.text("attestation-prefix") ?? ""),
      };
    }
    case "cacheonly":
      return { kind: "cacheonly" };
    default:
      throw invalid(
        `output type ${JSON.stringify(printable(type, 60))} is not supported`,
        `types are ${TYPES.join(", ")}`,
      );
  }
}

/** Files of attestations are beside the others, in no directory of their own. */
function prefixOf(text: string): string {
  if (!/[/\0]/.test(text)) return text;
  throw invalid(`invalid attestation-prefix ${JSON.stringify(printable(text, 60))}`, "it begins a file name");
}

const STDOUT: Destination = { kind: "client", name: "-" };

/** needed: the type that cannot be without a destination, null when it can. */
function destinationOf(text: string | null, needed: string | null, isFile: boolean): Destination | null {
  if (text === "-") {
    if (!isFile)
      throw invalid("a directory cannot be written to standard output", "use type=tar,dest=- instead");
    return STDOUT;
  }
  if (text !== null && text !== "") return { kind: "path", path: text };
  if (needed === null) return null;
  if (needed === "oci" || needed === "tar" || needed === "docker") {
    if (isFile) return STDOUT;
    throw invalid(`output directory is required for ${needed} exporter with tar=false`, "add dest=DIRECTORY");
  }
  throw invalid(`dest is required for ${needed} exporter`, "add dest=DIRECTORY");
}

/** Defaults that BuildKit's exporters do not share. */
interface ImageDefaults {
  readonly attestationInline: boolean;
}

function imageOptionsOf(attributes: Attributes, defaults: ImageDefaults): ImageOptions {
  const compressionText = attributes.text("compression");
  const compression = compressionOf(compressionText ?? "gzip");
  const level = attributes.integer("compression-level");
  const levelProblem = level === null ? null : levelFault(compression, level);
  if (levelProblem !== null) throw invalid(levelProblem, null);
  const annotations = attributes.annotations();
  for (const name of ["buildinfo", "buildinfo-attrs", "unsafe-internal-store-allow-incomplete"]) {
    attributes.boolean(name); // accepted as BuildKit does; they change nothing here
  }
  attributes.plainBoolean("prefer-nondist-layers"); // nor does this
  const ociTypes = attributes.plainBoolean("oci-mediatypes") ?? true;
  // Those of an index or a descriptor exist only in OCI's types.
  if (!ociTypes && annotations.some(({ target }) => target !== "manifest")) {
    throw invalid('cannot export annotations with "oci-mediatypes=false"', "omit one of the two");
  }
  // Readers look for the table of contents where an annotation says it is, and docker's types have none.
  if (!ociTypes && (compression === "estargz" || compression === "zstd:chunked"))
    throw invalid(
      `"compression=${compression}" conflicts with "oci-mediatypes=false"`,
      "omit oci-mediatypes, or use gzip or zstd",
    );
  const ociArtifact = attributes.plainBoolean("oci-artifact");
  if (ociArtifact === true && !ociTypes)
    throw invalid('"oci-artifact=true" conflicts with "oci-mediatypes=false"', "omit one of the two");
  const names = splitNames(attributes.text("name") ?? "");
  const rewrite = attributes.plainBoolean("rewrite-timestamp") ?? false;
  const frontendName = names.length === 1 && names[0] === "*";
  return {
    ...namesOf(frontendName ? [] : names),
    frontendName,
    configs: NO_CONFIGS,
    ociTypes,
    compression,
    compressionChosen: compressionText !== null || level !== null,
    compressionLevel: level,
    forceCompression: attributes.boolean("force-compression") ?? false,
    rewriteTimestamp: rewrite,
    marksRewritten: rewrite,
    epochSeconds: epochAttribute(attributes),
    annotations,
    attestationInline: attributes.boolean("attestation-inline") ?? defaults.attestationInline,
    ociArtifact,
    attestations: attestationPlace(attributes.text("attestations"), ociArtifact),
  };
}

function attestationPlace(text: string | null, ociArtifact: boolean | null): ImageOptions["attestations"] {
  if (text === null || text === "index") return "index";
  if (text !== "referrers")
    throw invalid(
      `invalid value ${JSON.stringify(printable(text, 60))} for attestations`,
      "use index or referrers",
    );
  if (ociArtifact === false)
    throw invalid('"attestations=referrers" conflicts with "oci-artifact=false"', "omit one of the two");
  return "referrers";
}

const NO_CONFIGS: ImageOptions["configs"] = new Map();

/** The options with the names of a frontend, joined with commas, where they ask for them. Throws REFERENCE_INVALID. */
export function withFrontendName(options: ImageOptions, name: string | null): ImageOptions {
  return options.frontendName && name !== null ? { ...options, ...namesOf(splitNames(name)) } : options;
}

function splitNames(text: string): readonly string[] {
  return text
    .split(",")
    .map((name) => name.trim())
    .filter((name) => name !== "");
}

function namesOf(names: readonly string[]): Pick<ImageOptions, "names" | "writtenNames"> {
  return {
    names: names.map((name) => formatReference(parseNewName(name))),
    writtenNames: names.join(","),
  };
}

function epochAttribute(attributes: Attributes): OutputEpoch {
  const name = "source-date-epoch";
  if (attributes.isEmpty(name)) {
    attributes.text(name);
    return "none";
  }
  return attributes.integer(name);
}

function compressionOf(text: string): LayerCompression {
  const found = LAYER_COMPRESSIONS.find((one) => one === text);
  if (found !== undefined) return found;
  const near = nearest(text, LAYER_COMPRESSIONS);
  throw invalid(
    text === "nydus"
      ? "compression type nydus is not supported by tsbuild"
      : `unsupported compression type ${printable(text, 60)}`,
    near === null ? `types are ${LAYER_COMPRESSIONS.join(", ")}` : `did you mean ${near}?`,
  );
}

function attributesOf(pairs: Map<string, string>, type: string): Attributes {
  const take = (name: string): string | null => {
    const value = pairs.get(name);
    pairs.delete(name);
    return value ?? null;
  };
  return {
    text: take,
    isEmpty: (name) => pairs.get(name) === "",
    boolean(name) {
      const text = take(name);
      return text === "" ? true : booleanOf(name, text);
    },
    plainBoolean: (name) => booleanOf(name, take(name)),
    integer(name) {
      const text = take(name);
      if (text === null || text === "") return null;
      if (!/^[+-]?\d{1,15}$/.test(text))
        throw invalid(`non-int value ${printable(text, 60)} specified for ${name}`, null);
      return Number(text);
    },
    annotations() {
      const found: Annotation[] = [];
      for (const [name, value] of new Map(pairs)) {
        const annotation = parseAnnotationAttribute(name, value);
        if (annotation === null) continue;
        pairs.delete(name);
        found.push(annotation);
      }
      return found;
    },
    done() {
      const [unknown] = pairs.keys();
      if (unknown !== undefined) {
        throw invalid(
          `unknown attribute ${JSON.stringify(printable(unknown, 60))} for output type ${type}`,
          "see 'tsbuild build --help'",
        );
      }
    },
  };
}

function booleanOf(name: string, text: string | null): boolean | null {
  if (text === null) return null;
  const value = BOOLEANS.get(text);
  if (value === undefined)
    throw invalid(`non-bool value specified for ${name}: ${printable(text, 60)}`, "use true or false");
  return value;
}

/** RFC 4180 fields of one line, as Go's encoding/csv reads them. */
function splitCsv(text: string): readonly string[] {
  const fields: string[] = [];
  for (let at = 0; ; ) {
    if (text.charAt(at) !== '"') {
      const comma = text.indexOf(",", at);
      const field = text.slice(at, comma < 0 ? undefined : comma);
      if (field.includes('"'))
        throw invalid(
          `a quote inside an unquoted field: ${printable(text, 100)}`,
          'write "key=value,with,commas"',
        );
      fields.push(field);
      if (comma < 0) return fields;
      at = comma + 1;
      continue;
    }
    let field = "";
    for (at++; ; ) {
      const quote = text.indexOf('"', at);
      if (quote < 0) throw invalid(`a quote is not closed: ${printable(text, 100)}`, null);
      field += text.slice(at, quote);
      at = quote + 1;
      if (text.charAt(at) !== '"') break;
      field += '"';
      at++;
    }
    fields.push(field);
    if (at >= text.length) return fields;
    if (text.charAt(at) !== ",") throw invalid(`text after a closed quote: ${printable(text, 100)}`, null);
    at++;
  }
}

function invalid(problem: string, hint: string | null): BuildError {
  return new BuildError("OUTPUT_INVALID", `invalid output option: ${problem}`, { hint });
}
