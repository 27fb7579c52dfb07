// The part of a step's program that makes its root: /proc, /sys and devices, its files and mounts, and what is hidden of them.

import type { Program } from "../launcher/program.ts";
import { STEP_FD } from "../launcher/step-fd.ts";
import { AT, MOUNT_ATTR, MOVE_MOUNT, O, OPEN_TREE, RESOLVE, S, UMOUNT } from "../sys/constants.ts";
import { attributes, newMount, setAttributes, words } from "./mount-calls.ts";
import { writePidMax } from "./process-bound.ts";
import {
  DEVICES,
  MASKED_DIRS,
  MASKED_FILES,
  MASKED_HOST_DIRS,
  READONLY_PATHS,
  type StepMount,
  type StepPlan,
} from "./step-plan.ts";

/** Where mounts that are only cloned are placed for that time. */
const ASIDE = { files: ".files", masks: ".masks" } as const;

/** From the host's root, in the step's namespaces, to its own with all that is mounted in it, limits and working directory. */
export function makeRoot(program: Program, plan: StepPlan): void {
  const fds = openKernelMounts(program, plan);
  enterRoot(program, plan);
  placeKernelMounts(program, plan, fds);
  newMount(program, STEP_FD.files, {
    type: "tmpfs",
    options: [["mode", "0700"]],
    attributeBits: MOUNT_ATTR.NOSUID | MOUNT_ATTR.NODEV,
    what: "files of the step",
  });
  placeAside(program, STEP_FD.files, ASIDE.files);
  placeData(program, 0, plan.resolvConf.text, plan.resolvConf.path);
  placeData(program, 1, plan.hosts.text, plan.hosts.path);
  plan.mounts.forEach((mount, index) => placeMount(program, mount, index + 2));
  writePidMax(program, STEP_FD.pidMax, plan.processes);
  if (!plan.insecure) protectKernelFiles(program, plan);
  takeAway(program, STEP_FD.files, ASIDE.files);
  finishRoot(program, plan);
}

interface KernelMounts {
  readonly proc: number;
  readonly sys: number;
  readonly devices: readonly { readonly name: string; readonly fd: number }[];
}

/** Makes /proc, /sys and the device nodes as detached mounts while the host's are still visible: the kernel allows new
 *  proc and sysfs mounts only to who can see a whole one (mount_too_revealing in fs/namespace.c). */
function openKernelMounts(program: Program, plan: StepPlan): KernelMounts {
  const { proc, sys } = STEP_FD;
  const closed = MOUNT_ATTR.NOSUID | MOUNT_ATTR.NODEV | MOUNT_ATTR.NOEXEC;
  newMount(program, proc, { type: "proc", attributeBits: closed, what: "/proc" });
  if (plan.network.kind === "host") {
    // A sysfs of its own needs a network namespace of its own: the host's is shown read-only.
    program.open(sys, "open_tree", [AT.FDCWD, "/sys", OPEN_TREE.CLONE | AT.RECURSIVE], {
      what: "/sys",
    });
  } else {
    newMount(program, sys, { type: "sysfs", attributeBits: closed, what: "/sys" });
  }
  if (!plan.insecure || plan.network.kind === "host") {
    setAttributes(program, sys, MOUNT_ATTR.RDONLY | closed, plan.network.kind === "host");
  }
  const devices = DEVICES.map((name, index) => {
    const fd = STEP_FD.devices + index;
    const absent = program.label();
    program.open(fd, "open_tree", [AT.FDCWD, `/dev/${name}`, OPEN_TREE.CLONE], {
      what: `/dev/${name}`,
      ...(name === "null" ? {} : { onError: absent }),
    });
    // Reading and writing a device needs no writable mount, changing its mode or owner does: root's node is the host's.
    setAttributes(program, fd, MOUNT_ATTR.RDONLY | MOUNT_ATTR.NOSUID | MOUNT_ATTR.NOEXEC, false);
    program.here(absent);
    return { name, fd };
  });
  return { proc, sys, devices };
}

function enterRoot(program: Program, plan: StepPlan): void {
  program.call("move_mount", [plan.rootFd, "", AT.FDCWD, plan.scratchDir, MOVE_MOUNT.F_EMPTY_PATH], {
    what: "attaching the root file system",
  });
  program.call("fchdir", [plan.rootFd], { what: "entering the root file system" });
  program.call("pivot_root", [".", "."], { what: "switching to the root file system" });
  program.call("umount2", [".", UMOUNT.DETACH], { what: "detaching the host's file system" });
  program.call("chdir", ["/"]);
}

