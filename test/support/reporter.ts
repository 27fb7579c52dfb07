// Mocha's spec reporter; adds a line "passed failed skipped" to the file that TSBUILD_TALLY names, so that .ci/run can add up,
// and before it a line "# title: first line of the error" for each test that failed, for its end.

import { appendFileSync } from "node:fs";
import Mocha from "mocha";

export default function reportAndCount(runner: Mocha.Runner, options: Mocha.MochaOptions): void {
  new Mocha.reporters.Spec(runner, options);
  const file = process.env.TSBUILD_TALLY;
  if (file === undefined) return;
  runner.on("fail", (test, fault: Error) => {
    const [words] = String(fault.message).split("\n", 1);
    appendFileSync(file, `# ${test.titlePath().join(" / ")}: ${words}\n`);
  });
  runner.once("end", () => {
    const { passes = 0, failures = 0, pending = 0 } = runner.stats ?? {};
    appendFileSync(file, `${passes} ${failures} ${pending}\n`);
  });
}
