// Limits of steps: one cgroup (v2) per step with limits, below a cgroup in which this process may create children.
// cgroups(7); Documentation/admin-guide/cgroup-v2.rst, "Delegation" and "No Internal Process Constraint".
//
// No cgroup is created unless limits or a parent are requested: moving a process between cgroups waits for the kernel's RCU, which
// takes longer than a short step. The front creates and removes the directory; the step's first process enters it by
// itself through a descriptor that the keeper passes.

import { existsSync, mkdirSync, readdirSync, rmdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as later } from "node:timers/promises";
import { BuildError } from "../solver/graph/error.ts";
import { type LimitSetting, limitSettings, type ResourceLimits } from "./cgroup-limits.ts";
import { CGROUP_PREFIX, cgroupText, findParent, Unavailable } from "./cgroup-place.ts";

/** What a step used of its cgroup; null: this kernel does not say. */
export interface CgroupUsage {
  readonly cpuMs: number | null;
  /** Of all its processes together, files in memory included. Since Linux 5.19. */
  readonly peakBytes: number | null;
  /** Processes the kernel killed because of the memory limit. */
  readonly oomKills: number;
  /** How often a process could not be made because of the limit on processes. */
  readonly pidsRefused: number;
}

/** The cgroup of one step. Disposed: whatever is left in it is killed, and the directory is gone. */
export interface StepCgroup extends AsyncDisposable {
  readonly dir: string;
  usage(): CgroupUsage;
}

export interface Cgroups extends AsyncDisposable {
  /** A cgroup with the limits below `parent` ("": where this process may make one). null: none was asked for, or the
   *  parent cannot be had and nothing depends on it, which is warned of once. Throws SANDBOX_UNAVAILABLE for limits that
   *  cannot be kept. */
  step(parent: string): StepCgroup | null;
}

/** A cgroup can be busy for a moment after its last process ended. */
const REMOVE_TRIES = 500;
const REMOVE_WAIT_MS = 10;

/** Limits and parents of a build's steps. Touches nothing until a step asks. */
export function openCgroups(options: {
  readonly limits: ResourceLimits | null;
  readonly warn: (message: string, detail: string) => void;
}): Cgroups {
  const settings = options.limits === null ? [] : limitSettings(options.limits);
  const controllers = [...new Set(settings.map(({ controller }) => controller))];
  const parents = new Map<string, string | null>(); // null: cannot be had
  const undo: (() => void)[] = [];

  const parentDir = (parent: string): string | null => {
    const known = parents.get(parent);
    if (known !== undefined) return known;
    let dir: string | null = null;
    try {
      dir = findParent(parent, controllers, undo);
      sweep(dir);
    } catch (error) {
      if (!(error instanceof Unavailable)) throw error;
      const [first] = settings;
      if (first !== undefined) {
        throw new BuildError("SANDBOX_UNAVAILABLE", `${first.flag} cannot be applied: ${error.message}`, {
          cause: error,
          hint: error.fix,
        });
      }
      options.warn(`--cgroup-parent=${parent} has no effect: ${error.message}`, error.fix);
    }
    parents.set(parent, dir);
    return dir;
  };

  return {
    step(parent) {
      if (settings.length === 0 && parent === "") return null;
      const above = parentDir(parent);
      if (above === null) return null;
      const dir = makeCgroup(above);
      try {
        for (const setting of settings) applyLimit(dir, setting);
      } catch (error) {
        rmdirSync(dir);
        throw error;
      }
      return { dir, usage: () => usageOf(dir), [Symbol.asyncDispose]: () => removeCgroup(dir) };
    },
    async [Symbol.asyncDispose]() {
      for (let step = undo.pop(); step !== undefined; step = undo.pop()) step();
    },
  };
}

/** A new cgroup below `above`. Others of this process make theirs there too. */
function makeCgroup(above: string): string {
  for (let count = 1; ; count++) {
    const dir = join(above, `${CGROUP_PREFIX}${process.pid}-${count}`);
    try {
      mkdirSync(dir);
      return dir;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
    }
  }
}

/** Removes what builds left that were killed. A cgroup with processes refuses to go. */
function sweep(parent: string): void {
  for (const name of readdirSync(parent)) {
    const pid = new RegExp(`^${CGROUP_PREFIX}(\\d+)-`).exec(name)?.[1];
    if (pid === undefined || existsSync(`/proc/${pid}`)) continue;
    try {
      rmdirSync(join(parent, name));
    } catch {
      // Still in use, or taken away by another build at the same time.
    }
  }
}

function applyLimit(dir: string, { flag, file, value, optional }: LimitSetting): void {
  try {
    writeFileSync(join(dir, file), value);
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException;
    // cgroup files are never made by writing: the kernel answers EACCES for one it does not have
    const absent = !existsSync(join(dir, file));
    if (absent && optional === true) return;
    const effective = file.startsWith("cpuset.") ? cgroupText(dir, `${file}.effective`) : null;
    throw new BuildError(
      "SANDBOX_UNAVAILABLE",
      `${flag} cannot be applied: ${absent ? `this kernel has no ${file}` : `the kernel refuses ${file}=${value} (${code})`}`,
      { cause, hint: effective === null ? null : `available: ${effective.trim()}` },
    );
  }
}

function usageOf(dir: string): CgroupUsage {
  const field = (file: string, name: string): number | null => {
    const match = new RegExp(`^${name} (\\d+)$`, "m").exec(cgroupText(dir, file) ?? "");
    return match === null ? null : Number(match[1]);
  };
  const cpuUs = field("cpu.stat", "usage_usec");
  const peak = cgroupText(dir, "memory.peak");
  return {
    cpuMs: cpuUs === null ? null : cpuUs / 1000,
    peakBytes: peak === null ? null : Number(peak),
    oomKills: field("memory.events", "oom_kill") ?? 0,
    pidsRefused: field("pids.events", "max") ?? 0,
  };
}

async function removeCgroup(dir: string): Promise<void> {
  try {
    writeFileSync(join(dir, "cgroup.kill"), "1"); // since Linux 5.14; a step's processes end with its pid namespace anyway
  } catch {
    // An older kernel, or the directory is gone.
  }
  for (let tries = 1; ; tries++) {
    try {
      removeTree(dir);
      return;
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if (code === "ENOENT") return;
      if (code !== "EBUSY" || tries === REMOVE_TRIES) throw error;
      await later(REMOVE_WAIT_MS);
    }
  }
}

/** rmdir(2) is all it takes: the files of a cgroup are the kernel's. Children are there if the step was allowed to make some. */
function removeTree(dir: string): void {
  for (const entry of readdirSync(dir, { withFileTypes: true }))
    if (entry.isDirectory()) removeTree(join(dir, entry.name));
  rmdirSync(dir);
}
