// Limits of steps: the values for the kernel, and real cgroups below this machine's. Which limits are available depends on the
// machine (cgroup v1 may use the controllers); unavailable ones must be refused with an error.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import {
  accessSync,
  constants,
  existsSync,
  mkdirSync,
  readFileSync,
  rmdirSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { BuildError } from "../../solver/graph/error.ts";
import { type Cgroups, openCgroups } from "../../worker/cgroup.ts";
import { findPlace } from "../../worker/cgroup-place.ts";
import {
  cpuWeight,
  limitSettings,
  NO_LIMITS,
  type ResourceLimits,
  withOwnLimits,
} from "../../worker/cgroup-limits.ts";
import { openSandboxUnderTest, type SandboxUnderTest } from "./sandbox-fixture.ts";

const MB = 1 << 20;

const lines = (limits: Partial<ResourceLimits>): string[] =>
  limitSettings({ ...NO_LIMITS, ...limits }).map(({ file, value }) => `${file} ${value}`);

describe("limits as lines of cgroup v2", () => {
  it("allow as much swap as memory when nothing is said of swap, as docker does", () => {
    assert.deepEqual(lines({ memoryBytes: 64 * MB }), [
      `memory.max ${64 * MB}`,
      `memory.swap.max ${64 * MB}`,
    ]);
  });

  it("take --memory-swap for memory and swap together", () => {
    const swap = (memorySwapBytes: number): string | undefined =>
      lines({ memoryBytes: 64 * MB, memorySwapBytes })[1];
    assert.equal(swap(96 * MB), `memory.swap.max ${32 * MB}`);
    assert.equal(swap(64 * MB), "memory.swap.max 0");
    assert.equal(swap(-1), "memory.swap.max max");
  });

  it("give the quota in its period", () => {
    assert.deepEqual(lines({ cpuQuotaUs: 50_000 }), ["cpu.max 50000 100000"]);
    assert.deepEqual(lines({ cpuQuotaUs: 50_000, cpuPeriodUs: 25_000 }), ["cpu.max 50000 25000"]);
    assert.deepEqual(lines({ cpuPeriodUs: 25_000 }), ["cpu.max max 25000"]);
  });

  it("keep the default of shares the default of weights, and both ends", () => {
    assert.deepEqual([1, 2, 1024, 262_144, 300_000].map(cpuWeight), [1, 1, 100, 10_000, 10_000]);
    assert.ok(cpuWeight(512) < 100 && cpuWeight(512) > 50);
  });

  it("name cpus and processes as they are", () => {
    assert.deepEqual(lines({ cpusetCpus: "0-1", cpusetMems: "0", pids: 40 }), [
      "cpuset.cpus 0-1",
      "cpuset.mems 0",
      "pids.max 40",
    ]);
  });
});

describe("limits of one step", () => {
  const build = { ...NO_LIMITS, memoryBytes: 64 * MB, memorySwapBytes: 96 * MB, cpuShares: 512, pids: 40 };
  const { pids: _, ...none } = NO_LIMITS;

  it("count for what they name, and those of the build for the rest", () => {
    assert.equal(withOwnLimits(null, null), null);
    assert.equal(withOwnLimits(build, null), build);
    const own = { ...none, cpuShares: 2, cpusetCpus: "0" };
    assert.deepEqual(withOwnLimits(build, own), { ...build, cpuShares: 2, cpusetCpus: "0" });
    assert.deepEqual(withOwnLimits(null, own), { ...NO_LIMITS, cpuShares: 2, cpusetCpus: "0" });
  });

  it("on memory do not keep the build's sum of memory and swap", () => {
    const own = withOwnLimits(build, { ...none, memoryBytes: 128 * MB });
    assert.equal(own?.memoryBytes, 128 * MB);
    assert.equal(own?.memorySwapBytes, null);
  });
});

const place = findPlace();
/** Whether this account may make cgroups at the top: root does, where version 2 is mounted for writing. */
const mayMake = place !== null && canWrite(place.mount);
const top = `/tsbuild-test-${process.pid}`;

