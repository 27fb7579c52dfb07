// ExecOp to ExecJob: mounts, environment, secrets; outputs committed as layers.

import { quote } from "../../solver/graph/go-quote.ts";
import { BuildError } from "../../solver/graph/error.ts";
import type { Vertex } from "../../solver/graph/definition.ts";
import type { ExecMount, ExecOp } from "../../solver/graph/op.ts";
import {
  type CallContext,
  type Entitlement,
  type LayerId,
  type Result,
  SCRATCH,
} from "../../solver/graph/request.ts";
import { refusalOf } from "../../cache/disk-fault.ts";
import { Scope } from "../../solver/graph/scope.ts";
import { makeMount, type MountDeps, mountTarget, readSecret, type StepMounts } from "./exec-mounts.ts";
import { openBlame } from "./blame.ts";
import { watchForOutOfMemory } from "../killed.ts";
import type { CgroupUsage, StepCgroup } from "../cgroup.ts";
import type { ExecJob, ExecJobMount, ExecOutcome, OtherNetwork } from "../keeper/messages.ts";
import { SIG } from "../sys/constants.ts";
import type { ActiveLayer } from "../../cache/contract.ts";

export interface ExecDeps extends MountDeps {
  readonly entitlements: ReadonlySet<Entitlement>;
  /** Makes what the step wrote the layer of an output. */
  readonly finish: (active: ActiveLayer, output: number) => Promise<LayerId>;
  readonly resolvConf: (network: ExecOp["network"]) => string;
  /** Where steps with "sandbox" are. The host's is granted to all of them then, by who has set this. */
  readonly usualNetwork: ExecOp["network"];
  /** The cgroup with the build's limits, below the parent the op names; null: none was asked for. */
  readonly cgroup: (parent: string) => Promise<StepCgroup | null>;
  /** The step had another network than the usual one. */
  readonly otherNetwork: (found: OtherNetwork, step: string) => void;
  /** Processes and threads the step may have; null: any number. */
  readonly processes: number | null;
  /** Layer directories of an input, unpacked; files of the client are put into a layer first. */
  readonly directories: (input: Result) => Promise<string[]>;
}

/** Where commands are looked for when the step's environment does not say: frontends leave that to the builder. */
const DEFAULT_PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/** Host name every step sees, as in BuildKit. */
export const STEP_HOSTNAME = "buildkitsandbox";
const OUT_OF_MEMORY = "the machine ran out of memory during the step, and the kernel killed a process";
/** Runs the command and returns one Result per output. Throws EXEC_FAILED, SECRET_MISSING, ENTITLEMENT_DENIED, MOUNT_INVALID… */
export async function runExecOp(
  vertex: Vertex,
  op: ExecOp,
  inputs: readonly Result[],
  deps: ExecDeps,
  context: CallContext,
): Promise<(Result | null)[]> {
  checkEntitlements(op, deps.entitlements);
  await using scope = new Scope(null);
  const root = op.mounts.find((mount) => mount.target === "/");
  if (root === undefined || root.kind !== "bind")
    throw new BuildError("MOUNT_INVALID", "the step has no root file system");
  const outputs = new Map<number, { active: ActiveLayer; base: Result | null }>();

  const layer = async (input: number | null): Promise<{ dirs: string[]; result: Result | null }> => {
    if (input === null) return { dirs: [], result: null };
    const result = inputs[input];
    if (result === undefined) throw new Error(`the step has no input ${input}`);
    return { dirs: await deps.directories(result), result };
  };
  const [rootLayer, secretEnv] = await Promise.all([layer(root.input), readSecretEnv(op, context)]);
  const rootActive = scope.use(deps.store.layers.prepare());
  if (root.output !== null) outputs.set(root.output, { active: rootActive, base: rootLayer.result });

  const mounts: ExecJobMount[] = [];
  const step: StepMounts = {
    ...{ cwd: op.cwd, vertex: vertex.digest, layer, scope, outputs },
    caches: new Map(),
  };
  for (const mount of outerFirst(op))
    if (mount !== root) mounts.push(...(await makeMount(mount, step, deps, context)));
  const cgroup = await deps.cgroup(op.cgroupParent);
  const network = op.network === "sandbox" ? deps.usualNetwork : op.network;
  if (cgroup !== null) scope.use(cgroup);
  const job: ExecJob = {
    rootfs: { dirs: rootLayer.dirs, upper: rootActive.upper, work: rootActive.work, readonly: root.readonly },
    args: op.args,
    env: [...withPath([...op.env, ...proxyVariables(op)]), ...secretEnv],
    cwd: op.cwd,
    user: op.user,
    hostname: op.hostname === "" ? STEP_HOSTNAME : op.hostname,
    extraHosts: op.extraHosts,
    // The keeper puts its own name server in the place of those a namespace cannot reach.
    resolvConf: deps.resolvConf(network === "none" ? "none" : "host"),
    network,
    security: op.security,
    mounts,
    rlimits: op.ulimits,
    processes: deps.processes,
    tty: null,
    stdin: false,
    devices: [],
    ...(cgroup === null ? {} : { cgroup: cgroup.dir }),
  };
  const blame = openBlame(deps.keeper().ids, deps.processes);
  const wasOutOfMemory = watchForOutOfMemory();
  const outcome = await deps.keeper().exec(job, {
    signal: context.signal,
    onOutput(fd, data) {
      blame.read(data);
      context.emit({ kind: "log", vertex: vertex.digest, atMs: Date.now(), fd, data });
    },
  });
  if (outcome.otherNetwork !== undefined) deps.otherNetwork(outcome.otherNetwork, commandText(op));
  const used = cgroup?.usage() ?? null;
  context.emit({
    kind: "usage",
    vertex: vertex.digest,
    cpuMs: used?.cpuMs ?? outcome.cpuMs,
    peakBytes: used?.peakBytes ?? outcome.peakBytes,
  });
  if (
    outcome.code === null ||
    !(op.validExitCodes.length === 0 ? [0] : op.validExitCodes).includes(outcome.code)
  ) {
    const killedHint = outcome.signal === SIG.KILL && wasOutOfMemory() ? OUT_OF_MEMORY : null;
    throw execFailure(op, outcome, limitHint(used) ?? killedHint ?? blame.hint());
  }

  // A shell goes on after a command that met the full disk, and ends with 0: what it leaves would be taken for whole in every later build.
  if (outputs.size > 0 && deps.store.isFull()) {
    const full = Object.assign(new Error("the disk is full"), { code: "ENOSPC" });
    const { words = "", hint = null } = refusalOf(full, "store", deps.store.dir) ?? {};
    throw new BuildError(
      "STORE_FULL",
      `${words} when process "${commandText(op)}" ended: what it wrote may be truncated`,
      { hint },
    );
  }

  if (root.output !== null && rootLayer.dirs.length > 0 && outcome.unchangedDropped !== true) {
    const job = { kind: "drop-unchanged", upper: rootActive.upper, below: rootLayer.dirs } as const;
    await deps.keeper().run(job, context);
  }
  const results: (Result | null)[] = [];
  const count =
    Math.max(
      -1,
      ...op.mounts.map((mount) => ("output" in mount && mount.output !== null ? mount.output : -1)),
    ) + 1;
  for (let index = 0; index < count; index++) {
    const output = outputs.get(index);
    if (output === undefined) {
      // A read-only mount that is an output gives back its input.
      const mount = op.mounts.find((candidate) => "output" in candidate && candidate.output === index);
      const input =
        mount !== undefined && "input" in mount && mount.input !== null ? inputs[mount.input] : undefined;
      results.push(input ?? (mount === undefined ? null : SCRATCH));
      continue;
    }
    // Where notes of owners play a part for steps, those a step made up go. Elsewhere none of a step's counts.
    if (deps.keeper().ids.kind === "single")
      await deps.keeper().run({ kind: "strip", dir: output.active.upper }, context);
    const below = output.base === null ? [] : await deps.layersOf(output.base);
    results.push({ kind: "layers", layers: [...below, await deps.finish(output.active, index)] });
  }
  return results;
}

