// Front side of the keeper: starts it, sends jobs, hands back outcomes. The keeper is root inside its own user namespace and
// lives in its own mount and pid namespace; it dies with the front, and with it every container and mount.

import { type ChildProcess, spawn } from "node:child_process";
import { constants, mkdirSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { PackedMount } from "../../cache/remote-cache/mount-pack.ts";
import type { RestoredMount } from "../../cache/remote-cache/mount-restore.ts";
import { BuildError } from "../../solver/graph/error.ts";
import { launcherArch, withLauncher } from "../launcher/install.ts";
import { bindNewNetwork } from "../launcher/network.ts";
import { O_CLOEXEC, openProgram } from "../launcher/program.ts";
import type {
  ApplyJob,
  ApplyOutcome,
  DiffJob,
  ExecJob,
  ExecOutcome,
  ExportJob,
  FileJob,
  FileOutcome,
  FromKeeper,
  MaterializeJob,
  MeasureJob,
  MeasureOutcome,
  PackJob,
  PackMountJob,
  PackOutcome,
  ReadJob,
  RecompressJob,
  RemoveJob,
  RestoreMountJob,
  SelectJob,
  SyncJob,
  ThreadJob,
  ToKeeper,
} from "./messages.ts";
import {
  findNetworkHelper,
  type NetworkHelper,
  networkDir,
  networkFiles,
  pastaArgs,
} from "./network-helper.ts";
import type { OciRuntime } from "../sandbox/oci-runtime.ts";
import { thawError } from "./wire-error.ts";
import { type IdMaps, writeIdMaps } from "./userns.ts";

/** Handle on a running command. `stdin(null)` ends its input. */
export interface ExecControl {
  kill(signal: number): void;
  stdin(data: Uint8Array | null): void;
  resize(rows: number, columns: number): void;
}
export interface ExecIo {
  readonly onOutput: (fd: 1 | 2, data: Uint8Array) => void;
  readonly onStart?: (control: ExecControl) => void;
  readonly signal: AbortSignal;
}

export interface Keeper extends AsyncDisposable {
  /** The ids its steps have, as it was started. */
  readonly ids: IdMaps;
  /** Resolves when the keeper begins without any more help from this process, or has failed: who has nothing urgent to compute waits
   *  for it, since a busy event loop would keep the keeper waiting. */
  begins(): Promise<void>;
  /** Resolves when the keeper takes jobs; throws SANDBOX_UNAVAILABLE. */
  ready(): Promise<void>;
  run(job: FileJob | MaterializeJob): Promise<FileOutcome>;
  run(job: ApplyJob): Promise<ApplyOutcome>;
  run(job: PackJob | RecompressJob): Promise<PackOutcome>;
  run(job: SelectJob): Promise<string>;
  run(job: DiffJob | RemoveJob | ExportJob | SyncJob): Promise<null>;
  run(job: ReadJob): Promise<Uint8Array | null>;
  run(job: MeasureJob): Promise<MeasureOutcome>;
  run(job: PackMountJob): Promise<PackedMount>;
  run(job: RestoreMountJob): Promise<RestoredMount>;
  /** Runs a command. Aborting sends TERM, then KILL after KILL_GRACE_MS, and rejects with the signal's reason once it is gone. */
  exec(job: ExecJob, io: ExecIo): Promise<ExecOutcome>;
}

/** Between TERM and KILL for a cancelled step. */
export const KILL_GRACE_MS = 700;
/** Only against waiting for ever: fifty keepers that start at once on two slow cores take half a minute. */
const START_TIMEOUT_MS = 120_000;

const CLONE = { NEWNS: 0x0002_0000, NEWUSER: 0x1000_0000, NEWPID: 0x2000_0000 };
const PR_SET_PDEATHSIG = 1;
const SIGKILL = 9;
const SIGCHLD = 17;
const MS_REC_PRIVATE = 0x4000 | 0x4_0000;
const MS_NOSUID_NODEV_NOEXEC = 2 | 4 | 8;

/** What the keeper process is told on its command line, as JSON. */
export interface KeeperSettings {
  readonly singleId: boolean;
  readonly storeDir: string;
  readonly network: NetworkHelper;
  /** The first network namespace was started together with the keeper. */
  readonly networkAhead: boolean;
  /** What runs the steps; null: the built-in sandbox. */
  readonly ociRuntime: OciRuntime | null;
}

/** Descriptors of the launcher: program and go-ahead, acknowledgement, messages; standard error of the network helper. */
const FD = { program: 0, acknowledge: 1, ipc: 3, words: 9 } as const;

function keeperProgram(
  nodeArgs: readonly string[],
  env: readonly string[],
  pasta: { readonly file: string; readonly dir: string } | null,
): Uint8Array {
  const program = openProgram(launcherArch(), FD.acknowledge);
  const child = program.label();
  program.call("prctl", [PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0]);
  program.call("unshare", [CLONE.NEWUSER], { what: "making a user namespace" });
  program.call("write", [FD.acknowledge, "u", 1]);
  program.call("read", [FD.program, new Uint8Array(8), 1]); // the front has written the id maps
  program.call("setresgid", [0, 0, 0]);
  program.call("setresuid", [0, 0, 0]);
  program.call("setgroups", [0, 0], { onError: "ignore" }); // refused in single-id mode
  program.call("prctl", [PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0]); // new credentials clear it (prctl(2))
  program.call("unshare", [CLONE.NEWNS | CLONE.NEWPID], { what: "making mount and pid namespaces" });
  program.call("clone", [SIGCHLD, 0, 0, 0, 0], { onZero: child, intoNextArg: 0 });
  program.call("wait4", [0, 0, 0, 0]);
  program.call("exit_group", [0]);
  program.here(child);
  program.call("prctl", [PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0]);
  program.call("mount", ["none", "/", 0, MS_REC_PRIVATE, 0], { what: "making mounts private" });
  program.open(FD.program, "openat", [-100, "/dev/null", 0, 0]);
  const startsHelper = pasta === null ? null : networkAhead(program, pasta);
  // open() sets close-on-exec, which is wrong for a standard descriptor.
  program.call("dup3", [2, FD.acknowledge, 0]);
  program.call(
    "execve",
    [process.execPath, { pointers: [process.execPath, ...nodeArgs] }, { pointers: env }],
    {
      what: "starting Node",
    },
  );
  startsHelper?.();
  return program.assemble().bytes;
}

/** Starts pasta(1) on a new network namespace beside Node, which takes as long to begin: a first step need not wait for it.
 *  What fails here shows when the step's network is asked for (sandbox/network.ts). Returns what adds the processes' own records. */
function networkAhead(
  program: ReturnType<typeof openProgram>,
  { file, dir }: { readonly file: string; readonly dir: string },
): () => void {
  const files = networkFiles(dir, 1);
  const helper = program.label();
  const maker = program.label();
  const quiet = { onError: "ignore" } as const;
  const { O_RDWR, S_IFIFO, S_IFREG } = constants;
  program.call("mount", ["tmpfs", dir, "tmpfs", MS_NOSUID_NODEV_NOEXEC, "mode=700"], quiet);
  program.call("mknodat", [-100, files.namespace, S_IFREG | 0o600, 0], quiet);
  program.call("mknodat", [-100, files.ready, S_IFIFO | 0o600, 0], quiet);
  program.call("mknodat", [-100, files.words, S_IFIFO | 0o600, 0], quiet);
  // Open before there is a helper: who finds no writer later knows that the helper is gone.
  program.open(FD.words, "openat", [-100, files.words, O_RDWR | O_CLOEXEC, 0], quiet);
  program.call("clone", [SIGCHLD, 0, 0, 0, 0], { onZero: helper, onError: "ignore" });
  return () => {
    program.here(helper);
    program.call("prctl", [PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0]);
    // From here on a record that fails tells nobody but the FIFO's reader, by its end.
    program.call("dup3", [FD.program, FD.acknowledge, 0]);
    program.call("dup3", [FD.acknowledge, FD.program, 0]);
    program.call("dup3", [FD.words, 2, 0]);
    program.call("clone", [SIGCHLD, 0, 0, 0, 0], { onZero: maker, intoNextArg: 0 });
    program.call("wait4", [0, 0, 0, 0]);
    program.call("close_range", [FD.ipc, 0xffff_ffff, 0]);
    program.call("execve", [file, { pointers: [file, ...pastaArgs(files)] }, { pointers: [] }]);
    program.here(maker);
    program.call("prctl", [PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0]);
    bindNewNetwork(program, files.namespace);
  };
}

/** Starts the keeper at once; `ready()` waits for it. `storeDir` holds the launcher. `onExit` is told when it ends unasked. */
export function startKeeper(options: {
  readonly storeDir: string;
  readonly maps: IdMaps;
  readonly path: string; // where newuidmap is looked for
  readonly env: Readonly<Record<string, string>>; // of the keeper process itself
  /** What connects steps whose network is "sandbox"; left out: what findNetworkHelper finds in `path`. */
  readonly network?: NetworkHelper;
  /** A step with the default network is likely to come: its network is started with the keeper (where the helper is pasta). */
  readonly networkAhead?: boolean;
  /** An OCI runtime for the steps (findOciRuntime); left out: the built-in sandbox. */
  readonly ociRuntime?: OciRuntime | null;
}): Keeper {
  const waiting = new Map<
    number,
    { resolve: (value: unknown) => void; reject: (error: unknown) => void; onOutput?: ExecIo["onOutput"] }
  >();
  let nextId = 1;
  let ended: Error | null = null;
  let closing = false;
  const stderr: Uint8Array[] = [];

  const network = options.network ?? findNetworkHelper(options.path);
  const netDir = networkDir(options.storeDir);
  mkdirSync(netDir, { recursive: true, mode: 0o700 });
  const ahead =
    options.networkAhead === true && network.kind === "pasta" ? { file: network.file, dir: netDir } : null;
  const settings: KeeperSettings = {
    singleId: options.maps.kind === "single",
    storeDir: options.storeDir,
    network,
    networkAhead: ahead !== null,
    ociRuntime: options.ociRuntime ?? null,
  };
  const entry = fileURLToPath(new URL("../../solver/graph/bundle.cjs", import.meta.url));
  const main = fileURLToPath(new URL("./main.js", import.meta.url));
  const env = Object.entries({
    ...options.env,
    NODE_CHANNEL_FD: String(FD.ipc),
    NODE_CHANNEL_SERIALIZATION_MODE: "advanced",
  }).map(([name, value]) => `${name}=${value}`);
  const child: ChildProcess = withLauncher(join(options.storeDir, "bin"), (launcher) =>
    spawn(launcher, [], {
      stdio: ["pipe", "pipe", "pipe", "ipc"],
      serialization: "advanced",
      detached: true, // Ctrl-C on the terminal is for the front, which then cancels in order
      env: {},
      cwd: "/",
    }),
  );
  child.stdin?.on("error", () => {}); // the exit handler below says what happened
  child.stdin?.write(
    keeperProgram(
      ["--no-warnings", "--max-semi-space-size=4", entry, "keeper", main, JSON.stringify(settings)],
      env,
      ahead,
    ),
  );

  const failAll = (error: Error): void => {
    ended ??= error;
    for (const entry of waiting.values()) entry.reject(ended);
    waiting.clear();
  };
  let becameReady: () => void = () => {};
  let failedStart: (error: unknown) => void = () => {};
  const ready = new Promise<void>((resolve, reject) => {
    becameReady = resolve;
    failedStart = reject;
  });
  let begun: () => void = () => {};
  const begins = new Promise<void>((resolve) => {
    begun = resolve;
  });
  ready.catch(begun); // whoever calls ready() sees it
  const timer = setTimeout(() => {
    failedStart(
      new BuildError(
        "SANDBOX_UNAVAILABLE",
        `the keeper process did not start within ${START_TIMEOUT_MS / 1000} s`,
      ),
    );
    child.kill("SIGKILL");
  }, START_TIMEOUT_MS);
  timer.unref();

  child.stderr?.on("data", (data: Uint8Array) => {
    if (stderr.length < 64) stderr.push(data);
  });
  child.stdout?.once("data", (data: Uint8Array) => {
    if (data[0] !== 0x75 /* "u" */ || child.pid === undefined) {
      failedStart(startError(data));
      return;
    }
    writeIdMaps(child.pid, options.maps, options.path).then(
      () => {
        child.stdin?.write("g");
        begun();
      },
      (error: unknown) => {
        failedStart(error);
        child.kill("SIGKILL");
      },
    );
    child.stdout?.on("data", (more: Uint8Array) => failedStart(startError(more)));
  });
  const exited = new Promise<void>((resolve) => {
    const onEnd = (why: string): void => {
      clearTimeout(timer);
      const said = stderr
        .map((chunk) => new TextDecoder().decode(chunk))
        .join("")
        .trim();
      const error = closing
        ? new Error("the keeper is closed")
        : new BuildError(
            "SANDBOX_UNAVAILABLE",
            `the keeper process ended: ${why}${said === "" ? "" : `: ${said.slice(0, 2000)}`}`,
          );
      failedStart(error);
      failAll(error);
      resolve();
    };
    child.once("error", (error) => onEnd(error.message));
    // "close", not "exit": the process started here is the launcher; its output is at its end when the keeper is gone too.
    child.once("close", (code, signal) => onEnd(signal ?? `exit code ${code}`));
  });

  child.on("message", (message) => {
    const answer = message as FromKeeper;
    if (answer.type === "ready") {
      clearTimeout(timer);
      becameReady();
      return;
    }
    const entry = waiting.get(answer.id);
    if (entry === undefined) return;
    if (answer.type === "output") {
      entry.onOutput?.(answer.fd, answer.data);
      return;
    }
    waiting.delete(answer.id);
    if (answer.type === "done") entry.resolve(answer.outcome);
    else entry.reject(thawError(answer.error));
    if (waiting.size === 0) unreference();
  });

  // An idle keeper does not hold the front alive; a job does.
  const unreference = (): void => {
    child.unref();
    child.channel?.unref();
    for (const stream of [child.stdin, child.stdout, child.stderr])
      (stream as { unref?: () => void } | null)?.unref?.();
  };
  const reference = (): void => {
    child.ref();
    child.channel?.ref();
  };
  unreference();
  const held = (start: Promise<void>): Promise<void> => {
    reference();
    return start.finally(() => {
      if (waiting.size === 0) unreference();
    });
  };

  const send = (message: ToKeeper): void => {
    child.send(message, (error) => {
      if (error !== null && !closing) failAll(error);
    });
  };
  const request = async (
    message: { type: "job"; job: ThreadJob } | { type: "exec"; job: ExecJob },
    onOutput?: ExecIo["onOutput"],
    onId?: (id: number) => void,
  ): Promise<unknown> => {
    reference();
    await ready;
    if (ended !== null) throw ended;
    const id = nextId++;
    return new Promise<unknown>((resolve, reject) => {
      waiting.set(id, onOutput === undefined ? { resolve, reject } : { resolve, reject, onOutput });
      reference(); // again: who only waited for ready() has let go meanwhile
      send({ ...message, id } as ToKeeper);
      onId?.(id);
    });
  };

  return {
    ids: options.maps,
    begins: () => held(begins),
    ready: () => held(ready),
    async run(job: ThreadJob) {
      return (await request({ type: "job", job })) as never;
    },
    async exec(job, io) {
      io.signal.throwIfAborted();
      let stop: () => void = () => {};
      let killTimer: NodeJS.Timeout | undefined;
      try {
        const outcome = await request({ type: "exec", job }, io.onOutput, (id) => {
          stop = () => {
            send({ type: "kill", id, signal: 15 });
            killTimer = setTimeout(() => send({ type: "kill", id, signal: SIGKILL }), KILL_GRACE_MS);
          };
          if (io.signal.aborted) stop();
          else io.signal.addEventListener("abort", stop, { once: true });
          io.onStart?.({
            kill: (signal) => send({ type: "kill", id, signal }),
            stdin: (data) => send({ type: "stdin", id, data }),
            resize: (rows, columns) => send({ type: "resize", id, rows, columns }),
          });
        });
        io.signal.throwIfAborted();
        return outcome as ExecOutcome;
      } finally {
        io.signal.removeEventListener("abort", stop);
        clearTimeout(killTimer);
      }
    },
    async [Symbol.asyncDispose]() {
      if (closing) return exited;
      closing = true;
      reference();
      for (const stream of [child.stdin, child.stdout, child.stderr])
        (stream as { ref?: () => void } | null)?.ref?.();
      // The launcher may be killed between its clone and the keeper's wish to die with it: such a keeper is told to go.
      send({ type: "close" });
      // Nothing it holds outlives it: its pid namespace ends with it, its mounts are detached ones.
      child.kill("SIGKILL");
      await exited;
    },
  };
}

function startError(data: Uint8Array): BuildError {
  // A failed call is told as (record address, -errno).
  const errno =
    data.length >= 16
      ? -Number(new DataView(data.buffer, data.byteOffset, data.length).getBigInt64(8, true))
      : 0;
  const hint =
    errno === 1 || errno === 13 || errno === 28
      ? "allow unprivileged user namespaces: sysctl user.max_user_namespaces=28633, and on Ubuntu sysctl kernel.apparmor_restrict_unprivileged_userns=0"
      : null;
  return new BuildError(
    "SANDBOX_UNAVAILABLE",
    `the kernel refused the keeper's namespaces (errno ${errno})`,
    { hint },
  );
}
