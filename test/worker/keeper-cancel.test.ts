// Cancelling work of the keeper: any job, at once, even when the keeper no longer responds.

import assert from "node:assert/strict";
import { readdirSync, readFileSync, truncateSync, utimesSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { MOUNT_MAX_BYTES } from "../../cache/remote-cache/mount-index.ts";
import { BuildError } from "../../solver/graph/error.ts";
import { type Keeper, KILL_GRACE_MS, STOP_GRACE_MS } from "../../worker/keeper/keeper.ts";
import type { ThreadJob } from "../../worker/keeper/messages.ts";
import { openFilesOf, removeTree } from "../support/store.ts";
import { copy } from "./file-op-fixture.ts";
import { openSandboxUnderTest, type SandboxUnderTest } from "./sandbox-fixture.ts";

const HUGE_BYTES = 4 * 2 ** 40;
const CANCELLED_WITHIN_MS = 1_000;
/** Node's timers and a busy machine. */
const SLACK_MS = 1_000;
const REASON = new Error("cancelled by the test");

describe("a job of the keeper that is cancelled", () => {
  let box: SandboxUnderTest;
  before(async () => {
    box = await openSandboxUnderTest();
  });
  after(() => box[Symbol.asyncDispose]());

  const layer = (): string => huge(box.layer());
  const active = (): { upper: string; work: string } => {
    const [upper, work] = [box.layer(), box.layer()];
    return { upper, work };
  };
  const jobs: Readonly<Record<string, () => ThreadJob>> = {
    "the hash of what COPY --from picks": () => ({
      kind: "select",
      tree: { kind: "layers", dirs: [layer()] },
      selectors: [{ kind: "subtree", path: "/" }],
    }),
    "a copy out of the context": () => ({
      kind: "file",
      base: [],
      ...active(),
      inputs: [files(layer())],
      actions: [copy("/", "/")],
      times: { epochSeconds: null },
    }),
    "a copy of many files on two threads": () => {
      const root = layer();
      for (let index = 0; index < 60; index++) huge(root, `huge-${index}`);
      return { kind: "materialize", tree: files(root), selector: "/", upper: box.layer() };
    },
    "a context for RUN --mount=type=bind": () => ({
      kind: "materialize",
      tree: files(layer()),
      selector: "/",
      upper: box.layer(),
    }),
    "the difference of two trees": () => ({ kind: "diff", from: [layer()], to: [layer()], ...active() }),
    "the diffId of a layer": () => ({ ...PACK, dir: layer(), out: null, compression: "uncompressed" }),
    "a layer as gzip": () => ({ ...PACK, dir: layer(), out: join(box.store, "blob"), compression: "gzip" }),
    "a layer as zstd": () => ({ ...PACK, dir: layer(), out: join(box.store, "blob"), compression: "zstd" }),
    "-o type=tar": () => ({
      kind: "export",
      output: null,
      trees: [{ dirs: [layer()], folder: null, name: "tree" }],
      form: "tar",
      dest: join(box.store, "out.tar"),
      scratch: box.layer(),
      epochSeconds: null,
    }),
    "the unpacking of a layer": () => {
      const [blob, out] = [join(layer(), "huge"), join(box.store, "blob")];
      return { kind: "recompress", blob, out, compression: "gzip", level: null };
    },
    "a cache mount on its way out": () => ({
      kind: "pack-mount",
      dir: huge(box.layer(), "huge", MOUNT_MAX_BYTES),
      previous: null,
      out: box.layer(),
    }),
  };

  for (const [name, make] of Object.entries(jobs)) {
    it(`ends within a second: ${name}`, async () => {
      const controller = new AbortController();
      const job = make();
      const keeper = keeperPid(box.store);
      const open = hugeOpen(keeper);
      const running = box.keeper.run(job as never, { signal: controller.signal });
      running.catch(() => {});
      await until(() => hugeOpen(keeper) > open);
      const from = performance.now();
      controller.abort(REASON);
      await assert.rejects(running, (error) => error === REASON);
      assertSoon(from, CANCELLED_WITHIN_MS);
      // It was the job that ended, and not the keeper.
      const read = { kind: "read", dirs: [box.base], path: "/etc/passwd", maxBytes: 1000 } as const;
      await box.keeper.run(read, { signal: new AbortController().signal });
    });
  }

  it("leaves the others at work", async () => {
    const controller = new AbortController();
    const make = jobs["the diffId of a layer"] as () => ThreadJob;
    const keeper = keeperPid(box.store);
    const open = hugeOpen(keeper);
    const running = box.keeper.run(make() as never, { signal: controller.signal });
    running.catch(() => {});
    await until(() => hugeOpen(keeper) > open);
    const step = box.sh("echo begun; read line; echo $line", {
      stdin: true,
      onStart: (control) => {
        controller.abort(REASON);
        running.catch(() => {
          control.stdin(Buffer.from("went on\n"));
          control.stdin(null);
        });
      },
    });
    assert.equal((await step).out, "begun\nwent on\n");
    await assert.rejects(running, (error) => error === REASON);
  });

  it("ends while it waits for a thread", async () => {
    const make = jobs["the diffId of a layer"] as () => ThreadJob;
    const keeper = keeperPid(box.store);
    const open = hugeOpen(keeper);
    const controllers = Array.from({ length: 40 }, () => new AbortController());
    const all = controllers.map(({ signal }) => box.keeper.run(make() as never, { signal }));
    for (const one of all) one.catch(() => {});
    await until(() => hugeOpen(keeper) > open);
    const from = performance.now();
    for (const controller of controllers) controller.abort(REASON);
    for (const one of all) await assert.rejects(one, (error) => error === REASON);
    assertSoon(from, CANCELLED_WITHIN_MS);
  });
});

describe("a keeper that answers no more", () => {
  const kinds: Readonly<Record<string, (box: SandboxUnderTest, signal: AbortSignal) => Promise<unknown>>> = {
    "a job": (box, signal) =>
      box.keeper.run({ ...PACK, dir: huge(box.layer()), out: null, compression: "uncompressed" }, { signal }),
    "a step": (box, signal) => box.sh("touch /huge; exec 9</huge; sleep 1000", { signal }),
  };
  for (const [what, start] of Object.entries(kinds)) {
    it(`is ended when ${what} in it is cancelled`, async () => {
      await using box = await openDoomed();
      const controller = new AbortController();
      const running = start(box, controller.signal);
      running.catch(() => {});
      const pid = keeperPid(box.store);
      await until(() => [pid, ...below(pid)].some((one) => hugeOpen(one) > 0));
      process.kill(pid, "SIGSTOP");
      const from = performance.now();
      controller.abort(REASON);
      await assert.rejects(running, (error) => error === REASON);
      assertSoon(from, KILL_GRACE_MS + STOP_GRACE_MS);
      await until(() => isDead(pid));
      await assert.rejects(
        box.keeper.run(
          { kind: "read", dirs: [box.base], path: "/etc/passwd", maxBytes: 1000 },
          { signal: new AbortController().signal },
        ),
        (error) => error instanceof BuildError && error.code === "SANDBOX_UNAVAILABLE",
      );
    });
  }

  it("is not waited for at the end", async () => {
    await using box = await openDoomed();
    process.kill(keeperPid(box.store), "SIGSTOP");
    const from = performance.now();
    await box.keeper[Symbol.asyncDispose]();
    assertSoon(from, 0);
  });

  it("that was killed is said to be, with a hint that it may have been for want of memory", async () => {
    await using box = await openDoomed();
    const step = box.sh("echo begun; sleep 1000", {
      onOutput: () => process.kill(keeperPid(box.store), "SIGKILL"),
    });
    await assert.rejects(step, (error) => {
      assert.ok(error instanceof BuildError && error.code === "SANDBOX_UNAVAILABLE");
      assert.equal(error.message, "the keeper process ended: killed by SIGKILL");
      assert.match(error.hint ?? "", /memory/);
      return true;
    });
  });

  it("that was killed leaves to its successor what it had not read yet, and no more", async () => {
    await using next = await openSandboxUnderTest();
    await using box = await openDoomed(() => next.keeper);
    const begun = box.sh("echo begun; sleep 1000", {
      onOutput() {
        process.kill(keeperPid(box.store), "SIGSTOP");
        const read = { kind: "read", dirs: [next.base], path: "/etc/passwd", maxBytes: 1000 } as const;
        unread = Promise.all([
          box.keeper.run(read, { signal: new AbortController().signal }),
          box.sh("echo from the successor"),
        ]);
        process.kill(keeperPid(box.store), "SIGKILL");
      },
    });
    let unread: Promise<[Uint8Array | null, { readonly out: string }]> | undefined;
    await assert.rejects(begun, { message: "the keeper process ended: killed by SIGKILL" });
    const [file, step] = (await unread) ?? assert.fail("nothing was asked of it");
    assert.match(String(Buffer.from(file ?? [])), /^root:/);
    assert.equal(step.out, "from the successor\n");
  });
});

/** With a keeper that will not be there to tidy up. */
async function openDoomed(successor?: () => Keeper): Promise<SandboxUnderTest> {
  const box = await openSandboxUnderTest(successor === undefined ? {} : { successor });
  return {
    ...box,
    async [Symbol.asyncDispose]() {
      await box.keeper[Symbol.asyncDispose]();
      removeTree(box.store);
    },
  };
}

const files = (root: string) => ({ kind: "files", root, excludes: [], includes: [] }) as const;
const PACK = { kind: "pack", level: null, epochSeconds: null } as const;
/** Puts a file without blocks, but hours of reading, into a directory. */
function huge(dir: string, name = "huge", bytes = HUGE_BYTES): string {
  writeFileSync(join(dir, name), "");
  truncateSync(join(dir, name), bytes);
  utimesSync(join(dir, name), 1, 1);
  return dir;
}

function assertSoon(from: number, withinMs: number): void {
  const tookMs = performance.now() - from;
  assert.ok(tookMs < withinMs + SLACK_MS, `it took ${Math.round(tookMs)} ms`);
}

async function until(holds: () => boolean): Promise<void> {
  for (let tries = 0; tries < 2000; tries++) {
    if (holds()) return;
    await delay(10);
  }
  assert.fail("it did not come to that");
}

function readPids(): number[] {
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .map(Number);
}

function statusOf(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/status`, "latin1");
  } catch {
    return ""; // gone meanwhile
  }
}

function isDead(pid: number): boolean {
  const status = statusOf(pid);
  return status === "" || /^State:\t[ZX]/m.test(status);
}

function below(pid: number): number[] {
  const children = readPids().filter((one) => statusOf(one).includes(`\nPPid:\t${pid}\n`));
  return children.flatMap((one) => [one, ...below(one)]);
}

function keeperPid(store: string): number {
  const pid = readPids().find((one) => {
    try {
      return readFileSync(`/proc/${one}/cmdline`, "latin1").includes(`"storeDir":"${store}"`);
    } catch {
      return false;
    }
  });
  assert.ok(pid !== undefined, "no keeper");
  return pid;
}

/** How many descriptors for huge files a process has. */
function hugeOpen(pid: number): number {
  return openFilesOf(pid).filter((path) => path.includes("/huge")).length;
}
