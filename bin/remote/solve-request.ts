// A BuildRequest as BuildKit's words: attributes of the Dockerfile frontend, exporters, caches and entitlements. The inverse is
// bin/daemon/build-request.ts.

import type { Annotation } from "../../exporters/annotations.ts";
import type { CacheForm } from "../../exporters/cache-export.ts";
import { provenanceFields, sbomFields } from "../../exporters/attestation/grammar.ts";
import type { ImageOptions, Output } from "../../exporters/output-grammar.ts";
import { BuildError } from "../../solver/graph/error.ts";
import { formatPlatform } from "../../solver/graph/op.ts";
import type { CacheFrom, CacheLocation, CacheTo } from "../engine/cache-location.ts";
import type { BuildRequest } from "../engine/request.ts";

export type Attributes = Readonly<Record<string, string>>;

export interface Entry {
  readonly Type: string;
  readonly Attrs: Attributes;
}

/** What a worker of tsbuildd understands beyond BuildKit's words; others ignore what they do not know. */
export const REPRODUCIBLE = "tsbuild.reproducible";
const REWRITE = "rewrite-timestamp";

/** BuildKit's words for what tsbuildd does by itself in a reproducible build. */
export function withRewrittenTimes({ Type, Attrs }: Entry): Entry {
  const isImage = ["image", "oci", "docker"].includes(Type);
  return { Type, Attrs: isImage ? { ...Attrs, [REWRITE]: "true" } : Attrs };
}

/** Attributes of all that is no directory, cache or output. */
export function frontendAttributes(request: BuildRequest): Attributes {
  const {
    target,
    buildArgs,
    labels,
    noCache,
    noCacheFilter,
    platforms,
    pull,
    network,
    extraHosts,
    shmSizeBytes,
    ulimits,
    cgroupParent,
    reproducible,
  } = request;
  const epoch = buildArgs.has("SOURCE_DATE_EPOCH") || !reproducible ? {} : { [`build-arg:${EPOCH}`]: "0" };
  return {
    ...(target === null ? {} : { target }),
    ...withPrefix("build-arg:", buildArgs),
    ...epoch,
    ...withPrefix("label:", labels),
    ...(noCache ? { "no-cache": "" } : {}),
    ...(noCacheFilter.length > 0 ? { "no-cache": noCacheFilter.join(",") } : {}),
    ...(platforms.length > 0 ? { platform: platforms.map(formatPlatform).join(",") } : {}),
    ...(pull ? { "image-resolve-mode": "pull" } : {}),
    ...(network === "default" ? {} : { "force-network-mode": network }),
    ...(extraHosts.length > 0
      ? { "add-hosts": extraHosts.map(({ host, ip }) => csvField(`${host}=${ip}`)).join(",") }
      : {}),
    ...(shmSizeBytes === null ? {} : { "shm-size": String(shmSizeBytes) }),
    ...(ulimits.length > 0
      ? { ulimit: ulimits.map(({ name, soft, hard }) => `${name}=${soft}:${hard}`).join(",") }
      : {}),
    ...(cgroupParent === "" ? {} : { "cgroup-parent": cgroupParent }),
    ...limitAttributes(request),
    ...(reproducible ? { [REPRODUCIBLE]: "true" } : {}),
    ...attestAttributes(request),
  };
}

function attestAttributes({ attestations }: BuildRequest): Attributes {
  const { provenance = null, sbom = null } = attestations ?? {};
  const list = (fields: readonly string[]): string => fields.map(csvField).join(",");
  return {
    ...(provenance === null ? {} : { "attest:provenance": list(provenanceFields(provenance)) }),
    ...(sbom === null ? {} : { "attest:sbom": list(sbomFields(sbom)) }),
  };
}
const EPOCH = "SOURCE_DATE_EPOCH";

/** dockerui, config.go. Limits of processes are none of BuildKit's. */
function limitAttributes({ limits }: BuildRequest): Attributes {
  if (limits === null) return {};
  const { memoryBytes, memorySwapBytes, cpuPeriodUs, cpuQuotaUs, cpuShares, cpusetCpus, cpusetMems } = limits;
  const all = {
    memory: memoryBytes,
    memswap: memorySwapBytes,
    cpuperiod: cpuPeriodUs,
    cpuquota: cpuQuotaUs,
    cpushares: cpuShares,
    cpusetcpus: cpusetCpus,
    cpusetmems: cpusetMems,
    "tsbuild.pids": limits.pids,
  };
  return Object.fromEntries(
    Object.entries(all).flatMap(([name, value]) => (value === null ? [] : [[name, String(value)]])),
  );
}

function withPrefix(prefix: string, values: ReadonlyMap<string, string>): Attributes {
  return Object.fromEntries([...values].map(([name, value]) => [`${prefix}${name}`, value]));
}

