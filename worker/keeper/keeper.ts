// Front side of the keeper: starts it, sends jobs, returns outcomes. The keeper is root inside its own user namespace and
// lives in its own mount and pid namespace; it dies with the front, and with it every container and mount.

import type { ChildProcess } from "node:child_process";
import { join } from "node:path";
import { setTimeout as later } from "node:timers/promises";
import { DiskRefused } from "../../cache/disk-fault.ts";
import { makeDirectories } from "../../cache/outside.ts";
import type { PackedMount } from "../../cache/remote-cache/mount-pack.ts";
import type { RestoredMount } from "../../cache/remote-cache/mount-restore.ts";
import { entryOf } from "../../solver/graph/entry.ts";
import { BuildError } from "../../solver/graph/error.ts";
import { unlessAborted } from "../../solver/graph/scope.ts";
import { withLauncher } from "../launcher/install.ts";
import { watchForOutOfMemory } from "../killed.ts";
import { type ContainerLine, keptContainer } from "./container.ts";
import type { Scan } from "../sbom/contract.ts";
import type { ExecControl, KeptContainer } from "./contract.ts";
import { FAILURE_BYTES, keeperError, STATUS_BYTES, startError, statusOf, type Ended } from "./keeper-end.ts";
import { FD, keeperProgram } from "./keeper-program.ts";
import type {
  ApplyJob,
  ApplyOutcome,
  ContainerJob,
  DiffJob,
  DigestsJob,
  DropUnchangedJob,
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
  LookAnswer,
  LayerOfJob,
  LookJob,
  ReadJob,
  Request,
  PlainJob,
  PlainOutcome,
  RecompressJob,
  RecompressOutcome,
  RemoveJob,
  RestoreMountJob,
  ScanJob,
  SelectJob,
  StripJob,
  SyncJob,
  ThreadJob,
  ToKeeper,
} from "./messages.ts";
import { findNetworkHelper, type NetworkHelper, networkDir } from "./network-helper.ts";
import type { OciRuntime } from "../sandbox/oci-runtime.ts";
import { thawError } from "./wire-error.ts";
import { type IdMaps, writeIdMaps } from "./userns.ts";
import { SIG } from "../sys/constants.ts";

export interface ExecIo {
  readonly onOutput: (fd: 1 | 2, data: Uint8Array) => void;
  readonly onStart?: (control: ExecControl) => void;
  readonly signal: AbortSignal;
}

export interface JobOptions {
  readonly signal: AbortSignal;
}

export interface Keeper extends AsyncDisposable {
  /** The ids its steps have, as it was started. */
  readonly ids: IdMaps;
  /** It takes no more jobs: it died, was killed, or never started. */
  readonly hasEnded: boolean;
  /** Resolves when the keeper begins without any more help from this process, or has failed: who has nothing urgent to compute waits
   *  for it, since a busy event loop would keep the keeper waiting. */
  begins(): Promise<void>;
  /** Resolves when the keeper takes jobs; throws SANDBOX_UNAVAILABLE. */
  ready(options: JobOptions): Promise<void>;
  /** Aborting ends the job's thread, and rejects with the signal's reason once it is gone. A thread that does not end within
   *  STOP_GRACE_MS (a system call that takes its time, a keeper that is stopped) goes with the whole keeper: all other jobs
   *  reject, and none can be asked for any more. */
  run(job: FileJob | MaterializeJob, options: JobOptions): Promise<FileOutcome>;
  run(job: ApplyJob, options: JobOptions): Promise<ApplyOutcome>;
  run(job: PlainJob, options: JobOptions): Promise<PlainOutcome>;
  run(job: PackJob, options: JobOptions): Promise<PackOutcome>;
  run(job: RecompressJob, options: JobOptions): Promise<RecompressOutcome>;
  run(job: SelectJob, options: JobOptions): Promise<string>;
  run(job: ExportJob | DigestsJob, options: JobOptions): Promise<number>;
  run(job: DiffJob | DropUnchangedJob | RemoveJob | StripJob | SyncJob, options: JobOptions): Promise<null>;
  run(job: ReadJob, options: JobOptions): Promise<Uint8Array | null>;
  run(job: LookJob, options: JobOptions): Promise<LookAnswer>;
  run(job: MeasureJob, options: JobOptions): Promise<MeasureOutcome>;
  run(job: ScanJob, options: JobOptions): Promise<Scan>;
  run(job: LayerOfJob, options: JobOptions): Promise<readonly (number | null)[]>;
  run(job: PackMountJob, options: JobOptions): Promise<PackedMount>;
  run(job: RestoreMountJob, options: JobOptions): Promise<RestoredMount>;
  /** Runs a command. Aborting sends TERM, then KILL after KILL_GRACE_MS, and rejects with the signal's reason once it is gone; one
   *  that cannot be ended goes with the keeper, as a job does. */
  exec(job: ExecJob, io: ExecIo): Promise<ExecOutcome>;
  /** Mounts the file systems of a container. */
  openContainer(job: ContainerJob, options: JobOptions): Promise<KeptContainer>;
}

