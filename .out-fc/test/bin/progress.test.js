import { deepEqual, equal, ok } from "node:assert/strict";
import { openJsonDisplay } from "../../bin/progress-json.js";
import { openPlainDisplay } from "../../bin/progress-plain.js";
import { openTtyDisplay } from "../../bin/progress-tty.js";
import { BuildError } from "../../solver/graph/error.js";
import { digestOf } from "../../solver/graph/digest.js";
const encoder = new TextEncoder();
const START = Date.UTC(2024, 0, 1);
const vertex = (name) => ({
    kind: "vertex",
    vertex: digestOf(name),
    name,
    inputs: [],
    at: [],
});
const mark = (kind, name, ms) => ({
    kind,
    vertex: digestOf(name),
    atMs: START + ms,
});
const log = (name, ms, text) => ({
    kind: "log",
    vertex: digestOf(name),
    atMs: START + ms,
    fd: 1,
    data: typeof text === "string" ? encoder.encode(text) : text,
});
const failed = (name, ms, message) => ({
    kind: "failed",
    vertex: digestOf(name),
    atMs: START + ms,
    error: new BuildError("EXEC_FAILED", message),
});
const bytes = (name, ms, current, done) => ({
    kind: "bytes",
    vertex: digestOf(name),
    label: "sha256:abc",
    atMs: START + ms,
    current,
    total: 4_000_000,
    done,
});
/** Feeds events to a plain display; a number moves its clock to that time and flushes. */
function plain(events) {
    let out = "";
    let nowMs = START;
    const display = openPlainDisplay({ write: (text) => (out += text), now: () => nowMs });
    for (const event of events) {
        if (typeof event === "number") {
            nowMs = START + event;
            display.flush();
        }
        else
            display.event(event);
    }
    display.finish();
    return out;
}
describe("plain progress", () => {
    it("prints steps as BuildKit does", () => {
        const RUN = "[build 2/4] RUN make";
        equal(plain([
            vertex("[build 1/4] FROM base"),
            mark("started", "[build 1/4] FROM base", 0),
            bytes("[build 1/4] FROM base", 10, 0, false),
            10,
            bytes("[build 1/4] FROM base", 50, 1000, false), // too small a change to be told
            20,
            bytes("[build 1/4] FROM base", 250, 4_000_000, true),
            mark("done", "[build 1/4] FROM base", 260),
            300,
            vertex(RUN),
            mark("started", RUN, 300),
            log(RUN, 423, "compiling\nlin"),
            500,
            log(RUN, 12_640, "king\nno newline"),
            mark("done", RUN, 20_300),
            20_400,
            vertex("[build 3/4] COPY a b"),
            mark("cached", "[build 3/4] COPY a b", 20_400),
            vertex("[build 4/4] RUN false"),
            mark("started", "[build 4/4] RUN false", 20_400),
            failed("[build 4/4] RUN false", 20_500, "exit code: 1"),
        ]), `#1 [build 1/4] FROM base
#1 sha256:abc 0B / 4.00MB
#1 sha256:abc 4.00MB / 4.00MB 0.2s done
#1 DONE 0.3s

#2 [build 2/4] RUN make
#2 0.123 compiling
#2 12.34 linking
#2 20.00 no newline
#2 DONE 20.0s

#3 [build 3/4] COPY a b
#3 CACHED

#4 [build 4/4] RUN false
#4 ERROR: exit code: 1
`);
    });
    it("keeps lines of one step together and lets the others have their turn", () => {
        const out = plain([
            vertex("a"),
            mark("started", "a", 0),
            vertex("b"),
            mark("started", "b", 0),
            log("a", 1, "a1\n"),
            10,
            log("b", 20, "b1\n"),
            log("a", 30, "a2\n"),
            40,
            log("b", 6000, "b2\n"),
            6000,
            mark("done", "b", 6100),
            mark("done", "a", 6200),
        ]);
        equal(out, `#1 a
#1 0.001 a1
#1 0.030 a2
#1 ...

#2 b
#2 0.020 b1
#2 6.000 b2
#2 DONE 6.1s

#1 a
#1 DONE 6.2s
`);
    });
    it("lets nothing of a step's output drive the terminal (threat model E8)", () => {
        const out = plain([
            vertex("x"),
            mark("started", "x", 0),
            log("x", 0, "\u001b[31mred\u001b[0m \u001b]0;title\u0007end\u0007\n"),
            log("x", 0, "10%\r20%\r\n"),
            log("x", 0, "cut \u001b["),
            log("x", 0, "2Jhere\ttab\b!\n"),
            log("x", 0, new Uint8Array([0x61, 0xff, 0xc3])),
            log("x", 0, new Uint8Array([0xa9, 0x0a])),
            mark("done", "x", 100),
        ]);
        deepEqual(out.split("\n").slice(1, 7), [
            "#1 0.000 red end",
            "#1 0.000 10%",
            "#1 0.000 20%",
            "#1 0.000 cut here\tta!",
            "#1 0.000 a\ufffdé",
            "#1 DONE 0.1s",
        ]);
        // biome-ignore lint/suspicious/noControlCharactersInRegex: none may be left
        ok(!/[\u0000-\u0008\u000b-\u001f\u007f-\u009f]/.test(out));
    });
    it("breaks a line that never ends", () => {
        const out = plain([
            vertex("x"),
            mark("started", "x", 0),
            log("x", 0, "y".repeat(200_000)),
            mark("done", "x", 1),
        ]);
        ok(out.split("\n").every((line) => line.length <= 65_600));
        equal(out.replace(/[^y]/g, "").length, 200_000);
    });
});
describe("raw JSON progress", () => {
    it("has the fields of BuildKit's SolveStatus", () => {
        const lines = [];
        const display = openJsonDisplay({ write: (text) => lines.push(JSON.parse(text)) });
        const at = (ms) => new Date(START + ms).toISOString();
        for (const event of [
            vertex("x"),
            mark("started", "x", 0),
            log("x", 5, "hi\n"),
            bytes("x", 6, 1, false),
            mark("cached", "x", 9),
        ]) {
            display.event(event);
        }
        const digest = digestOf("x");
        deepEqual(lines, [
            { vertexes: [{ digest, name: "x" }] },
            { vertexes: [{ digest, name: "x", started: at(0) }] },
            { logs: [{ vertex: digest, stream: 1, data: "aGkK", timestamp: at(5) }] },
            {
                statuses: [
                    {
                        id: "sha256:abc",
                        vertex: digest,
                        total: 4_000_000,
                        current: 1,
                        timestamp: at(6),
                        started: at(6),
                    },
                ],
            },
            { vertexes: [{ digest, name: "x", started: at(0), completed: at(9), cached: true }] },
        ]);
    });
});
/** What a terminal shows after the text: enough of one for what is used (cursor up, erase, newline). */
function screen(text, columns) {
    const lines = [""];
    let row = 0;
    let column = 0;
    let cursorShown = true;
    for (const part of text.split(/(\u001b\[\??[0-9;]*[A-Za-z]|\n|\r)/)) {
        const code = /^\u001b\[(\??)([0-9;]*)([A-Za-z])$/.exec(part);
        if (part === "\n") {
            row++;
            column = 0;
            lines[row] ??= "";
        }
        else if (part === "\r")
            column = 0;
        else if (code?.[3] === "A")
            row = Math.max(0, row - Number(code[2]));
        else if (code?.[3] === "K")
            lines[row] = (lines[row] ?? "").slice(0, column);
        else if (code?.[3] === "J")
            lines.splice(row, Number.POSITIVE_INFINITY, (lines[row] ?? "").slice(0, column));
        else if (code?.[3] === "l" || code?.[3] === "h")
            cursorShown = code[3] === "h";
        else if (code === null && part !== "") {
            const line = (lines[row] ?? "").padEnd(column);
            lines[row] = line.slice(0, column) + part + line.slice(column + part.length);
            column += part.length;
            ok(column <= columns, `a line of ${column} columns on a terminal of ${columns}`);
        }
    }
    return { lines: lines.map((line) => line.trimEnd()), cursorShown };
}
describe("terminal progress", () => {
    it("draws in place, shows the log of what runs, and leaves the whole list", () => {
        let out = "";
        let nowMs = START;
        const display = openTtyDisplay({
            write: (text) => (out += text),
            now: () => nowMs,
            size: () => ({ columns: 40, rows: 24 }),
            colours: null,
        });
        for (const event of [vertex("[1/3] FROM base"), vertex("[2/3] RUN make"), vertex("[3/3] COPY a b")])
            display.event(event);
        display.event(mark("cached", "[1/3] FROM base", 0));
        display.event(mark("started", "[2/3] RUN make", 0));
        for (let line = 1; line <= 8; line++)
            display.event(log("[2/3] RUN make", line, `line ${line}\n`));
        display.event(log("[2/3] RUN make", 9, "10%\r20%\r30%"));
        nowMs = START + 1500;
        display.draw();
        deepEqual(screen(out, 40), {
            lines: [
                "[+] Building 1.5s (1/3)",
                " => CACHED [1/3] FROM base         0.0s",
                " => [2/3] RUN make                 1.5s",
                " => => # line 4",
                " => => # line 5",
                " => => # line 6",
                " => => # line 7",
                " => => # line 8",
                " => => # 30%",
                "",
            ].map((line) => line.trimEnd()),
            cursorShown: false,
        });
        nowMs = START + 2000;
        display.event(mark("done", "[2/3] RUN make", 2000));
        display.event(mark("started", "[3/3] COPY a b", 2000));
        display.event(mark("done", "[3/3] COPY a b", 2100));
        display.finish();
        deepEqual(screen(out, 40), {
            lines: [
                "[+] Building 2.0s (3/3) FINISHED",
                " => CACHED [1/3] FROM base         0.0s",
                " => [2/3] RUN make                 2.0s",
                " => [3/3] COPY a b                 0.1s",
                "",
            ],
            cursorShown: true,
        });
    });
    it("never draws more rows than the terminal has and keeps what runs in sight", () => {
        let out = "";
        const display = openTtyDisplay({
            write: (text) => (out = text),
            now: () => START,
            size: () => ({ columns: 60, rows: 10 }),
            colours: null,
        });
        display.event(vertex("slow"));
        display.event(mark("started", "slow", 0));
        for (let step = 0; step < 50; step++) {
            display.event(vertex(`step ${step}`));
            display.event(mark("done", `step ${step}`, 0));
        }
        for (let step = 0; step < 3; step++) {
            display.event(vertex(`busy ${step}`));
            display.event(mark("started", `busy ${step}`, 0));
            display.event(log(`busy ${step}`, 0, "a\nb\nc\nd\ne\nf\ng\n"));
        }
        display.draw();
        const rows = out.split("\n").length - 1;
        ok(rows <= 9, `${rows} rows`);
        for (const name of ["slow", "busy 0", "busy 1", "busy 2"])
            ok(out.includes(name), name);
        display.finish();
    });
    it("cuts wide characters whole", () => {
        let out = "";
        const display = openTtyDisplay({
            write: (text) => (out = text),
            now: () => START,
            size: () => ({ columns: 24, rows: 10 }),
            colours: null,
        });
        display.event(vertex("日本語の名前はとても長い"));
        display.event(mark("started", "日本語の名前はとても長い", 0));
        display.draw();
        ok(out.includes("\n => 日本語の名前は 0.0s\u001b[K"), JSON.stringify(out)); // 4 + 7 * 2 + 5 = 23 columns
        display.finish();
    });
});
//# sourceMappingURL=progress.test.js.map