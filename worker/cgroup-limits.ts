// Resource limits of a step, and the cgroup v2 files that set them. Documentation/admin-guide/cgroup-v2.rst

/** Limits as docker names them; null: none. Units: bytes, microseconds. */
export interface ResourceLimits {
  readonly memoryBytes: number | null;
  /** Memory and swap together, as --memory-swap has it; -1: any amount of swap. */
  readonly memorySwapBytes: number | null;
  readonly cpuPeriodUs: number | null;
  readonly cpuQuotaUs: number | null;
  /** Relative weight, 2 to 262144; docker's default is 1024. */
  readonly cpuShares: number | null;
  /** "0-2,4" */
  readonly cpusetCpus: string | null;
  readonly cpusetMems: string | null;
  /** -1: any number, also more than a step may have when nothing is said. */
  readonly pids: number | null;
}

export const NO_LIMITS: ResourceLimits = {
  memoryBytes: null,
  memorySwapBytes: null,
  cpuPeriodUs: null,
  cpuQuotaUs: null,
  cpuShares: null,
  cpusetCpus: null,
  cpusetMems: null,
  pids: null,
};

/** The limits of a build with those one of its steps has for itself, which count for what they name. null: none at all. */
export function withOwnLimits(
  build: ResourceLimits | null,
  own: Omit<ResourceLimits, "pids"> | null,
): ResourceLimits | null {
  if (own === null) return build;
  const base = build ?? NO_LIMITS;
  const pick = <K extends keyof typeof own>(name: K): ResourceLimits[K] => own[name] ?? base[name];
  return {
    memoryBytes: pick("memoryBytes"),
    // Memory and swap are one number: that of the build is of its own memory.
    memorySwapBytes: own.memoryBytes === null ? base.memorySwapBytes : own.memorySwapBytes,
    cpuPeriodUs: pick("cpuPeriodUs"),
    cpuQuotaUs: pick("cpuQuotaUs"),
    cpuShares: pick("cpuShares"),
    cpusetCpus: pick("cpusetCpus"),
    cpusetMems: pick("cpusetMems"),
    pids: base.pids,
  };
}

export type Controller = "memory" | "cpu" | "cpuset" | "pids";

/** One line to be written into one file of a step's cgroup. */
export interface LimitSetting {
  /** Of the command line, for messages. */
  readonly flag: string;
  readonly controller: Controller;
  readonly file: string;
  readonly value: string;
  /** A kernel without this file keeps the limit that was asked for all the same. */
  readonly optional?: boolean;
}

/** The period when only a quota is given: the kernel's default (cpu.max). */
const CPU_PERIOD_US = 100_000;

/** The files' lines, in the order they are written. Values were checked when they were read. */
export function limitSettings(limits: ResourceLimits): LimitSetting[] {
  const settings: LimitSetting[] = [];
  const { memoryBytes, memorySwapBytes, cpuPeriodUs, cpuQuotaUs, cpuShares } = limits;
  if (memoryBytes !== null) {
    settings.push({
      flag: "--memory",
      controller: "memory",
      file: "memory.max",
      value: String(memoryBytes),
    });
    // The file counts swap alone. Left out, docker allows as much swap as memory; without swap there is nothing to limit.
    const swap =
      memorySwapBytes === -1
        ? "max"
        : String(memorySwapBytes === null ? memoryBytes : memorySwapBytes - memoryBytes);
    settings.push({
      flag: memorySwapBytes === null ? "--memory" : "--memory-swap",
      controller: "memory",
      file: "memory.swap.max",
      value: swap,
      optional: memorySwapBytes === null || memorySwapBytes === -1,
    });
  }
  if (cpuPeriodUs !== null || cpuQuotaUs !== null) {
    settings.push({
      flag: cpuQuotaUs === null ? "--cpu-period" : "--cpu-quota",
      controller: "cpu",
      file: "cpu.max",
      value: `${cpuQuotaUs ?? "max"} ${cpuPeriodUs ?? CPU_PERIOD_US}`,
    });
  }
  if (cpuShares !== null) {
    settings.push({
      flag: "--cpu-shares",
      controller: "cpu",
      file: "cpu.weight",
      value: String(cpuWeight(cpuShares)),
    });
  }
  for (const [flag, file, value] of [
    ["--cpuset-cpus", "cpuset.cpus", limits.cpusetCpus],
    ["--cpuset-mems", "cpuset.mems", limits.cpusetMems],
  ] as const) {
    if (value !== null) settings.push({ flag, controller: "cpuset", file, value });
  }
  if (limits.pids !== null && limits.pids !== -1) {
    settings.push({ flag: "--pids-limit", controller: "pids", file: "pids.max", value: String(limits.pids) });
  }
  return settings;
}

/** Shares of cgroup v1 (2 to 262144, default 1024) as a weight of v2 (1 to 10000, default 100): the curve through
 *  (2, 1), (1024, 100) and (262144, 10000) that crun and runc use, so that the default stays the default. */
export function cpuWeight(shares: number): number {
  if (shares <= 2) return 1;
  if (shares >= 262_144) return 10_000;
  const log = Math.log2(shares);
  const exponent = (log * log + 125 * log) / 612 - 7 / 34;
  return Math.min(10_000, Math.max(1, Math.ceil(10 ** exponent)));
}