describe("a step's cgroup", () => {
  const warnings: string[] = [];
  const open = (limits: Partial<ResourceLimits> | null = null): Cgroups =>
    openCgroups({
      limits: limits === null ? null : { ...NO_LIMITS, ...limits },
      warn: (message, detail) => void warnings.push(`${message}\n${detail}`),
    });
  let sandbox: SandboxUnderTest;
  before(async () => {
    sandbox = await openSandboxUnderTest();
  });
  after(async () => {
    await sandbox[Symbol.asyncDispose]();
    if (place !== null && existsSync(place.mount + top)) rmdirSync(place.mount + top);
  });
  beforeEach(() => {
    warnings.length = 0;
  });

  it("is not made when nothing was asked for", async () => {
    await using cgroups = open();
    assert.equal(cgroups.step(""), null);
  });

  if (!mayMake || place === null) {
    it("is warned of once when its parent cannot be had", async () => {
      await using cgroups = open();
      assert.equal(cgroups.step("/not-ours"), null);
      assert.equal(cgroups.step("/not-ours"), null);
      assert.equal(warnings.length, 1);
      assert.match(warnings[0] ?? "", /^--cgroup-parent=\/not-ours has no effect: /);
    });
    return;
  }

  it("holds the step and nobody else, is the top of what the step sees, and is gone afterwards", async () => {
    await using cgroups = open();
    const step = cgroups.step(top);
    assert.ok(step !== null);
    assert.ok(step.dir.startsWith(place.mount + top));
    let during: string[] = [];
    const { out, code } = await sandbox.sh("cat /proc/self/cgroup; echo ready; read line", {
      cgroup: step.dir,
      stdin: true,
      onStart: (control) => {
        writing = () => control.stdin(Buffer.from("\n"));
      },
      onOutput(data) {
        if (!data.toString().includes("ready")) return;
        during = readFileSync(join(step.dir, "cgroup.procs"), "utf8").trim().split("\n");
        writing();
      },
    });
    assert.equal(code, 0);
    assert.match(out, /^0::\/$/m);
    assert.equal(during.length, 1);
    assert.notEqual(during[0], "");
    assert.ok(step.usage().cpuMs !== null);
    await step[Symbol.asyncDispose]();
    assert.equal(existsSync(step.dir), false);
    assert.deepEqual(warnings, []);
  });
  let writing: () => void = () => {};

  it("is its own, beside those of other builds of the same process", async () => {
    await using cgroups = open();
    await using others = open();
    await using one = cgroups.step(top);
    await using other = others.step(top);
    assert.ok(one !== null && other !== null);
    assert.notEqual(one.dir, other.dir);
  });

  it("ends what is left in it, children of it too", async () => {
    await using cgroups = open();
    const step = cgroups.step(top);
    assert.ok(step !== null);
    const inner = join(step.dir, "inner");
    mkdirSync(inner);
    const left = spawn("sleep", ["600"], { stdio: "ignore" });
    const gone = once(left, "exit");
    await once(left, "spawn");
    writeFileSync(join(inner, "cgroup.procs"), String(left.pid));
    await step[Symbol.asyncDispose]();
    const [, signal] = await gone;
    assert.equal(signal, "SIGKILL");
    assert.equal(existsSync(step.dir), false);
  });

  it("of a build that was killed is swept by the next one", async () => {
    const ended = spawn("true");
    await once(ended, "exit");
    const leaving = `${place.mount}${top}/tsbuild-${ended.pid}-1`;
    mkdirSync(leaving, { recursive: true });
    await using cgroups = open();
    await cgroups.step(top)?.[Symbol.asyncDispose]();
    assert.equal(existsSync(leaving), false);
  });

  it("below a slice is where systemd would put it", async () => {
    const name = `tsbuildtest${process.pid}`;
    const outer = join(place.mount, `${name}.slice`);
    const inner = join(outer, `${name}-inner.slice`);
    {
      await using cgroups = open();
      await using step = cgroups.step(`${name}-inner.slice`);
      assert.ok(step?.dir.startsWith(`${inner}/`));
    }
    rmdirSync(inner);
    rmdirSync(outer);
  });

  it("outside of the hierarchy is warned of once, and the step goes without", async () => {
    await using cgroups = open();
    assert.equal(cgroups.step("/../etc"), null);
    assert.equal(cgroups.step("/../etc"), null);
    assert.equal(warnings.length, 1);
  });

  const controllers = readFileSync(join(place.mount, "cgroup.controllers"), "utf8").trim().split(" ");
  /** A controller, a limit that the script meets, one that it does not, and what counts how often it was met. */
  const limited: readonly [
    string,
    Partial<ResourceLimits>,
    Partial<ResourceLimits>,
    string,
    "oomKills" | "pidsRefused",
  ][] = [
    [
      "memory",
      { memoryBytes: 32 * MB },
      { memoryBytes: 1024 * MB },
      "head -c 200m /dev/zero | tail > /dev/null",
      "oomKills",
    ],
    ["pids", { pids: 4 }, { pids: 400 }, "for i in 1 2 3 4 5 6; do sleep 1 & done; wait", "pidsRefused"],
  ];
  for (const [controller, limits, ample, script, counter] of limited) {
    if (controllers.includes(controller)) {
      it(`keeps the limit on ${controller} and tells when it was reached, and only then`, async () => {
        const reached = async (asked: Partial<ResourceLimits>): Promise<number> => {
          await using cgroups = open(asked);
          await using step = cgroups.step(top);
          assert.ok(step !== null);
          await sandbox.sh(script, { cgroup: step.dir });
          return step.usage()[counter];
        };
        assert.equal(await reached(ample), 0);
        assert.ok((await reached(limits)) > 0);
      });
    } else {
      it(`is refused with a limit on ${controller}, which version 2 does not have on this machine`, async () => {
        await using cgroups = open(limits);
        assert.throws(
          () => cgroups.step(top),
          (error) =>
            error instanceof BuildError &&
            error.code === "SANDBOX_UNAVAILABLE" &&
            /^--\S+ cannot be applied: .*controller/.test(error.message) &&
            error.hint !== null,
        );
      });
    }
  }
});

function canWrite(dir: string): boolean {
  try {
    accessSync(dir, constants.W_OK);
    return true;
  } catch {
    return false;
  }
}
