// Where cgroups for steps can be created: below a cgroup that is delegated to this user, with the required controllers.
// cgroups(7); Documentation/admin-guide/cgroup-v2.rst, "Delegation" and "No Internal Process Constraint".

import {
  accessSync,
  constants,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmdirSync,
  writeFileSync,
} from "node:fs";
import { join, relative } from "node:path";
import type { Controller } from "./cgroup-limits.ts";

/** The place of this process in the hierarchy of version 2. */
export interface CgroupPlace {
  /** Where it is mounted. */
  readonly mount: string;
  /** Directory of this process's cgroup; the mount itself where that cannot be seen. */
  readonly own: string;
}

/** Names of the cgroups builds make begin with it; the number of their process follows. */
export const CGROUP_PREFIX = "tsbuild-";
/** Tries to move processes out of the way while they make new ones. */
const MOVE_TRIES = 5;
/** No cgroup with what is needed. `fix`: what would give one. */
export class Unavailable extends Error {
  readonly fix: string;
  constructor(message: string, fix: string, cause?: unknown) {
    super(message, { cause });
    this.fix = fix;
  }
}

const UNIFIED_FIX =
  "boot with systemd.unified_cgroup_hierarchy=1 on the kernel's command line (the default of distributions since 2021)";
const DELEGATE_FIX =
  "run the build in its own scope: systemd-run --user --scope -p Delegate=yes tsbuild build ...";
/** systemd before 252 delegates memory and pids only. systemd.resource-control(5), user@.service(5) */
const CONTROLLER_FIX =
  'let users have the controllers: "[Service]\\nDelegate=cpu cpuset io memory pids" in /etc/systemd/system/user@.service.d/delegate.conf, then systemctl daemon-reload, and log in again';

/** Where cgroup v2 is mounted and where this process is in it; null: nowhere. /proc/self/mountinfo: proc(5). */
export function findPlace(): CgroupPlace | null {
  for (const line of readFileSync("/proc/self/mountinfo", "utf8").split("\n")) {
    const [front = "", back = ""] = line.split(" - ");
    if (!back.startsWith("cgroup2 ")) continue;
    const [, , , root = "/", mount = ""] = front.split(" ").map(unescapeOctal);
    const own = /^0::(.*)$/m.exec(readFileSync("/proc/self/cgroup", "utf8"))?.[1] ?? "/";
    const below = relative(root, own);
    const dir = below.startsWith("..") ? mount : join(mount, below);
    return { mount, own: existsSync(join(dir, "cgroup.procs")) ? dir : mount };
  }
  return null;
}

/** The directory steps' cgroups go into, with the controllers switched on for them. Throws Unavailable. */
export function findParent(parent: string, needed: readonly Controller[], undo: (() => void)[]): string {
  const place = findPlace();
  if (place === null) throw new Unavailable("this machine has no cgroup v2 mounted", UNIFIED_FIX);
  const top = words(place.mount, "cgroup.controllers");
  const absent = needed.find((controller) => !top.includes(controller));
  if (absent !== undefined && !isInside(place)) throw withoutController(absent);
  if (parent !== "") return namedParent(place, parent, needed);
  for (const dir of upwards(place)) {
    if (!isOurs(dir)) continue;
    const on = words(dir, "cgroup.subtree_control");
    const off = needed.filter((controller) => !on.includes(controller));
    if (off.length === 0) return dir;
    const there = words(dir, "cgroup.controllers");
    if (off.some((controller) => !there.includes(controller))) continue;
    if (isRootCgroup(dir) || words(dir, "cgroup.procs").length === 0) {
      if (switchOn(dir, off)) {
        undo.push(() => switchOff(dir, off));
        return dir;
      }
    } else if (dir === place.own && moveAside(dir, off, undo)) {
      return dir;
    }
  }
  if (process.getuid?.() === 0) {
    throw new Unavailable(
      `no parent cgroup of this process can be used (${place.own} contains other processes)`,
      "set one with --cgroup-parent, or run the build in its own scope: systemd-run --scope -p Delegate=yes tsbuild build ...",
    );
  }
  const available = words(place.own, "cgroup.controllers");
  const lacking = needed.filter((controller) => !available.includes(controller));
  throw lacking.length === 0
    ? new Unavailable(`no cgroup is delegated to this user here (${place.own})`, DELEGATE_FIX)
    : new Unavailable(
        `no cgroup with the ${lacking.join(" and ")} controller is delegated to this user here (${place.own})`,
        isDelegatedToUser(place) ? CONTROLLER_FIX : DELEGATE_FIX,
      );
}

