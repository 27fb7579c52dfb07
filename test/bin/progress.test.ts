import { deepEqual, equal, ok } from "node:assert/strict";
import { openJsonDisplay } from "../../bin/progress-json.ts";
import { openPlainDisplay } from "../../bin/progress-plain.ts";
import { openTtyDisplay } from "../../bin/progress-tty.ts";
import { BuildError } from "../../solver/graph/error.ts";
import type { ProgressEvent } from "../../solver/graph/event.ts";
import { digestOf } from "../../solver/graph/digest.ts";
import { screen } from "../support/screen.ts";

const encoder = new TextEncoder();
const START = Date.UTC(2024, 0, 1);

const vertex = (name: string): ProgressEvent => ({
  kind: "vertex",
  vertex: digestOf(name),
  name,
  inputs: [],
  at: [],
});
const mark = (
  kind: "started" | "cached" | "done" | "cancelled",
  name: string,
  ms: number,
): ProgressEvent => ({
  kind,
  vertex: digestOf(name),
  atMs: START + ms,
});
const log = (name: string, ms: number, text: string | Uint8Array): ProgressEvent => ({
  kind: "log",
  vertex: digestOf(name),
  atMs: START + ms,
  fd: 1,
  data: typeof text === "string" ? encoder.encode(text) : text,
});
const failed = (name: string, ms: number, message: string): ProgressEvent => ({
  kind: "failed",
  vertex: digestOf(name),
  atMs: START + ms,
  error: new BuildError("EXEC_FAILED", message),
});
const bytes = (name: string, ms: number, current: number, done: boolean): ProgressEvent => ({
  kind: "bytes",
  vertex: digestOf(name),
  label: "sha256:abc",
  atMs: START + ms,
  current,
  total: 4_000_000,
  done,
});

/** Feeds events to a plain display; a number moves its clock to that time and flushes. */
function plain(events: readonly (ProgressEvent | number)[]): string {
  let out = "";
  let nowMs = START;
  const display = openPlainDisplay({ write: (text) => (out += text), now: () => nowMs });
  for (const event of events) {
    if (typeof event === "number") {
      nowMs = START + event;
      display.flush();
    } else display.event(event);
  }
  display.finish();
  return out;
}

