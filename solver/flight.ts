// Single flight: equal work requested several times at once, by one or more builds in this process, runs once.
// Nothing is merged: each build keeps its own graph and only waits for the same promise.

import type { Digest } from "./graph/digest.ts";
import { BuildError, type ErrorCode } from "./graph/error.ts";
import type { Emit, ProgressEvent } from "./graph/event.ts";
import type { CallContext } from "./graph/request.ts";
import { awaitAs, type Waiters } from "./graph/tasks.ts";

/** One caller that waits for the work. */
export interface Member<T> {
  /** Its own name for the step; events of the work are reported under it. */
  readonly vertex: Digest;
  readonly context: CallContext;
  /** Called with the value before `release` of the work is. */
  readonly landed: (value: T) => void;
}

/** `release` ends the lease that protected the value until every member had its own. */
export interface Shared<T> {
  readonly value: T;
  readonly release: () => PromiseLike<void>;
}

export interface Flights<T> {
  /**
   * Runs `work` for all callers with `key` while it is in flight. It gets the session of the first; its signal aborts
   * once nobody waits any more. Rejects with the member's `signal.reason` when that aborts: at once if others
   * still wait, otherwise after the work has stopped.
   */
  share(key: string, member: Member<T>, work: (context: CallContext) => Promise<Shared<T>>): Promise<T>;
}

interface Flight<T> extends Waiters<Member<T>> {
  readonly owner: Member<T>;
  readonly outcome: Promise<T>;
  /** Events that later members missed. */
  readonly told: ProgressEvent[];
}

/** Limit of events kept for members that join later. With more, the start of the log is lost for them only. */
const TOLD_MAX = 2_000;

/** Failures caused by the caller and not by the work: another caller may succeed. */
const OF_THE_SESSION: ReadonlySet<ErrorCode> = new Set([
  "CONTEXT_MISSING",
  "ENTITLEMENT_DENIED",
  "REGISTRY_DENIED",
  "SECRET_MISSING",
]);

/** No flights yet. */
export function openFlights<T>(): Flights<T> {
  const flights = new Map<string, Flight<T>>();

  function launch(
    key: string,
    owner: Member<T>,
    work: (context: CallContext) => Promise<Shared<T>>,
  ): Flight<T> {
    const members = new Set([owner]);
    const controller = new AbortController();
    const told: ProgressEvent[] = [];
    const emit: Emit = (event) => {
      told.push(event);
      if (told.length > TOLD_MAX) told.splice(0, TOLD_MAX / 2);
      for (const member of members) member.context.emit(retold(event, owner.vertex, member.vertex));
    };
    const fly = async (): Promise<T> => {
      try {
        const shared = await work({ signal: controller.signal, session: owner.context.session, emit });
        try {
          for (const member of members) member.landed(shared.value);
        } finally {
          await shared.release();
        }
        return shared.value;
      } finally {
        flights.delete(key);
      }
    };
    const flight = { members, owner, controller, outcome: Promise.resolve().then(fly), told };
    flight.outcome.catch(() => {}); // members handle it; when all have left nobody wants to know
    flights.set(key, flight);
    return flight;
  }

  return {
    async share(key, member, work) {
      const { signal } = member.context;
      for (;;) {
        signal.throwIfAborted();
        let flight = flights.get(key);
        if (flight?.controller.signal.aborted) {
          await flight.outcome.catch(() => {}); // given up by all, on its way down
          continue;
        }
        const mine = flight === undefined;
        if (flight === undefined) {
          flight = launch(key, member, work);
        } else {
          flight.members.add(member);
          for (const event of flight.told) {
            member.context.emit(retold(event, flight.owner.vertex, member.vertex));
          }
        }
        try {
          return await awaitAs(flight, member, flight.outcome, signal);
        } catch (error) {
          signal.throwIfAborted();
          if (mine || !mayFareBetter(flight, member, error)) throw error;
        }
      }
    },
  };
}

/** Was a failure of this flight caused by its caller, so that another one should try itself? */
function mayFareBetter<T>(flight: Flight<T>, member: Member<T>, error: unknown): boolean {
  if (flight.owner.context.signal.aborted) return true; // its session may have gone under the work
  if (flight.owner.context.session === member.context.session) return false;
  return error instanceof BuildError && OF_THE_SESSION.has(error.code);
}

/** The event for another member: with its own name of the step. */
function retold(event: ProgressEvent, owner: Digest, member: Digest): ProgressEvent {
  return "vertex" in event && event.vertex === owner && owner !== member
    ? { ...event, vertex: member }
    : event;
}