/** Why the top of the hierarchy lacks a controller. /proc/cgroups, cgroups(7): name, hierarchy (0: version 2 or none),
 *  number, enabled. */
function withoutController(name: Controller): Unavailable {
  const row = (cgroupText("/proc", "cgroups") ?? "").split("\n").find((line) => line.startsWith(`${name}\t`));
  const [, hierarchy, , enabled] = row?.split("\t") ?? [];
  if (row === undefined)
    return new Unavailable(
      `this kernel has no ${name} controller`,
      "use a kernel with it (CONFIG_MEMCG, CONFIG_CFS_BANDWIDTH, CONFIG_CPUSETS, CONFIG_CGROUP_PIDS)",
    );
  if (enabled === "0")
    return new Unavailable(
      `the ${name} controller is disabled`,
      `boot with cgroup_enable=${name} on the kernel's command line`,
    );
  return hierarchy === "0"
    ? new Unavailable(`cgroup v2 has no ${name} controller here`, UNIFIED_FIX)
    : new Unavailable(`the ${name} controller is used by cgroup v1 here`, UNIFIED_FIX);
}

/** --cgroup-parent: a path from the top of the hierarchy, or the name of a slice of systemd's. Made where it is not there. */
function namedParent(place: CgroupPlace, parent: string, needed: readonly Controller[]): string {
  const parts = (parent.endsWith(".slice") && !parent.includes("/") ? slicePath(parent) : parent)
    .split("/")
    .filter((part) => part !== "" && part !== ".");
  if (parts.includes(".."))
    throw new Unavailable("the path must not contain ..", "use a path from the root of the hierarchy");
  let dir = place.mount;
  try {
    for (const part of [...parts, null]) {
      const on = words(dir, "cgroup.subtree_control");
      const off = needed.filter((controller) => !on.includes(controller));
      if (off.length > 0) writeFileSync(join(dir, "cgroup.subtree_control"), plus(off));
      if (part === null) break;
      dir = join(dir, part);
      if (!existsSync(dir)) mkdirSync(dir);
    }
    // A process comes in only for who may write both here and where they have their last directory in common.
    accessSync(dir, constants.W_OK);
    accessSync(join(dir, "cgroup.procs"), constants.W_OK);
    accessSync(join(commonDir(place.own, dir), "cgroup.procs"), constants.W_OK);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === undefined) throw error;
    throw new Unavailable(
      `${dir} cannot be used (${code})`,
      code === "EBUSY" || code === "EOPNOTSUPP"
        ? "a cgroup that contains processes cannot have limited children: use another"
        : "it must be a cgroup that is delegated to this user and also contains this process (cgroups(7), Delegation)",
      error,
    );
  }
  return dir;
}

/** a-b.slice is inside a.slice. systemd.slice(5) */
function slicePath(name: string): string {
  const parts = name.slice(0, -".slice".length).split("-");
  return parts.map((_, index) => `${parts.slice(0, index + 1).join("-")}.slice`).join("/");
}

function commonDir(a: string, b: string): string {
  let dir = a;
  while (b !== dir && !b.startsWith(`${dir}/`)) dir = join(dir, "..");
  return dir;
}

/** The cgroup of this process and those above it. */
function upwards({ mount, own }: CgroupPlace): string[] {
  const dirs = [own];
  for (let dir = own; dir !== mount && dir.startsWith(`${mount}/`); ) {
    dir = join(dir, "..");
    dirs.push(dir);
  }
  return dirs;
}

