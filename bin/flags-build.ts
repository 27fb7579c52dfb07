// The flags of `tsbuild build`, with the names and meaning of `docker buildx build`.

import type { CommandFlags, FlagSpec } from "./args.ts";
import { progressFlag } from "./flags-common.ts";
import { BUILDER_TLS_FLAGS } from "./flags-builder.ts";
import { LIMIT_FLAGS } from "./flags-limits.ts";
import { RUNTIME_FLAGS } from "./flags-runtime.ts";
import { REGISTRY_FLAGS, REGISTRY_FLAGS_OF_PODMAN } from "./flags-registry.ts";

/** Flags of docker's first builder, which buildx takes, does not list, and does nothing with. `changes`: who gives it
 *  expects another result, and is told. */
export const FLAGS_WITHOUT_EFFECT: readonly (FlagSpec & { readonly changes: boolean })[] = [
  { name: "compress", kind: "bool", help: "", changes: false },
  { name: "disable-content-trust", kind: "bool", help: "", changes: false },
  { name: "force-rm", kind: "bool", help: "", changes: false },
  { name: "isolation", kind: "string", help: "", changes: true },
  { name: "rm", kind: "bool", help: "", changes: false },
  { name: "security-opt", kind: "list", help: "", changes: true },
  { name: "squash", kind: "bool", help: "", changes: true },
];

const COMPRESSION = "use -o type=registry,name=NAME,compression=… (docs/compression.md)";
const EPOCH = "use --build-arg SOURCE_DATE_EPOCH=SECONDS, and rewrite-timestamp=true in -o";
const BIND = "use --build-context NAME=DIR and RUN --mount=type=bind,from=NAME";
const SBOM = "use --sbom=true or --sbom=generator=IMAGE (docs/sbom.md)";
/** Flags of podman and buildah, and attributes of outputs that are taken for flags. */
const OF_OTHERS = {
  ...REGISTRY_FLAGS_OF_PODMAN,
  compression: COMPRESSION,
  "compression-format": COMPRESSION,
  "compression-level": COMPRESSION,
  "force-compression": COMPRESSION,
  attestations: "use -o type=registry,name=NAME,attestations=referrers (docs/attestations.md)",
  "rewrite-timestamp": "use -o type=registry,name=NAME,rewrite-timestamp=true, or --reproducible",
  timestamp: EPOCH,
  "source-date-epoch": EPOCH,
  format: "images are OCI's; for Docker's media types use oci-mediatypes=false in -o",
  layers: "leave it out: steps are cached unless --no-cache is given",
  "sbom-scanner-image": SBOM,
  "sbom-output": SBOM,
  "sbom-image-output": SBOM,
  "sign-by": "use --sign key=FILE (docs/signing.md)",
  v: BIND,
  volume: BIND,
  manifest: "use --platform with all platforms, or 'tsbuild imagetools create' after the builds",
  "all-platforms": "name them: --platform linux/amd64,linux/arm64",
};