function placeKernelMounts(program: Program, plan: StepPlan, fds: KernelMounts): void {
  program.call("mkdirat", [AT.FDCWD, "/proc", 0o755], { onError: "ignore" });
  program.call("mkdirat", [AT.FDCWD, "/sys", 0o755], { onError: "ignore" });
  program.call("mkdirat", [AT.FDCWD, "/dev", 0o755], { onError: "ignore" });
  // Without T_SYMLINKS: an image whose /proc is a link is refused, not followed.
  program.call("move_mount", [fds.proc, "", AT.FDCWD, "/proc", MOVE_MOUNT.F_EMPTY_PATH], {
    what: "mounting /proc (is it a directory of the image?)",
  });
  program.call("move_mount", [fds.sys, "", AT.FDCWD, "/sys", MOVE_MOUNT.F_EMPTY_PATH], {
    what: "mounting /sys (is it a directory of the image?)",
  });
  placeCgroup(program);
  const { dev, pts, shm, mqueue } = STEP_FD;
  newMount(program, dev, {
    type: "tmpfs",
    options: [
      ["mode", "0755"],
      ["size", "65536k"],
    ],
    attributeBits: MOUNT_ATTR.NOSUID,
    what: "/dev",
  });
  for (const device of fds.devices) {
    program.call("mknodat", [dev, device.name, S.IFREG | 0o666, 0]);
  }
  for (const dir of ["pts", "shm", "mqueue"]) program.call("mkdirat", [dev, dir, 0o755]);
  for (const [name, target] of [
    ["fd", "/proc/self/fd"],
    ["stdin", "/proc/self/fd/0"],
    ["stdout", "/proc/self/fd/1"],
    ["stderr", "/proc/self/fd/2"],
    ["ptmx", "pts/ptmx"],
    ["core", "/proc/kcore"],
  ] as const) {
    program.call("symlinkat", [target, dev, name]);
  }
  if (plan.consoleFd !== null) program.call("mknodat", [dev, "console", S.IFREG | 0o620, 0]);
  program.call("move_mount", [dev, "", AT.FDCWD, "/dev", MOVE_MOUNT.F_EMPTY_PATH], {
    what: "mounting /dev (is it a directory of the image?)",
  });
  for (const device of fds.devices) {
    const absent = program.label();
    const placed = program.label();
    program.call("move_mount", [device.fd, "", AT.FDCWD, `/dev/${device.name}`, MOVE_MOUNT.F_EMPTY_PATH], {
      what: `/dev/${device.name}`,
      next: placed,
      onError: absent,
    });
    program.here(absent); // the host has no such device: an ordinary file in its place would mislead
    program.call("unlinkat", [AT.FDCWD, `/dev/${device.name}`, 0], { onError: "ignore" });
    program.here(placed);
  }
  newMount(program, pts, {
    type: "devpts",
    options: [
      ["ptmxmode", "0666"],
      ["mode", "0620"],
      // Group 5 may have no number outside. Some kernels say so here, older ones fail the mount.
      ...(plan.singleId ? [] : [["gid", "5"] as const]),
    ],
    attributeBits: MOUNT_ATTR.NOSUID | MOUNT_ATTR.NOEXEC,
    what: "/dev/pts",
    ignored: ["gid"],
  });
  program.call("move_mount", [pts, "", AT.FDCWD, "/dev/pts", MOVE_MOUNT.F_EMPTY_PATH]);
  const closed = MOUNT_ATTR.NOSUID | MOUNT_ATTR.NODEV | MOUNT_ATTR.NOEXEC;
  newMount(program, shm, {
    type: "tmpfs",
    options: [
      ["mode", "1777"],
      ["size", "65536k"],
    ],
    attributeBits: closed,
    what: "/dev/shm",
  });
  program.call("move_mount", [shm, "", AT.FDCWD, "/dev/shm", MOVE_MOUNT.F_EMPTY_PATH]);
  const noQueues = program.label(); // a kernel may be built without
  newMount(program, mqueue, {
    type: "mqueue",
    attributeBits: closed,
    what: "/dev/mqueue",
    onError: noQueues,
  });
  program.call("move_mount", [mqueue, "", AT.FDCWD, "/dev/mqueue", MOVE_MOUNT.F_EMPTY_PATH]);
  program.here(noQueues);
  if (plan.consoleFd !== null) {
    program.call("move_mount", [plan.consoleFd, "", AT.FDCWD, "/dev/console", MOVE_MOUNT.F_EMPTY_PATH], {
      what: "/dev/console",
    });
  }
}

