// The default limit of processes and threads of a step (threat model E9): enough for any build, too few to exhaust
// the process ids and the memory of the machine.

import { readFileSync } from "node:fs";
import { availableParallelism } from "node:os";
import type { ExecOp } from "../solver/graph/op.ts";

/** A process that only waits costs about 200 KB of kernel and page tables: 0.8 GB when all are there. */
const LEAST = 4096;
/** `make -j` beside virtual machines with a thread per CPU for each of their tasks: far below this. */
const PER_CPU = 256;

/** The bound of one step; null: none. `pids`: of --pids-limit, which its cgroup keeps; -1: any number was asked for. What was asked
 *  for by --ulimit nproc or --pids-limit is never less than what the bound allows. */
export function processBound(pids: number | null, ulimits: ExecOp["ulimits"]): number | null {
  const asked = [pids ?? 0, ulimits.findLast(({ name }) => name === "nproc")?.hard ?? 0];
  if (asked.includes(-1)) return null;
  return Math.max(defaultBound(), ...asked);
}

function defaultBound(): number {
  return Math.min(Math.max(LEAST, PER_CPU * availableParallelism()), Math.floor(machineMax() / 2));
}

/** proc_sys_kernel(5), pid_max. */
function machineMax(): number {
  try {
    const max = Number(readFileSync("/proc/sys/kernel/pid_max", "latin1"));
    return max > 0 ? max : Infinity;
  } catch {
    return Infinity; // no /proc of the usual kind: then there is no step either
  }
}
