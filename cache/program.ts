// Runs programs of this machine for the front (git, credential helpers), with limits on whatever they and their children do.
//
// Each has its own process group, which gets SIGTERM and then SIGKILL when it is cancelled or takes too long. The end of the program
// matters, not the end of its output: a child it leaves behind may keep that open forever.

import type { ChildProcess } from "node:child_process";
import { setTimeout as later } from "node:timers/promises";

export interface ProgramOptions {
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly cwd?: string;
  /** Its standard input; omitted: nothing. */
  readonly input?: string;
  readonly signal: AbortSignal;
  /** Longest time for all of it. */
  readonly totalMs: number;
  /** More on standard output ends the program. */
  readonly outputMaxBytes: number;
  /** Takes standard output in place of the outcome, piece by piece; false: enough, the program is ended. */
  readonly sink?: (piece: Buffer) => boolean;
  /** Becomes descriptor 3 of the program. */
  readonly descriptor?: number;
}

export interface ProgramOutcome {
  /** "late": ended after totalMs. "loud": ended because it said more than outputMaxBytes, or
   *  enough for the sink. */
  readonly end: "exit" | "late" | "loud";
  readonly code: number | null; // null when a signal ended it
  readonly signal: NodeJS.Signals | null;
  readonly output: Buffer;
  /** The end of standard error. */
  readonly complaint: string;
}

/** Between TERM and KILL. */
const KILL_GRACE_MS = 500;
/** For what is still in the pipes of a program that has ended. */
const DRAIN_MS = 200;
/** For a killed program to be gone; longer only takes what waits for a device. */
const GONE_WAIT_MS = 500;
const COMPLAINT_MAX_CHARS = 4000;

/** Runs a program to its end. Rejects when it cannot be started, and with `signal.reason` once it is gone. */
export async function runProgram(
  file: string,
  args: readonly string[],
  options: ProgramOptions,
): Promise<ProgramOutcome> {
  const { signal } = options;
  signal.throwIfAborted();
  const { spawn } = process.getBuiltinModule("node:child_process"); // loaded when there is something to start
  const child = spawn(file, args, {
    env: options.env as NodeJS.ProcessEnv,
    ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
    stdio: [
      options.input === undefined ? "ignore" : "pipe",
      "pipe",
      "pipe",
      ...(options.descriptor === undefined ? [] : [options.descriptor]),
    ],
    detached: true, // a group of its own, setsid(2)
  });
  const chunks: Buffer[] = [];
  let size = 0;
  let complaint = "";
  let end: ProgramOutcome["end"] = "exit";
  const ending = endOf(child);
  const stop = (why: ProgramOutcome["end"]): void => {
    if (end === "exit") end = why;
    void ending.stop();
  };
  child.stdin?.on("error", () => {}); // a program that does not read its input says so by its exit code
  child.stdin?.end(options.input);
  child.stdout?.on("data", (chunk: Buffer) => {
    if (end !== "exit") return;
    size += chunk.length;
    if (options.sink !== undefined ? !options.sink(chunk) : size > options.outputMaxBytes) stop("loud");
    else if (options.sink === undefined) chunks.push(chunk);
  });
  child.stderr?.setEncoding("utf8").on("data", (text: string) => {
    complaint = (complaint + text).slice(-COMPLAINT_MAX_CHARS);
  });
  const timer = setTimeout(() => stop("late"), options.totalMs);
  const onAbort = (): void => void ending.stop();
  signal.addEventListener("abort", onAbort, { once: true });
  try {
    const { code, signal: by } = await ending.ended;
    signal.throwIfAborted();
    return { end, code, signal: by, output: Buffer.concat(chunks), complaint };
  } finally {
    clearTimeout(timer);
    signal.removeEventListener("abort", onAbort);
  }
}

export interface Ending {
  /** Resolves when the program is gone and its output was read; rejects when it could not be started. */
  readonly ended: Promise<{ readonly code: number | null; readonly signal: NodeJS.Signals | null }>;
  /** TERM, then KILL. Resolves with `ended`. */
  stop(): Promise<void>;
}

/** The end of a program started with `detached`, which comes also when this process exits before it. */
export function endOf(child: ChildProcess): Ending {
  const kill = (signal: NodeJS.Signals): void => {
    try {
      if (child.pid !== undefined) process.kill(-child.pid, signal);
    } catch {
      // ESRCH: all of the group is gone already
    }
  };
  const onExit = (): void => kill("SIGKILL");
  process.once("exit", onExit);
  let stopped = false;
  let giveUp: () => void = () => {};
  const gone = new Promise<{ code: number | null; signal: NodeJS.Signals | null }>((resolve, reject) => {
    child.once("error", reject);
    child.once("exit", (code, signal) => resolve({ code, signal }));
    giveUp = () => resolve({ code: null, signal: "SIGKILL" });
  });
  const ended = (async () => {
    try {
      const how = await gone;
      const drained = new Promise((resolve) => child.once("close", resolve));
      await Promise.race([drained, later(stopped ? 0 : DRAIN_MS, undefined, { ref: false })]);
      return how;
    } finally {
      process.off("exit", onExit);
      for (const stream of [child.stdin, child.stdout, child.stderr]) stream?.destroy();
    }
  })();
  ended.catch(() => {}); // whoever waits for it hears
  return {
    ended,
    async stop() {
      if (stopped) return;
      stopped = true;
      kill("SIGTERM");
      const over = ended.then(
        () => true,
        () => true,
      );
      if (await Promise.race([over, later(KILL_GRACE_MS, false)])) return kill("SIGKILL"); // its children
      kill("SIGKILL");
      if (!(await Promise.race([over, later(GONE_WAIT_MS, false)]))) giveUp();
    },
  };
}