export const BUILD_FLAGS: CommandFlags = {
  usage: "[OPTIONS] PATH | URL | -",
  positionals: { min: 1, max: 1 },
  elsewhere: OF_OTHERS,
  flags: [
    ...REGISTRY_FLAGS,
    ...BUILDER_TLS_FLAGS,
    {
      name: "add-host",
      kind: "list",
      value: "strings",
      help: 'Add a host to /etc/hosts of RUN (format: "host:ip")',
    },
    {
      name: "allow",
      kind: "list",
      help: 'Grant an entitlement ("network.host", "security.insecure", "device")',
    },
    {
      name: "allow-frontend",
      kind: "optional",
      value: "NAME,...",
      help: "Run frontends in images (# syntax=): of these repositories, or of any",
    },
    { name: "annotation", kind: "list", help: "Add an annotation to the image (format: [TYPE:]KEY=VALUE)" },
    {
      name: "attest",
      kind: "list",
      help: 'Attestations (format: "type=provenance,mode=max,version=v1|v0.2")',
    },
    {
      name: "build-arg",
      kind: "list",
      help: "Set a build argument (KEY=VALUE, or KEY from the environment)",
    },
    {
      name: "build-arg-file",
      kind: "list",
      help: "Read build arguments from a file (KEY=VALUE lines; --build-arg wins)",
    },
    { name: "build-context", kind: "list", help: "Additional build contexts (e.g., name=path)" },
    {
      name: "builder",
      kind: "string",
      help: "Build elsewhere: address or name ('tsbuild builder'; $TSBUILD_HOST)",
    },
    {
      name: "cache-from",
      kind: "list",
      help: 'Cache sources: registry, local, s3, azblob, gha (e.g., "type=local,src=path")',
    },
    {
      name: "cache-to",
      kind: "list",
      help: 'Caches written: registry, inline, local, s3, azblob, gha ("type=local,dest=dir")',
    },
    {
      name: "call",
      kind: "string",
      initial: '"build"',
      help: 'What to do with the Dockerfile ("check", "outline", "targets")',
    },
    { name: "check", kind: "bool", help: 'Shorthand for "--call=check"' },
    {
      name: "explain",
      kind: "bool",
      help: "Explain for each step that ran what changed since the last build",
    },
    {
      name: "context-mode",
      kind: "string",
      help: 'Modes of context files: "git" makes them 755 or 644 on every machine',
    },
    { name: "file", short: "f", kind: "string", help: 'Name of the Dockerfile (default: "PATH/Dockerfile")' },
    { name: "iidfile", kind: "string", help: "Write the image ID to a file" },
    { name: "label", kind: "list", help: "Set metadata for an image" },
    {
      name: "lock",
      kind: "optional",
      value: "FILE",
      help: "Use the digests of a lock file, add what is new (default: tsbuild.lock)",
    },
    {
      name: "locked",
      kind: "optional",
      value: "FILE",
      help: "Use the digests of a lock file, and fail on what is not in it",
    },
    { name: "load", kind: "bool", help: 'Shorthand for "--output=type=docker"' },
    {
      name: "max-storage",
      kind: "string",
      help: 'Size the store may have ("20GB", "10%"); default $TSBUILD_MAX_STORAGE, else 10%',
    },
    { name: "metadata-file", kind: "string", help: "Write build result metadata to a file" },
    {
      name: "network",
      kind: "string",
      initial: '"default"',
      help: 'Network of RUN instructions ("default", "host", "none")',
    },
    { name: "no-cache", kind: "bool", help: "Do not use cache when building the image" },
    { name: "no-cache-filter", kind: "list", help: "Do not cache specified stages" },
    { name: "output", short: "o", kind: "list", help: 'Output destination (format: "type=local,dest=path")' },
    { name: "platform", kind: "list", help: "Set target platform for build" },
    progressFlag("auto"),
    { name: "provenance", kind: "string", help: 'Shorthand for "--attest=type=provenance"' },
    { name: "pull", kind: "bool", help: "Always ask the registry for a newer version of base images" },
    { name: "push", kind: "bool", help: 'Shorthand for "--output=type=registry"' },
    {
      name: "quiet",
      short: "q",
      kind: "bool",
      help: "Suppress the build output and print image ID on success",
    },
    {
      name: "reproducible",
      kind: "bool",
      help: "Clamp all timestamps (SOURCE_DATE_EPOCH, else 0): same inputs, same image",
    },
    {
      name: "sbom",
      kind: "string",
      help: 'SBOM attestation: "true" (built-in scanner), "generator=IMAGE", "false"',
    },
    {
      name: "secret",
      kind: "list",
      help: 'Secret to expose to RUN (format: "id=mysecret[,src=/local/secret|,env=NAME]")',
    },
    { name: "shm-size", kind: "string", value: "bytes", help: 'Size of "/dev/shm" in RUN' },
    {
      name: "sign",
      kind: "list",
      value: "key=FILE,...",
      help: 'Sign what is pushed or written (format: "key=cosign.key[,attestations=true]")',
    },
    {
      name: "signature-policy",
      kind: "string",
      value: "file",
      help: "Base images have to satisfy this policy (policy.json of podman and skopeo)",
    },
    {
      name: "source-policy",
      kind: "list",
      value: "FILE",
      help: "Rules about what the build may fetch (JSON as of BuildKit)",
    },
    // as buildctl has it
    { name: "source-policy-file", kind: "list", help: "" },
    {
      name: "ssh",
      kind: "list",
      help: 'SSH agent socket or keys to expose ("default|<id>[=<socket>|<key>,...]")',
    },
    { name: "tag", short: "t", kind: "list", help: 'Name and optionally a tag (format: "name:tag")' },
    { name: "target", kind: "string", help: "Set the target build stage to build" },
    { name: "ulimit", kind: "list", value: "ulimit", help: "Ulimit options" },
    ...LIMIT_FLAGS,
    ...RUNTIME_FLAGS,
    ...FLAGS_WITHOUT_EFFECT,
  ],
};