/** /sys/fs/cgroup of the step's own cgroup namespace, read-only; empty where that cannot be mounted. */
function placeCgroup(program: Program): void {
  const fd = STEP_FD.cgroup;
  const path = "/sys/fs/cgroup";
  const attributeBits = MOUNT_ATTR.RDONLY | MOUNT_ATTR.NOSUID | MOUNT_ATTR.NODEV | MOUNT_ATTR.NOEXEC;
  const refused = program.label();
  const made = program.label();
  const absent = program.label();
  newMount(program, fd, { type: "cgroup2", attributeBits, what: path, onError: refused });
  program.call("move_mount", [fd, "", AT.FDCWD, path, MOVE_MOUNT.F_EMPTY_PATH], {
    next: made,
    onError: absent,
  });
  program.here(refused);
  newMount(program, fd, { type: "tmpfs", options: [["mode", "0755"]], attributeBits, what: path });
  program.call("move_mount", [fd, "", AT.FDCWD, path, MOVE_MOUNT.F_EMPTY_PATH], { onError: absent });
  program.here(absent);
  program.here(made);
}

/** A file on the step's private tmpfs, bound read-only to its place. */
function placeData(program: Program, index: number, text: string, target: string): void {
  placeMount(
    program,
    {
      target,
      readonly: true,
      source: { kind: "data", data: new TextEncoder().encode(text), uid: 0, gid: 0, mode: 0o644 },
    },
    index,
  );
}

/** `index`: another for each mount of the step; names its file, if it has one. */
function placeMount(program: Program, mount: StepMount, index: number): void {
  const { source, target } = mount;
  const { files, file, mount: fd, target: at } = STEP_FD;
  const isFile = source.kind === "data" || (source.kind === "fd" && source.isFile);
  makeTarget(program, target, isFile);
  const place = (from: number): void => {
    // Found and used as one descriptor; links of the image are followed inside the root, those of /proc are not (P1, P2).
    const how = words(BigInt(O.PATH), 0n, BigInt(RESOLVE.IN_ROOT | RESOLVE.NO_MAGICLINKS));
    program.open(at, "openat2", [AT.FDCWD, target, how, how.length], {
      what: `opening the mount target ${target}`,
    });
    program.call("move_mount", [from, "", at, "", MOVE_MOUNT.F_EMPTY_PATH | MOVE_MOUNT.T_EMPTY_PATH], {
      what: `mounting ${target}`,
    });
  };
  switch (source.kind) {
    case "fd":
      if (mount.readonly) setAttributes(program, source.fd, MOUNT_ATTR.RDONLY, true);
      place(source.fd);
      return;
    case "tmpfs":
      newMount(program, fd, {
        type: "tmpfs",
        options: [
          ["mode", "1777"],
          ...(source.sizeBytes === null ? [] : [["size", String(source.sizeBytes)] as const]),
        ],
        attributeBits: MOUNT_ATTR.NOSUID | MOUNT_ATTR.NODEV | (mount.readonly ? MOUNT_ATTR.RDONLY : 0),
        what: target,
      });
      place(fd);
      return;
    case "data": {
      const name = `f${index}`;
      program.open(file, "openat", [files, name, O.RDWR | O.CREAT | O.EXCL, 0o600], {
        what: target,
      });
      if (source.data.length > 0)
        program.call("write", [file, source.data, source.data.length], { what: target });
      if (source.uid !== 0 || source.gid !== 0) {
        program.call("fchown", [file, source.uid, source.gid], {
          what: `owner ${source.uid}:${source.gid} of ${target}`,
        });
      }
      program.call("fchmod", [file, source.mode]);
      program.call("close", [file]);
      program.open(fd, "open_tree", [files, name, OPEN_TREE.CLONE], { what: target });
      if (mount.readonly)
        setAttributes(
          program,
          fd,
          MOUNT_ATTR.RDONLY | MOUNT_ATTR.NOSUID | MOUNT_ATTR.NODEV | MOUNT_ATTR.NOEXEC,
          false,
        );
      place(fd);
      return;
    }
  }
}

