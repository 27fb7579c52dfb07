// Mocha's spec reporter; adds a line "passed failed skipped" to the file that TSBUILD_TALLY names, so that .ci/run can add up,
// and before it a line "# title: first line of the error" for each test that failed, for its end, and "~ seconds file" for each file.

import { appendFileSync } from "node:fs";
import { relative } from "node:path";
import { Worker } from "node:worker_threads";
import Mocha from "mocha";

export default function reportAndCount(runner: Mocha.Runner, options: Mocha.MochaOptions): void {
  new Mocha.reporters.Spec(runner, options);
  endWhoBlocks(runner);
  const file = process.env.TSBUILD_TALLY;
  if (file === undefined) return;
  runner.on("fail", (test, fault: Error) => {
    const [words] = String(fault.message).split("\n", 1);
    appendFileSync(file, `# ${test.titlePath().join(" / ")}: ${words}\n`);
  });
  // Its hooks and tests.
  const durationsMs = new Map<string, number>();
  const add = ({ file: of = "", duration = 0 }: Mocha.Runnable): void =>
    void durationsMs.set(of, (durationsMs.get(of) ?? 0) + duration);
  runner.on("test end", add);
  runner.on("hook end", add);
  runner.once("end", () => {
    for (const [of, ms] of durationsMs)
      if (of !== "") appendFileSync(file, `~ ${(ms / 1000).toFixed(1)} ${relative("dist", of)}\n`);
    const { passes = 0, failures = 0, pending = 0 } = runner.stats ?? {};
    appendFileSync(file, `${passes} ${failures} ${pending}\n`);
  });
}

const BLOCKED_MAX_MS = 300_000;
const ALL_MAX_MS = 4_500_000;
const AFTER_MAX_MS = 120_000;

/** Mocha's timeouts need the thread that a test runs on, and nobody limits what a run leaves open. From another thread, a test that never gives
 *  its thread back, a run that takes too long and one that does not end are named, and ended. */
function endWhoBlocks(runner: Mocha.Runner): void {
  const watch = new Worker(
    `const { parentPort, workerData } = require("node:worker_threads");
    const { appendFileSync, writeSync } = require("node:fs");
    const { tally, blockedMs, allMs, afterMs } = workerData;
    let title = "no test";
    const end = (words) => {
      writeSync(2, "\\n" + title + ": " + words + "\\n");
      if (tally) appendFileSync(tally, "# " + title + ": " + words + "\\n");
      process.kill(process.pid, "SIGKILL");
    };
    const all = setTimeout(end, allMs, "the run takes too long");
    let blocked;
    parentPort.on("message", (message) => {
      clearTimeout(blocked);
      title = message ?? title;
      blocked = setTimeout(end, message === null ? afterMs : blockedMs, message === null
        ? "was the last test, and something keeps the process from ending"
        : "blocks its thread without end");
    });`,
    {
      eval: true,
      workerData: {
        tally: process.env.TSBUILD_TALLY,
        blockedMs: BLOCKED_MAX_MS,
        allMs: ALL_MAX_MS,
        afterMs: AFTER_MAX_MS,
      },
    },
  );
  watch.unref();
  let title = "";
  const beat = setInterval(() => watch.postMessage(title), 10_000).unref();
  runner.on("test", (test) => {
    title = test.titlePath().join(" / ");
    watch.postMessage(title);
  });
  runner.once("end", () => {
    clearInterval(beat);
    watch.postMessage(null);
  });
}
