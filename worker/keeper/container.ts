// Front side of a container: what it asks of the keeper that has it, and the order in which it ends.

import type { ExecControl, KeptContainer } from "./contract.ts";
import type { ExecOutcome, LookAnswer, Request, ToKeeper } from "./messages.ts";

/** The line to the keeper. */
export interface ContainerLine {
  /** Resolves with the outcome; rejects with the reason of the signal once what it stopped is gone. */
  ask(
    message: Extract<Request, { type: "process" | "look" | "release" }>,
    options: {
      readonly signal: AbortSignal;
      /** Asks for the end, which is to be there `graceMs` later. */
      readonly stop: (id: number) => void;
      readonly graceMs: number;
      readonly onOutput?: (fd: 1 | 2, data: Uint8Array) => void;
      readonly onId?: (id: number) => void;
    },
  ): Promise<unknown>;
  send(message: ToKeeper): void;
  controlOf(id: number): ExecControl;
  /** The keeper is gone, and has taken the container along. */
  isOver(): boolean;
}

/** What a process may take to end that was killed: what it started may go on, and hold its streams for a while (sandbox/step.ts, DRAIN_MS). */
const PROCESS_GRACE_MS = 5_000;
/** A look into a mount ends between two system calls. */
const LOOK_GRACE_MS = 1_000;

/** The container that the keeper calls `container`. */
export function keptContainer(line: ContainerLine, container: number): KeptContainer {
  const released = new AbortController();
  const running = new Set<Promise<unknown>>();
  let over: Promise<void> | null = null;

  async function waitedFor<T>(work: Promise<T>): Promise<T> {
    running.add(work);
    try {
      return await work;
    } finally {
      running.delete(work);
    }
  }

  async function release(): Promise<void> {
    released.abort();
    await Promise.allSettled(running);
    if (line.isOver()) return;
    const options = { signal: new AbortController().signal, stop() {}, graceMs: 0 };
    try {
      await line.ask({ type: "release", container }, options);
    } catch (error) {
      if (!line.isOver()) throw error;
    }
  }

  return {
    async exec(job, io) {
      const signal = AbortSignal.any([io.signal, released.signal]);
      signal.throwIfAborted();
      let id = 0;
      let isOver = false;
      const process = line.ask(
        { type: "process", container, job },
        {
          signal,
          stop: (own) => line.send({ type: "end", id: own }),
          graceMs: PROCESS_GRACE_MS,
          onOutput(fd, data) {
            const taken = (): void => {
              if (!isOver) line.send({ type: "taken", id, bytes: data.length });
            };
            io.onOutput(fd, data).then(taken, taken);
          },
          onId(own) {
            id = own;
            io.onControl(line.controlOf(own));
          },
        },
      );
      try {
        return (await waitedFor(process)) as ExecOutcome;
      } finally {
        isOver = true;
      }
    },
    async look(mount, path, question, { signal }) {
      released.signal.throwIfAborted();
      const looking = line.ask(
        { type: "look", container, mount, path, question },
        { signal, stop: (id) => line.send({ type: "stop", id }), graceMs: LOOK_GRACE_MS },
      );
      return (await waitedFor(looking)) as LookAnswer;
    },
    [Symbol.asyncDispose]: () => (over ??= release()),
  };
}