function isOurs(dir: string): boolean {
  try {
    for (const name of ["", "cgroup.procs", "cgroup.subtree_control"])
      accessSync(join(dir, name), constants.W_OK);
    return true;
  } catch {
    return false; // not delegated, or mounted read-only
  }
}

/** Only the top of the hierarchy has no events, and may have processes beside children with controllers. */
function isRootCgroup(dir: string): boolean {
  return !existsSync(join(dir, "cgroup.events"));
}

/** Does a container see only a part of the hierarchy? Then the top's controllers are those it was given. */
function isInside({ mount }: CgroupPlace): boolean {
  return !isRootCgroup(mount);
}

function isDelegatedToUser(place: CgroupPlace): boolean {
  return upwards(place).some(isOurs);
}

function plus(controllers: readonly Controller[]): string {
  return controllers.map((controller) => `+${controller}`).join(" ");
}

function switchOn(dir: string, controllers: readonly Controller[]): boolean {
  try {
    writeFileSync(join(dir, "cgroup.subtree_control"), plus(controllers));
    return true;
  } catch {
    return false; // busy, or not ours after all: the next one up may do
  }
}

/** Undoes switchOn, unless others have children there, whose limits would be gone. */
function switchOff(dir: string, controllers: readonly Controller[], own: string | null = null): boolean {
  const others = readdirSync(dir, { withFileTypes: true }).filter(
    (entry) => entry.isDirectory() && join(dir, entry.name) !== own,
  );
  if (others.length > 0) return false;
  try {
    writeFileSync(join(dir, "cgroup.subtree_control"), plus(controllers).replaceAll("+", "-"));
    return true;
  } catch {
    return false; // another build made one at this moment
  }
}

/** A cgroup that is divided holds no processes of its own: ours go to a child of it, if there are no others. */
function moveAside(dir: string, controllers: readonly Controller[], undo: (() => void)[]): boolean {
  const aside = join(dir, `${CGROUP_PREFIX}${process.pid}-front`);
  for (let tries = 0; tries < MOVE_TRIES; tries++) {
    const pids = words(dir, "cgroup.procs");
    if (!pids.every(isOwnProcess)) return false;
    if (!existsSync(aside)) mkdirSync(aside);
    moveAll(pids, aside);
    if (switchOn(dir, controllers)) {
      undo.push(() => {
        // Divided for somebody else by now: we stay where we are, and whoever delegated it clears it away.
        if (!switchOff(dir, controllers, aside)) return;
        moveAll(words(aside, "cgroup.procs"), dir);
        rmdirSync(aside);
      });
      return true;
    }
  }
  return false;
}

function moveAll(pids: readonly string[], dir: string): void {
  for (const pid of pids) {
    try {
      writeFileSync(join(dir, "cgroup.procs"), pid);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "ESRCH") throw error; // ended meanwhile
    }
  }
}

/** This process or one that comes from it. "0" is a process of a pid namespace we do not see. */
function isOwnProcess(pid: string): boolean {
  let current = pid;
  while (current !== "0" && current !== "1") {
    if (current === String(process.pid)) return true;
    try {
      // The name in brackets may hold anything, also brackets: what follows the last one is numbers. proc(5)
      const stat = readFileSync(`/proc/${current}/stat`, "latin1");
      current = stat.slice(stat.lastIndexOf(")") + 2).split(" ")[1] ?? "0";
    } catch {
      return true; // gone: nobody who could be disturbed
    }
  }
  return current === String(process.pid);
}

/** A file of a cgroup; null: there is none. */
export function cgroupText(dir: string, file: string): string | null {
  try {
    return readFileSync(join(dir, file), "utf8");
  } catch {
    return null; // not on this kernel, or its controller is off here
  }
}

function words(dir: string, file: string): string[] {
  return (cgroupText(dir, file) ?? "").split(/\s+/).filter((word) => word !== "");
}

function unescapeOctal(field: string): string {
  return field.replace(/\\(\d{3})/g, (_, octal: string) => String.fromCharCode(Number.parseInt(octal, 8)));
}
