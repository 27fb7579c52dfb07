// [keeper] The bundle of one step: config.json, the files and the targets of its mounts on a tmpfs that is visible only in the
// runtime's mount namespace. It disappears with the runtime, and no secret touches a disk (threat model S1).

import { existsSync, readSync, writeSync } from "node:fs";
import { BuildError } from "../../solver/graph/error.ts";
import { launcherArch } from "../launcher/install.ts";
import { close, fchmod, fchownat, mkdirat, openat, openat2, statxOrNull } from "../sys/file.ts";
import { isSysError } from "../sys/libc.ts";
import { mountSetattr, openTree } from "../sys/mount.ts";
import { detachedTmpfs } from "./launcher-file.ts";
import { stepResolvConf } from "./network.ts";
import { OCI_ROOTFS, ociConfig, ociConfigText, type OciMount, type OciPlan } from "./oci-config.ts";
import { setupError } from "./outcome.ts";
import { processBoundOf } from "./process-bound.ts";
import { hostsFile, stepRlimits } from "./rootfs.ts";
import { isFileSource, type PreparedMount, type PreparedStep, type Step } from "./step.ts";
import { DEVICES, STEP_MOUNT_POINTS } from "./step-plan.ts";
import { makeTarget, resolveTarget } from "./targets.ts";
import { AT, MOUNT_ATTR, O, OPEN_TREE, RESOLVE } from "../sys/constants.ts";

export interface OciBundle {
  readonly fd: number; // detached mount
  /** Mounts the runtime's namespace is to have, by their names in the bundle. */
  readonly places: readonly { readonly fd: number; readonly name: string }[];
  /** Puts a file there, mode 0644. */
  write(name: string, data: Uint8Array): void;
  /** Text of a file the runtime wrote; null: not there. */
  read(name: string): string | null;
  /** A file with this content, as a read-only mount. */
  data(content: Extract<PreparedMount["source"], { kind: "data" }>, target: string): OciMount;
  /** Gives a detached mount a place; returns its path. */
  mount(fd: number, isFile: boolean): string;
  close(): void;
}

const CLOSED = ["nosuid", "nodev", "noexec"];

/** An empty bundle that will be seen at `dir`. `singleId`: for the message when an owner cannot be had. */
export function openBundle(dir: string, singleId: boolean): OciBundle {
  const fd = detachedTmpfs(MOUNT_ATTR.NOSUID | MOUNT_ATTR.NODEV);
  const places: { fd: number; name: string }[] = [];
  let count = 0;
  const create = (name: string, data: Uint8Array): number => {
    const file = openat(fd, name, O.WRONLY | O.CREAT | O.EXCL, 0o600);
    for (let at = 0; at < data.length; ) at += writeSync(file, data, at);
    return file;
  };
  mkdirat(fd, OCI_ROOTFS, 0o700);
  mkdirat(fd, STATE_DIR, 0o700);
  return {
    fd,
    places,
    write(name, data) {
      const file = create(name, data);
      fchmod(file, 0o644);
      close(file);
    },
    read(name) {
      if (statxOrNull(fd, name) === null) return null;
      const file = openat(fd, name, O.RDONLY);
      try {
        const buffer = Buffer.alloc(4096);
        return buffer.toString("utf8", 0, readSync(file, buffer));
      } finally {
        close(file);
      }
    },
    data(content, target) {
      const name = `file-${count++}`;
      const file = create(name, content.data);
      try {
        if (content.uid !== 0 || content.gid !== 0) {
          const what = `owner ${content.uid}:${content.gid} of ${target}`;
          orFailed({ call: "fchown", what }, singleId, () =>
            fchownat(file, "", content.uid, content.gid, AT.EMPTY_PATH),
          );
        }
        fchmod(file, content.mode);
      } finally {
        close(file);
      }
      return {
        destination: target,
        type: "bind",
        source: `${dir}/${name}`,
        options: ["bind", "ro", ...CLOSED],
      };
    },
    mount(source, isFile) {
      const name = `mount-${count++}`;
      if (isFile) close(openat(fd, name, O.WRONLY | O.CREAT | O.EXCL, 0o600));
      else mkdirat(fd, name, 0o700);
      places.push({ fd: source, name });
      return `${dir}/${name}`;
    },
    close: () => close(fd),
  };
}

/** Directory of the runtime's own state in the bundle. */
export const STATE_DIR = "state";

/** The step's mounts in a bundle, and their mount points in the root: a runtime would make missing ones itself, as paths. */
function bundleMounts(bundle: OciBundle, prepared: PreparedStep, singleId: boolean): OciMount[] {
  const { mounts, rootFd } = prepared;
  mounts.forEach(({ source, target }, index) => {
    if (target === "/proc" || target === "/sys" || /^\/(?:proc|sys)\//.test(target)) {
      // What is found there depends on the process that looks: /proc/self of the runtime is not the step's.
      throw new BuildError(
        "SANDBOX_UNAVAILABLE",
        `mounting ${target} failed: an OCI runtime cannot mount anything below /proc or /sys`,
      );
    }
    // In a mount that is made before, and in /dev, the place is the runtime's to make.
    const covered = ["/dev", ...mounts.slice(0, index).map((earlier) => earlier.target)];
    if (covered.some((above) => target === above || target.startsWith(`${above}/`))) return;
    placeFor(rootFd, target, isFileSource(source), singleId);
  });
  return mounts.map((mount) => ociMount(bundle, mount));
}

