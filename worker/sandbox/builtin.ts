// [keeper] The built-in sandbox: creates detached mounts here; the rest is a program for the launcher.

import { type ChildProcess, spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import { Socket } from "node:net";
import { constants as os } from "node:os";
import { launcherArch } from "../launcher/install.ts";
import { nextFd, STEP_FD } from "../launcher/step-fd.ts";
import type { ExecJob, ExecOutcome } from "../keeper/messages.ts";
import { close, pipe2 } from "../sys/file.ts";
import { launcherInMemory } from "./launcher-file.ts";
import { scratchDir } from "./mount-sources.ts";
import { type StepNetwork, stepResolvConf } from "./network.ts";
import { type Notify, openNotify } from "./notify.ts";
import { outcomeOf } from "./outcome.ts";
import { childPidfd } from "./own-proc.ts";
import { processBoundOf } from "./process-bound.ts";
import { answerNames } from "./reversed-names.ts";
import { hostsFile, stepEnvironment, stepRlimits } from "./rootfs.ts";
import { type StepFilter, stepFilter } from "./seccomp-notify.ts";
import { answerSocket } from "./sockets.ts";
import {
  DRAIN_MS,
  drain,
  feed,
  type JoinedStep,
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
import { type JoinPlan, statusLength, STEP_STATUS, type StepPlan } from "./step-plan.ts";
import { joinProgram, stepProgram } from "./step-program.ts";
import type { ExecUser } from "./user.ts";
import { O } from "../sys/constants.ts";

const { SIGKILL } = os.signals;

/** The sandbox of this keeper process. */
export function openSandbox(options: SandboxOptions): Sandbox {
  const container = {
    launch,
    join: (step: Step, joined: JoinedStep) =>
      start(step, joined.network, (pass, io) => joinPlanOf(step, joined, pass, io)),
  };
  return openStepSandbox(options, launch, async (job) =>
    (await import("./container.ts")).openContainer(job, options, container),
  );
}

/** The launcher for `openSandbox`, made when first asked for. */
export function lazyLauncher(): () => string {
  let path: string | null = null;
  return () => {
    path ??= launcherInMemory();
    return path;
  };
}

function launch(step: Step, prepared: PreparedStep): Promise<ExecOutcome> {
  return start(step, prepared.network, (pass, io) => planOf(step, prepared, pass, io));
}

type Pass = (fd: number) => number;
type Assembled = ReturnType<typeof stepProgram>;

/** What a plan is told of the process's streams and its filter. */
interface StepIo {
  readonly stdin: number | null;
  readonly filter: StepFilter | null;
  readonly notify: StepPlan["notify"];
}

/** Starts a process by a launcher with the program of `planned`, and waits for its end. */
async function start(
  step: Step,
  network: StepNetwork | null,
  planned: (pass: Pass, io: StepIo) => Assembled,
): Promise<ExecOutcome> {
  const { job } = step;
  openStepTerminal(step);
  // Descriptors of the launcher from aliveRead on; the ends that are only for it are closed once it has them.
  const passed: number[] = [];
  const given: number[] = [];
  const pass = (fd: number): number => {
    const number = nextFd(STEP_FD.aliveRead, passed, STEP_FD.earlyZero);
    passed.push(fd);
    return number;
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
  let plan: Assembled;
  let outputs: [out: number, err: number];
  const forwarder = network?.forwarder ?? null;
  const filter = stepFilter(launcherArch(), {
    insecure: job.security === "insecure",
    destinations: forwarder !== null,
    names: job.reversedNames === true,
  });
  const hostNetwork = inHostNetwork(job, network);
  const notify =
    filter?.tells !== true
      ? null
      : openNotify(async (call, signal) => {
          if (call.call === "socket") return answerSocket(step.options.launcher(), call, hostNetwork);
          if (call.call === "getdents64") return answerNames(call);
          return forwarder === null ? { kind: "continue" } : forwarder.answer(call, signal);
        });
  try {
    if (notify !== null) {
      given.push(...notify.given);
      step.held.push(() => notify.close());
    }
    const alive = pipe(O.NONBLOCK);
    pass(alive[0]);
    pass(alive[1]);
    const [outRead, outWrite] = pipe();
    const [errRead, errWrite] = pipe();
    const input = job.stdin && step.terminal === null ? pipe() : null;
    const [stepFd = 0, outsideFd = 0] = notify?.given.map(pass) ?? [];
    plan = planned(pass, {
      stdin: input?.[0] ?? null,
      filter,
      notify: notify === null ? null : { stepFd, outsideFd },
    });
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
    status = await readStatus(child, step, notify);
  } finally {
    await Promise.all(drains.map((one) => one.finish()));
  }
  await step.terminal?.finish(DRAIN_MS);
  return outcomeOf(status, plan.describe, job, step.options.singleId);
}

function inHostNetwork(job: ExecJob, network: StepNetwork | null): boolean {
  return network === null && job.network !== "none";
}

/** What a process has of its own, also in the namespaces of another. */
function processPlan(
  step: Step,
  user: ExecUser,
  pass: Pass,
  { stdin, filter, notify }: StepIo,
): Omit<JoinPlan, "namespacesFd" | "hostNetwork"> {
  const { job, options } = step;
  return {
    arch: launcherArch(),
    args: job.args,
    env: stepEnvironment(job.env, user.home, step.terminal !== null),
    cwd: job.cwd === "" ? "/" : job.cwd,
    uid: user.uid,
    gid: user.gid,
    groups: user.groups,
    rlimits: stepRlimits(job.rlimits, processBoundOf(job.processes)),
    insecure: job.security === "insecure",
    seccomp: filter,
    notify,
    stdinFd: stdin === null ? null : pass(stdin),
    ttyFd: step.terminal === null ? null : pass(step.terminal.slave),
    singleId: options.singleId,
    cgroupFd: job.cgroup === undefined ? null : pass(openCgroup(step, job.cgroup)),
    tellsStart: step.onStarted !== null,
    processors: job.processors === undefined ? null : processorMask(job.processors),
  };
}

/** As many of the processors that this process may use, as a mask for sched_setaffinity(2); null: all. */
function processorMask(count: number): Uint8Array | null {
  const list = /^Cpus_allowed_list:\t(.*)$/m.exec(readFileSync("/proc/self/status", "latin1"))?.[1] ?? "";
  const all = list.split(",").flatMap((part) => {
    const [from = NaN, to = from] = part.split("-").map(Number);
    return Number.isNaN(from) ? [] : Array.from({ length: to - from + 1 }, (_, at) => from + at);
  });
  if (all.length <= count) return null;
  const mask = new Uint8Array(128); // 1,024 processors, as of glibc's cpu_set_t
  for (const one of all.slice(0, count)) mask[one >> 3] = (mask[one >> 3] ?? 0) | (1 << (one & 7));
  return mask;
}

function joinPlanOf(
  step: Step,
  { namespaces, user, network }: JoinedStep,
  pass: Pass,
  io: StepIo,
): Assembled {
  return joinProgram({
    ...processPlan(step, user, pass, io),
    namespacesFd: pass(namespaces),
    hostNetwork: inHostNetwork(step.job, network),
  });
}

function planOf(step: Step, prepared: PreparedStep, pass: Pass, io: StepIo): Assembled {
  const { job } = step;
  const { network } = prepared;
  const [resolvConfPath = "/etc/resolv.conf", hostsPath = "/etc/hosts"] = prepared.fileTargets.map(
    ({ path }) => path,
  );
  return stepProgram({
    ...processPlan(step, prepared.user, pass, io),
    scratchDir: scratchDir(prepared.storeDir),
    rootFd: pass(prepared.rootFd),
    rootReadonly: job.rootfs.readonly,
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
    processes: processBoundOf(job.processes),
    consoleFd: step.terminal === null || step.terminal.mount === null ? null : pass(step.terminal.mount),
  });
}

/** All that the launcher said, once it is gone, but for the calls it told. */
function readStatus(child: ChildProcess, step: Step, notify: Notify | null): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const messages: Buffer[] = [];
    const pipe = child.stdio[STEP_FD.status] as Socket;
    let rest: Buffer = Buffer.alloc(0);
    pipe.on("data", (data: Buffer) => {
      rest = Buffer.concat([rest, data]);
      while (rest.length >= 16) {
        const kind = rest.readBigUInt64LE(0);
        const length = statusLength(kind);
        if (rest.length < length) return;
        const message = rest.subarray(0, length);
        rest = rest.subarray(length);
        if (kind === STEP_STATUS.told) {
          try {
            notify?.take(message.subarray(16), child.pid ?? 0);
          } catch (error) {
            reject(error as Error);
            child.kill("SIGKILL"); // the step waits for the answer
          }
          continue;
        }
        messages.push(message);
        if (kind === STEP_STATUS.started)
          // Not waited for as long as this event has not come, so its number is still its own.
          step.onStarted?.(() => {
            const isOver = child.exitCode !== null || child.signalCode !== null;
            return isOver || step.pid === null || child.pid === undefined
              ? null
              : childPidfd(step.pid, child.pid);
          });
        if (kind !== STEP_STATUS.pid) continue;
        step.pid = Number(message.readBigUInt64LE(8));
        if (step.ended) killQuietly(step.pid, SIGKILL);
      }
    });
    pipe.on("error", () => {}); // what was read until then counts
    child.once("error", (cause) => reject(launcherError(cause)));
    child.once("close", () => {
      step.pid = null;
      resolve(Buffer.concat([...messages, rest]));
    });
  });
}
