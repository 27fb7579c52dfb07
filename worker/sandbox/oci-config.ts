// A step as config.json of an OCI bundle: the same namespaces, mounts, masks, limits and privileges as in the built-in sandbox.
// runtime-spec 1.0.2, config.md and config-linux.md.

import type { LauncherArch } from "../launcher/elf.ts";
import { CAPABILITY_NAMES, DEFAULT_CAPABILITIES } from "./capabilities.ts";
import { type OciSeccomp, ociSeccomp } from "./oci-seccomp.ts";
import { MASKED_DIRS, MASKED_FILES, MASKED_HOST_DIRS, READONLY_PATHS } from "./step-plan.ts";

/** One mount of the bundle. Sources are paths below the bundle, where the step's mounts have been placed. */
export interface OciMount {
  readonly destination: string;
  readonly type: string;
  readonly source: string;
  readonly options: readonly string[];
}

export interface OciPlan {
  readonly arch: LauncherArch;
  readonly args: readonly string[];
  readonly env: readonly string[];
  readonly cwd: string;
  readonly user: { readonly uid: number; readonly gid: number; readonly groups: readonly number[] };
  readonly hostname: string;
  readonly rootReadonly: boolean;
  readonly network: { readonly kind: "none" | "host" } | { readonly kind: "join"; readonly path: string };
  /** A copy of the host's /sys, for steps on its network. */
  readonly hostSys: string;
  /** hosts, resolv.conf and the step's own, in the order they are made. */
  readonly mounts: readonly OciMount[];
  /** The terminal as a file of the bundle; null: the step has none. */
  readonly console: string | null;
  /** Device nodes of the host to be mounted, for a runtime that cannot find a way itself; read-only as files. */
  readonly devices: readonly string[];
  readonly maskedDirs: readonly string[];
  readonly rlimits: readonly { readonly name: string; readonly soft: bigint; readonly hard: bigint }[];
  readonly insecure: boolean;
  /** setgroups is refused and there is one id only. */
  readonly singleId: boolean;
}

interface CapabilitySets {
  readonly bounding: readonly string[];
  readonly effective: readonly string[];
  readonly permitted: readonly string[];
  readonly inheritable: readonly string[];
  readonly ambient: readonly string[];
}

/** The parts of runtime-spec's config that are used here. */
export interface OciConfig {
  readonly ociVersion: string;
  readonly process: {
    readonly terminal: boolean;
    readonly user: {
      readonly uid: number;
      readonly gid: number;
      readonly umask: number;
      readonly additionalGids?: readonly number[];
    };
    readonly args: readonly string[];
    readonly env: readonly string[];
    readonly cwd: string;
    readonly capabilities: CapabilitySets;
    readonly rlimits: readonly { readonly type: string; readonly soft: bigint; readonly hard: bigint }[];
    readonly noNewPrivileges: boolean;
  };
  readonly root: { readonly path: string; readonly readonly: boolean };
  readonly hostname: string;
  readonly mounts: readonly OciMount[];
  readonly linux: {
    readonly namespaces: readonly { readonly type: string; readonly path?: string }[];
    readonly maskedPaths: readonly string[];
    readonly readonlyPaths: readonly string[];
    readonly seccomp?: OciSeccomp;
  };
}

/** Directory of the root file system in the bundle. */
export const OCI_ROOTFS = "rootfs";

