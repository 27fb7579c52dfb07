// Live progress on a terminal: a header with time and count, one line per step, the last lines of running steps. Redrawn in
// place, at most ten times per second and only on changes; one write per frame, to avoid flicker.

import type { ProgressEvent } from "../solver/graph/event.ts";
import {
  endLogs,
  formatTransfer,
  isSettled,
  keepPartial,
  openProgressState,
  type ProgressState,
  type Step,
} from "./progress-state.ts";
import { openStepLog } from "./step-log.ts";
import { cutText, textWidth } from "./text-width.ts";
import type { Display } from "./display.ts";
import type { Colours } from "./colours.ts";

const FRAME_MS = 100;
/** Lines of log shown under a running step. */
const LOG_LINES = 6;
/** Narrower lines have no room for numbers of bytes. */
const STATUS_ROOM_MIN = 40;
/** Narrower terminals get no progress lines. */
const WIDTH_MIN = 20;

export interface TtyOptions {
  readonly write: (text: string) => void;
  readonly size: () => { readonly columns: number; readonly rows: number };
  readonly now: () => number;
  readonly colours: Colours | null;
  readonly phase?: string;
}

/** Opens the display and hides the cursor with the first frame, when the first step has begun; finish() draws the whole list a last time and shows it again. */
export function openTtyDisplay(options: TtyOptions): Display & { draw(): void } {
  const { phase = "Building" } = options;
  const state = openProgressState("terminal", openStepLog);
  const startMs = options.now();
  let drawn: readonly number[] = []; // widths of the lines on the screen that belong to us
  let dirty = true;
  let hidden = false;
  let finished = false;
  let lastTenth = -1;
  const timer = setInterval(tick, FRAME_MS).unref();

  function tick(): void {
    // a second's tenth is only news while something runs
    const tenth = Math.floor((options.now() - startMs) / 200);
    const ticking = tenth !== lastTenth && state.started.some((step) => !isSettled(step));
    if (dirty || ticking) draw();
    lastTenth = tenth;
  }

  function draw(): void {
    if (finished) return;
    show(false);
    dirty = false;
  }

  /** Nothing to say, nothing shown: the screen may be another program's in a moment. */
  function show(whole: boolean): void {
    if (state.started.length === 0) return;
    const { columns, rows } = options.size();
    const { colours } = options;
    put(frame(state, { columns, rows, nowMs: options.now(), startMs, colours, whole, phase }), columns);
  }

  function put(lines: readonly string[], columns: number): void {
    // a line drawn on a wider terminal takes several rows of a narrower one
    const up = drawn.reduce((sum, width) => sum + Math.max(1, Math.ceil(width / Math.max(1, columns))), 0);
    const move = up === 0 ? "" : `\u001b[${up}A\r`;
    const hide = hidden ? "" : "\u001b[?25l";
    hidden = true;
    options.write(`${hide}${move}${lines.map((line) => `${line}\u001b[K\n`).join("")}\u001b[J`);
    drawn = lines.map(textWidth);
  }

  return {
    state,
    event(event: ProgressEvent) {
      if (finished || event.kind === "usage" || event.kind === "warning") return;
      if (event.kind === "note") {
        // above the list, where it stays
        const { columns } = options.size();
        put([cutText(event.message, columns)], columns);
        drawn = [];
        dirty = true;
        return;
      }
      const step = state.apply(event);
      if (step !== null && isSettled(step)) keepPartial(step);
      dirty = true;
    },
    draw,
    finish() {
      if (finished) return;
      clearInterval(timer);
      endLogs(state);
      show(true);
      finished = true;
      if (hidden) options.write("\u001b[?25h");
    },
  };
}

interface FrameOptions {
  readonly columns: number;
  readonly rows: number;
  readonly nowMs: number;
  readonly startMs: number;
  readonly colours: Colours | null;
  readonly phase: string;
  /** All steps, however many; else as many as fit the terminal, running ones first. */
  readonly whole: boolean;
}

/** The lines of one frame, each within the width of the terminal. */
export function frame(state: ProgressState, options: FrameOptions): string[] {
  const settled = state.started.filter(isSettled).length;
  const total = Math.max(state.steps.size, state.started.length);
  const finished = options.whole && settled === total && total > 0;
  const header = `[+] ${options.phase} ${seconds(options.nowMs - options.startMs)} (${settled}/${total})${finished ? " FINISHED" : ""}`;
  const lines = [cutText(header, options.columns)];
  if (options.columns < WIDTH_MIN) return lines;

  const room = options.whole ? Number.POSITIVE_INFINITY : Math.max(1, options.rows - 2);
  const rows = choose(
    state.started.flatMap((step) => rowsOf(step, options)),
    room,
  );
  let left = room - rows.length;
  rows.forEach((row, index) => {
    lines.push(drawn(row, options));
    // below all that is shown of the step
    const { step } = row;
    if (rows[index + 1]?.step === step || isSettled(step) || left <= 0) return;
    const tail = logTail(step).slice(-Math.min(LOG_LINES, left));
    for (const text of tail) {
      const cut = cutText(` => => # ${text}`, options.columns - 1);
      lines.push(options.colours === null ? cut : `\u001b[2m${cut}\u001b[0m`);
    }
    left -= tail.length;
  });
  return lines;
}

/** One line: a step, or what is on its way inside it. */
interface Row {
  readonly step: Step;
  readonly text: string;
  /** Kept whole where the text has to be cut. */
  readonly status: string;
  readonly ms: number;
  readonly isOver: boolean;
}

function rowsOf(step: Step, { nowMs }: FrameOptions): readonly Row[] {
  const isOver = isSettled(step);
  const endMs = "atMs" in step.outcome ? step.outcome.atMs : nowMs;
  const word = WORDS[step.outcome.kind];
  const text = `${word === "" ? "" : `${word} `}${step.name}`;
  return [
    { step, text, status: "", ms: endMs - (step.startedMs ?? endMs), isOver },
    ...[...step.transfers.values()].map((transfer) => ({
      step,
      text: `=> ${transfer.label}`,
      status: formatTransfer(transfer),
      ms: (transfer.done ? transfer.atMs : endMs) - transfer.startedMs,
      isOver: isOver || transfer.done,
    })),
  ];
}

/** The last rows that fit; those of what goes on are kept before others. */
function choose(rows: readonly Row[], room: number): readonly Row[] {
  if (rows.length <= room) return rows;
  const open = rows.filter((row) => !row.isOver).slice(-room);
  const rest = room - open.length;
  const keep = new Set([...open, ...(rest > 0 ? rows.filter((row) => row.isOver).slice(-rest) : [])]);
  return rows.filter((row) => keep.has(row));
}

function logTail(step: Step): string[] {
  const lines = step.tail.map((line) => line.text);
  for (const fd of [1, 2] as const) {
    const partial = step.readers[fd].partial();
    if (partial !== "") lines.push(partial);
  }
  return lines.filter((text) => text.trim() !== "");
}

function drawn({ step, text, status, ms, isOver }: Row, options: FrameOptions): string {
  const line = align(` => ${text}`, status, seconds(ms), options.columns - 1);
  const colour = !isOver || options.colours === null ? "" : colourOf(step, options.colours);
  return colour === "" ? line : `\u001b[${colour}m${line}\u001b[0m`;
}

const WORDS: Readonly<Record<Step["outcome"]["kind"], string>> = {
  waiting: "",
  running: "",
  done: "",
  cached: "CACHED",
  cancelled: "CANCELED",
  failed: "ERROR",
};

function colourOf(step: Step, colours: Colours): string {
  switch (step.outcome.kind) {
    case "cancelled":
      return colours.cancel;
    case "failed":
      return colours.error;
    default:
      return colours.run;
  }
}

/** Text and its status on the left, the text cut where both are too long; on the right the time. */
function align(left: string, status: string, right: string, columns: number): string {
  const room = Math.max(0, columns - right.length - 1);
  const beside = status === "" || room < STATUS_ROOM_MIN ? "" : ` ${status}`;
  const cut = cutText(left, room - beside.length) + beside;
  return `${cut}${" ".repeat(room - textWidth(cut) + 1)}${right}`;
}

function seconds(ms: number): string {
  return `${(Math.max(0, ms) / 1000).toFixed(1)}s`;
}
