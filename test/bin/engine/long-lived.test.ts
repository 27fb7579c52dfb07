// An engine that serves many builds: leftovers or failures of one build do not affect the next.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { copyFileSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as later } from "node:timers/promises";
import { buildRequest, type PartialBuildRequest } from "../../../bin/engine/defaults.ts";
import { openEngine } from "../../../bin/engine/engine.ts";
import type { Engine } from "../../../bin/engine/contract.ts";
import type { BuildError } from "../../../solver/graph/error.ts";
import { openWorkshop, type Workshop } from "../../build/fixture.ts";
import { makeRepository, serveGit } from "../../support/git-server.ts";
import { needs } from "../../support/needs.ts";
import { type MisbehavingServer, startServer } from "../../support/registry.ts";
import { testConfig } from "./config.ts";

/** Builds of each kind of context that must leave nothing behind. TSBUILD_LONG_LIVED=50 makes 300 and more of it. */
const ROUNDS = Number(process.env.TSBUILD_LONG_LIVED ?? 5);

interface Build {
  readonly digest: string;
  readonly log: string;
  /** Names of the steps that began. */
  readonly started: readonly string[];
}

describe("an engine that lives long", function () {
  this.timeout(600_000);
  let shop: Workshop;
  let engine: Engine;
  let server: MisbehavingServer;
  /** What /file is at the moment. */
  let served = "one";
  let count = 0;

  before(async () => {
    shop = await openWorkshop();
    const repositories = shop.at("repositories");
    mkdirSync(repositories);
    const tree = shop.context("tree", { Dockerfile: "FROM base\nCOPY a /a\n", a: "a" });
    makeRepository(tree, join(repositories, "r.git"));
    execFileSync("tar", ["-cf", shop.at("context.tar"), "-C", tree, "Dockerfile", "a"]);
    server = await startServer(async (request, response) => {
      if (request.url.startsWith("/r.git")) return serveGit(repositories, request, response);
      if (request.url === "/context.tar") return void response.end(readFileSync(shop.at("context.tar")));
      if (request.url === "/Dockerfile") return void response.end("FROM base\nENV of=http\n");
      return void response.end(served);
    });
  });
  after(async () => {
    await server[Symbol.asyncDispose]();
    shop[Symbol.dispose]();
  });
  beforeEach(async () => {
    engine = await openEngine(testConfig(shop.root), { signal: new AbortController().signal });
  });
  afterEach(async () => {
    await engine[Symbol.asyncDispose]();
  });

  async function build(
    asked: PartialBuildRequest,
    { signal = new AbortController().signal, onLog = () => {} } = {},
  ): Promise<Build> {
    const started: string[] = [];
    const names = new Map<string, string>();
    let log = "";
    const report = await engine.build(
      buildRequest({ buildContexts: new Map([["base", `oci-layout://${shop.at("base")}`]]), ...asked }),
      {
        signal,
        onSource: () => {},
        emit(event) {
          if (event.kind === "vertex") names.set(event.vertex, event.name);
          if (event.kind === "started") started.push(names.get(event.vertex) ?? "");
          if (event.kind !== "log") return;
          log += Buffer.from(event.data).toString();
          onLog();
        },
      },
    );
    return { digest: report.imageDigest ?? "", log, started };
  }
  /** A Dockerfile without a context. */
  const text = (lines: string): PartialBuildRequest => ({
    context: { kind: "empty" },
    dockerfile: { kind: "bytes", data: Buffer.from(lines) },
  });
  /** A step that no earlier build has made. */
  const fresh = (command: string): string => `RUN : ${++count} && ${command}\n`;

  it("starts the keeper again after its death", async () => {
    await build(text(`FROM base\n${fresh("echo a > /a")}`));
    const first = keepers();
    await killKeepers();
    const { log } = await build(text(`FROM base\n${fresh("echo ran $((40 + 2))")}`));
    assert.match(log, /^ran 42$/m);
    const second = keepers();
    assert.ok(!second.some((pid) => first.includes(pid)), `${first.join()} and ${second.join()}`);
  });

  it("fails the builds whose steps died with the keeper, with one error, and no others", async () => {
    const cached = text(`FROM base\n${fresh("echo c > /c")}`);
    const first = await build(cached);
    let kill = (): void => {};
    const runs = new Promise<void>((resolve) => {
      kill = resolve;
    });
    const dying = build(text(`FROM base\n${fresh("echo here; sleep 100")}`), { onLog: () => kill() });
    const outcome = dying.then(
      () => assert.fail("it was built"),
      (error: BuildError) => error,
    );
    await runs;
    await killKeepers();
    const others = await Promise.all([build(cached), build(text(`FROM base\n${fresh("echo d > /d")}`))]);
    assert.equal(others[0].digest, first.digest);
    const error = await outcome;
    assert.equal(error.code, "SANDBOX_UNAVAILABLE", error.message);
    assert.match(error.message, /the keeper process ended/);
  });

  it("asks for a URL again in each build", async () => {
    const asked = text(`FROM base\nADD ${server.origin}/file /file\n`);
    served = "one";
    const first = await build(asked);
    assert.equal((await build(asked)).digest, first.digest);
    served = "two";
    assert.notEqual((await build(asked)).digest, first.digest);
  });

  it("runs each step of two equal builds at one time once", async () => {
    const id = `equal-${++count}`;
    const mount = `--mount=type=cache,id=${id},target=/c`;
    const asked = text(`FROM base\nRUN ${mount} echo ran >> /c/count; sleep 1\nRUN echo next > /next\n`);
    const [one, two] = await Promise.all([build(asked), build(asked)]);
    assert.equal(one.digest, two.digest);
    const counted = await build(text(`FROM base\nRUN ${mount} echo times: $(wc -l < /c/count)\n`));
    assert.match(counted.log, /times: 1\n/);
  });

  it("goes on with a step that another build waits for, when the one that began it is cancelled", async () => {
    const id = `left-${++count}`;
    const mount = `--mount=type=cache,id=${id},target=/c`;
    const asked = text(`FROM base\nRUN ${mount} echo ran >> /c/count; echo here; sleep 2; echo > /made\n`);
    const abort = new AbortController();
    let begun = (): void => {};
    const runs = new Promise<void>((resolve) => {
      begun = resolve;
    });
    const first = build(asked, { signal: abort.signal, onLog: () => begun() });
    const cancelled = assert.rejects(first, { name: "AbortError" });
    await runs;
    const second = build(asked);
    await later(500); // until it waits for the step, too
    abort.abort();
    await cancelled;
    assert.match((await second).log, /here/);
    const counted = await build(text(`FROM base\nRUN ${mount} echo times: $(wc -l < /c/count)\n`));
    assert.match(counted.log, /times: 1\n/);
  });

  it("runs the steps of each build in the runtime it names", async () => {
    const calls = shop.at("calls");
    const wrapper = shop.at("runtime");
    writeFileSync(wrapper, `#!/bin/sh\necho "$*" >> ${calls}\nexec ${needs("crun")} "$@"\n`, { mode: 0o755 });
    writeFileSync(calls, "");
    const creates = (): number => readFileSync(calls, "utf8").match(/\bcreate\b/g)?.length ?? 0;
    await build(text(`FROM base\n${fresh("true")}`));
    assert.equal(creates(), 0);
    await build({ ...text(`FROM base\n${fresh("true")}`), ociRuntime: wrapper });
    assert.equal(creates(), 1);
    await assert.rejects(build({ ...text(`FROM base\n${fresh("true")}`), ociRuntime: "/no/runtime" }), {
      code: "SANDBOX_UNAVAILABLE",
    });
    await build(text(`FROM base\n${fresh("true")}`));
    assert.equal(creates(), 1);
  });

  it("is after many builds of all kinds as it was before", async () => {
    const tree = shop.at("tree");
    const kinds: (() => PartialBuildRequest)[] = [
      () => ({ context: { kind: "directory", path: tree } }),
      () => text(`FROM base\nENV no=${++count}\n`),
      () => ({ context: { kind: "archive", path: archive(shop), modifiedSeconds: null } }),
      () => ({ context: { kind: "remote", url: `${server.origin}/context.tar` } }),
      () => ({ context: { kind: "remote", url: `${server.origin}/Dockerfile` } }),
      () => ({ context: { kind: "remote", url: `${server.origin}/r.git` } }),
      () => text(`FROM base\nADD ${server.origin}/file /file\n${fresh("echo > /x")}`),
    ];
    const round = async (): Promise<void> => {
      for (const kind of kinds) await build(kind());
      await Promise.all(kinds.map((kind) => build(kind())));
    };
    const failing = async (): Promise<void> => {
      const archived = { kind: "archive", path: archive(shop), modifiedSeconds: null } as const;
      await assert.rejects(build({ context: archived, target: "nothing" }));
    };
    await round();
    await failing();
    const before = await holdings(shop);
    for (let done = 0; done < ROUNDS; done++) {
      await round();
      await failing();
    }
    const after = await holdings(shop);
    assert.deepEqual(after.temporary, before.temporary);
    assert.deepEqual(after.active, before.active);
    assert.equal(after.processes, before.processes);
    assert.ok(after.descriptors <= before.descriptors + 3, `${before.descriptors} to ${after.descriptors}`);
    assert.ok(after.leaseBytes < 2 ** 19, `${after.leaseBytes} bytes of leases`);
    const grown = (after.rssBytes - before.rssBytes) / 2 ** 20;
    assert.ok(grown < 100, `${Math.round(grown)} MB more after ${ROUNDS * kinds.length * 2} builds`);
  });
});

