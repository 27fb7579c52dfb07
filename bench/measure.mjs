// Runs a command and says what it took: wall clock, CPU of all its processes, also those nobody waits for, and their peak of memory. The last
// two are counted by a control group, which needs root (cgroup v2, or cpuacct and memory of v1); without they are null.

import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, rmdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

const CGROUPS = "/sys/fs/cgroup";
/** How long processes that the command left are waited for. */
const LEFT_MS = 2000;

/** A control group for the processes of one sample or daemon. */
export function openGroup(name) {
  const v2 = existsSync(join(CGROUPS, "cgroup.controllers"));
  const dirs = (v2 ? ["."] : ["cpuacct", "memory"]).map((controller) => join(CGROUPS, controller, `tsbuild-bench-${name}`));
  try {
    for (const dir of dirs) mkdirSync(dir, { recursive: true });
  } catch {
    return { enter: [], cpuMs: () => null, peakBytes: () => null, emptied: async () => {}, close: () => {} };
  }
  const read = (dir, file) => {
    try {
      return readFileSync(join(dir, file), "utf8");
    } catch {
      return null; // a controller that is not enabled here
    }
  };
  const [cpu, memory] = [dirs[0], dirs.at(-1)];
  return {
    /** What to write one's process id to. */
    enter: dirs.map((dir) => join(dir, "cgroup.procs")),
    cpuMs() {
      if (!v2) return Number(read(cpu, "cpuacct.usage")) / 1e6;
      const usage = /usage_usec (\d+)/.exec(read(cpu, "cpu.stat") ?? "");
      return usage === null ? null : Number(usage[1]) / 1e3;
    },
    peakBytes() {
      const peak = read(memory, v2 ? "memory.peak" : "memory.max_usage_in_bytes");
      return peak === null ? null : Number(peak);
    },
    async emptied() {
      for (let waited = 0; waited < LEFT_MS && read(cpu, "cgroup.procs") !== ""; waited += 5) await sleep(5);
    },
    close() {
      for (const dir of dirs) {
        // Page cache of its files stays counted until then: what is left is moved to the parent.
        if (!v2 && dir === memory) write(join(dir, "memory.force_empty"), "0");
        try {
          rmdirSync(dir);
        } catch {
          // processes are left: the machine's own affair
        }
      }
    },
  };
}

function write(file, text) {
  try {
    writeFileSync(file, text);
  } catch {
    // not there, or not allowed
  }
}

/** Argv that enters the group before it becomes the command, as another user if one is named. */
export function within(group, argv, user = null) {
  const enter = group.enter.map((file) => `echo 0 > ${file}; `).join("");
  const as = user === null ? [] : ["setpriv", `--reuid=${user}`, `--regid=${user}`, "--init-groups"];
  return ["sh", "-c", `${enter}exec "$@"`, "sh", ...as, ...argv];
}

/** Runs the command to its end. `daemon`: the group of the daemon that does the work. Throws with its output when it fails. */
export async function sample(argv, { env, cwd, user, daemon }) {
  const group = openGroup("command");
  try {
    const before = daemon?.cpuMs() ?? 0;
    const [command, ...args] = within(group, argv, user);
    const started = performance.now();
    const { status, stdout, stderr, error } = spawnSync(command, args, { env, cwd, maxBuffer: 1 << 28, encoding: "utf8" });
    const ms = performance.now() - started;
    if (status !== 0) throw new Error(`${argv.join(" ")}: ${error?.message ?? `exit code ${status}`}\n${stdout}${stderr}`);
    await group.emptied();
    const own = group.cpuMs();
    return {
      ms,
      cpuMs: own === null ? null : own + (daemon === undefined ? 0 : daemon.cpuMs() - before),
      peakBytes: daemon === undefined ? group.peakBytes() : daemon.peakBytes(),
    };
  } finally {
    group.close();
  }
}
