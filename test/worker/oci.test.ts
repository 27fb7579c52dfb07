// OCI runtimes that misbehave: a script around a real one.

import assert from "node:assert/strict";
import { chmodSync, readFileSync, writeFileSync } from "node:fs";
import { runtimeWords } from "../../worker/sandbox/oci-watch.ts";
import { findOciRuntime, runtimeWays } from "../../worker/sandbox/oci-runtime.ts";
import { needs } from "../support/needs.ts";
import { temporaryDir, type TemporaryDir } from "../support/store.ts";
import { openSandboxUnderTest } from "./sandbox-fixture.ts";

describe("An OCI runtime", () => {
  let dir: TemporaryDir;
  before(() => {
    dir = temporaryDir();
  });
  after(() => dir[Symbol.dispose]());
  let count = 0;
  /** A program that does `script` (with $command) before it is crun. */
  const wrapper = (script: string): string => {
    const file = dir.at(`runtime-${++count}`);
    const command = 'for command in "$@"; do case $command in create|start|delete) break;; esac; done';
    writeFileSync(file, `#!/bin/sh\n${command}\n${script}\nexec ${needs("crun")} "$@"\n`);
    chmodSync(file, 0o755);
    return file;
  };

  it("is known by what it says of itself, wherever it is", async () => {
    assert.equal((await findOciRuntime("runc", "/nowhere:/usr/sbin:/usr/bin")).kind, "runc");
    const found = await findOciRuntime(wrapper(""), "");
    assert.equal(found.kind, "crun");
    assert.deepEqual(runtimeWays(found, "/s").args, ["--cgroup-manager=disabled", "--root", "/s"]);
    const other = wrapper("echo other version 1; exit 0");
    assert.deepEqual(runtimeWays(await findOciRuntime(other, ""), "/s").args, ["--root", "/s"]);
  });
  it("that is not there or none is an error with the package, before anything starts", async () => {
    const code = "SANDBOX_UNAVAILABLE";
    await assert.rejects(findOciRuntime("crun", "/nowhere"), { code, hint: /^apt-get install crun;/ });
    await assert.rejects(findOciRuntime("nothing", "/nowhere"), { code, hint: /crun or runc/ });
    await assert.rejects(findOciRuntime("/etc/passwd", ""), { code, message: /cannot be executed/ });
    await assert.rejects(findOciRuntime(wrapper("echo broken >&2; exit 1"), ""), {
      code,
      message: /--version failed: broken/,
    });
  });
  it("that cannot make the container is quoted", async () => {
    const say = 'test "$command" != create || { echo \'level=error msg="no \\"good\\""\' >&2; exit 1; }';
    await using box = await openSandboxUnderTest({ ociRuntime: wrapper(say) });
    await assert.rejects(box.sh("true"), {
      code: "SANDBOX_UNAVAILABLE",
      message: /could not run the step: no "good"$/,
    });
  });
  it("that cannot start the container is quoted, and the container is gone", async () => {
    const log = dir.at("deleted");
    const say = `echo "$@" >> ${log}; test "$command" != start || { echo stuck >&2; exit 1; }`;
    await using box = await openSandboxUnderTest({ ociRuntime: wrapper(say) });
    await assert.rejects(box.sh("true"), { code: "SANDBOX_UNAVAILABLE", message: /stuck$/ });
    assert.match(readFileSync(log, "utf8"), /delete --force tsbuild-\d+-1\n$/);
  });
  it("that never ends making the container is killed with a cancelled step", async () => {
    const hang = 'test "$command" != create || exec sleep 1000';
    await using box = await openSandboxUnderTest({ ociRuntime: wrapper(hang) });
    const cancel = new AbortController();
    const started = Date.now();
    const step = box.sh("true", { signal: cancel.signal });
    setTimeout(() => cancel.abort(new Error("enough")), 100);
    await assert.rejects(step, /enough/);
    assert.ok(Date.now() - started < 15_000);
  });
  it("is asked to delete the container when the step is cancelled", async () => {
    const log = dir.at("cancelled");
    await using box = await openSandboxUnderTest({ ociRuntime: wrapper(`echo "$@" >> ${log}`) });
    const cancel = new AbortController();
    const step = box.sh("trap '' TERM; echo ready; while :; do sleep 1; done", {
      signal: cancel.signal,
      onOutput: () => cancel.abort(new Error("stop")),
    });
    await assert.rejects(step, /stop/);
    assert.match(readFileSync(log, "utf8"), /start tsbuild-\d+-1\n.*delete --force tsbuild-\d+-1\n$/);
  });
  it("may leave descriptors and words behind: neither reaches the step", async () => {
    const log = dir.at("noise");
    writeFileSync(log, "");
    const noise = `case $command in create|start|delete) exec 9<>${log}; echo out; echo err >&2;; esac`;
    await using box = await openSandboxUnderTest({ ociRuntime: wrapper(noise) });
    // No pipe: a shell has its ends open for a moment after it started the first command.
    const { out, err } = await box.sh("ls /proc/$$/fd; true");
    assert.deepEqual([out, err], ["0\n1\n2\n", ""]);
  });
  it("gets a mount that cannot be placed, or a directory to work in, below /proc refused for it", async () => {
    await using box = await openSandboxUnderTest({ ociRuntime: needs("crun") });
    const tmpfs = { kind: "tmpfs", target: "/proc/self/cwd", sizeBytes: null } as const;
    const code = "SANDBOX_UNAVAILABLE";
    await assert.rejects(box.sh("true", { mounts: [tmpfs] }), { code, message: /\/proc\/self\/cwd/ });
    await assert.rejects(box.sh("true", { cwd: "/proc/self/fd" }), { code, message: /working directory/ });
  });
  it("is understood in the ways runtimes have to say something", () => {
    assert.equal(runtimeWords("2026-01-01T00:00:00.000Z: mknod: no\n").endsWith("mknod: no"), true);
    assert.equal(runtimeWords('time="now" level=warning msg="not this"\n'), "");
    assert.equal(runtimeWords('time="now" level=error msg="exec: \\"x\\": no"\n'), 'exec: "x": no');
    assert.equal(runtimeWords('{"msg":"from json","level":"error","time":"now"}\n'), "from json");
  });
});
