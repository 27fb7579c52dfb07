// --memory and similar flags: docker's formats and ranges.

import assert from "node:assert/strict";
import { parseFlags } from "../../bin/args.ts";
import { LIMIT_FLAGS, readLimits } from "../../bin/flags-limits.ts";
import type { ResourceLimits } from "../../worker/cgroup-limits.ts";

function read(...args: string[]): ResourceLimits | null {
  const spec = {
    name: "build",
    summary: "",
    usage: "",
    flags: LIMIT_FLAGS,
    positionals: { min: 0, max: 0 },
  };
  return readLimits(parseFlags(spec, args));
}

describe("limits on the command line", () => {
  it("are none when none is given, or only zeros, which are docker's word for that", () => {
    assert.equal(read(), null);
    assert.equal(read("--memory=0", "--cpu-quota=0", "--cpu-shares=0", "--pids-limit=0"), null);
  });

  it("are read in docker's units", () => {
    const limits = read(
      "-m",
      "512m",
      "--memory-swap=1g",
      "-c",
      "512",
      "--cpu-period=50000",
      "--cpu-quota=25000",
    );
    assert.deepEqual(limits, {
      memoryBytes: 512 << 20,
      memorySwapBytes: 1 << 30,
      cpuPeriodUs: 50_000,
      cpuQuotaUs: 25_000,
      cpuShares: 512,
      cpusetCpus: null,
      cpusetMems: null,
      pids: null,
    });
    assert.equal(read("-m=64m", "--memory-swap=-1")?.memorySwapBytes, -1);
    assert.equal(read("--cpuset-cpus=0-2,4")?.cpusetCpus, "0-2,4");
    assert.equal(read("--pids-limit=100")?.pids, 100);
    assert.equal(read("--pids-limit=-1")?.pids, -1); // more than what there is without the flag
  });

  for (const [args, words] of [
    [["-m", "5m"], /minimum memory limit allowed is 6MB/],
    [["-m", "much"], /invalid size: 'much'/],
    [["--memory-swap=1g"], /--memory-swap requires --memory/],
    [["-m", "1g", "--memory-swap=512m"], /--memory-swap is less than --memory/],
    [["--cpu-period=999"], /invalid --cpu-period=999/],
    [["--cpu-quota=half"], /invalid --cpu-quota=half/],
    [["--cpu-shares=1"], /invalid --cpu-shares=1/],
    [["--cpuset-cpus=0-"], /invalid --cpuset-cpus=0-/],
    [["--cpuset-cpus=0\n1"], /invalid --cpuset-cpus/],
    [["--pids-limit=1.5"], /invalid --pids-limit=1\.5/],
  ] as const) {
    it(`are refused when they make no sense: ${args.join(" ")}`, () => {
      assert.throws(() => read(...args), { code: "USAGE", message: words });
    });
  }
});
