// The command as a user runs it: a separate process.

import { type ChildProcessByStdio, spawn } from "node:child_process";
import { once } from "node:events";
import { closeSync, openSync } from "node:fs";
import { join } from "node:path";
import type { Readable } from "node:stream";
import { needs } from "./needs.ts";
import { type Account, programDir, self } from "./unprivileged.ts";

export interface CliOptions {
  /** Who calls; default: this process's account. */
  readonly account?: Account;
  /** In a user namespace that has only the account's own id, as for a user without subordinate ids. */
  readonly oneId?: boolean;
  /** The store. */
  readonly root: string;
  /** What is run in place of `tsbuild`: another program, with its first arguments. */
  readonly command?: readonly string[];
  /** Of ours; default "tsbuild". */
  readonly program?: "tsbuild" | "tsbuildd";
  readonly cwd?: string;
  readonly env?: Readonly<Record<string, string>>;
  readonly input?: string;
  /** A file as standard input, in place of `input`. */
  readonly inputFile?: string;
  /** In a process group of its own, for killGroup(). */
  readonly group?: boolean;
  /** On a terminal of 80 columns and 24 rows. What it shows is in `stdout`; input is not typed: it ends at once. */
  readonly terminal?: boolean;
}

export interface Outcome {
  /** Exit code; null when a signal ended it. */
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface RunningCommand {
  readonly pid: number;
  /** Resolves with all output so far once `pattern` matches it; throws when the command ends before. */
  says(pattern: RegExp): Promise<string>;
  kill(signal: NodeJS.Signals): void;
  /** Signals all processes of its group; those that are gone already are no error. */
  killGroup(signal: NodeJS.Signals): void;
  readonly outcome: Promise<Outcome>;
}

/** Starts `tsbuild ARGS`. */
export function startTsbuild(args: readonly string[], options: CliOptions): RunningCommand {
  const account = options.account ?? self();
  const program = join(programDir(account), "dist", "bin", `${options.program ?? "tsbuild"}.cjs`);
  const foreign = account.uid !== process.getuid?.();
  const command = [
    ...(options.oneId === true ? ["unshare", "--user", "--map-root-user"] : []),
    ...(options.command ?? [process.execPath, program]),
    ...args,
  ];
  const [file, ...rest] = options.terminal === true ? onTerminal(command) : command;
  const stdin = options.inputFile === undefined ? null : openSync(options.inputFile, "r");
  const child = spawn(file as string, rest, {
    cwd: options.cwd ?? "/",
    detached: options.group === true,
    stdio: [stdin ?? (options.input === undefined ? "ignore" : "pipe"), "pipe", "pipe"],
    env: {
      PATH: process.env.PATH,
      TMPDIR: process.env.TMPDIR,
      HOME: options.root, // nothing of the real user's configuration plays a part
      TSBUILD_ROOT: options.root,
      TSBUILD_CODE_CACHE: "", // a home that is the store is no place for anything else
      ...options.env,
    },
    ...(foreign ? { uid: account.uid, gid: account.gid } : {}),
  }) as ChildProcessByStdio<null, Readable, Readable>;
  if (stdin !== null) closeSync(stdin);
  else if (options.input !== undefined)
    (child as unknown as { stdin: NodeJS.WritableStream }).stdin.end(options.input);

  const output = { stdout: "", stderr: "" };
  const listeners = new Set<() => void>();
  for (const name of ["stdout", "stderr"] as const) {
    child[name].setEncoding("utf8");
    child[name].on("data", (text: string) => {
      output[name] += text;
      for (const listener of listeners) listener();
    });
  }
  const outcome = once(child, "close").then(([code, signal]) => ({ code, signal, ...output }) as Outcome);
  return {
    pid: child.pid ?? 0,
    outcome,
    kill: (signal) => void child.kill(signal),
    killGroup(signal) {
      if (options.group !== true || child.pid === undefined) throw new Error("started without a group");
      if (child.exitCode !== null || child.signalCode !== null) return; // its number may be another's by now
      try {
        process.kill(-child.pid, signal);
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== "ESRCH") throw error;
      }
    },
    async says(pattern) {
      return new Promise((resolve, reject) => {
        const look = (): void => {
          const all = output.stdout + output.stderr;
          if (!pattern.test(all)) return;
          listeners.delete(look);
          resolve(all);
        };
        listeners.add(look);
        look();
        outcome.then(
          () => reject(new Error(`ended without saying ${pattern}:\n${output.stdout}${output.stderr}`)),
          reject,
        );
      });
    },
  };
}

/** script(1) gives the command a terminal whose size is 0, for which everybody takes 80 by 24. */
function onTerminal(command: readonly string[]): readonly string[] {
  const words = command.map((word) => `'${word.replaceAll("'", "'\\''")}'`);
  return [needs("script"), "--quiet", "--return", "--flush", "--command", words.join(" "), "/dev/null"];
}

/** Runs `tsbuild ARGS` to its end. */
export function tsbuild(args: readonly string[], options: CliOptions): Promise<Outcome> {
  return startTsbuild(args, options).outcome;
}

/** As tsbuild(); throws with the command's words when it fails. */
export async function tsbuildOk(args: readonly string[], options: CliOptions): Promise<Outcome> {
  const outcome = await tsbuild(args, options);
  if (outcome.code !== 0) {
    const why = outcome.signal ?? `exit code ${outcome.code}`;
    throw new Error(`tsbuild ${args.join(" ")}: ${why}\n${outcome.stdout}${outcome.stderr}`);
  }
  return outcome;
}
