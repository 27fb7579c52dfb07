// ExecOp to ExecJob: mounts, environment, secrets; outputs committed as layers.

import { quote } from "../../solver/graph/go-quote.ts";
import { BuildError, type StepLeft, withLeft } from "../../solver/graph/error.ts";
import type { Vertex } from "../../solver/graph/definition.ts";
import type { ExecMount, ExecOp } from "../../solver/graph/op.ts";
import { type CallContext, type LayerId, type Result, SCRATCH } from "../../solver/graph/request.ts";
import { refusalOf } from "../../cache/disk-fault.ts";
import { Scope } from "../../solver/graph/scope.ts";
import type { Written } from "./exec-mounts.ts";
import {
  checkEntitlements,
  DEFAULT_PATH,
  type FilesDeps,
  prepareFiles,
  readSecretEnv,
  type StepFiles,
  withPath,
} from "./step-files.ts";
import { openBlame } from "./blame.ts";
import { type StepConditions, withConditions } from "../step-conditions.ts";
import { watchForOutOfMemory } from "../killed.ts";
import type { CgroupUsage, StepCgroup } from "../cgroup.ts";
import type { ExecJob, ExecOutcome, OtherNetwork } from "../keeper/messages.ts";
import { SIG } from "../sys/constants.ts";
import type { ActiveLayer } from "../../cache/contract.ts";

export interface ExecDeps extends FilesDeps {
  /** What a failed step wrote is kept, and told with its error. */
  readonly keepsFailed: boolean;
  /** What is different for steps on purpose; null: nothing. */
  readonly conditions: StepConditions | null;
  /** Makes what the step wrote the layer of an output. */
  readonly finish: (active: ActiveLayer, output: number) => Promise<LayerId>;
  /** The step had another network than the usual one. */
  readonly otherNetwork: (found: OtherNetwork, step: string) => void;
}

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
  const secretEnv = await readSecretEnv(op.secretEnv, context);
  const files = await prepareFiles(op, inputs, { vertex: vertex.digest, scope, deps }, context);
  const { cgroup } = files;
  const { conditions } = deps;
  const outputs = new Map<number, Written>();
  for (const [mount, written] of files.written)
    if ("output" in mount && mount.output !== null) outputs.set(mount.output, written);
  const job: ExecJob = {
    ...files.job,
    args: op.args,
    env: withConditions(
      [...withPath([...op.env, ...proxyVariables(op)], DEFAULT_PATH), ...secretEnv],
      conditions?.env ?? [],
    ),
    ...(conditions === null || conditions.hostname === null || op.hostname !== ""
      ? {}
      : { hostname: conditions.hostname }),
    ...(conditions === null || conditions.processors === null ? {} : { processors: conditions.processors }),
    ...(conditions?.reversedNames === true ? { reversedNames: true } : {}),
    cwd: op.cwd,
    user: op.user,
    security: op.security,
    tty: null,
    stdin: false,
  };
  const outcome = await runStep(op, vertex, job, { deps, cgroup }, context).catch(async (error) => {
    const isKept = deps.keepsFailed && error instanceof BuildError && !context.signal.aborted;
    const left = isKept ? await leftBehind(op, inputs, files, deps, context) : null;
    throw left === null ? error : withLeft(error as BuildError, left);
  });

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

  for (const { active, dirs } of outputs.values()) {
    const isDone = active.upper === job.rootfs.upper && outcome.unchangedDropped === true;
    if (dirs.length > 0 && !isDone)
      await deps.keeper().run({ kind: "drop-unchanged", upper: active.upper, below: dirs }, context);
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
    results.push({ kind: "layers", layers: await layersWritten(output, index, deps, context) });
  }
  return results;
}

/** Runs the command. Throws EXEC_FAILED. */
async function runStep(
  op: ExecOp,
  vertex: Vertex,
  job: ExecJob,
  { deps, cgroup }: { readonly deps: ExecDeps; readonly cgroup: StepCgroup | null },
  context: CallContext,
): Promise<ExecOutcome> {
  const blame = openBlame(deps.keeper().ids, deps.processes);
  const wasOutOfMemory = watchForOutOfMemory();
  const outcome = await deps
    .keeper()
    .exec(job, {
      signal: context.signal,
      onOutput(fd, data) {
        blame.read(data);
        context.emit({ kind: "log", vertex: vertex.digest, atMs: Date.now(), fd, data });
      },
    })
    .catch((error: unknown) => {
      throw error instanceof BuildError && error.code === "EXEC_FAILED" ? notStarted(op, error) : error;
    });
  if (outcome.otherNetwork !== undefined) deps.otherNetwork(outcome.otherNetwork, commandText(op));
  const used = cgroup?.usage() ?? null;
  context.emit({
    kind: "usage",
    vertex: vertex.digest,
    cpuMs: used?.cpuMs ?? outcome.cpuMs,
    peakBytes: used?.peakBytes ?? outcome.peakBytes,
  });
  const valid = op.validExitCodes.length === 0 ? [0] : op.validExitCodes;
  if (outcome.code !== null && valid.includes(outcome.code)) return outcome;
  const killedHint = outcome.signal === SIG.KILL && wasOutOfMemory() ? OUT_OF_MEMORY : null;
  throw execFailure(op, outcome, limitHint(used) ?? killedHint ?? blame.hint());
}

/** What a mount began with, and what the step wrote as a new layer. */
async function layersWritten(
  { active, base }: Written,
  output: number,
  deps: ExecDeps,
  context: CallContext,
): Promise<readonly LayerId[]> {
  // Where notes of owners play a part for steps, those a step made up go. Elsewhere none of a step's counts.
  if (deps.keeper().ids.kind === "single")
    await deps.keeper().run({ kind: "strip", dir: active.upper }, context);
  const below = base === null ? [] : await deps.layersOf(base);
  return [...below, await deps.finish(active, output)];
}

/** The mounts of a step that failed, as they were before and as it left them; null: they cannot be kept. */
async function leftBehind(
  op: ExecOp,
  inputs: readonly Result[],
  { written }: StepFiles,
  deps: ExecDeps,
  context: CallContext,
): Promise<StepLeft | null> {
  const layersOf = async (mount: ExecMount): Promise<readonly LayerId[] | null> => {
    const input = "input" in mount && mount.input !== null ? inputs[mount.input] : undefined;
    return input === undefined ? null : await deps.layersOf(input);
  };
  try {
    const before: (readonly LayerId[] | null)[] = [];
    const after: (readonly LayerId[] | null)[] = [];
    for (const mount of op.mounts) {
      const found = await layersOf(mount);
      const wrote = "readonly" in mount && mount.readonly ? undefined : written.get(mount);
      before.push(found);
      after.push(wrote === undefined ? found : await layersWritten(wrote, NO_OUTPUT, deps, context));
    }
    return { inputs: before, mounts: after, subject: null };
  } catch {
    return null; // a full disk, a keeper that is gone: the step's own error is what counts
  }
}
const NO_OUTPUT = -1;

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

/** A command that could not be executed, as one that failed. */
function notStarted(op: ExecOp, error: BuildError): BuildError {
  const { message, exitCode, hint } = error;
  return new BuildError(
    "EXEC_FAILED",
    `process ${quote(commandText(op))} did not complete successfully: ${message}`,
    { exitCode, hint, cause: error },
  );
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