/** A tar that a build may keep. */
function archive(shop: Workshop): string {
  const path = shop.at("again.tar");
  rmSync(path, { force: true });
  copyFileSync(shop.at("context.tar"), path);
  return path;
}

/** The launchers of this process; a keeper dies with its own. */
function keepers(): number[] {
  const tasks = readdirSync("/proc/self/task");
  const children = tasks.flatMap((task) =>
    readFileSync(`/proc/self/task/${task}/children`, "latin1").trim().split(" "),
  );
  const pids = children.filter((pid) => pid !== "").map(Number);
  const found = pids.filter((pid) => readFileSync(`/proc/${pid}/comm`, "latin1").includes("launcher"));
  assert.ok(found.length > 0, "no keeper runs");
  return found;
}

/** Kills the keepers of this process. Resolves when they are dead, whether this process has heard of it or not. */
async function killKeepers(): Promise<void> {
  const pids = keepers();
  for (const pid of pids) process.kill(pid, "SIGKILL");
  const isDead = (pid: number): boolean => {
    const stat = readFileSync(`/proc/${pid}/stat`, "latin1");
    return stat.slice(stat.lastIndexOf(")") + 2).startsWith("Z");
  };
  for (const pid of pids) {
    try {
      while (!isDead(pid)) await later(1);
    } catch {
      // reaped already
    }
  }
}

async function holdings(shop: Workshop) {
  const list = (dir: string): string[] =>
    readdirSync(join(shop.root, dir), { recursive: true, encoding: "utf8" }).map((name) =>
      name.replace(/[0-9a-f]{8,}/g, "…"),
    );
  await later(300); // connections that are being closed
  const owners = readdirSync(join(shop.root, "owners")).filter((name) => name.endsWith(".leases"));
  return {
    temporary: list("tmp"),
    active: list("active"),
    descriptors: readdirSync("/proc/self/fd").length,
    processes: readdirSync("/proc/self/task").flatMap((task) =>
      readFileSync(`/proc/self/task/${task}/children`, "latin1").trim().split(" ").filter(Boolean),
    ).length,
    leaseBytes: Math.max(0, ...owners.map((name) => statSync(join(shop.root, "owners", name)).size)),
    rssBytes: process.memoryUsage().rss,
  };
}