function checkEntitlements(op: ExecOp, granted: ReadonlySet<Entitlement>): void {
  const need = (entitlement: Entitlement, what: string): void => {
    if (granted.has(entitlement)) return;
    throw new BuildError("ENTITLEMENT_DENIED", `${entitlement} is not allowed: ${what}`, {
      hint: `tsbuild build --allow ${entitlement}`,
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

function withPath(env: readonly string[]): readonly string[] {
  return env.some((entry) => entry.startsWith("PATH=")) ? env : [...env, DEFAULT_PATH];
}

async function readSecretEnv(op: ExecOp, context: CallContext): Promise<string[]> {
  const result: string[] = [];
  for (const { id, name, optional } of op.secretEnv) {
    const data = await readSecret(id, optional, context);
    // One that is not there is an empty variable, not none.
    result.push(`${name}=${data === null ? "" : new TextDecoder().decode(data)}`);
  }
  return result;
}

/** Proxy settings reach the command but no key and no image; both spellings, as BuildKit sets them. */
function proxyVariables(op: ExecOp): string[] {
  const proxy = op.proxyEnv;
  if (proxy === null) return [];
  const pairs: [string, string][] = [
    ["HTTP_PROXY", proxy.httpProxy],
    ["HTTPS_PROXY", proxy.httpsProxy],
    ["FTP_PROXY", proxy.ftpProxy],
    ["NO_PROXY", proxy.noProxy],
    ["ALL_PROXY", proxy.allProxy],
  ];
  return pairs.flatMap(([name, value]) =>
    value === "" ? [] : [`${name}=${value}`, `${name.toLowerCase()}=${value}`],
  );
}

function commandText(op: ExecOp): string {
  return op.args.join(" ");
}

/** Why a step with limits failed, if it was one of them. */
function limitHint(used: CgroupUsage | null): string | null {
  if (used === null) return null;
  if (used.oomKills > 0) {
    return "the kernel killed a process of the step: the memory limit was reached (--memory, --cgroup-parent)";
  }
  return used.pidsRefused > 0 ? "the step reached its limit of processes (--pids-limit)" : null;
}

function execFailure(op: ExecOp, { code, signal }: ExecOutcome, cause: string | null): BuildError {
  const command = commandText(op);
  const how =
    code !== null
      ? `exit code: ${code}`
      : signal === 9
        ? "killed (signal 9; out of memory?)"
        : `signal ${signal}`;
  return new BuildError("EXEC_FAILED", `process ${quote(command)} did not complete successfully: ${how}`, {
    exitCode: code ?? 128 + (signal ?? 0),
    hint:
      cause ??
      (code === 127 && op.args.length >= 3
        ? "exit code 127 of a shell means that a command was not found"
        : code === 126 && op.args.length >= 3
          ? "exit code 126 of a shell means that a file is not executable"
          : null),
  });
}
