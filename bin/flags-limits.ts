// Resource limits of steps and runs: --memory and similar flags, with docker's names, formats and ranges.

import { BuildError } from "../solver/graph/error.ts";
import type { ResourceLimits } from "../worker/cgroup-limits.ts";
import type { FlagSpec, ParsedFlags } from "./args.ts";
import { parseSize } from "./flags-values.ts";

/** What `docker build` and `docker run` have both. */
export const LIMIT_FLAGS: readonly FlagSpec[] = [
  { name: "cgroup-parent", kind: "string", help: "Parent cgroup for RUN instructions" },
  { name: "cpu-period", kind: "string", value: "int", help: "Period of the CPU quota in microseconds" },
  {
    name: "cpu-quota",
    kind: "string",
    value: "int",
    help: "CPU time of a step per period, in microseconds",
  },
  {
    name: "cpu-shares",
    short: "c",
    kind: "string",
    value: "int",
    help: "Relative CPU weight (2 to 262144)",
  },
  { name: "cpuset-cpus", kind: "string", help: "CPUs a step may use (0-3, 0,1)" },
  { name: "cpuset-mems", kind: "string", help: "Memory nodes a step may use (0-3, 0,1)" },
  { name: "memory", short: "m", kind: "string", value: "bytes", help: "Memory limit of a step" },
  {
    name: "memory-swap",
    kind: "string",
    value: "bytes",
    help: "Memory plus swap; -1: unlimited swap",
  },
  { name: "pids-limit", kind: "string", value: "int", help: "Limit of processes in a step; -1: unlimited" },
];

/** The least docker takes. */
const MEMORY_MIN_BYTES = 6 << 20;

/** The limits asked for; null: none. `exitCode`: for a wrong value. Throws USAGE. */
export function readLimits(flags: ParsedFlags, exitCode = 1): ResourceLimits | null {
  const wrong = (message: string, hint: string | null = null): BuildError =>
    new BuildError("USAGE", message, { hint, exitCode });
  /** Zero is docker's word for "not set". */
  const integer = (name: string, min: number, max: number, unlimited = false): number | null => {
    const text = flags.one(name);
    if (text === null || text === "" || text === "0") return null;
    if (unlimited && text === "-1") return null;
    const value = Number(text);
    if (!/^\d+$/.test(text) || value < min || value > max) {
      throw wrong(`invalid --${name}=${text}`, `use a whole number from ${min} to ${max}`);
    }
    return value;
  };
  const size = (name: string): number | null => {
    const text = flags.one(name);
    if (text === null || text === "" || text === "0") return null;
    return parseSize(text, `--${name}`);
  };
  const list = (name: string): string | null => {
    const text = flags.one(name);
    if (text === null || text === "") return null;
    if (!/^\d+(?:-\d+)?(?:,\d+(?:-\d+)?)*$/.test(text))
      throw wrong(`invalid --${name}=${text}`, "use a list like 0-3 or 0,1");
    return text;
  };

  const memoryBytes = size("memory");
  if (memoryBytes !== null && memoryBytes < MEMORY_MIN_BYTES)
    throw wrong("minimum memory limit allowed is 6MB");
  const memorySwapBytes = flags.one("memory-swap") === "-1" ? -1 : size("memory-swap");
  if (memorySwapBytes !== null && memoryBytes === null)
    throw wrong("--memory-swap requires --memory: it is the sum of memory and swap");
  if (memorySwapBytes !== null && memorySwapBytes !== -1 && memorySwapBytes < (memoryBytes ?? 0))
    throw wrong("--memory-swap is less than --memory: it is the sum of memory and swap");
  const limits: ResourceLimits = {
    memoryBytes,
    memorySwapBytes,
    cpuPeriodUs: integer("cpu-period", 1_000, 1_000_000),
    cpuQuotaUs: integer("cpu-quota", 1_000, Number.MAX_SAFE_INTEGER, true),
    cpuShares: integer("cpu-shares", 2, 262_144),
    cpusetCpus: list("cpuset-cpus"),
    cpusetMems: list("cpuset-mems"),
    // Not null: without the flag a step has a limit all the same (worker/process-bound.ts).
    pids: flags.one("pids-limit") === "-1" ? -1 : integer("pids-limit", 1, 4_194_304),
  };
  return Object.values(limits).some((limit) => limit !== null) ? limits : null;
}
