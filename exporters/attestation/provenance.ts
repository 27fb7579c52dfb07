// Provenance: what is known of a build as a SLSA predicate, v1 or v0.2, in the form and field order of BuildKit. Data in, JSON out: no clock, no
// names made up. BuildKit: docs/attestations/slsa-definitions.md, solver/llbsolver/provenance (predicate.go, capture.go, types/types.go).

import { formatReference, parseReference } from "../../cache/registry/reference.ts";
import { hexOf, isDigest } from "../../solver/graph/digest.ts";
import { redactUrl } from "../../solver/graph/error.ts";
import { formatPlatform, type Platform } from "../../solver/graph/op.ts";
import { encodeGoJson, goTime, sortedEntries, withoutEmpty } from "../go-json.ts";
import type { BuildConfig } from "./llb-json.ts";
import { type Detail, metadataJson } from "./detail.ts";
import { imagePurl } from "./purl.ts";

export type SlsaVersion = "v1" | "v0.2";

const BUILD_TYPES: Readonly<Record<SlsaVersion, string>> = {
  v1: "https://github.com/moby/buildkit/blob/master/docs/attestations/slsa-definitions.md",
  "v0.2": "https://mobyproject.org/buildkit@v1",
};

/** What in-toto calls it. */
export function predicateTypeOf(version: SlsaVersion): string {
  return `https://slsa.dev/provenance/${version}`;
}

/** An image, by its reference ("docker.io/library/alpine:3.20", maybe with a digest). */
export interface ImageMaterial {
  readonly reference: string;
  readonly platform: Platform | null;
  /** Of the manifest or index that the reference stood for; null: not known. */
  readonly digest: string | null;
  /** It came from a layout, which no registry has. */
  readonly isLayout: boolean;
  /** A single blob of a repository or layout, not an image. */
  readonly isBlob: boolean;
}

/** Where the bytes of a build came from. */
export interface Materials {
  readonly images: readonly ImageMaterial[];
  /** Address with "#REF", and the commit. */
  readonly git: readonly { readonly url: string; readonly commit: string }[];
  readonly http: readonly { readonly url: string; readonly digest: string }[];
  /** Names of directories of the client. */
  readonly local: readonly string[];
}

/** A secret or agent that steps ask for; never its value. */
export interface Asked {
  readonly id: string;
  readonly optional: boolean;
}

/** What a frontend was called with. */
export interface FrontendCall {
  /** "dockerfile.v0", "gateway.v0" */
  readonly frontend: string;
  readonly args: Readonly<Record<string, string>>;
}

/** Everything provenance says of one result. */
export interface Capture {
  /** null: a graph was built that no frontend of this build has made. */
  readonly call: FrontendCall | null;
  readonly materials: Materials;
  readonly secrets: readonly Asked[];
  readonly ssh: readonly Asked[];
  /** A step could reach a network. */
  readonly usesNetwork: boolean;
  /** Something was built whose sources are not known, beside directories of the client. */
  readonly isIncomplete: boolean;
  /** null: it is not said. */
  readonly builderPlatform: Platform | null;
}

export interface PredicateOptions {
  readonly version: SlsaVersion;
  readonly builderId: string;
  /** Claimed of the build, or known of it. */
  readonly reproducible: boolean;
  /** null: the statement is to be the same for every such build, and says nothing of this one. */
  readonly run: {
    readonly invocationId: string;
    readonly startedAtMs: number;
    readonly finishedAtMs: number;
  } | null;
  /** null: mode=min, without steps, build arguments, labels, secrets and agents. */
  readonly detail: Detail | null;
}

type Json = Record<string, unknown>;

/** Arguments that say where or how fast a build ran, not what of. */
const HOST_SPECIFIC = new Set(["cgroup-parent", "image-resolve-mode", "platform", "cache-imports"]);

/** Does nothing but the graph and its materials decide about the result? True only where all sources are known by their digests, and no
 *  step could reach a network. */
export function isHermetic({ materials, usesNetwork, isIncomplete }: Capture): boolean {
  return !isIncomplete && materials.local.length === 0 && !usesNetwork;
}

/** The predicate as compact JSON. Throws REFERENCE_INVALID for an image that is none. */
export function provenanceText(capture: Capture, options: PredicateOptions): string {
  const predicate = options.version === "v1" ? slsa1(capture, options) : slsa02(capture, options);
  return Buffer.from(encodeGoJson(predicate)).toString("utf8");
}

