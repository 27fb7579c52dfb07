// ExecOp to ExecJob: mounts, environment, secrets; outputs committed as layers.

import { BuildError } from "../../solver/graph/error.ts";
import type { Digest } from "../../solver/graph/digest.ts";
import type { Vertex } from "../../solver/graph/definition.ts";
import type { ExecMount, ExecOp } from "../../solver/graph/op.ts";
import type { CallContext, Entitlement, LayerId, Result } from "../../solver/graph/request.ts";
import type { ActiveLayer, CacheMountHold, Store } from "../../cache/store.ts";
import type { Keeper } from "../keeper/keeper.ts";
import { openBlame } from "./blame.ts";
import type { CgroupUsage, StepCgroup } from "../cgroup.ts";
import type { ExecJob, ExecJobMount, ExecOutcome } from "../keeper/messages.ts";

export interface ExecDeps {
  readonly store: Store;
  readonly keeper: () => Keeper;
  readonly entitlements: ReadonlySet<Entitlement>;
  /** What the step really gets, where the op says "sandbox". */
  readonly network: ExecOp["network"];
  /** Makes what the step wrote the layer of an output. */
  readonly finish: (active: ActiveLayer, output: number) => Promise<LayerId>;
  readonly resolvConf: (network: ExecOp["network"]) => string;
  /** The cgroup with the build's limits, below the parent the op names; null: none was asked for. */
  readonly cgroup: (parent: string) => Promise<StepCgroup | null>;
  /** Fills a cache mount that was just made, from an imported cache if one has its content. Does not throw for a broken one. */
  readonly restoreMount?: RestoreMount;
  /** Layer directories of an input, unpacked; files of the asker are put into a layer first. */
  readonly directories: (input: Result) => Promise<string[]>;
  /** The layers an input stands for once it is ready. */
  readonly layersOf: (input: Result) => Promise<Extract<Result, { kind: "layers" }>["layers"]>;
}

export type RestoreMount = (id: string, dir: string, vertex: Digest, context: CallContext) => Promise<void>;

/** Host name every step sees, as in BuildKit. */
export const STEP_HOSTNAME = "buildkitsandbox";
/** Limit on one secret, as BuildKit has it. */
const SECRET_MAX_BYTES = 500 * 1024;

/** Runs the command and returns one Result per output. Throws EXEC_FAILED, SECRET_MISSING, ENTITLEMENT_DENIED, MOUNT_INVALID… */
export async function runExecOp(
  vertex: Vertex,
  op: ExecOp,
  inputs: readonly Result[],
  deps: ExecDeps,
  context: CallContext,
): Promise<(Result | null)[]> {
  checkEntitlements(op, deps.entitlements);
  await using held = new Held();
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
  const rootActive = held.add(deps.store.layers.prepare());
  if (root.output !== null) outputs.set(root.output, { active: rootActive, base: rootLayer.result });

  const mounts: ExecJobMount[] = [];
  const caches = new Map<string, CacheMountHold>();
  for (const mount of op.mounts) {
    if (mount === root) continue;
    mounts.push(...(await makeMount(mount, op, vertex, layer, deps, context, held, outputs, caches)));
  }
  const cgroup = await deps.cgroup(op.cgroupParent);
  if (cgroup !== null) held.add(cgroup);
  const job: ExecJob = {
    rootfs: { dirs: rootLayer.dirs, upper: rootActive.upper, work: rootActive.work, readonly: root.readonly },
    args: op.args,
    env: [...op.env, ...proxyVariables(op), ...secretEnv],
    cwd: op.cwd,
    user: op.user,
    hostname: op.hostname === "" ? STEP_HOSTNAME : op.hostname,
    extraHosts: op.extraHosts,
    // The keeper puts its own name server in the place of those a namespace cannot reach.
    resolvConf: deps.resolvConf(deps.network === "none" ? "none" : "host"),
    network: deps.network,
    security: op.security,
    mounts,
    rlimits: op.ulimits,
    tty: null,
    stdin: false,
    devices: [],
    ...(cgroup === null ? {} : { cgroup: cgroup.dir }),
  };
  const blame = openBlame(deps.keeper().ids);
  const outcome = await deps.keeper().exec(job, {
    signal: context.signal,
    onOutput(fd, data) {
      blame?.read(data);
      context.emit({ kind: "log", vertex: vertex.digest, atMs: Date.now(), fd, data });
    },
  });
  if (outcome.networkNote !== undefined) context.emit({ kind: "note", message: outcome.networkNote });
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
    throw execFailure(op, outcome, limitHint(used) ?? blame?.hint() ?? null);
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
      results.push(input ?? null);
      continue;
    }
    const below = output.base === null ? [] : await deps.layersOf(output.base);
    results.push({ kind: "layers", layers: [...below, await deps.finish(output.active, index)] });
  }
  return results;
}

