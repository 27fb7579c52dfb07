// [keeper] The built-in sandbox: mounts are made here as detached mounts, the rest is a program for the launcher.

import { type ChildProcess, spawn } from "node:child_process";
import { Socket } from "node:net";
import { constants as os } from "node:os";
import { BuildError } from "../../solver/graph/error.ts";
import { launcherArch } from "../launcher/install.ts";
import type { ExecOutcome } from "../keeper/messages.ts";
import { close, O, pipe2 } from "../sys/file.ts";
import { launcherInMemory } from "./launcher-file.ts";
import { scratchDir } from "./mount-sources.ts";
import { stepResolvConf } from "./network.ts";
import { outcomeOf } from "./outcome.ts";
import { hostsFile, rlimitNumber, rlimitValue, stepEnvironment } from "./rootfs.ts";
import { seccompFilter } from "./seccomp.ts";
import {
  DRAIN_MS,
  drain,
  feed,
  killQuietly,
  launcherError,
  openCgroup,
  openStepSandbox,
  openStepTerminal,
  type PreparedStep,
  type Sandbox,
  type SandboxOptions,
  type Step,
} from "./step.ts";
import { STEP_FD, STEP_STATUS, stepProgram } from "./step-program.ts";

const { SIGKILL } = os.signals;

/** The sandbox of this keeper process. */
export function openSandbox(options: SandboxOptions): Sandbox {
  return openStepSandbox(options, launch);
}

/** The launcher for `openSandbox`, made when first asked for. */
export function lazyLauncher(): () => string {
  let path: string | null = null;
  return () => {
    path ??= launcherInMemory();
    return path;
  };
}

async function launch(step: Step, prepared: PreparedStep): Promise<ExecOutcome> {
  const { job } = step;
  openStepTerminal(step);
  // Descriptors of the launcher from aliveRead on; the ends that are only for it are closed once it has them.
  const passed: number[] = [];
  const given: number[] = [];
  const pass = (fd: number): number => {
    passed.push(fd);
    return STEP_FD.aliveRead + passed.length - 1;
  };
  const pipe = (flags = 0): [number, number] => {
    const ends = pipe2(flags);
    given.push(...ends);
    return ends;
  };
  const keep = (fd: number): number => {
    given.splice(given.indexOf(fd), 1);
    return fd;
  };
  let child: ChildProcess;
  let plan: ReturnType<typeof stepProgram>;
  let outputs: [out: number, err: number];
  try {
    const alive = pipe(O.NONBLOCK);
    pass(alive[0]);
    pass(alive[1]);
    const [outRead, outWrite] = pipe();
    const [errRead, errWrite] = pipe();
    const input = job.stdin && step.terminal === null ? pipe() : null;
    plan = planOf(step, prepared, pass, input?.[0] ?? null);
    child = spawn(step.options.launcher(), [], {
      stdio: ["pipe", outWrite, errWrite, "pipe", ...passed],
      env: {},
      cwd: "/",
    });
    outputs = [keep(outRead), keep(errRead)];
    if (input !== null) {
      const stdin = new Socket({ fd: keep(input[1]), readable: false, writable: true });
      stdin.on("error", () => {}); // the command closed its input: its business
      step.held.push(() => {
        step.stdin = null;
        stdin.destroy();
      });
      for (const data of step.input.splice(0)) feed(stdin, data);
      step.stdin = stdin;
    }
  } finally {
    for (const fd of given) close(fd);
  }
  const drains = [drain(outputs[0], 1, step.onOutput), drain(outputs[1], 2, step.onOutput)];
  step.terminal?.start((data) => step.onOutput(1, data));
  child.stdin?.on("error", () => {}); // told by the exit status
  child.stdin?.end(plan.bytes);
  let status: Awaited<ReturnType<typeof readStatus>>;
  try {
    status = await readStatus(child, step);
  } finally {
    await Promise.all(drains.map((one) => one.finish()));
  }
  await step.terminal?.finish(DRAIN_MS);
  const outcome = outcomeOf(status, plan.describe, job, step.options.singleId);
  return step.networkNote === null ? outcome : { ...outcome, networkNote: step.networkNote };
}

function planOf(
  step: Step,
  prepared: PreparedStep,
  pass: (fd: number) => number,
  stdin: number | null,
): ReturnType<typeof stepProgram> {
  const { job, options } = step;
  const { network, user } = prepared;
  const insecure = job.security === "insecure";
  const [resolvConfPath = "/etc/resolv.conf", hostsPath = "/etc/hosts"] = prepared.fileTargets.map(
    ({ path }) => path,
  );
  return stepProgram({
    arch: launcherArch(),
    scratchDir: scratchDir(prepared.storeDir),
    rootFd: pass(prepared.rootFd),
    rootReadonly: job.rootfs.readonly,
    args: job.args,
    env: stepEnvironment(job.env, user.home, step.terminal !== null),
    cwd: job.cwd === "" ? "/" : job.cwd,
    uid: user.uid,
    gid: user.gid,
    groups: user.groups,
    hostname: job.hostname,
    hosts: { path: hostsPath, text: hostsFile(job.hostname, job.extraHosts) },
    resolvConf: {
      path: resolvConfPath,
      text: network === null ? job.resolvConf : stepResolvConf(job.resolvConf, network.resolver),
    },
    network:
      network !== null
        ? { kind: "join", fd: pass(network.fd) }
        : { kind: job.network === "none" ? "none" : "host" },
    mounts: prepared.mounts.map((mount) =>
      mount.source.kind === "fd"
        ? { ...mount, source: { ...mount.source, fd: pass(mount.source.fd) } }
        : mount,
    ),
    maskedDirs: step.maskedDirs,
    rlimits: job.rlimits.map((limit) => {
      const resource = rlimitNumber(limit.name);
      if (resource === null) throw new BuildError("USAGE", `unknown ulimit "${limit.name}"`);
      return { name: limit.name, resource, soft: rlimitValue(limit.soft), hard: rlimitValue(limit.hard) };
    }),
    insecure,
    seccomp: insecure ? null : seccompFilter(launcherArch()),
    stdinFd: stdin === null ? null : pass(stdin),
    ttyFd: step.terminal === null ? null : pass(step.terminal.slave),
    consoleFd: step.terminal === null || step.terminal.mount === null ? null : pass(step.terminal.mount),
    singleId: options.singleId,
    cgroupFd: job.cgroup === undefined ? null : pass(openCgroup(step, job.cgroup)),
  });
}

/** All that the launcher said, once it is gone. */
function readStatus(child: ChildProcess, step: Step): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = [];
    const pipe = child.stdio[3] as Socket;
    let told = false;
    pipe.on("data", (data: Buffer) => {
      chunks.push(data);
      if (told) return;
      const bytes = Buffer.concat(chunks);
      if (bytes.length < 16 || bytes.readBigUInt64LE(0) !== STEP_STATUS.pid) return;
      told = true;
      step.pid = Number(bytes.readBigUInt64LE(8));
      if (step.ended) killQuietly(step.pid, SIGKILL);
    });
    pipe.on("error", () => {}); // what was read until then counts
    child.once("error", (cause) => reject(launcherError(cause)));
    child.once("close", () => {
      step.pid = null;
      resolve(Buffer.concat(chunks));
    });
  });
}