function slsa1(capture: Capture, options: PredicateOptions): Json {
  const { source, request, isComplete, vcs } = requestOf(capture, options);
  const dependencies = dependenciesOf(capture.materials);
  const { run, detail, reproducible } = options;
  const hermetic = isHermetic(capture);
  return {
    buildDefinition: {
      buildType: BUILD_TYPES.v1,
      ...(dependencies.length === 0 ? {} : { resolvedDependencies: dependencies }),
      externalParameters: {
        configSource: withoutEmpty({ uri: source.uri, digest: source.digest, path: source.path }),
        request,
      },
      // A map in BuildKit, whose keys are sorted at every depth.
      internalParameters: deepSorted({
        ...(detail === null ? {} : { buildConfig: configJson(detail.config) }),
        ...(capture.builderPlatform === null
          ? {}
          : { builderPlatform: formatPlatform(capture.builderPlatform) }),
      }),
    },
    runDetails: {
      builder: { id: options.builderId },
      metadata: {
        ...(run === null
          ? {}
          : {
              invocationId: run.invocationId,
              startedOn: goTime(run.startedAtMs),
              finishedOn: goTime(run.finishedAtMs),
            }),
        buildkit_metadata: metadataJson(detail, vcs),
        ...(hermetic ? { buildkit_hermetic: true } : {}),
        buildkit_completeness: { request: isComplete, resolvedDependencies: areMaterialsComplete(capture) },
        ...(reproducible ? { buildkit_reproducible: true } : {}),
      },
    },
  };
}

function slsa02(capture: Capture, options: PredicateOptions): Json {
  const { source, request, isComplete, vcs } = requestOf(capture, options);
  const materials = dependenciesOf(capture.materials);
  const { run, detail, reproducible } = options;
  const hermetic = isHermetic(capture);
  return {
    builder: { id: options.builderId },
    buildType: BUILD_TYPES["v0.2"],
    ...(materials.length === 0 ? {} : { materials }),
    invocation: {
      configSource: withoutEmpty({ uri: source.uri, digest: source.digest, entryPoint: source.path }),
      parameters: request,
      environment:
        capture.builderPlatform === null ? {} : { platform: formatPlatform(capture.builderPlatform) },
    },
    ...(detail === null ? {} : { buildConfig: configJson(detail.config) }),
    metadata: {
      ...(run === null
        ? {}
        : {
            buildInvocationID: run.invocationId,
            buildStartedOn: goTime(run.startedAtMs),
            buildFinishedOn: goTime(run.finishedAtMs),
          }),
      completeness: {
        parameters: isComplete,
        environment: true,
        materials: areMaterialsComplete(capture),
      },
      reproducible,
      "https://mobyproject.org/buildkit@v1#metadata": metadataJson(detail, vcs),
      ...(hermetic ? { "https://mobyproject.org/buildkit@v1#hermetic": true } : {}),
    },
  };
}

function areMaterialsComplete({ isIncomplete, materials }: Capture): boolean {
  return !isIncomplete && materials.local.length === 0;
}

interface ConfigSource {
  readonly uri?: string;
  readonly digest?: Readonly<Record<string, string>>;
  readonly path?: string;
}

/** What was asked for, where the instructions came from, and whether all of it is said. */
function requestOf(
  { call, materials, secrets, ssh }: Capture,
  { detail }: PredicateOptions,
): { source: ConfigSource; request: Json; isComplete: boolean; vcs: Readonly<Record<string, string>> } {
  const vcs: Record<string, string> = {};
  const args: Record<string, string> = {};
  const given = call?.args ?? {};
  const contextKey = given["contextkey"] || (given["input:context"] ? "input:context" : "context");
  let isLess = false;
  for (const [name, value] of sortedEntries(given)) {
    if (HOST_SPECIFIC.has(name) || name.startsWith("attest:") || name === contextKey || name === "filename")
      continue;
    if (name.startsWith("vcs:")) {
      if (value !== "") vcs[name.slice("vcs:".length)] = name === "vcs:source" ? redactUrl(value) : value;
    } else if (detail === null && /^(?:build-arg|label):/.test(name)) isLess = true;
    else args[name] = name.startsWith("context:") ? redactUrl(value) : value;
  }
  const uri = given[contextKey] ?? "";
  const hidden = detail === null;
  return {
    vcs,
    isComplete: call !== null && !isLess,
    source: {
      ...(uri === "" ? {} : configSourceOf(uri, materials)),
      ...(given["filename"] ? { path: given["filename"] } : {}),
    },
    request: withoutEmpty({
      frontend: call?.frontend,
      args: Object.keys(args).length === 0 ? undefined : args,
      secrets: hidden ? undefined : secrets.toSorted(byId).map(askedJson),
      ssh: hidden ? undefined : ssh.toSorted(byId).map(askedJson),
      locals: materials.local.toSorted().map((name) => ({ name })),
    }),
  };
}

