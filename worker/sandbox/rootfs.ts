// A step's /etc/hosts and environment. Host configuration is never used (threat model S4).

import { BuildError } from "../../solver/graph/error.ts";
import type { ExecJob } from "../keeper/messages.ts";
import type { ProcessBound } from "./process-bound.ts";

/** /etc/hosts as BuildKit writes it. */
export function hostsFile(
  hostname: string,
  extra: readonly { readonly host: string; readonly ip: string }[],
): string {
  const lines = [
    `127.0.0.1\tlocalhost ${hostname}`,
    "::1\tlocalhost ip6-localhost ip6-loopback",
    ...extra.map(({ host, ip }) => `${ip}\t${host.toLowerCase()}`),
  ];
  return `${lines.join("\n")}\n`;
}

/** Environment of a step: entries without a value are dropped (I4), HOME comes from the account when it is not set. */
export function stepEnvironment(env: readonly string[], home: string, tty: boolean): string[] {
  const result = env.filter((entry) => entry.indexOf("=") > 0);
  if (!result.some((entry) => entry.startsWith("HOME="))) result.push(`HOME=${home}`);
  if (tty && !result.some((entry) => entry.startsWith("TERM="))) result.push("TERM=xterm");
  return result;
}

/** RLIMIT_* by the names --ulimit uses. getrlimit(2), asm-generic/resource.h. */
const RESOURCES: Readonly<Record<string, number>> = {
  cpu: 0,
  fsize: 1,
  data: 2,
  stack: 3,
  core: 4,
  rss: 5,
  nproc: 6,
  nofile: 7,
  memlock: 8,
  as: 9,
  locks: 10,
  sigpending: 11,
  msgqueue: 12,
  nice: 13,
  rtprio: 14,
  rttime: 15,
};

export interface StepRlimit {
  readonly name: string;
  readonly resource: number;
  readonly soft: bigint;
  readonly hard: bigint;
}

/** Limits of a step: those asked for, and the bound on processes where nothing else keeps it. Throws USAGE for an unknown name. */
export function stepRlimits(asked: ExecJob["rlimits"], bound: ProcessBound): StepRlimit[] {
  const limits = asked.map(({ name, soft, hard }) => {
    const resource = rlimitNumber(name);
    if (resource === null) throw new BuildError("USAGE", `unknown ulimit "${name}"`);
    return { name, resource, soft: rlimitValue(soft), hard: rlimitValue(hard) };
  });
  if (bound.kind === "rlimit" && !asked.some(({ name }) => name === "nproc")) {
    const value = rlimitValue(bound.value);
    limits.push({ name: "nproc", resource: RESOURCES["nproc"] as number, soft: value, hard: value });
  }
  return limits;
}

/** Number of a limit, or null for an unknown name. */
function rlimitNumber(name: string): number | null {
  return Object.hasOwn(RESOURCES, name) ? (RESOURCES[name] as number) : null;
}

/** Value of a limit: -1 is no limit. */
export function rlimitValue(value: number): bigint {
  return value < 0 ? 0xffff_ffff_ffff_ffffn : BigInt(Math.trunc(value));
}