/** Makes one mount point. Throws SANDBOX_UNAVAILABLE. */
function placeFor(rootFd: number, target: string, isFile: boolean, singleId: boolean): void {
  orFailed({ call: "openat2", what: `opening the mount target ${target}` }, singleId, () =>
    makeTarget(rootFd, target, isFile),
  );
}

/** /proc, /sys and /dev must be directories of the image: where one is a link it is refused, not followed (P7). */
function placeForKernel(rootFd: number, singleId: boolean): void {
  for (const { path, isFile } of STEP_MOUNT_POINTS) {
    if (isFile) continue;
    orFailed(
      { call: "openat2", what: `mounting ${path} (is it a directory of the image?)` },
      singleId,
      () => {
        makeTarget(rootFd, path, false);
        close(
          openat2(rootFd, path, {
            flags: O.PATH | O.DIRECTORY | O.NOFOLLOW,
            resolve: RESOLVE.IN_ROOT | RESOLVE.NO_SYMLINKS,
          }),
        );
      },
    );
  }
}

/** A copy of the host's /sys that is read-only all the way down. */
function readonlySys(step: Step): number {
  const fd = openTree(AT.FDCWD, "/sys", OPEN_TREE.CLONE | AT.RECURSIVE);
  step.held.push(() => close(fd));
  mountSetattr(fd, "", AT.EMPTY_PATH | AT.RECURSIVE, {
    set: MOUNT_ATTR.RDONLY | MOUNT_ATTR.NOSUID | MOUNT_ATTR.NODEV | MOUNT_ATTR.NOEXEC,
  });
  return fd;
}

function ociMount(bundle: OciBundle, { source, target, readonly }: PreparedMount): OciMount {
  switch (source.kind) {
    case "data":
      return bundle.data(source, target);
    case "tmpfs":
      return {
        destination: target,
        type: "tmpfs",
        source: "tmpfs",
        options: [
          "nosuid",
          "nodev",
          "mode=1777",
          ...(source.sizeBytes === null ? [] : [`size=${source.sizeBytes}`]),
        ],
      };
    case "fd": {
      // All the way down, which a bind of the runtime is not.
      if (readonly) mountSetattr(source.fd, "", AT.EMPTY_PATH | AT.RECURSIVE, { set: MOUNT_ATTR.RDONLY });
      return {
        destination: target,
        type: "bind",
        source: bundle.mount(source.fd, source.isFile),
        options: ["rbind", ...(readonly ? ["ro"] : [])],
      };
    }
  }
}

function orFailed(record: { call: string; what: string }, singleId: boolean, act: () => void): void {
  try {
    act();
  } catch (error) {
    if (!isSysError(error)) throw error;
    throw setupError(record, error.errnum, singleId);
  }
}

/** Writes config.json: all of the step but its output and input. `console`: the terminal as a detached mount. */
export function writeConfig(
  bundle: OciBundle,
  step: Step,
  prepared: PreparedStep,
  entry: Pick<OciPlan, "args" | "env"> & {
    readonly console: number | null;
    readonly deviceMounts: boolean;
  },
): void {
  const { job } = step;
  const { singleId } = step.options;
  const { network, rootFd, user } = prepared;
  placeForKernel(rootFd, singleId);
  const [resolvConf = "/etc/resolv.conf", hosts = "/etc/hosts"] = prepared.fileTargets.map(
    ({ path }) => path,
  );
  const texts = [
    [resolvConf, network === null ? job.resolvConf : stepResolvConf(job.resolvConf, network.resolver)],
    [hosts, hostsFile(job.hostname, job.extraHosts)],
  ] as const;
  const own = texts.map(([target, text]) => {
    placeFor(rootFd, target, true, singleId);
    return bundle.data({ kind: "data", data: Buffer.from(text), uid: 0, gid: 0, mode: 0o644 }, target);
  });
  const mounts = [...own, ...bundleMounts(bundle, prepared, singleId)];
  const config = ociConfig({
    arch: launcherArch(),
    args: entry.args,
    env: entry.env,
    cwd: workingDirectory(step, prepared),
    user,
    hostname: job.hostname,
    rootReadonly: job.rootfs.readonly,
    network:
      network !== null
        ? { kind: "join", path: network.path }
        : { kind: job.network === "none" ? "none" : "host" },
    hostSys: network === null && job.network !== "none" ? bundle.mount(readonlySys(step), false) : "",
    mounts,
    console: entry.console === null ? null : bundle.mount(entry.console, true),
    devices: entry.deviceMounts
      ? DEVICES.map((name) => `/dev/${name}`).filter((path) => existsSync(path))
      : [],
    maskedDirs: step.maskedDirs,
    rlimits: stepRlimits(job.rlimits, processBoundOf(job.processes)),
    insecure: job.security === "insecure",
    singleId,
  });
  bundle.write("config.json", Buffer.from(ociConfigText(config)));
}

/** The working directory, made when it is missing. Below /proc it would be the runtime's own (CVE-2024-21626). */
function workingDirectory(step: Step, { mounts, rootFd }: PreparedStep): string {
  const cwd = resolveTarget(rootFd, step.job.cwd);
  if (cwd.startsWith("/proc/")) {
    throw new BuildError(
      "SANDBOX_UNAVAILABLE",
      `entering the working directory ${step.job.cwd} failed: an OCI runtime cannot use a working directory below /proc`,
    );
  }
  const covered = ["/proc", "/sys", "/dev", ...mounts.map(({ target }) => target)];
  if (!covered.some((above) => cwd === above || cwd.startsWith(`${above}/`)))
    placeFor(rootFd, cwd, false, step.options.singleId);
  return cwd;
}