/** Between TERM and KILL for a cancelled step. */
export const KILL_GRACE_MS = 700;
/** For what was told to end; then the keeper is killed. A thread ends between two system calls, which take 0.1 s at most on a disk
 *  that answers; a command of KILL ends at once. */
export const STOP_GRACE_MS = 1_000;
/** For a killed keeper to be gone. Longer is only what waits for a device, or is frozen by cgroup v1: it is left to the kernel. */
const GONE_WAIT_MS = 500;
/** Only against waiting forever: fifty keepers that start at once on two slow cores take half a minute. */
const START_TIMEOUT_MS = 120_000;

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

/** Starts the keeper at once; `ready()` waits for it. `storeDir` holds the launcher. `onExit` is told when it ends unasked. */
export function startKeeper(options: {
  readonly storeDir: string;
  readonly maps: IdMaps;
  readonly path: string; // where newuidmap is looked for
  readonly env: Readonly<Record<string, string>>; // of the keeper process itself
  /** What connects steps whose network is "sandbox"; omitted: what findNetworkHelper finds in `path`. */
  readonly network?: NetworkHelper;
  /** A step with the default network is likely to come: its network is started with the keeper (where the helper is pasta). */
  readonly networkAhead?: boolean;
  /** An OCI runtime for the steps (findOciRuntime); omitted: the built-in sandbox. */
  readonly ociRuntime?: OciRuntime | null;
  /** Takes jobs that can no longer be given to this one, because it has died; omitted: they fail. */
  readonly successor?: () => Keeper;
}): Keeper {
  const waiting = new Map<number, Waiting>();
  let nextId = 1;
  let ended: Error | null = null;
  let closing = false;
  const stderr: Uint8Array[] = [];
  let said: Uint8Array = new Uint8Array(0); // by the launcher, behind its go-ahead
  const wasOutOfMemory = watchForOutOfMemory();

  const network = options.network ?? findNetworkHelper(options.path);
  const { storeDir } = options;
  const netDir = networkDir(storeDir);
  makeDirectories(netDir, 0o700);
  const ahead =
    options.networkAhead === true && network.kind === "pasta" ? { file: network.file, dir: netDir } : null;
  const settings: KeeperSettings = {
    singleId: options.maps.kind === "single",
    storeDir,
    network,
    networkAhead: ahead !== null,
    ociRuntime: options.ociRuntime ?? null,
  };
  const entry = entryOf("keeper", new URL("./main.js", import.meta.url));
  const env = Object.entries({
    ...options.env,
    NODE_CHANNEL_FD: String(FD.ipc),
    NODE_CHANNEL_SERIALIZATION_MODE: "advanced",
  }).map(([name, value]) => `${name}=${value}`);
  const { spawn } = process.getBuiltinModule("node:child_process"); // loaded when there is something to start
  const child: ChildProcess = withLauncher(join(storeDir, "bin"), (launcher) =>
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
      ["--no-warnings", "--max-semi-space-size=4", entry.file, ...entry.argv, JSON.stringify(settings)],
      env,
      ahead,
    ),
  );

  const failAll = (error: Error): void => {
    ended ??= error;
    for (const entry of waiting.values()) entry.reject(entry.hasBegun ? ended : new Undelivered());
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
    child.stdout?.on("data", (more: Uint8Array) => {
      said = Buffer.concat([said, more]);
      if (said.length >= FAILURE_BYTES) failedStart(startError(said));
    });
  });
  const exited = new Promise<void>((resolve) => {
    const onEnd = (how: Ended | Error): void => {
      clearTimeout(timer);
      const words = Buffer.concat(stderr).toString("utf8").trim().slice(0, 2000);
      const error = closing
        ? new BuildError("SANDBOX_UNAVAILABLE", "the keeper is closed")
        : keeperError(how, words, wasOutOfMemory);
      failedStart(error);
      failAll(error);
      resolve();
    };
    child.once("error", onEnd);
    // "close", not "exit": the process started here is the launcher; its output is at its end when the keeper is gone too.
    child.once("close", (code, signal) =>
      onEnd(signal === null ? statusOf(said.subarray(-STATUS_BYTES), code) : { code: null, signal }),
    );
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
    if (answer.type === "begun") {
      entry.hasBegun = true;
      return;
    }
    switch (answer.type) {
      case "output":
        entry.onOutput?.(answer.fd, answer.data);
        return;
      case "fed":
        entry.feeding.shift()?.();
        return;
      case "done":
        waiting.delete(answer.id);
        entry.resolve(answer.outcome);
        break;
      case "failed":
        waiting.delete(answer.id);
        entry.reject(thawError(answer.error));
        break;
    }
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

  /** Of a keeper that is gone: its end is told by "close", a moment later. */
  let isGone = false;
  const send = (message: ToKeeper, onUndelivered = (): void => {}): void => {
    child.send(message, (error) => {
      if (error === null) return;
      isGone = true;
      onUndelivered();
    });
  };
  /** Ends what does not end by itself, and everybody's waiting for it. */
  const abandon = async (): Promise<void> => {
    ended ??= new BuildError(
      "SANDBOX_UNAVAILABLE",
      "the keeper process was killed because a cancelled job in it did not stop",
    );
    child.kill("SIGKILL"); // also of a stopped process, signal(7); the keeper dies with its launcher
    await Promise.race([exited, later(GONE_WAIT_MS)]);
    failAll(ended);
  };

  /** `stop`: asks for the end, which `graceMs` later has to be there. */
  const request = async (
    message: Request,
    options: {
      readonly signal: AbortSignal;
      readonly stop: (id: number) => void;
      readonly graceMs: number;
      readonly onOutput?: ExecIo["onOutput"];
      readonly onId?: (id: number) => void;
    },
  ): Promise<unknown> => {
    const { signal, onOutput } = options;
    reference();
    await unlessAborted(ready, signal);
    if (ended !== null || isGone) throw new Undelivered();
    const id = nextId++;
    const feeding: (() => void)[] = [];
    let timer: NodeJS.Timeout | undefined;
    const onAbort = (): void => {
      options.stop(id);
      timer = setTimeout(() => void abandon(), options.graceMs);
    };
    try {
      const outcome = await new Promise<unknown>((resolve, reject) => {
        waiting.set(id, { resolve, reject, onOutput, feeding, hasBegun: false });
        reference(); // again: who only waited for ready() has let go meanwhile
        send({ ...message, id } as ToKeeper, () => {
          waiting.delete(id);
          reject(new Undelivered());
        });
        if (signal.aborted) onAbort();
        else signal.addEventListener("abort", onAbort, { once: true });
        options.onId?.(id);
      });
      signal.throwIfAborted();
      return outcome;
    } catch (error) {
      if (signal.aborted) throw signal.reason; // cancelling is not failing
      if (!(error instanceof DiskRefused)) throw error;
      const output = message.type === "job" && message.job.kind === "export" ? message.job.output : null;
      throw output === null ? error.of("store", storeDir) : error.of("output", output);
    } finally {
      signal.removeEventListener("abort", onAbort);
      clearTimeout(timer);
      for (const fed of feeding.splice(0)) fed();
    }
  };

  const controlOf = (id: number): ExecControl => ({
    kill: (signal) => send({ type: "kill", id, signal }),
    stdin(data, onTaken = () => {}) {
      const entry = waiting.get(id);
      if (entry === undefined) return onTaken(); // it is over
      entry.feeding.push(onTaken);
      return send({ type: "stdin", id, data });
    },
    resize: (rows, columns) => send({ type: "resize", id, rows, columns }),
  });

  /** There is no other keeper for what this one has. */
  const explained = async (error: unknown): Promise<never> => {
    if (!(error instanceof Undelivered)) throw error;
    if (ended === null) await exited;
    throw ended ?? error;
  };

  /** Who takes `job`, which failed with `error`; throws that for a job that had begun. */
  const passedOn = async (error: unknown, job: ThreadJob | ExecJob): Promise<Keeper> => {
    if (!(error instanceof Undelivered)) throw error;
    // Once: a job that no keeper survives reading would end one after the other.
    const wasPassedOn = jobsPassedOn.has(job);
    jobsPassedOn.add(job);
    if (closing || wasPassedOn || options.successor === undefined) {
      if (ended === null) await exited;
      throw ended ?? error;
    }
    return options.successor();
  };

  return {
    ids: options.maps,
    get hasEnded() {
      return ended !== null || isGone;
    },
    begins: () => held(begins),
    ready: ({ signal }) => held(unlessAborted(ready, signal)),
    async run(job: ThreadJob, { signal }: JobOptions) {
      const stop = (id: number): void => send({ type: "stop", id });
      try {
        return (await request({ type: "job", job }, { signal, stop, graceMs: STOP_GRACE_MS })) as never;
      } catch (error) {
        return (await (await passedOn(error, job)).run(job as never, { signal })) as never;
      }
    },
    async exec(job, io) {
      let killTimer: NodeJS.Timeout | undefined;
      try {
        const outcome = await request(
          { type: "exec", job },
          {
            signal: io.signal,
            stop(id) {
              send({ type: "kill", id, signal: 15 });
              killTimer = setTimeout(() => send({ type: "kill", id, signal: SIG.KILL }), KILL_GRACE_MS);
            },
            graceMs: KILL_GRACE_MS + STOP_GRACE_MS,
            onOutput: io.onOutput,
            onId: (id) => io.onStart?.(controlOf(id)),
          },
        );
        return outcome as ExecOutcome;
      } catch (error) {
        return await (await passedOn(error, job)).exec(job, io);
      } finally {
        clearTimeout(killTimer);
      }
    },
    async openContainer(job, { signal }) {
      const ask: ContainerLine["ask"] = (message, options) => request(message, options).catch(explained);
      await held(unlessAborted(ready, signal));
      let id = 0;
      // Mounting is quick; what came too late is released.
      const options = {
        signal: new AbortController().signal,
        stop() {},
        graceMs: 0,
        onId: (own: number) => (id = own),
      };
      await request({ type: "open", job }, options).catch(explained);
      const container = keptContainer({ ask, send, controlOf, isOver: () => ended !== null }, id);
      if (!signal.aborted) return container;
      await container[Symbol.asyncDispose]();
      throw signal.reason;
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
      await (ended === null ? exited : Promise.race([exited, later(GONE_WAIT_MS)]));
    },
  };
}

/** A job that waits for its outcome. */
interface Waiting {
  readonly resolve: (value: unknown) => void;
  readonly reject: (error: unknown) => void;
  readonly onOutput: ExecIo["onOutput"] | undefined;
  /** Called in turn as the command takes its input. */
  readonly feeding: (() => void)[];
  /** The keeper has read it. */
  hasBegun: boolean;
}

/** The keeper ended before it read the job: what goes into its socket while it dies is accepted, and lost. */
class Undelivered extends Error {}
const jobsPassedOn = new WeakSet<object>();