describe("plain progress", () => {
  it("prints steps as BuildKit does", () => {
    const RUN = "[build 2/4] RUN make";
    equal(
      plain([
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
      ]),
      `#1 [build 1/4] FROM base
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
`,
    );
  });

  it("lists what comes out of the cache in the order of the Dockerfile", () => {
    const names = ["FROM", "a", "b", "c", "d", "e"];
    // as the solver finds them: the result first, then what it makes unnecessary; "b" has run, "d" began and was found
    equal(
      plain([
        ...names.map(vertex),
        mark("started", "FROM", 0),
        mark("done", "FROM", 1),
        mark("cached", "c", 2),
        mark("cached", "a", 3),
        mark("started", "b", 4),
        mark("done", "b", 5),
        mark("started", "d", 6),
        mark("cached", "e", 7),
        mark("cached", "d", 8),
      ]),
      `#1 FROM
#1 DONE 0.0s

#2 a
#2 CACHED

#3 c
#3 CACHED

#4 b
#4 DONE 0.0s

#5 d
#5 CACHED

#6 e
#6 CACHED
`,
    );
  });

  it("tells again what begins again under a name that was done", () => {
    const line = {
      kind: "bytes",
      vertex: digestOf("push"),
      label: "pushing layers",
      current: 0,
      total: null,
    };
    const at = (ms: number, done: boolean) => ({ ...line, atMs: START + ms, done }) as ProgressEvent;
    const events = [at(0, false), 10, at(100, true), 200, at(300, false), 310, at(800, true)];
    equal(
      plain([vertex("push"), mark("started", "push", 0), ...events, mark("done", "push", 900)]),
      `#1 push
#1 pushing layers
#1 pushing layers 0.1s done
#1 pushing layers
#1 pushing layers 0.5s done
#1 DONE 0.9s
`,
    );
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
    equal(
      out,
      `#1 a
#1 0.001 a1
#1 0.030 a2
#1 ...

#2 b
#2 0.020 b1
#2 6.000 b2
#2 DONE 6.1s

#1 a
#1 DONE 6.2s
`,
    );
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
    const lines: unknown[] = [];
    const display = openJsonDisplay({ write: (text) => lines.push(JSON.parse(text)) });
    const at = (ms: number) => new Date(START + ms).toISOString();
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

describe("raw JSON progress of a vertex", () => {
  it("tells each of its states once", () => {
    const lines: { vertexes?: readonly object[] }[] = [];
    const display = openJsonDisplay({ write: (text) => lines.push(JSON.parse(text)) });
    for (const event of [
      vertex("x"),
      vertex("x"),
      mark("started", "x", 0),
      mark("started", "x", 1),
      mark("cached", "x", 2),
      mark("done", "x", 3),
      vertex("x"),
    ])
      display.event(event);
    deepEqual(
      lines.map(({ vertexes }) => vertexes?.map((state) => Object.keys(state).slice(2))),
      [[[]], [["started"]], [["started", "completed", "cached"]]],
    );
  });
});

describe("terminal progress", () => {
  it("shows a step while it is looked at, and counts its time from its own start", () => {
    let out = "";
    let nowMs = START;
    const size = () => ({ columns: 40, rows: 24 });
    const display = openTtyDisplay({ write: (text) => (out += text), now: () => nowMs, size, colours: null });
    const looking = (ms: number, done: boolean): ProgressEvent => ({
      kind: "looking",
      vertex: digestOf("COPY a b"),
      atMs: START + ms,
      done,
    });
    const shown = (ms: number): string[] => {
      nowMs = START + ms;
      display.draw();
      return screen(out, 40).lines.slice(1, -1);
    };
    for (const event of [vertex("RUN make"), vertex("COPY a b"), mark("started", "RUN make", 0)])
      display.event(event);
    display.event(looking(0, false));
    deepEqual(shown(1000), [
      " => RUN make                       1.0s",
      " => COPY a b                       1.0s",
    ]);
    display.event(looking(1000, true));
    deepEqual(shown(5000), [" => RUN make                       5.0s"]);
    display.event(mark("done", "RUN make", 6000));
    display.event(mark("started", "COPY a b", 6000));
    deepEqual(shown(6500), [
      " => RUN make                       6.0s",
      " => COPY a b                       0.5s",
    ]);
    display.finish();
  });

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
    for (let line = 1; line <= 8; line++) display.event(log("[2/3] RUN make", line, `line ${line}\n`));
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

  it("keeps what was on its way inside a step, with its bytes whole where the line is too short", () => {
    let out = "";
    const display = openTtyDisplay({
      write: (text) => (out += text),
      now: () => START + 2000,
      size: () => ({ columns: 60, rows: 24 }),
      colours: null,
    });
    const label = `pushing layer ${digestOf("layer")}`;
    const line = { kind: "bytes", vertex: digestOf("exporting to image"), label } as const;
    display.event(vertex("exporting to image"));
    display.event(mark("started", "exporting to image", 0));
    display.event({ ...line, atMs: START + 100, current: 1_500_000, total: 3_000_000, done: false });
    display.draw();
    const started = ` => => ${label.slice(0, 31)}`;
    deepEqual(screen(out, 60).lines.slice(1, 3), [
      ` => exporting to image                                 2.0s`,
      `${started} 1.50MB / 3.00MB 1.9s`,
    ]);
    display.event({ ...line, atMs: START + 400, current: 3_000_000, total: 3_000_000, done: true });
    display.event({
      ...line,
      label: "naming to app",
      atMs: START + 400,
      current: 0,
      total: null,
      done: true,
    });
    display.event(mark("done", "exporting to image", 500));
    display.finish();
    deepEqual(screen(out, 60).lines, [
      "[+] Building 0.0s (1/1) FINISHED",
      " => exporting to image                                 0.5s",
      `${started} 3.00MB / 3.00MB 0.3s`,
      " => => naming to app                                   0.0s",
      "",
    ]);
  });

  it("counts steps only, and lists cached ones in the order of the Dockerfile", () => {
    let out = "";
    const display = openTtyDisplay({
      write: (text) => (out += text),
      now: () => START,
      size: () => ({ columns: 30, rows: 24 }),
      colours: null,
    });
    for (const name of ["a", "b", "c"]) display.event(vertex(name));
    for (const name of ["c", "a", "b"]) display.event(mark("cached", name, 0));
    display.event(bytes("no step", 0, 4_000_000, true));
    display.finish();
    deepEqual(screen(out, 30).lines, [
      "[+] Building 0.0s (3/3) FINISHED".slice(0, 30),
      ...["a", "b", "c"].map((name) => ` => CACHED ${name}             0.0s`),
      "",
    ]);
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
    for (const name of ["slow", "busy 0", "busy 1", "busy 2"]) ok(out.includes(name), name);
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