export function ociConfig(plan: OciPlan): OciConfig {
  const { insecure, network, user } = plan;
  return {
    ociVersion: "1.0.2",
    process: {
      terminal: false, // the step's own terminal comes as a descriptor, see oci-program.ts
      user: {
        uid: user.uid,
        gid: user.gid,
        umask: 0o022,
        ...(plan.singleId ? {} : { additionalGids: user.groups }),
      },
      args: plan.args,
      env: plan.env,
      cwd: plan.cwd,
      capabilities: capabilitySets(user.uid, insecure),
      rlimits: plan.rlimits.map(({ name, soft, hard }) => ({
        type: `RLIMIT_${name.toUpperCase()}`,
        soft,
        hard,
      })),
      noNewPrivileges: false, // setuid programs work as in an image; so the filter is installed with CAP_SYS_ADMIN
    },
    root: { path: OCI_ROOTFS, readonly: plan.rootReadonly },
    hostname: plan.hostname,
    mounts: [...kernelMounts(plan), ...plan.mounts],
    linux: {
      namespaces: [
        { type: "mount" },
        { type: "pid" },
        { type: "ipc" },
        { type: "uts" },
        { type: "cgroup" },
        ...(network.kind === "host"
          ? [] // no entry: the one the runtime is in
          : [{ type: "network", ...(network.kind === "join" ? { path: network.path } : {}) }]),
      ],
      maskedPaths: insecure
        ? []
        : [
            ...MASKED_FILES,
            ...MASKED_DIRS,
            ...plan.maskedDirs,
            ...(network.kind === "host" ? MASKED_HOST_DIRS : []),
          ],
      readonlyPaths: insecure ? [] : READONLY_PATHS,
      ...(insecure ? {} : { seccomp: ociSeccomp(plan.arch) }),
    },
  };
}

/** The config as JSON. Limits are 64 bits, which a number of JavaScript does not hold. */
export function ociConfigText(config: OciConfig): string {
  const numbers: string[] = [];
  const text = JSON.stringify(config, (_key, value: unknown) => {
    if (typeof value !== "bigint") return value;
    numbers.push(String(value));
    return { $number: numbers.length - 1 };
  });
  // No string of the config has quotes that are not escaped, so this finds only what stands for a number.
  return text.replace(/\{"\$number":(\d+)\}/g, (_whole, index: string) => numbers[Number(index)] ?? "0");
}

function capabilitySets(uid: number, insecure: boolean): CapabilitySets {
  const names = insecure
    ? CAPABILITY_NAMES
    : DEFAULT_CAPABILITIES.map((number) => CAPABILITY_NAMES[number] ?? "");
  const bounding = names.map((name) => `CAP_${name}`);
  // As execve would leave it: root has what is bounding, everybody else nothing, and nothing is inherited (E3).
  const held = uid === 0 ? bounding : [];
  return { bounding, effective: held, permitted: held, inheritable: [], ambient: [] };
}

/** /proc, /sys and /dev with what belongs below them. runtime-spec config-linux.md, "Default Filesystems". */
function kernelMounts(plan: OciPlan): OciMount[] {
  const closed = ["nosuid", "noexec", "nodev"];
  const { insecure, network } = plan;
  return [
    { destination: "/proc", type: "proc", source: "proc", options: closed },
    network.kind === "host"
      ? // A sysfs of its own needs a network namespace of its own: the host's is shown read-only.
        { destination: "/sys", type: "bind", source: plan.hostSys, options: ["rbind", "ro", ...closed] }
      : {
          destination: "/sys",
          type: "sysfs",
          source: "sysfs",
          options: insecure ? closed : [...closed, "ro"],
        },
    {
      destination: "/sys/fs/cgroup",
      type: "tmpfs",
      source: "tmpfs",
      options: [...closed, "ro", "mode=755", "size=0"],
    },
    {
      destination: "/dev",
      type: "tmpfs",
      source: "tmpfs",
      options: ["nosuid", "strictatime", "mode=755", "size=65536k"],
    },
    {
      destination: "/dev/pts",
      type: "devpts",
      source: "devpts",
      options: [
        "nosuid",
        "noexec",
        "newinstance",
        "ptmxmode=0666",
        "mode=0620",
        ...(plan.singleId ? [] : ["gid=5"]), // group 5 has no number outside
      ],
    },
    {
      destination: "/dev/shm",
      type: "tmpfs",
      source: "shm",
      options: [...closed, "mode=1777", "size=65536k"],
    },
    { destination: "/dev/mqueue", type: "mqueue", source: "mqueue", options: closed },
    ...plan.devices.map((path) => ({
      destination: path,
      type: "bind",
      source: path,
      options: ["bind", "ro", "nosuid", "noexec"],
    })),
    ...(plan.console === null
      ? []
      : [{ destination: "/dev/console", type: "bind", source: plan.console, options: ["bind"] }]),
  ];
}
