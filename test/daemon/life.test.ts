// The life of a daemon: its sockets, its end, and the names it is started under.

import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { chmodSync, existsSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import { join } from "node:path";
import { openWorkshop, type Workshop } from "../build/fixture.ts";
import { buildxProgram } from "../support/buildx.ts";
import { BASE, type DaemonShop, openDaemonShop, sh } from "../support/daemon.ts";
import { PREFACE } from "../support/daemon-client.ts";
import { needs } from "../support/needs.ts";
import { accounts, ordinaryUser, programDir } from "../support/unprivileged.ts";

for (const account of accounts()) {
  describe(`a tsbuildd that ends, as ${account.name}`, function () {
    this.timeout(120_000);
    const slow = (seconds: number): string =>
      `${BASE}${sh(`echo begun; sleep ${seconds}; echo over > /over`)}`;

    /** A build that has begun its long step. */
    async function startSlow(worker: DaemonShop, seconds: number, ...flags: readonly string[]) {
      const dir = worker.context("slow", { Dockerfile: slow(seconds) });
      const running = worker.start(["build", "--progress=plain", ...flags, dir]);
      await running.says(/ begun$/m);
      return running;
    }

    it("lets builds go on that run, refuses new ones with a sentence, and says so", async () => {
      using shop = await openWorkshop(account);
      await using worker = await openDaemonShop(shop, ["--drain-timeout=30s"]);
      const running = await startSlow(worker, 2, "-o", shop.at("home", "out"));
      worker.daemon.kill("SIGTERM");
      await worker.daemon.says(/ends when 1 build has ended, after 30 s at the latest/);
      const refused = await worker.run("build", worker.context("late", { Dockerfile: BASE }));
      assert.equal(refused.code, 1);
      assert.match(refused.stderr, /Unavailable.*tsbuildd is shutting down and takes no new builds/);
      const { code, stderr } = await running.outcome;
      assert.equal(code, 0, stderr);
      assert.ok(existsSync(shop.at("home", "out", "over")));
      assert.equal((await worker.daemon.outcome).code, 0);
      assert.equal(existsSync(worker.socket), false);
    });

    it("cancels builds whose time is over, and leaves nothing of them", async () => {
      using shop = await openWorkshop(account);
      await using worker = await openDaemonShop(shop, ["--drain-timeout=200ms"]);
      const running = await startSlow(worker, 100);
      const { code, stderr } = await worker.stop();
      assert.equal(code, 0, stderr);
      assert.doesNotMatch(stderr, /internal error/);
      const cancelled = await running.outcome;
      assert.equal(cancelled.code, 1);
      assert.match(cancelled.stderr, /the build was cancelled: tsbuildd is shutting down/);
    });

    it("ends at once with a second signal", async () => {
      using shop = await openWorkshop(account);
      await using worker = await openDaemonShop(shop, ["--drain-timeout=1h"]);
      const running = await startSlow(worker, 100);
      worker.daemon.kill("SIGTERM");
      await worker.daemon.says(/ends when 1 build/);
      worker.daemon.kill("SIGINT");
      assert.equal((await worker.daemon.outcome).code, 130);
      assert.equal((await running.outcome).code, 1);
    });
  });
}

describe("tsbuildd as a service", function () {
  this.timeout(120_000);

  it("takes the sockets it was started with, by names, and says when it is ready and when it ends", async () => {
    using shop = await openWorkshop();
    // What systemd does for a socket unit and Type=notify, sd_listen_fds(3), sd_notify(3).
    const manager = join(shop.context("manager", { "manager.py": MANAGER }), "manager.py");
    const daemon = shop.start(
      [
        shop.dir,
        process.execPath,
        join(programDir(shop.account), "dist/bin/tsbuildd.cjs"),
        "--addr",
        "fd://build",
        "--addr=fd://other",
        "--debugaddr=127.0.0.1:0",
      ],
      {
        command: [needs("python3"), manager],
        env: { PYTHONUNBUFFERED: "1" },
      },
    );
    const said = await daemon.says(/READY=1/);
    assert.match(said, /listens on fd:\/\/build/);
    assert.match(said, /metrics are at http:\/\/127\.0\.0\.1:\d+\/metrics/);
    assert.match(said, /listens on fd:\/\/other \(tcp:\/\/127\.0\.0\.1:\d+\)/);
    const port = Number(/tcp:\/\/127\.0\.0\.1:(\d+)/.exec(said)?.[1]);
    for (const to of [{ path: shop.at("build.sock") }, { port, host: "127.0.0.1" }]) {
      const socket = connect(to);
      socket.write(PREFACE);
      const [first] = (await once(socket, "data")) as [Buffer];
      assert.equal(first[3], 4, "settings come first");
      socket.destroy();
    }
    daemon.kill("SIGTERM");
    const { code, stdout } = await daemon.outcome;
    assert.equal(code, 0);
    assert.match(stdout, /READY=1\n(?:.*\n)*STOPPING=1\n/);
    // Whoever opened a socket keeps it.
    assert.ok(existsSync(shop.at("build.sock")));
  });

  it("is refused sockets that are not there", async () => {
    using shop = await openWorkshop();
    const { code, stderr } = await shop.run(["--addr", "fd://"], { program: "tsbuildd" });
    assert.equal(code, 1);
    assert.match(stderr, /no sockets were passed to tsbuildd/);
  });

  it("is refused paths that can be no socket, and leaves what is there", async () => {
    using shop = await openWorkshop();
    const dir = shop.context("sockets", { file: "kept" });
    symlinkSync("nowhere", join(dir, "link"));
    const long = join(dir, "x".repeat(120));
    for (const [path, words] of [
      [join(dir, "file"), /file: it is there, and no socket$/m],
      [join(dir, "link"), /link: it is there, and no socket$/m],
      [long, /: the path is longer than 107 bytes$/m],
    ] as const) {
      const { code, stderr } = await shop.run(["--addr", `unix://${path}`], { program: "tsbuildd" });
      assert.equal(code, 1);
      assert.match(stderr, words);
    }
    assert.deepEqual(readdirSync(dir).sort(), ["file", "link"]);
    assert.equal(readFileSync(join(dir, "file"), "utf8"), "kept");
  });

  it("is refused certificates that are none or do not fit, also when it reads them again", async () => {
    using shop = await openWorkshop();
    const dir = shop.context("tls", { text: "no certificate" });
    const at = (name: string): string => join(dir, name);
    for (const name of ["a", "b"])
      execFileSync(
        needs("openssl"),
        [
          ...["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"],
          ...["-subj", `/CN=${name}`, "-keyout", at(`${name}.key`), "-out", at(`${name}.pem`)],
        ],
        { stdio: "ignore" },
      );
    const flags = ([cert, key, ca]: readonly [string, string, string]): string[] => [
      ...["--addr", "tcp://127.0.0.1:0", "--tlscert", at(cert), "--tlskey", at(key), "--tlscacert", at(ca)],
    ];
    for (const [files, words] of [
      [["text", "a.key", "a.pem"], /^ERROR: \S+text is no certificate$/m],
      [["a.pem", "text", "a.pem"], /^ERROR: \S+text is no private key$/m],
      [["a.pem", "a.key", "text"], /^ERROR: \S+text is no certificate$/m],
      [
        ["a.pem", "b.key", "a.pem"],
        /^ERROR: the key \S+b\.key does not belong to the certificate \S+a\.pem$/m,
      ],
      [["none", "a.key", "a.pem"], /^ERROR: cannot read \S+none: no such file or directory$/m],
    ] as const) {
      const { code, stderr } = await shop.run(flags(files), { program: "tsbuildd" });
      assert.equal(code, 1);
      assert.match(stderr, words);
      assert.doesNotMatch(stderr, /^ +at /m);
    }
    const daemon = shop.start(flags(["a.pem", "a.key", "a.pem"]), { program: "tsbuildd" });
    await daemon.says(/listens on tcp:/);
    writeFileSync(at("a.pem"), "broken");
    daemon.kill("SIGHUP");
    await daemon.says(/a\.pem is no certificate/);
    daemon.kill("SIGTERM");
    const { code, stderr } = await daemon.outcome;
    assert.equal(code, 0);
    assert.doesNotMatch(stderr, /^ +at /m);
  });
});

/** Opens sockets and a notification socket, starts the rest of its arguments with them, and prints what it is told. */
const MANAGER = `
import os, signal, socket, subprocess, sys
work, command = sys.argv[1], sys.argv[2:]
build = socket.socket(socket.AF_UNIX)
build.bind(work + "/build.sock")
other = socket.socket()
other.bind(("127.0.0.1", 0))
for one in (build, other): one.listen()
notes = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
notes.bind(work + "/notes.sock")
child = os.fork()
if child == 0:
    fds = [os.dup2(one.fileno(), 20 + at) for at, one in enumerate((build, other))]
    for at, fd in enumerate(fds): os.dup2(fd, 3 + at)
    os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS="2", LISTEN_FDNAMES="build:other", NOTIFY_SOCKET=work + "/notes.sock")
    os.execvp(command[0], command)
signal.signal(signal.SIGTERM, lambda *_: os.kill(child, signal.SIGTERM))
notes.settimeout(0.05)
while True:
    try: print(notes.recv(100).decode())
    except TimeoutError: pass
    ended, status = os.waitpid(child, os.WNOHANG)
    if ended: sys.exit(os.waitstatus_to_exitcode(status))
`;

describe("tsbuildd under buildkitd's and buildctl's names", function () {
  this.timeout(120_000);

  const link = (shop: Workshop, name: string): string => {
    const path = join(shop.context("bin", { ".keep": "" }), name);
    symlinkSync(join(programDir(shop.account), "dist/bin/tsbuildd.cjs"), path);
    return path;
  };

  it("has buildkitd's addresses, and a version of four words", async () => {
    using shop = await openWorkshop(ordinaryUser());
    const runtime = shop.context("run", { ".keep": "" });
    const command = [process.execPath, link(shop, "buildkitd")];
    const { stdout } = await shop.run(["--version"], { command });
    assert.match(stdout, /^\S+ \S+ v\d+\.\d+\.\d+\S* \S+\n$/);
    const isRoot = shop.account.uid === 0;
    if (isRoot) return; // /run is not for tests
    const daemon = shop.start(["--root", shop.root], { command, env: { XDG_RUNTIME_DIR: runtime } });
    await daemon.says(/buildkitd \S+ listens on unix:\S+\/run\/buildkit\/buildkitd\.sock/);
    const buildctl = [process.execPath, link(shop, "buildctl")];
    const found = await shop.run(["debug", "workers"], {
      command: buildctl,
      env: { XDG_RUNTIME_DIR: runtime },
    });
    daemon.kill("SIGTERM");
    assert.equal(found.code, 0, found.stderr);
    assert.equal((await daemon.outcome).code, 0);
  });

  it("says whether the daemon answers, and who it is", async () => {
    using shop = await openWorkshop();
    const command = [process.execPath, link(shop, "buildctl")];
    const nobody = await shop.run(["--addr", `unix://${shop.at("none.sock")}`, "debug", "workers"], {
      command,
    });
    assert.equal(nobody.code, 1);
    assert.match(nobody.stderr, /^error: no daemon answers at unix:\S+: connect ENOENT/);
    await using worker = await openDaemonShop(shop, [
      "--oci-worker-platform=linux/riscv64",
      "--oci-worker-labels=team=a",
    ]);
    const at = ["--addr", `unix://${worker.socket}`];
    const workers = await shop.run([...at, "debug", "workers"], { command });
    assert.deepEqual([workers.code, workers.stdout.split("\n")[1]], [0, "tsbuild\tlinux/riscv64"]);
    assert.match(
      (await shop.run(["debug", "workers", ...at, "--format={{json .}}"], { command })).stdout,
      /"team":"a"/,
    );
    const info = await shop.run(["debug", "info"], {
      command,
      env: { BUILDKIT_HOST: `unix://${worker.socket}` },
    });
    assert.match(info.stdout, /^BuildKit:\ttsbuild v\d/);
    const unknown = await shop.run([...at, "build"], { command });
    assert.equal(unknown.code, 1);
    assert.match(unknown.stderr, /this buildctl has no command "build"/);
  });

  it("connects standard streams to the daemon, each direction to its end", async () => {
    using shop = await openWorkshop();
    await using worker = await openDaemonShop(shop);
    const child = spawn(
      process.execPath,
      [link(shop, "buildctl"), "--addr", `unix://${worker.socket}`, "dial-stdio"],
      {
        stdio: ["pipe", "pipe", "inherit"],
      },
    );
    const parts: Buffer[] = [];
    child.stdout.on("data", (data: Buffer) => parts.push(data));
    // The client's last word is a ping: the answer has to come although nothing more follows.
    const ping = Buffer.from([0, 0, 8, 6, 0, 0, 0, 0, 0, ...Buffer.from("tsbuildd")]);
    child.stdin.end(Buffer.concat([PREFACE, ping]));
    const [code] = (await once(child, "close")) as [number];
    assert.equal(code, 0);
    const answer = Buffer.concat(parts);
    assert.equal(answer[3], 4, "nothing but HTTP/2 is on standard output");
    assert.ok(answer.includes("tsbuildd"));
  });

  it("ends when the daemon does, whatever standard input does", async () => {
    using shop = await openWorkshop();
    await using worker = await openDaemonShop(shop);
    const child = spawn(
      process.execPath,
      [link(shop, "buildctl"), "--addr", `unix://${worker.socket}`, "dial-stdio"],
      {
        stdio: ["pipe", "pipe", "inherit"],
      },
    );
    child.stdin.on("error", () => {});
    child.stdin.write(PREFACE);
    await once(child.stdout, "data");
    child.stdout.resume();
    const closed = once(child, "close");
    assert.equal((await worker.stop()).code, 0);
    assert.equal(((await closed) as [number])[0], 0);
  });

  it("is what buildx runs on a machine that it reaches by ssh", async () => {
    using shop = await openWorkshop();
    await using worker = await openDaemonShop(shop);
    link(shop, "buildctl");
    // The command line of ssh, run on this machine.
    const ssh = join(
      shop.context("bin", { ssh: '#!/bin/sh\nwhile [ "$1" != buildctl ]; do shift; done\nexec "$@"\n' }),
      "ssh",
    );
    chmodSync(ssh, 0o755);
    chmodSync(join(programDir(shop.account), "dist/bin/tsbuildd.cjs"), 0o755);
    const home = shop.at("home");
    const env = {
      PATH: `${shop.at("bin")}:${process.env.PATH}`,
      ...{ HOME: home, DOCKER_CONFIG: home, BUILDKIT_HOST: `unix://${worker.socket}` },
    };
    const buildx = (...args: string[]) => shop.run(args, { command: [buildxProgram()], env });
    const created = await buildx("create", "--name", "far", "--driver", "remote", "ssh://somebody@somewhere");
    assert.equal(created.code, 0, created.stderr);
    const dir = worker.context("far", { Dockerfile: "FROM scratch\nCOPY busybox /\n" });
    const built = await buildx("--builder", "far", "build", "-o", shop.at("home", "out"), dir);
    assert.equal(built.code, 0, built.stderr);
    assert.ok(existsSync(shop.at("home", "out", "busybox")));
  });
});
