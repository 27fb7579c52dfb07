// Plain progress: one line per event, in the format of BuildKit's plain mode, which CI logs and tools can parse.
//   #5 [build 2/4] RUN make
//   #5 0.123 compiling
//   #5 DONE 0.3s
// Parallel steps take turns: one is current, the others are buffered until it ends or its
// time is over, so that lines of one step stay together.

import type { ProgressEvent } from "../solver/graph/event.ts";
import {
  formatTransfer,
  isSettled,
  type LogLine,
  logTime,
  openProgressState,
  type ProgressState,
  remember,
  type Step,
  type Transfer,
} from "./progress-state.ts";
import type { Display } from "./display.ts";

/** Text not yet written is flushed when it is this old (ms), or this long (characters). */
const FLUSH_MS = 100;
const FLUSH_LENGTH = 64 * 1024;
/** The current step gives way to others with news after this time. */
const TURN_MS = 5000;
/** A transfer is reported again after 5 seconds or 5 % more. */
const TRANSFER_MS = 5000;
const TRANSFER_PART = 0.05;

export interface PlainOptions {
  readonly write: (text: string) => void;
  /** Milliseconds since 1970. */
  readonly now: () => number;
  /** Log lines begin with the time since the step's start (BuildKit's default). */
  readonly state?: ProgressState;
}

/** What is to be printed of a step and is not yet. */
interface Pending {
  index: number; // 0: not printed yet
  readonly lines: LogLine[];
  readonly transfers: Set<string>;
  readonly printed: Map<string, Transfer>;
  begun: boolean; // its header was printed
  ended: boolean; // its last line was printed
}

/** Opens the display. flush() writes what is due; finish() all that is left. */
export function openPlainDisplay(options: PlainOptions): Display & { flush(): void } {
  const state = options.state ?? openProgressState("plain");
  const pending = new Map<Step, Pending>();
  let current: Step | null = null;
  let turnStartMs = 0;
  let first = true;
  let nextIndex = 0;
  let length = 0;
  let timer: NodeJS.Timeout | null = null;
  let finished = false;
  let out = "";

  function pendingOf(step: Step): Pending {
    let found = pending.get(step);
    if (found === undefined) {
      found = {
        index: 0,
        lines: [],
        transfers: new Set(),
        printed: new Map(),
        begun: false,
        ended: false,
      };
      pending.set(step, found);
    }
    return found;
  }

  /** Makes a step the current one and prints what it has. */
  function print(step: Step): void {
    const news = pendingOf(step);
    if (news.index === 0) news.index = ++nextIndex;
    if (current !== step) {
      if (current !== null) out += `#${pendingOf(current).index} ...\n`;
      if (!first) out += "\n";
      first = false;
      out += `#${news.index} ${step.name}\n`;
      current = step;
      turnStartMs = options.now();
    }
    news.begun = true;
    for (const label of news.transfers) printTransfer(step, news, label);
    news.transfers.clear();
    for (const line of news.lines) out += `#${news.index} ${logTime(step, line.atMs)} ${line.text}\n`;
    news.lines.length = 0;
    if (isSettled(step)) {
      out += `#${news.index} ${endOf(step)}\n`;
      news.ended = true;
      current = null;
    }
  }

  function printTransfer(step: Step, news: Pending, label: string): void {
    const transfer = step.transfers.get(label);
    if (transfer === undefined) return;
    const last = news.printed.get(label);
    if (last?.done && last.startedMs === transfer.startedMs) return;
    if (last !== undefined && !last.done && !transfer.done) {
      const more = transfer.total ? (transfer.current - last.current) / transfer.total : 0;
      if (more < TRANSFER_PART && transfer.atMs - last.atMs < TRANSFER_MS) return;
    }
    news.printed.set(label, transfer);
    const seconds = (transfer.atMs - transfer.startedMs) / 1000;
    const parts = [
      label,
      formatTransfer(transfer),
      seconds > 0.01 ? `${seconds.toFixed(1)}s` : "",
      transfer.done ? "done" : "",
    ];
    out += `#${news.index} ${parts.filter((part) => part !== "").join(" ")}\n`;
  }

  function hasNews(step: Step): boolean {
    const news = pendingOf(step);
    if (news.ended) return news.lines.length > 0; // of a builder elsewhere, whose words may overtake each other
    return !news.begun || isSettled(step) || news.lines.length > 0 || news.transfers.size > 0;
  }

  function flush(): void {
    if (timer !== null) clearTimeout(timer);
    timer = null;
    const before = current;
    if (before !== null && hasNews(before)) print(before);
    const withNews = state.started.filter((step) => step !== before && hasNews(step));
    for (const step of inOrderOfEnd(withNews.filter(isSettled))) print(step);
    const running = withNews.filter((step) => !isSettled(step));
    // the one with most to say comes next; a current step keeps its turn for a while
    if (running.length > 0 && (current === null || options.now() - turnStartMs > TURN_MS)) {
      print(
        running.reduce((most, step) =>
          pendingOf(step).lines.length > pendingOf(most).lines.length ? step : most,
        ),
      );
    }
    length = 0;
    if (out !== "") options.write(out);
    out = "";
  }

  return {
    state,
    event(event: ProgressEvent) {
      if (finished || event.kind === "looking") return; // nothing is said of a step before it starts
      if (event.kind === "note") {
        flush();
        options.write(`${event.message}\n`);
        return;
      }
      const step = state.apply(event, (target, line) => {
        pendingOf(target).lines.push(line);
        length += line.text.length;
      });
      if (step === null) return;
      if (step.startedMs !== null) pendingOf(step);
      if (event.kind === "bytes") pendingOf(step).transfers.add(event.label);
      if (isSettled(step)) flushPartial(step);
      if (length > FLUSH_LENGTH) flush();
      else timer ??= setTimeout(flush, FLUSH_MS).unref();
    },
    flush,
    finish() {
      if (finished) return;
      finished = true;
      for (const step of state.started) flushPartial(step);
      flush();
      for (const step of state.started) if (hasNews(step)) print(step);
      if (out !== "") options.write(out);
      out = "";
    },
  };

  /** A last line without newline is printed all the same. */
  function flushPartial(step: Step): void {
    const news = pendingOf(step);
    for (const fd of [1, 2] as const) {
      const text = step.readers[fd].flush();
      if (text === "") continue;
      const line = { atMs: isSettled(step) ? endMs(step) : options.now(), text };
      remember(step, line);
      news.lines.push(line);
    }
  }
}

/** Those that ended first come first; cached ones keep the order they are given in, which is that of the Dockerfile. */
function inOrderOfEnd(steps: readonly Step[]): readonly Step[] {
  const isCached = (step: Step): boolean => step.outcome.kind === "cached";
  const cached = steps.filter(isCached);
  return steps
    .toSorted((a, b) => endMs(a) - endMs(b))
    .map((step) => (isCached(step) ? (cached.shift() as Step) : step));
}

function endMs(step: Step): number {
  return "atMs" in step.outcome ? step.outcome.atMs : Number.POSITIVE_INFINITY;
}

function endOf(step: Step): string {
  switch (step.outcome.kind) {
    case "cached":
      return "CACHED";
    case "cancelled":
      return "CANCELED";
    case "failed":
      return `ERROR: ${step.outcome.message}`;
    case "done":
      return `DONE ${((step.outcome.atMs - (step.startedMs ?? step.outcome.atMs)) / 1000).toFixed(1)}s`;
    default:
      return "...";
  }
}