function askedJson({ id, optional }: Asked): Json {
  return { id, ...(optional ? { optional } : {}) };
}

function byId(a: Asked, b: Asked): number {
  return a.id < b.id ? -1 : a.id > b.id ? 1 : 0;
}

/** A context that is a repository or a file from the web, with what it stood for. */
function configSourceOf(context: string, { git, http }: Materials): ConfigSource {
  const [address = "", fragment = ""] = context.split(/#(.*)/s);
  const [ref = ""] = fragment.split(":", 1);
  const repository = git.find(({ url }) => {
    const [known = "", knownRef = ""] = url.split(/#(.*)/s);
    return sameRepository(known, redactUrl(address)) && knownRef === ref;
  });
  if (repository !== undefined) return { uri: redactUrl(context), digest: commitDigest(repository.commit) };
  const file = http.find(({ url }) => url === redactUrl(context));
  return { uri: redactUrl(context), ...(file === undefined ? {} : { digest: digestSet(file.digest) }) };
}

/** Addresses may be written without scheme. */
function sameRepository(a: string, b: string): boolean {
  const bare = (address: string): string => address.replace(/^[a-z+]+:\/\//, "");
  return bare(a) === bare(b);
}

/** In BuildKit's order: images, single blobs, repositories, files; each by name. One source is there once. */
function dependenciesOf({ images, git, http }: Materials): readonly Json[] {
  const wholeImages = withoutKnownTags(images.filter(({ isBlob }) => !isBlob));
  const blobs = images.filter(({ isBlob }) => isBlob);
  const all = [
    ...[...wholeImages.toSorted(byReference), ...blobs.toSorted(byReference)].map((image) =>
      withoutEmpty({
        uri: imageUri(image),
        digest: image.digest === null ? undefined : digestSet(image.digest),
      }),
    ),
    ...git.toSorted(byUrl).map(({ url, commit }) => ({ uri: redactUrl(url), digest: commitDigest(commit) })),
    ...http.toSorted(byUrl).map(({ url, digest }) => ({ uri: redactUrl(url), digest: digestSet(digest) })),
  ];
  const seen = new Set<string>();
  return all.filter((one) => {
    const key = JSON.stringify(one);
    if (seen.has(key)) return false;
    seen.add(key);
    return true;
  });
}

/** An image named by tag and digest is left out where the same tag is there alone: the frontend asked for that one. */
function withoutKnownTags(images: readonly ImageMaterial[]): readonly ImageMaterial[] {
  const named = images.map((image) => {
    const { digest, ...name } = parseReference(image.reference);
    return { image, digest, name: formatReference({ ...name, tag: name.tag ?? "latest", digest: null }) };
  });
  const tags = new Set(named.flatMap(({ digest, name }) => (digest === null ? [name] : [])));
  return named.filter(({ digest, name }) => digest === null || !tags.has(name)).map(({ image }) => image);
}

function imageUri({ reference, platform, isLayout, isBlob }: ImageMaterial): string {
  const blob = isBlob ? ([["ref_type", "blob"]] as const) : [];
  return imagePurl(isLayout ? "oci" : "docker", reference, isBlob ? null : platform, blob);
}

function byReference(a: ImageMaterial, b: ImageMaterial): number {
  const key = ({ reference, platform }: ImageMaterial): string =>
    `${reference}\0${platform === null ? "" : formatPlatform(platform)}`;
  return key(a) < key(b) ? -1 : 1;
}

function byUrl(a: { readonly url: string }, b: { readonly url: string }): number {
  return a.url < b.url ? -1 : a.url > b.url ? 1 : 0;
}

function digestSet(digest: string): Readonly<Record<string, string>> {
  if (isDigest(digest)) return { sha256: hexOf(digest) };
  const colon = digest.indexOf(":");
  return { [digest.slice(0, colon)]: digest.slice(colon + 1) };
}

function commitDigest(commit: string): Readonly<Record<string, string>> {
  return { [commit.length === 64 ? "sha256" : "sha1"]: commit };
}

function configJson({ steps, digestMapping }: BuildConfig): Json {
  return { llbDefinition: steps, digestMapping };
}

/** Objects with their keys sorted at every depth: what encoding/json makes of a map that it has read itself. */
function deepSorted(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(deepSorted);
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(
    sortedEntries(value as Json).map(([name, one]): [string, unknown] => [name, deepSorted(one)]),
  );
}
