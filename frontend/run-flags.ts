// The flags of RUN other than mounts: --network and --security. Dockerfile reference, "RUN --network", "RUN --security".

import { BuildError } from "../solver/graph/error.ts";
import type { ExecOp } from "../solver/graph/op.ts";
import { flagValue, flagValues } from "./flags.ts";
import type { Flag } from "./instruction.ts";
import { mountFrom, parseDevice } from "./run-mounts.ts";
import { suggest } from "./suggest.ts";

const NETWORKS = ["default", "none", "host"] as const;
const SECURITIES = ["sandbox", "insecure"] as const;

/** What is wrong with the flags as they are written, whether the stage is needed or not: of mounts only how their options are
 *  quoted, since variables are filled in later. Throws DOCKERFILE_SYNTAX, MOUNT_INVALID. */
export function checkRunFlags(flags: readonly Flag[]): void {
  if (flags.length === 0) return;
  oneOf("network mode", flagValue(flags, "network"), NETWORKS);
  oneOf("security", flagValue(flags, "security"), SECURITIES);
  for (const mount of flagValues(flags, "mount")) mountFrom(mount);
  for (const device of flagValues(flags, "device")) parseDevice(device);
}

/** The network of a step; `ofBuild` where the instruction leaves it open. */
export function readNetwork(flags: readonly Flag[], ofBuild: "default" | "host" | "none"): ExecOp["network"] {
  const asked = oneOf("network mode", flagValue(flags, "network"), NETWORKS) ?? "default";
  const mode = asked === "default" ? ofBuild : asked;
  return mode === "default" ? "sandbox" : mode;
}

export function readSecurity(flags: readonly Flag[]): ExecOp["security"] {
  return oneOf("security", flagValue(flags, "security"), SECURITIES) ?? "sandbox";
}

function oneOf<T extends string>(what: string, value: string | null, options: readonly T[]): T | null {
  if (value === null) return null;
  const found = options.find((option) => option === value);
  if (found !== undefined) return found;
  const near = suggest(value, options, false);
  throw new BuildError("DOCKERFILE_SYNTAX", `unsupported ${what} ${JSON.stringify(value)}`, {
    hint: near === null ? `there are ${options.join(", ")}` : `did you mean ${near}?`,
  });
}
