// What the front has of commands and containers that run in the keeper. Types only.

import type { ExecOutcome, LookAnswer, ProcessJob, TreeQuestion } from "./messages.ts";

/** Handle on a running command. */
export interface ExecControl {
  kill(signal: number): void;
  /** null: the end of its input. `onTaken`: called when the command has the data, or is gone; more before that has to be kept for it. */
  stdin(data: Uint8Array | null, onTaken?: () => void): void;
  resize(rows: number, columns: number): void;
}

/** The streams of a process of a container. */
export interface ProcessIo {
  /** What comes next waits for the promise, and so does the process. */
  readonly onOutput: (fd: 1 | 2, data: Uint8Array) => Promise<void>;
  /** Called before the process is started; input, sizes and signals are kept for it. */
  readonly onControl: (control: ExecControl) => void;
  /** Kills it. */
  readonly signal: AbortSignal;
}

/** File systems with processes on them. Disposing kills those, and waits for their end. */
export interface KeptContainer extends AsyncDisposable {
  /** Runs a process. The first keeps the namespaces of all: its end is theirs. Rejects with the signal's reason when it aborts or the container is
   *  released, and with EXEC_FAILED when there is no first process any more. */
  exec(job: ProcessJob, io: ProcessIo): Promise<ExecOutcome>;
  /** Looks into a mount, by its place in the job; null: the root. Throws MOUNT_INVALID, CONTEXT_PATH_MISSING, COPY_FAILED, LIMIT_EXCEEDED. */
  look(
    mount: number | null,
    path: string,
    question: TreeQuestion,
    options: { readonly signal: AbortSignal },
  ): Promise<LookAnswer>;
}
