// What the processes of a step or a container see: mounts, host name, network, limits, in the keeper's format.

import { STEP_HOSTNAME } from "../step-conditions.ts";
import { BuildError } from "../../solver/graph/error.ts";
import type { Digest } from "../../solver/graph/digest.ts";
import type { ExecMount, ExecOp } from "../../solver/graph/op.ts";
import type { CallContext, Entitlement, Result } from "../../solver/graph/request.ts";
import type { Scope } from "../../solver/graph/scope.ts";
import type { StepCgroup } from "../cgroup.ts";
import type { ContainerJob, ExecJobMount } from "../keeper/messages.ts";
import {
  makeMount,
  type MountDeps,
  mountTarget,
  readSecret,
  type StepMounts,
  type Written,
} from "./exec-mounts.ts";

export interface FilesDeps extends MountDeps {
  readonly entitlements: ReadonlySet<Entitlement>;
  readonly resolvConf: (network: ExecOp["network"]) => string;
  /** Where steps with "sandbox" are. The host's is granted to all of them then, by who has set this. */
  readonly usualNetwork: ExecOp["network"];
  /** The cgroup with the build's limits, below the parent the op names; null: none was asked for. */
  readonly cgroup: (parent: string) => Promise<StepCgroup | null>;
  /** Processes and threads the step may have; null: any number. */
  readonly processes: number | null;
  /** Layer directories of an input, unpacked; files of the client are put into a layer first. */
  readonly directories: (input: Result) => Promise<string[]>;
}

/** Where commands are looked for when the environment does not say: frontends leave that to the builder. */
export const DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

export interface StepFiles {
  readonly job: ContainerJob;
  readonly cgroup: StepCgroup | null;
  /** Mounts that are written to, the root among them, with what they write to. */
  readonly written: ReadonlyMap<ExecMount, Written>;
  /** The places of mounts in the job; null: the root. A mount that was left out (an optional secret) has none. */
  readonly places: ReadonlyMap<ExecMount, number | null>;
}

/** Makes ready what the op mounts; what it holds is released with the scope. Throws SECRET_MISSING, MOUNT_INVALID, LIMIT_EXCEEDED… */
export async function prepareFiles(
  op: ExecOp,
  inputs: readonly Result[],
  { vertex, scope, deps }: { readonly vertex: Digest; readonly scope: Scope; readonly deps: FilesDeps },
  context: CallContext,
): Promise<StepFiles> {
  const root = op.mounts.find((mount) => mount.target === "/");
  if (root === undefined || root.kind !== "bind")
    throw new BuildError("MOUNT_INVALID", "the step has no root file system");
  const layer: StepMounts["layer"] = async (input) => {
    if (input === null) return { dirs: [], result: null };
    const result = inputs[input];
    if (result === undefined) throw new Error(`the step has no input ${input}`);
    return { dirs: await deps.directories(result), result };
  };
  const rootLayer = await layer(root.input);
  const active = scope.use(deps.store.layers.prepare());
  const written = new Map<ExecMount, Written>([
    [root, { active, base: rootLayer.result, dirs: rootLayer.dirs }],
  ]);
  const places = new Map<ExecMount, number | null>([[root, null]]);
  const mounts: ExecJobMount[] = [];
  const step: StepMounts = { cwd: op.cwd, vertex, layer, scope, written, caches: new Map() };
  for (const mount of outerFirst(op)) {
    if (mount === root) continue;
    const made = await makeMount(mount, step, deps, context);
    if (made.length > 0) places.set(mount, mounts.length);
    mounts.push(...made);
  }
  const cgroup = await deps.cgroup(op.cgroupParent);
  const network = op.network === "sandbox" ? deps.usualNetwork : op.network;
  if (cgroup !== null) scope.use(cgroup);
  const job: ContainerJob = {
    rootfs: { dirs: rootLayer.dirs, upper: active.upper, work: active.work, readonly: root.readonly },
    hostname: op.hostname === "" ? STEP_HOSTNAME : op.hostname,
    extraHosts: op.extraHosts,
    // The keeper puts its own name server in the place of those a namespace cannot reach.
    resolvConf: deps.resolvConf(network === "none" ? "none" : "host"),
    network,
    mounts,
    rlimits: op.ulimits,
    processes: deps.processes,
    devices: [],
    ...(cgroup === null ? {} : { cgroup: cgroup.dir }),
  };
  return { job, cgroup, written, places };
}

/** Throws ENTITLEMENT_DENIED, and MOUNT_INVALID for a device. */
export function checkEntitlements(
  op: Pick<ExecOp, "network" | "security" | "devices">,
  granted: ReadonlySet<Entitlement>,
): void {
  const need = (entitlement: Entitlement, what: string): void => {
    if (granted.has(entitlement)) return;
    throw new BuildError("ENTITLEMENT_DENIED", `${entitlement} is not allowed: ${what}`, {
      hint: `build with --allow ${entitlement}`,
    });
  };
  if (op.network === "host") need("network.host", "the step asks for the host's network");
  if (op.security === "insecure") need("security.insecure", "the step asks for --security=insecure");
  // There are none: an optional one is left out, as where its driver is not installed.
  const device = op.devices.find(({ optional }) => !optional);
  if (device === undefined) return;
  need("device", `the step asks for the device ${device.name}`);
  throw new BuildError("MOUNT_INVALID", `the device ${device.name} is not known to this builder`, {
    hint: "CDI devices are not supported; an optional device (--device=NAME without required) is left out",
  });
}

/** The mounts in the order they are made: one below another after it, whatever order a definition has them in. */
function outerFirst({ mounts, cwd }: ExecOp): readonly ExecMount[] {
  const sorted = mounts.map((mount) => ({ mount, at: Buffer.from(mountTarget(mount.target, cwd)) }));
  return sorted.sort((a, b) => Buffer.compare(a.at, b.at)).map(({ mount }) => mount);
}

export function withPath(env: readonly string[], path: string): readonly string[] {
  return env.some((entry) => entry.startsWith("PATH=")) ? env : [...env, `PATH=${path}`];
}

/** Variables with the values of secrets. Throws SECRET_MISSING, LIMIT_EXCEEDED. */
export async function readSecretEnv(secrets: ExecOp["secretEnv"], context: CallContext): Promise<string[]> {
  const result: string[] = [];
  for (const { id, name, optional } of secrets) {
    const data = await readSecret(id, optional, context);
    // One that is not there is an empty variable, not none.
    result.push(`${name}=${data === null ? "" : new TextDecoder().decode(data)}`);
  }
  return result;
}