/** Disposes in reverse order of adding. */
class Held implements AsyncDisposable {
  readonly #resources: AsyncDisposable[] = [];
  add<T extends AsyncDisposable>(resource: T): T {
    this.#resources.push(resource);
    return resource;
  }
  async [Symbol.asyncDispose](): Promise<void> {
    for (const resource of this.#resources.reverse()) await resource[Symbol.asyncDispose]();
  }
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
  if (op.devices.length > 0) need("device", `the step asks for the device ${op.devices[0]?.name}`);
}

async function makeMount(
  mount: ExecMount,
  op: ExecOp,
  vertex: Vertex,
  layer: (input: number | null) => Promise<{ dirs: string[]; result: Result | null }>,
  deps: ExecDeps,
  context: CallContext,
  held: Held,
  outputs: Map<number, { active: ActiveLayer; base: Result | null }>,
  caches: Map<string, CacheMountHold>, // by id and seed: a step that names one twice sees the same directory twice
): Promise<ExecJobMount[]> {
  const target = mount.target.startsWith("/")
    ? mount.target
    : `${op.cwd === "/" ? "" : op.cwd}/${mount.target}`;
  switch (mount.kind) {
    case "tmpfs":
      return [{ kind: "tmpfs", target, sizeBytes: mount.sizeBytes }];
    case "bind": {
      const source = await layer(mount.input);
      if (mount.readonly) {
        return [
          {
            kind: "tree",
            target,
            dirs: source.dirs,
            selector: mount.selector,
            readonly: true,
            upper: null,
            work: null,
          },
        ];
      }
      const active = held.add(deps.store.layers.prepare());
      if (mount.output !== null) outputs.set(mount.output, { active, base: source.result });
      return [
        {
          kind: "tree",
          target,
          dirs: source.dirs,
          selector: mount.selector,
          readonly: false,
          upper: active.upper,
          work: active.work,
        },
      ];
    }
    case "cache": {
      const seed = await layer(mount.input);
      const seedKey =
        seed.result === null ? "" : JSON.stringify([await deps.layersOf(seed.result), mount.selector]);
      const key = JSON.stringify([mount.id, seedKey]);
      let hold = caches.get(key);
      if (hold === undefined) {
        const { signal } = context;
        hold = held.add(await deps.store.cacheMounts.acquire(mount.id, mount.sharing, { signal, seedKey }));
        caches.set(key, hold);
        if (hold.fresh && seed.dirs.length > 0) {
          await deps.keeper().run({
            kind: "materialize",
            tree: { kind: "layers", dirs: seed.dirs },
            selector: mount.selector,
            upper: hold.path,
          });
        } else if (hold.fresh && mount.input === null && deps.restoreMount !== undefined) {
          await deps.restoreMount(mount.id, hold.path, vertex.digest, context);
        }
        hold.seeded(); // from now on others may share it, also while this step runs
      }
      return [
        {
          kind: "directory",
          target,
          path: hold.path,
          readonly: mount.readonly,
          owner: null,
          fileAllowed: false,
        },
      ];
    }
    case "secret": {
      const data = await readSecret(mount.id, mount.optional, context);
      if (data === null) return [];
      return [{ kind: "secret", target, data, uid: mount.uid, gid: mount.gid, mode: mount.mode }];
    }
    case "ssh": {
      const socket = context.session.sshSocket(mount.id === "" ? "default" : mount.id);
      if (socket === null) {
        if (mount.optional) return [];
        throw new BuildError(
          "SECRET_MISSING",
          `unset ssh forward key ${mount.id === "" ? "default" : mount.id}`,
          {
            hint: "pass --ssh default (with SSH_AUTH_SOCK set) or --ssh ID=SOCKET, --ssh ID=KEY",
          },
        );
      }
      return [{ kind: "ssh", target, socket, uid: mount.uid, gid: mount.gid, mode: mount.mode }];
    }
  }
}

async function readSecret(id: string, optional: boolean, context: CallContext): Promise<Uint8Array | null> {
  const data = await context.session.secret(id);
  if (data === null) {
    if (optional) return null;
    throw new BuildError("SECRET_MISSING", `secret ${id}: not found`, {
      hint: `pass --secret id=${id},src=FILE or --secret id=${id},env=NAME`,
    });
  }
  if (data.length > SECRET_MAX_BYTES) {
    throw new BuildError("LIMIT_EXCEEDED", `secret ${id} is larger than ${SECRET_MAX_BYTES / 1024} KiB`);
  }
  return data;
}

async function readSecretEnv(op: ExecOp, context: CallContext): Promise<string[]> {
  const result: string[] = [];
  for (const { id, name, optional } of op.secretEnv) {
    const data = await readSecret(id, optional, context);
    if (data !== null) result.push(`${name}=${new TextDecoder().decode(data)}`);
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
    return "the kernel ended a process of the step: it had reached its memory limit (--memory, --cgroup-parent)";
  }
  return used.pidsRefused > 0 ? "the step had reached its limit of processes (--pids-limit)" : null;
}

function execFailure(op: ExecOp, { code, signal }: ExecOutcome, cause: string | null): BuildError {
  const command = commandText(op);
  const how =
    code !== null
      ? `exit code: ${code}`
      : signal === 9
        ? "killed (signal 9; out of memory?)"
        : `signal ${signal}`;
  return new BuildError("EXEC_FAILED", `process "${command}" did not complete successfully: ${how}`, {
    exitCode: code ?? 128 + (signal ?? 0),
    hint:
      cause ??
      (code === 127 && op.args.length >= 3
        ? "127 is a shell's word for a command that was not found"
        : code === 126 && op.args.length >= 3
          ? "126 is a shell's word for a file that is not executable"
          : null),
  });
}
