// Limits of RUN, and reports of resource usage. Which limits are available depends on the machine; others are refused.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import type { Finding } from "../../worker/probe-words.ts";
import { accounts } from "../support/unprivileged.ts";
import { openWorkshop, type Workshop } from "./fixture.ts";

for (const account of accounts()) {
  describe(`limits of RUN (${account.uid === 0 ? "root" : "an ordinary user"})`, () => {
    let shop: Workshop;
    before(async () => {
      shop = await openWorkshop(account);
    });
    after(() => {
      shop[Symbol.dispose]();
    });

    it("by --ulimit are kept on every machine", async () => {
      const context = shop.context("ulimit", { Dockerfile: "FROM base\nRUN echo files: $(ulimit -n)\n" });
      const { stderr } = await shop.ok(["build", "--progress=plain", "--ulimit", "nofile=123:456", context]);
      assert.match(stderr, / files: 123$/m);
    });

    it("by --memory are kept, or refused with what would make them possible", async () => {
      const { stdout } = await shop.run(["doctor", "--format=json"]);
      const { checks } = JSON.parse(stdout) as { checks: readonly Finding[] };
      const found = checks.find(({ id }) => id === "limits")?.found ?? "";
      // More than 64 MiB, and as much swap as that.
      const context = shop.context("memory", {
        Dockerfile: "FROM base\nRUN head -c 200m /dev/zero | tail > /dev/null && echo all held\n",
      });
      const build = (...flags: string[]) => shop.run(["build", "--progress=plain", ...flags, context]);
      const limited = await build("-m", "64m");
      assert.equal(limited.code, 1);
      if (/^memory\b/.test(found)) {
        assert.doesNotMatch(limited.stderr, /^#.* all held$/m);
        assert.match(limited.stderr, /^hint: .*memory limit/m);
      } else {
        assert.match(limited.stderr, /^ERROR: .*--memory cannot be applied: /m);
        assert.match(limited.stderr, /^hint: /m);
      }
      const free = await build();
      assert.equal(free.code, 0, free.stderr);
      assert.match(free.stderr, /^#.* all held$/m);
    });

    it("let nobody take all processes of the machine, and allow more where that is asked for", async () => {
      const context = shop.context("many", {
        Dockerfile: "FROM base\nARG FLAGS\nRUN echo max $(cat /proc/sys/kernel/pid_max) $FLAGS\n",
      });
      const before = readFileSync("/proc/sys/kernel/pid_max", "utf8");
      const max = async (...flags: string[]): Promise<number> => {
        const args = ["build", "--progress=plain", `--build-arg=FLAGS=${flags.join()}`, ...flags, context];
        return Number(/ max (\d+)/.exec((await shop.ok(args)).stderr)?.[1]);
      };
      const usual = await max();
      assert.ok(usual > 4096 && usual < 4_194_304, String(usual));
      assert.ok((await max("--ulimit=nproc=20000")) > 20_000);
      assert.equal(await max("--pids-limit=-1"), 4_194_304);
      assert.equal(readFileSync("/proc/sys/kernel/pid_max", "utf8"), before); // the machine's own
    });

    it("do not matter to steps that do not run", async () => {
      // A parent of its own name shows that a step ran under it, or was warned of it, on every machine.
      const context = shop.context("cached", { Dockerfile: "FROM base\nARG AGAIN\nRUN echo ran $AGAIN\n" });
      const limits = ["--progress=plain", "--cgroup-parent=/a/../../b"];
      await shop.ok(["build", context]);
      const cached = await shop.ok(["build", ...limits, "-m", "64m", "--cpu-quota=1000", context]);
      assert.match(cached.stderr, / CACHED$/m);
      assert.doesNotMatch(cached.stderr, /^#\d+ [\d.]+ ran|--cgroup-parent/m);
      const again = await shop.ok(["build", ...limits, "--build-arg=AGAIN=again", context]);
      assert.match(again.stderr, / ran again$/m);
      assert.match(again.stderr, /--cgroup-parent=\S+ has no effect/);
    });

    it("by a parent that cannot be had are warned of, and the step runs", async () => {
      const context = shop.context("parent", { Dockerfile: "FROM base\nRUN echo two\nRUN echo three\n" });
      const { stderr } = await shop.ok(["build", "--progress=plain", "--cgroup-parent=/a/../../b", context]);
      assert.match(stderr, /1 warning found/);
      assert.match(stderr, /--cgroup-parent=\/a\/\.\.\/\.\.\/b has no effect/);
    });

    it("also hold for run, whose wrong ones end with 125", async () => {
      const { code, stderr } = await shop.run(["run", "--rm", "-m", "1k", "nothing"]);
      assert.equal(code, 125);
      assert.match(stderr, /minimum memory limit/);
    });

    it("apart, --metadata-file tells what each step that ran used", async () => {
      const context = shop.context("used", {
        Dockerfile: "FROM base\nRUN i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done\n",
      });
      const read = async (): Promise<Record<string, unknown>> => {
        const file = shop.at("used", "metadata.json");
        await shop.ok(["build", "--metadata-file", file, context]);
        return JSON.parse(readFileSync(file, "utf8")) as Record<string, unknown>;
      };
      const steps = (await read())["tsbuild.steps"] as { name: string; cpuMs: number; peakBytes: number }[];
      assert.equal(steps.length, 1);
      assert.match(steps[0]?.name ?? "", /RUN i=0/);
      assert.ok((steps[0]?.cpuMs ?? 0) > 0);
      assert.ok((steps[0]?.peakBytes ?? 0) > 100_000);
      assert.equal((await read())["tsbuild.steps"], undefined, "nothing ran");
    });
  });
}