/** Directories down to the target and the target itself, where they are missing. */
function makeTarget(program: Program, target: string, isFile: boolean): void {
  const parts = target.split("/").filter((part) => part !== "");
  let path = "";
  parts.forEach((part, index) => {
    path += `/${part}`;
    if (isFile && index === parts.length - 1)
      program.call("mknodat", [AT.FDCWD, path, S.IFREG | 0o644, 0], { onError: "ignore" });
    else program.call("mkdirat", [AT.FDCWD, path, 0o755], { onError: "ignore" });
  });
}

function protectKernelFiles(program: Program, plan: StepPlan): void {
  const { mask: fd, empty } = STEP_FD;
  for (const path of READONLY_PATHS) {
    const absent = program.label();
    program.open(fd, "open_tree", [AT.FDCWD, path, OPEN_TREE.CLONE | AT.RECURSIVE], {
      onError: absent,
    });
    setAttributes(program, fd, MOUNT_ATTR.RDONLY, true);
    program.call("move_mount", [fd, "", AT.FDCWD, path, MOVE_MOUNT.F_EMPTY_PATH], {
      what: `protecting ${path}`,
    });
    program.here(absent);
  }
  newMount(program, empty, {
    type: "tmpfs",
    options: [
      ["mode", "0555"],
      ["size", "0"],
      ["nr_inodes", "1"],
    ],
    attributeBits: MOUNT_ATTR.RDONLY | MOUNT_ATTR.NOSUID | MOUNT_ATTR.NODEV | MOUNT_ATTR.NOEXEC,
    what: "masks",
  });
  placeAside(program, empty, ASIDE.masks);
  const mask = (path: string, fromFd: number, fromPath: string, flags: number): void => {
    const absent = program.label();
    program.call("faccessat", [AT.FDCWD, path, 0], { onError: absent });
    program.open(fd, "open_tree", [fromFd, fromPath, OPEN_TREE.CLONE | flags]);
    program.call("move_mount", [fd, "", AT.FDCWD, path, MOVE_MOUNT.F_EMPTY_PATH], {
      what: `masking ${path}`,
    });
    program.here(absent);
  };
  for (const path of MASKED_FILES) mask(path, AT.FDCWD, "/dev/null", 0);
  const dirs = [
    ...MASKED_DIRS,
    ...plan.maskedDirs,
    ...(plan.network.kind === "host" ? MASKED_HOST_DIRS : []),
  ];
  for (const path of dirs) mask(path, empty, "", AT.EMPTY_PATH);
  takeAway(program, empty, ASIDE.masks);
}

/** Gives a mount a place in the step's own /dev. Before Linux 6.15 only what has a place can be cloned (open_tree(2)). */
function placeAside(program: Program, fd: number, name: string): void {
  program.call("mkdirat", [STEP_FD.dev, name, 0o700]);
  program.call("move_mount", [fd, "", STEP_FD.dev, name, MOVE_MOUNT.F_EMPTY_PATH], {
    what: "mounting files of the step",
  });
}

/** Ends what placeAside did; clones stay. By descriptor, since a mount of the step may cover the place. */
function takeAway(program: Program, fd: number, name: string): void {
  program.call("fchdir", [fd]);
  program.call("umount2", [".", UMOUNT.DETACH], { what: "hiding files of the step" });
  program.call("chdir", ["/"]);
  program.call("unlinkat", [STEP_FD.dev, name, AT.REMOVEDIR]);
}

function finishRoot(program: Program, plan: StepPlan): void {
  const hostname = new TextEncoder().encode(plan.hostname);
  program.call("sethostname", [hostname, hostname.length], { what: "setting the host name" });
  limitAndPlace(program, plan);
  if (plan.rootReadonly) {
    program.call("mount_setattr", [AT.FDCWD, "/", 0, attributes(MOUNT_ATTR.RDONLY), 32], {
      what: "making the root read-only",
    });
  }
}

/** Its limits, and its working directory where that is missing. */
export function limitAndPlace(program: Program, plan: Pick<StepPlan, "cwd" | "rlimits">): void {
  if (plan.cwd !== "/") makeTarget(program, plan.cwd, false);
  for (const limit of plan.rlimits) {
    program.call("prlimit64", [0, limit.resource, words(limit.soft, limit.hard), 0], {
      what: `setting the ${limit.name} limit`,
    });
  }
}