function csvField(text: string): string {
  return /[",\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

/** An output as an exporter of the builder; null: it has none to run. An image that is not pushed comes here, as an archive. */
export function exporterOf(output: Output, request: BuildRequest): Entry | null {
  switch (output.kind) {
    case "cacheonly":
      return null;
    case "files": {
      const { form, platformSplit, epochSeconds, attestationPrefix } = output;
      const Attrs = {
        ...(attestationPrefix === "" ? {} : { "attestation-prefix": attestationPrefix }),
        ...(platformSplit === null ? {} : { "platform-split": String(platformSplit) }),
        ...epochAttribute(epochSeconds),
      };
      return { Type: form === "tar" ? "tar" : "local", Attrs };
    }
    case "archive":
      return {
        Type: output.format,
        Attrs: { ...imageAttributes(output.image, request), ...(output.tar ? {} : { tar: "false" }) },
      };
    case "image": {
      if (!output.push) return { Type: "oci", Attrs: imageAttributes(output.image, request) };
      const { pushByDigest, insecure, nameCanonical, danglingNamePrefix, store } = output;
      return {
        Type: "image",
        Attrs: {
          ...imageAttributes(output.image, request),
          push: "true",
          ...(pushByDigest ? { "push-by-digest": "true" } : {}),
          ...(insecure ? { "registry.insecure": "true" } : {}),
          ...(nameCanonical ? { "name-canonical": "true" } : {}),
          ...(danglingNamePrefix === null ? {} : { "dangling-name-prefix": danglingNamePrefix }),
          ...(store ? {} : { store: "false" }),
        },
      };
    }
  }
}

function imageAttributes(image: ImageOptions, request: BuildRequest): Attributes {
  const name = request.tags.length > 0 ? request.tags.join(",") : image.writtenNames;
  if (image.attestations === "referrers") throw unsupported("attestations=referrers");
  return {
    ...(name === "" ? {} : { name }),
    ...(image.ociTypes ? {} : { "oci-mediatypes": "false" }),
    // An image for the store here comes as an archive, whose default is another one.
    ...(request.attestations === null ? {} : { "attestation-inline": String(image.attestationInline) }),
    ...(image.ociArtifact === null ? {} : { "oci-artifact": String(image.ociArtifact) }),
    ...(image.compressionChosen ? { compression: image.compression } : {}),
    ...(image.compressionLevel === null ? {} : { "compression-level": String(image.compressionLevel) }),
    ...(image.forceCompression ? { "force-compression": "true" } : {}),
    ...(image.rewriteTimestamp ? { [REWRITE]: "true" } : {}),
    ...epochAttribute(image.epochSeconds),
    ...Object.fromEntries([...image.annotations, ...request.annotations].map(annotationAttribute)),
  };
}

function epochAttribute(epoch: number | "none" | null): Attributes {
  return epoch === null ? {} : { "source-date-epoch": epoch === "none" ? "" : String(epoch) };
}

function annotationAttribute({ target, platform, key, value }: Annotation): [string, string] {
  const of = target === "manifest" ? "annotation" : `annotation-${target}`;
  return [`${of}${platform === null ? "" : `[${platform}]`}.${key}`, value];
}

/** A cache to be read; `digest`: what the tag of a directory stands for now. Throws USAGE for those only this machine can read. */
export function cacheImport({ at }: CacheFrom, digest: string | null): Entry {
  switch (at.kind) {
    case "registry":
      return { Type: "registry", Attrs: registryAttributes(at) };
    case "local":
      return { Type: "local", Attrs: { src: at.path, tag: at.tag, ...(digest === null ? {} : { digest }) } };
    case "client":
    case "s3":
    case "azblob":
    case "gha":
      throw unsupported(`--cache-from type=${at.kind}`);
  }
}

/** A cache to be written. Throws USAGE. */
export function cacheExport(to: CacheTo): Entry {
  if (to.kind === "inline") return { Type: "inline", Attrs: {} };
  if (to.mounts) throw unsupported("--cache-to with mounts=true");
  const { at, form, ignoreError } = to;
  const attributes = { ...formAttributes(form), ...(ignoreError ? { "ignore-error": "true" } : {}) };
  switch (at.kind) {
    case "registry":
      return { Type: "registry", Attrs: { ...registryAttributes(at), ...attributes } };
    case "local":
      return { Type: "local", Attrs: { dest: at.path, tag: at.tag, ...attributes } };
    case "client":
    case "s3":
    case "azblob":
    case "gha":
      throw unsupported(`--cache-to type=${at.kind}`);
  }
}

function registryAttributes({ ref, insecure }: Extract<CacheLocation, { kind: "registry" }>): Attributes {
  return { ref, ...(insecure ? { "registry.insecure": "true" } : {}) };
}

function formAttributes(form: CacheForm): Attributes {
  return {
    mode: form.mode,
    compression: form.compression,
    ...(form.compressionLevel === null ? {} : { "compression-level": String(form.compressionLevel) }),
    ...(form.forceCompression ? { "force-compression": "true" } : {}),
    "oci-mediatypes": String(form.ociTypes),
    "image-manifest": String(form.imageManifest),
  };
}

/** What was asked for and only a build on this machine does. */
export function unsupported(what: string, hint = "build without a builder for it"): BuildError {
  return new BuildError("USAGE", `${what} is not supported by builders elsewhere`, { hint });
}
