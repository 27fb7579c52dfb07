// The flags of tsbuildd, which are buildkitd's: those that mean something here, and those that are taken so that a command line for
// buildkitd works. https://github.com/moby/buildkit/blob/master/cmd/buildkitd

import type { CommandSpec, FlagSpec, ParsedFlags } from "../args.ts";

const HONOURED: readonly FlagSpec[] = [
  {
    name: "config",
    kind: "string",
    value: "file",
    help: "Configuration file, buildkitd.toml (default /etc/buildkit/buildkitd.toml, for users in ~/.config)",
  },
  {
    name: "addr",
    kind: "list",
    value: "address",
    help: "Listening address: unix://PATH, tcp://HOST:PORT, fd://[NAME] (may be repeated)",
  },
  {
    name: "group",
    kind: "string",
    value: "group",
    help: "Group, by name or number, that may use the sockets",
  },
  { name: "tlscert", kind: "string", value: "file", help: "Certificate of the server, for tcp:// addresses" },
  { name: "tlskey", kind: "string", value: "file", help: "Key of the certificate" },
  { name: "tlscacert", kind: "string", value: "file", help: "Authority of the clients' certificates" },
  {
    name: "allow-insecure-entitlement",
    kind: "list",
    value: "name",
    help: "Entitlement that builds may be granted: network.host, security.insecure, device (may be repeated)",
  },
  {
    name: "debugaddr",
    kind: "string",
    value: "address",
    help: "Serve metrics by HTTP under /metrics: unix://PATH, or HOST:PORT of the loopback interface",
  },
  {
    name: "drain-timeout",
    kind: "string",
    value: "time",
    initial: "8s",
    help: "How long builds that run at SIGTERM may go on",
  },
  { name: "log-format", kind: "string", value: "format", initial: "text", help: "text or json" },
  {
    name: "log-level",
    kind: "string",
    value: "level",
    initial: "info",
    help: "error, warn, info, debug or trace",
  },
  {
    name: "oci-max-parallelism",
    kind: "string",
    value: "number",
    help: "How many steps may run at one time, of all builds",
  },
  {
    name: "oci-worker-gc",
    kind: "bool",
    initial: "true",
    help: "Remove cache when the store is larger than it may be",
  },
  {
    name: "oci-worker-gc-keepstorage",
    kind: "string",
    value: "reserved[,free[,maximum]]",
    help: "What the removal of cache leaves, in MB",
  },
  {
    name: "oci-worker-labels",
    kind: "list",
    value: "name=value",
    help: "Label of this worker (may be repeated)",
  },
  {
    name: "oci-worker-net",
    kind: "string",
    value: "mode",
    initial: "auto",
    help: "Network of steps that do not ask for one: auto (their own), host or none",
  },
  {
    name: "oci-worker-platform",
    kind: "list",
    value: "platform",
    help: "Platform this worker announces, in place of this machine's (may be repeated)",
  },
  { name: "version", short: "v", kind: "bool", help: "Print the version" },
];

/** What a flag has to be given as to ask for nothing that tsbuildd would not do anyway. */
interface OtherFlag {
  readonly kind: FlagSpec["kind"];
  readonly moot?: RegExp;
}
const ANY = /^/;
const OFF = /^(?:false|auto|)$/;

/** Taken without effect. */
const OTHERS: Readonly<Record<string, OtherFlag>> = {
  "cdi-disabled": { kind: "bool", moot: /^true$/ },
  "cdi-spec-dir": { kind: "list" },
  "containerd-worker": { kind: "string", moot: OFF },
  "containerd-worker-addr": { kind: "string", moot: ANY },
  "containerd-worker-apparmor-profile": { kind: "string", moot: ANY },
  "containerd-worker-gc": { kind: "bool", moot: ANY },
  "containerd-worker-gc-keepstorage": { kind: "string", moot: ANY },
  "containerd-worker-labels": { kind: "list", moot: ANY },
  "containerd-worker-namespace": { kind: "string", moot: ANY },
  "containerd-worker-net": { kind: "string", moot: ANY },
  "containerd-worker-platform": { kind: "list", moot: ANY },
  "containerd-worker-rootless": { kind: "bool", moot: ANY },
  "containerd-worker-runtime": { kind: "string", moot: ANY },
  "containerd-worker-selinux": { kind: "bool", moot: ANY },
  "containerd-worker-snapshotter": { kind: "string", moot: ANY },
  "containerd-cni-binary-dir": { kind: "string", moot: ANY },
  "containerd-cni-config-path": { kind: "string", moot: ANY },
  "containerd-cni-pool-size": { kind: "string", moot: ANY },
  "containerd-max-parallelism": { kind: "string", moot: ANY },
  "oci-cni-binary-dir": { kind: "string" },
  "oci-cni-config-path": { kind: "string" },
  "oci-cni-pool-size": { kind: "string" },
  "oci-worker": { kind: "string", moot: /^(?:true|auto)$/ },
  "oci-worker-apparmor-profile": { kind: "string", moot: /^$/ },
  "oci-worker-binary": { kind: "string", moot: /^$/ },
  // Steps have process namespaces of their own in a container, too.
  "oci-worker-no-process-sandbox": { kind: "bool", moot: /^false$/ },
  "oci-worker-proxy-snapshotter-path": { kind: "string", moot: /^$/ },
  "oci-worker-rootless": { kind: "bool", moot: ANY },
  "oci-worker-selinux": { kind: "bool", moot: /^false$/ },
  "oci-worker-snapshotter": { kind: "string", moot: /^(?:auto|overlayfs|)$/ },
  "otel-socket-path": { kind: "string", moot: /^$/ },
  rootless: { kind: "bool", moot: ANY },
  "save-cache-debug": { kind: "bool", moot: /^false$/ },
};

export const DAEMON_FLAGS: CommandSpec = {
  program: "tsbuildd",
  name: "",
  usage: "[OPTIONS]",
  summary: "Serve builds to clients of BuildKit: docker buildx, docker/build-push-action, buildctl",
  positionals: { min: 0, max: 0 },
  flags: [
    ...HONOURED,
    { name: "trace", kind: "bool", help: "" },
    { name: "proxy-network", kind: "bool", help: "" },
    ...Object.entries(OTHERS).map(([name, { kind }]): FlagSpec => ({ name, kind, help: "" })),
  ],
};

/** Flags that were given and have no effect here. */
export function ignoredFlags(flags: ParsedFlags): string[] {
  return Object.entries(OTHERS).flatMap(([name, { moot }]) => {
    const isMoot = flags.all(name).every((value) => moot?.test(value) === true);
    return isMoot ? [] : [`--${name}`];
  });
}

/** Values of a flag that may be repeated, and may have several separated by commas, as buildkitd's may. */
export function listOf(flags: ParsedFlags, name: string): string[] {
  return flags
    .all(name)
    .flatMap((text) => text.split(","))
    .map((text) => text.trim())
    .filter((text) => text !== "");
}
