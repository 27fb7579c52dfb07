// Live progress on a terminal: a header with time and count, a line a step, the last lines of what is running. Redrawn in
// place, at most ten times a second and only when something changed; one write a frame, so that it does not flicker.
import { formatTransfer, isSettled, openProgressState, remember, } from "./progress-state.js";
import { cutText, textWidth } from "./text-width.js";
const FRAME_MS = 100;
/** Lines of log shown under a running step. */
const LOG_LINES = 6;
/** Narrower terminals get no progress lines. */
const WIDTH_MIN = 20;
/** Opens the display and hides the cursor with the first frame; finish() draws the whole list a last time and shows it again. */
export function openTtyDisplay(options) {
    const state = openProgressState("terminal");
    const startMs = options.now();
    let drawn = []; // widths of the lines on the screen that belong to us
    let dirty = true;
    let hidden = false;
    let finished = false;
    let lastTenth = -1;
    const timer = setInterval(tick, FRAME_MS).unref();
    function tick() {
        // a second's tenth is only news while something runs
        const tenth = Math.floor((options.now() - startMs) / 200);
        const ticking = tenth !== lastTenth && state.started.some((step) => !isSettled(step));
        if (dirty || ticking)
            draw();
        lastTenth = tenth;
    }
    function draw() {
        if (finished)
            return;
        const { columns, rows } = options.size();
        put(frame(state, { columns, rows, nowMs: options.now(), startMs, colours: options.colours, whole: false }), columns);
        dirty = false;
    }
    function put(lines, columns) {
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
        event(event) {
            if (finished || event.kind === "usage" || event.kind === "warning")
                return;
            if (event.kind === "note") {
                // above the list, where it stays
                const { columns } = options.size();
                put([cutText(event.message, columns)], columns);
                drawn = [];
                dirty = true;
                return;
            }
            const step = state.apply(event);
            if (step !== null && isSettled(step))
                keepPartial(step);
            dirty = true;
        },
        draw,
        finish() {
            if (finished)
                return;
            clearInterval(timer);
            const { columns, rows } = options.size();
            for (const step of state.started)
                keepPartial(step);
            put(frame(state, { columns, rows, nowMs: options.now(), startMs, colours: options.colours, whole: true }), columns);
            finished = true;
            options.write("\u001b[?25h");
        },
    };
}
function keepPartial(step) {
    for (const fd of [1, 2]) {
        const text = step.readers[fd].flush();
        if (text !== "")
            remember(step, { atMs: "atMs" in step.outcome ? step.outcome.atMs : 0, text });
    }
}
/** The lines of one frame, each within the width of the terminal. */
export function frame(state, options) {
    const settled = state.started.filter(isSettled).length;
    const total = Math.max(state.steps.size, state.started.length);
    const finished = options.whole && settled === total && total > 0;
    const header = `[+] Building ${seconds(options.nowMs - options.startMs)} (${settled}/${total})${finished ? " FINISHED" : ""}`;
    const lines = [cutText(header, options.columns)];
    if (options.columns < WIDTH_MIN)
        return lines;
    const room = options.whole ? Number.POSITIVE_INFINITY : Math.max(1, options.rows - 2);
    const shown = choose(state.started, room);
    let left = room - shown.reduce((sum, step) => sum + 1 + openTransfers(step, options.whole).length, 0);
    for (const step of shown) {
        lines.push(...stepLines(step, options));
        if (isSettled(step) || left <= 1)
            continue;
        const tail = logTail(step).slice(-Math.min(LOG_LINES, left - 1));
        for (const text of tail) {
            const cut = cutText(` => => # ${text}`, options.columns - 1);
            lines.push(options.colours === null ? cut : `\u001b[2m${cut}\u001b[0m`);
        }
        left -= tail.length;
    }
    return lines.slice(0, room + 1);
}
/** The last steps that fit; running ones are kept before settled ones. */
function choose(steps, room) {
    if (steps.length <= room)
        return steps;
    const running = steps.filter((step) => !isSettled(step)).slice(-room);
    const settled = steps.filter(isSettled);
    const rest = room - running.length;
    const keep = new Set([...running, ...(rest > 0 ? settled.slice(-rest) : [])]);
    return steps.filter((step) => keep.has(step));
}
function logTail(step) {
    const lines = step.tail.map((line) => line.text);
    for (const fd of [1, 2]) {
        const partial = step.readers[fd].partial();
        if (partial !== "")
            lines.push(partial);
    }
    return lines.filter((text) => text.trim() !== "");
}
function openTransfers(step, whole) {
    if (whole || isSettled(step))
        return [];
    return [...step.transfers.values()].map((transfer) => ({
        text: `=> ${transfer.label}${formatTransfer(transfer) === "" ? "" : ` ${formatTransfer(transfer)}`}`,
        ms: transfer.atMs - transfer.startedMs,
    }));
}
function stepLines(step, options) {
    const endMs = "atMs" in step.outcome ? step.outcome.atMs : options.nowMs;
    const word = WORDS[step.outcome.kind];
    const text = `${word === "" ? "" : `${word} `}${step.name}`;
    const line = align(` => ${text}`, seconds(endMs - (step.startedMs ?? endMs)), options.columns - 1);
    const colour = options.colours === null ? "" : colourOf(step, options.colours);
    return [
        colour === "" ? line : `\u001b[${colour}m${line}\u001b[0m`,
        ...openTransfers(step, options.whole).map(({ text: inner, ms }) => align(` => ${inner}`, seconds(ms), options.columns - 1)),
    ];
}
const WORDS = {
    waiting: "",
    running: "",
    done: "",
    cached: "CACHED",
    cancelled: "CANCELED",
    failed: "ERROR",
};
function colourOf(step, colours) {
    switch (step.outcome.kind) {
        case "done":
        case "cached":
            return colours.run;
        case "cancelled":
            return colours.cancel;
        case "failed":
            return colours.error;
        default:
            return "";
    }
}
/** Left text, right text at the end of the line. */
function align(left, right, columns) {
    const room = Math.max(0, columns - right.length - 1);
    const cut = cutText(left, room);
    return `${cut}${" ".repeat(room - textWidth(cut) + 1)}${right}`;
}
function seconds(ms) {
    return `${(Math.max(0, ms) / 1000).toFixed(1)}s`;
}
//# sourceMappingURL=progress-tty.js.map