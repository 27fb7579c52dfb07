// What a step can rely on in any sandbox, and what it must not be able to do. One test per statement; the letters and numbers in the
// names are the rules of the threat model (docs).

import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import {
  chmodSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { createServer } from "node:net";
import { hostname, userInfo } from "node:os";
import { join } from "node:path";
import type { ExecControl } from "../../worker/keeper/contract.ts";
import { KILL_GRACE_MS } from "../../worker/keeper/keeper.ts";
import { findIdMaps } from "../../worker/keeper/userns.ts";
import type { Program } from "../../worker/launcher/program.ts";
import type { SandboxUnderTest } from "../worker/sandbox-fixture.ts";

const EPERM = 1;
const ENOSYS = 38;
const EROFS = 30;
const EAFNOSUPPORT = 97;
const CLONE_NEWUSER = 0x1000_0000;

const account = userInfo();
const isSingle =
  findIdMaps({ uid: account.uid, gid: account.gid, name: account.username }, process.env["PATH"] ?? "")
    .kind === "single";
const nothing = (): void => {};
/** What needs several ids is no test of a mode that has one, and the other way round. */
const itWithIds: (title: string, test: () => Promise<void>) => void = isSingle ? nothing : it;
const itWithOneId: (title: string, test: () => Promise<void>) => void = isSingle ? it : nothing;

/** Where implementations may differ. */
export interface SandboxTraits {
  /** Errno of a personality or a family of sockets that is not allowed. The filter language of OCI bundles cannot say "none of these". */
  readonly refusedByArgument: number;
}

/** Registers the suite. `open` starts the implementation; its options are the suite's to use. */
export function sandboxSuite(
  title: string,
  open: () => Promise<SandboxUnderTest>,
  traits: SandboxTraits = { refusedByArgument: EPERM },
): void {
  describe(title, () => {
    let box: SandboxUnderTest;
    before(async () => {
      box = await open();
    });
    after(async () => {
      await box[Symbol.asyncDispose]();
    });
    const out = async (
      script: string,
      options: Parameters<SandboxUnderTest["sh"]>[1] = {},
    ): Promise<string> => {
      const result = await box.sh(script, options);
      assert.equal(result.code, 0, result.err);
      return result.out.trim();
    };

    describe("the outcome of a command", () => {
      it("is its exit code", async () => {
        for (const code of [0, 1, 42, 255]) assert.equal((await box.sh(`exit ${code}`)).code, code);
      });
      it("is the signal that ended it", async () => {
        const result = await box.sh("exec sh -c 'ulimit -t 1; while :; do :; done'"); // SIGXCPU, then SIGKILL of the limit
        assert.equal(result.code, null);
        assert.ok(result.signal === 24 || result.signal === 9, String(result.signal));
      });
      it("tells CPU time and peak memory", async () => {
        const result = await box.sh(
          "i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done; head -c 20000000 /dev/zero | tail -c 20000000 | wc -c",
        );
        assert.ok(result.cpuMs > 5, String(result.cpuMs));
        assert.ok(result.peakBytes > 20_000_000 && result.peakBytes < 200_000_000, String(result.peakBytes));
      });
      it("is 127 when there is no such command, in the words others use", async () => {
        await assert.rejects(box.run(["nope"]), {
          code: "EXEC_FAILED",
          exitCode: 127,
          message: 'exec: "nope": executable file not found in $PATH',
        });
        await assert.rejects(box.run(["/nope"]), {
          exitCode: 127,
          message: 'exec: "/nope": no such file or directory',
        });
      });
      it("is 126 for what cannot be executed", async () => {
        const layer = box.layer();
        mkdirSync(join(layer, "bin"));
        writeFileSync(join(layer, "bin/plain"), "#!/bin/sh\n", { mode: 0o644 });
        writeFileSync(join(layer, "bin/garbage"), "garbage", { mode: 0o755 });
        chmodSync(join(layer, "bin/garbage"), 0o755);
        await assert.rejects(box.run(["/bin/plain"], { layers: [layer] }), {
          exitCode: 126,
          message: 'exec: "/bin/plain": permission denied',
        });
        await assert.rejects(box.run(["garbage"], { layers: [layer] }), {
          exitCode: 126,
          message: 'exec: "garbage": exec format error',
        });
        await assert.rejects(box.run(["/bin"]), { exitCode: 126 });
      });
      it("skips directories and files without the execute bit while it looks through PATH", async () => {
        const layer = box.layer();
        mkdirSync(join(layer, "a/true"), { recursive: true });
        mkdirSync(join(layer, "b"));
        writeFileSync(join(layer, "b/true"), "", { mode: 0o644 });
        assert.equal((await box.run(["true"], { layers: [layer], env: ["PATH=/a:/b:/bin"] })).code, 0);
      });
      it("says that an argument is too long, and takes one that is just short enough", async () => {
        const long = "x".repeat(131_072);
        await assert.rejects(box.run(["/bin/true", long]), {
          exitCode: 126,
          message: 'exec: "/bin/true": argument list too long',
        });
        const result = await box.run(["/bin/sh", "-c", "echo ${#0} ${#V}", long.slice(1)], {
          env: ["PATH=/bin", `V=${long.slice(3)}`],
        });
        assert.equal(result.out, "131071 131069\n");
      });
      it("is an error in words for a NUL byte", async () => {
        await assert.rejects(box.run(["/bin/true", "a\0b"]), { code: "EXEC_FAILED" });
        await assert.rejects(box.run(["/bin/true"], { env: ["A=\0"] }), { code: "EXEC_FAILED" });
      });
    });

    describe("output and input", () => {
      it("come unclipped and in order, each stream by itself", async () => {
        const result = await box.sh(
          "i=0; while [ $i -lt 3000 ]; do echo out$i; echo err$i >&2; i=$((i+1)); done; printf end",
        );
        const lines = Array.from({ length: 3000 }, (_, index) => index);
        assert.equal(result.out, `${lines.map((i) => `out${i}\n`).join("")}end`);
        assert.equal(result.err, lines.map((i) => `err${i}\n`).join(""));
      });
      it("are whole when there is much of it (E8)", async () => {
        const result = await box.sh("head -c 30000000 /dev/zero | tr '\\0' a");
        assert.equal(result.out.length, 30_000_000);
      });
      it("stdin is empty, not the host's", async () => {
        assert.equal(await out("cat; echo; readlink /proc/self/fd/0"), "/dev/null");
      });
      it("stdin is fed when asked for, before and after the start", async () => {
        const result = await box.run(["cat"], {
          stdin: true,
          onStart(control) {
            control.stdin(Buffer.from("hello "));
            setImmediate(() => {
              control.stdin(Buffer.from("world"));
              control.stdin(null);
            });
          },
        });
        assert.equal(result.out, "hello world");
      });
      it("/dev/stdout and /dev/stderr can be opened, by ordinary users too", async function () {
        const users = box.maps.kind === "single" ? [""] : ["", "app"];
        for (const user of users) {
          const result = await box.sh("echo a > /dev/stdout; echo b > /dev/stderr", { user });
          assert.deepEqual([result.code, result.out, result.err], [0, "a\n", "b\n"]);
        }
      });
      it("there is no controlling terminal (E8)", async () => {
        assert.match((await box.sh("echo x > /dev/tty")).err, /tty/);
      });
      it("a terminal is given when asked for, with its last words", async () => {
        const result = await box.run(
          ["/bin/sh", "-c", "test -t 0 && test -t 1 && test -t 2 && stty size && tty; echo last"],
          { tty: { rows: 33, columns: 77 } },
        );
        assert.match(result.out, /33 77\r\n[^\r]*\r\nlast\r\n$/);
      });
      it("a terminal whose command does not read holds nobody", async () => {
        const [first, second] = await Promise.all([
          box.run(["sleep", "0.5"], {
            tty: { rows: 10, columns: 10 },
            onStart: (control) => control.stdin(Buffer.alloc(200_000, "x\n")),
          }),
          box.run(["true"]),
        ]);
        assert.deepEqual([first.code, second.code], [0, 0]);
      });
    });

    describe("processes", () => {
      it("are alone in their namespaces (E1)", async () => {
        const own = ["user", "mnt", "pid", "ipc", "uts", "cgroup", "net"].map((name) =>
          readlinkSync(`/proc/self/ns/${name}`),
        );
        const inside = (
          await out("for n in user mnt pid ipc uts cgroup net; do readlink /proc/self/ns/$n; done")
        ).split("\n");
        assert.equal(inside.length, 7);
        for (const [index, link] of inside.entries()) assert.notEqual(link, own[index]);
      });
      it("see only themselves, the command as process 1 (E1)", async () => {
        assert.equal(await out("set -- /proc/[0-9]*; echo $$ $#"), "1 1");
      });
      it("that stay in the background end with the step and do not hold it (E6)", async () => {
        const started = Date.now();
        const result = await box.sh("(setsid sleep 1000; echo never) & sleep 0.05; echo done");
        assert.equal(result.out, "done\n");
        assert.ok(Date.now() - started < 30_000);
      });
      it("that ignore every signal end with the step too (E6)", async () => {
        const started = Date.now();
        assert.equal((await box.sh("(trap '' TERM HUP INT; while :; do sleep 1; done) & exit 7")).code, 7);
        assert.ok(Date.now() - started < 30_000);
      });
      it("get TERM on cancel and may tidy up (E7)", async () => {
        const cancel = new AbortController();
        let cancelled = 0;
        const said: string[] = [];
        await assert.rejects(
          box.sh("trap 'echo bye; exit 0' TERM; echo ready; while :; do sleep 0.05; done", {
            signal: cancel.signal,
            onOutput(data) {
              said.push(Buffer.from(data).toString());
              if (said.length > 1) return;
              cancelled = Date.now();
              cancel.abort(new Error("cancelled"));
            },
          }),
          /cancelled/,
        );
        // On a machine that stood still for so long it was killed, as it should be.
        if (Date.now() - cancelled > KILL_GRACE_MS) return assert.match(said.join(""), /^ready\n/);
        // The whole process group gets it: the shell may say so of the sleep it waited for.
        assert.equal(said.join("").replace("Terminated\n", ""), "ready\nbye\n");
      });
      it("that ignore TERM are killed on cancel, with all they started (E7)", async () => {
        const cancel = new AbortController();
        const started = Date.now();
        const step = box.sh("trap '' TERM; sleep 1000 & echo ready; while :; do sleep 1; done", {
          signal: cancel.signal,
          onOutput: () => cancel.abort(new Error("stop")),
        });
        await assert.rejects(step, /stop/);
        assert.ok(Date.now() - started < 30_000);
      });
      it("can be cancelled at any moment of the start (E7)", async () => {
        const started = Date.now();
        for (let delay = 0; delay < 12; delay++) {
          const cancel = new AbortController();
          const step = box.sh("sleep 1000", {
            signal: cancel.signal,
            onStart: (control: ExecControl) => control.kill(9),
          });
          setTimeout(() => cancel.abort(new Error("stop")), delay);
          await step.catch((error: Error) => assert.equal(error.message, "stop"));
        }
        assert.ok(Date.now() - started < 30_000);
      });
      it("are told a signal by its number, and exit as they like", async () => {
        const result = await box.sh("trap 'exit 130' INT; echo ready; while :; do sleep 0.05; done", {
          onStart(control) {
            interrupt = control;
          },
          onOutput: () => interrupt?.kill(2),
        });
        assert.equal(result.code, 130);
      });
      let interrupt: ExecControl | null = null;
    });

    describe("what a command finds", () => {
      it("is a host name of the builder, not of the machine (S4)", async () => {
        assert.equal(await out("hostname"), "buildkitsandbox");
        assert.notEqual(hostname(), "buildkitsandbox");
      });
      it("is an environment made from nothing (I4, S4)", async () => {
        const env = (await out("env", { env: ["PATH=/bin", "A=b=c", "NOVALUE", "=x", "EMPTY="] }))
          .split("\n")
          .sort();
        assert.deepEqual(env, ["A=b=c", "EMPTY=", "HOME=/root", "PATH=/bin", "PWD=/", "SHLVL=1"]);
      });
      itWithIds("is HOME of its account", async function () {
        assert.equal(
          await out("echo $HOME; id -u; id -g; id -G", { user: "app" }),
          "/home/app\n1000\n1000\n1000 2000",
        );
        assert.equal(await out("id -u; id -g; id -G", { user: "12:34" }), "12\n34\n34");
      });
      itWithIds("is the account of an id before one that is called by these digits", async () => {
        const layer = box.layer();
        mkdirSync(join(layer, "etc"));
        writeFileSync(join(layer, "etc/passwd"), "0:x:70:70::/0:\n12:x:71:72::/12:\nid12:x:12:13::/id12:\n");
        writeFileSync(join(layer, "etc/group"), "more:x:81:id12,12\n");
        const who = (user: string) => out("echo $HOME; id -u; id -g; id -G", { layers: [layer], user });
        assert.equal(await who("12"), "/id12\n12\n13\n13 81");
        assert.equal(await who("12:34"), "/id12\n12\n34\n34");
        assert.equal(await who("id12:34"), "/id12\n12\n34\n34");
        assert.equal(await who("+12"), "/id12\n12\n13\n13 81");
        assert.equal(await who(""), "/\n0\n0\n0");
      });
      it("is no account beyond the range of ids", async () => {
        for (const user of ["2147483648", "99999999999", "-1", "app:2147483648", "4294967295:0"]) {
          await assert.rejects(
            box.sh("true", { user }),
            { code: "USER_UNKNOWN", message: /in (?:the )?range 0-/ },
            user,
          );
        }
      });
      it("is /etc/hosts with the extra names, /etc/resolv.conf as given, none of it in the layer", async () => {
        const result = await box.sh("cat /etc/hosts /etc/resolv.conf", {
          extraHosts: [{ host: "db", ip: "10.1.2.3" }],
          resolvConf: "nameserver 9.9.9.9\n",
        });
        assert.equal(
          result.out,
          "127.0.0.1\tlocalhost buildkitsandbox\n::1\tlocalhost ip6-localhost ip6-loopback\n10.1.2.3\tdb\nnameserver 9.9.9.9\n",
        );
        assert.deepEqual(
          existsSync(join(result.upper, "etc")) ? readdirSync(join(result.upper, "etc")) : [],
          [],
        );
      });
      it("is /etc/resolv.conf also where it is a link to nowhere", async () => {
        const layer = box.layer();
        mkdirSync(join(layer, "etc"));
        symlinkSync("../run/resolve/stub.conf", join(layer, "etc/resolv.conf"));
        const result = await box.sh("cat /etc/resolv.conf", {
          layers: [layer],
          resolvConf: "nameserver 9.9.9.9\n",
        });
        assert.equal(result.out, "nameserver 9.9.9.9\n");
        assert.equal(existsSync(join(result.upper, "run")), false);
      });
      it("is the standard set of devices", async () => {
        const nodes = await out(
          "for d in null zero full random urandom tty; do test -c /dev/$d && echo $d; done; for l in fd stdin stdout stderr ptmx; do readlink /dev/$l; done; ls -d /dev/pts /dev/shm /dev/mqueue",
        );
        assert.equal(nodes.split("\n").length, 6 + 5 + 3, nodes);
        assert.equal(
          await out(
            "echo gone > /dev/null; head -c 3 /dev/zero | wc -c; head -c 9 /dev/urandom | wc -c; echo x > /dev/full || echo full",
          ),
          "3\n9\nfull",
        );
      });
      it("is a directory to work in, made when it is missing", async () => {
        const result = await box.sh("pwd", { cwd: "/a/b" });
        assert.equal(result.out, "/a/b\n");
        assert.ok(lstatSync(join(result.upper, "a/b")).isDirectory());
      });
      itWithIds("is a working directory only root may enter, for a user as well", async function () {
        const layer = box.layer();
        mkdirSync(join(layer, "locked"), { mode: 0o700 });
        chmodSync(join(layer, "locked"), 0o700);
        assert.equal(await out("id -u", { layers: [layer], cwd: "/locked", user: "app" }), "1000");
      });
      it("is the same umask, whatever the host's is (E11)", async () => {
        assert.equal(await out("umask"), "0022");
      });
      it("is limits as asked", async () => {
        assert.equal(
          await out("ulimit -n; ulimit -H -c", {
            rlimits: [
              { name: "nofile", soft: 77, hard: 88 },
              { name: "core", soft: 0, hard: 0 },
            ],
          }),
          "77\n0",
        );
        await assert.rejects(box.sh("true", { rlimits: [{ name: "constructor", soft: 1, hard: 1 }] }), {
          code: "USAGE",
        });
      });
      it("holds as many processes as it may, and no more (E9)", async () => {
        // A runtime is told of it while the command begins. The kernel gives no number below 300 out twice.
        const known = "mkfifo /tmp/f; until [ $(cat /proc/sys/kernel/pid_max) = 351 ]; do :; done";
        const { code, err } = await box.sh(`${known}; while :; do read line < /tmp/f & done`, {
          processes: 50,
        });
        assert.equal(code, 2);
        assert.match(err, /can't fork: Resource temporarily unavailable/);
        const some = `${known}; ${"read line < /tmp/f & ".repeat(40)} jobs | wc -l`;
        assert.equal(await out(some, { processes: 50 }), "40");
      });
      it("holds any number of processes where that was asked for", async () => {
        assert.equal(await out("cat /proc/sys/kernel/pid_max", { processes: null }), "4194304");
      });
      it("cannot raise the number of its processes (E4)", async () => {
        const { code } = await box.sh("echo 4194304 > /proc/sys/kernel/pid_max", { processes: 50 });
        assert.equal(code, 1);
      });
      it("is loopback and nothing else without a network (E10)", async () => {
        assert.equal(await out("ls /sys/class/net; ping -c 1 127.0.0.1 > /dev/null && echo up"), "lo\nup");
      });
      it("is the host's network when that is asked for", async () => {
        const server = createServer((socket) => socket.end("from the host\n")).listen(0, "127.0.0.1");
        await new Promise((resolve) => server.once("listening", resolve));
        const { port } = server.address() as { port: number };
        try {
          assert.equal(await out(`nc 127.0.0.1 ${port} < /dev/null`, { network: "host" }), "from the host");
          assert.notEqual((await box.sh(`nc 127.0.0.1 ${port} < /dev/null`, { network: "none" })).code, 0);
        } finally {
          server.close();
        }
      });
    });

    describe("the root file system", () => {
      it("keeps what the command wrote, and only that", async () => {
        const result = await box.sh("echo hi > /x; mkdir /d; rm /etc/group");
        assert.equal(readFileSync(join(result.upper, "x"), "utf8"), "hi\n");
        assert.deepEqual(readdirSync(result.upper).sort(), ["d", "etc", "x"]);
        assert.ok(lstatSync(join(result.upper, "etc/group")).isCharacterDevice()); // a whiteout
      });
      it("takes a layer that is listed twice", async () => {
        const layer = box.layer();
        writeFileSync(join(layer, "twice"), "ok");
        assert.equal(await out("cat /twice", { layers: [layer, layer, box.base] }), "ok");
      });
      it("is read-only when asked, with working /dev and /proc", async () => {
        assert.equal(
          await out("touch /x 2>/dev/null || echo refused; echo x > /dev/null; touch /dev/shm/y", {
            readonlyRoot: true,
          }),
          "refused",
        );
      });
      it("whose /proc, /sys or /dev is a link is refused (P7)", async () => {
        for (const name of ["proc", "sys", "dev"]) {
          const layer = box.layer();
          symlinkSync("/etc", join(layer, name));
          await assert.rejects(box.sh("true", { layers: [layer] }), { code: "SANDBOX_UNAVAILABLE" }, name);
        }
      });
      it("whose passwd is a pipe, a directory or a link out of it does not hold or leak (P6)", async () => {
        const layer = box.layer();
        mkdirSync(join(layer, "etc/passwd"), { recursive: true });
        await assert.rejects(box.sh("true", { layers: [layer], user: "app" }), { code: "USER_UNKNOWN" });
        const link = box.layer();
        mkdirSync(join(link, "etc"));
        symlinkSync("../../../../../../etc/passwd", join(link, "etc/passwd")); // itself, when kept inside the root
        await assert.rejects(box.sh("true", { layers: [link], user: "daemon" }), { code: "USER_UNKNOWN" });
      });
      it("leaves no trace of mount points", async () => {
        const result = await box.sh("ls /deep/er/dir /deep/file > /dev/null", {
          mounts: [
            { kind: "tmpfs", target: "/deep/er/dir", sizeBytes: null },
            { kind: "secret", target: "/deep/file", data: Buffer.from("s"), uid: 0, gid: 0, mode: 0o400 },
          ],
        });
        assert.equal(result.code, 0, result.err);
        assert.equal(existsSync(join(result.upper, "deep")), false);
      });
    });

    describe("mounts", () => {
      it("are refused when there are more than the launcher has descriptors for", async () => {
        const directory = {
          kind: "directory",
          path: box.layer(),
          readonly: false,
          owner: null,
          fileAllowed: false,
        } as const;
        const mounts = Array.from({ length: 420 }, (_, index) => {
          return { ...directory, target: `/m/${index}` };
        });
        await assert.rejects(box.sh("true", { mounts }), { code: "LIMIT_EXCEEDED" });
        assert.equal(await out("ls /m | wc -l", { mounts: mounts.slice(0, 300) }), "300");
      });

      it("secrets are read-only files in memory with their owner and mode, and leave nothing (S1)", async () => {
        const value = randomBytes(500 * 1024)
          .toString("hex")
          .slice(0, 500 * 1024);
        const secret = (index: number) =>
          ({
            kind: "secret",
            target: `/run/secrets/s${index}`,
            data: Buffer.from(value),
            uid: 0,
            gid: 0,
            mode: 0o440,
          }) as const;
        const result = await box.sh(
          "cd /run/secrets; cat s0 s11 | wc -c; stat -c '%a %u %g' s3; echo x > s3 || echo refused; stat -f -c %T s3",
          { mounts: Array.from({ length: 12 }, (_, index) => secret(index)) },
        );
        assert.equal(result.out, "1024000\n440 0 0\nrefused\ntmpfs\n");
        assert.equal(existsSync(join(result.upper, "run")), false);
        assert.equal(holds(box.store, value.slice(0, 64)), false);
      });
      it("tmpfs has its size", async () => {
        assert.match(
          await out("df -k /t | tail -1", { mounts: [{ kind: "tmpfs", target: "/t", sizeBytes: 1 << 20 }] }),
          /\s1024\s/,
        );
      });
      it("parts of trees are found inside their tree, also through links (P8)", async () => {
        const layer = box.layer();
        mkdirSync(join(layer, "real"));
        writeFileSync(join(layer, "real/file"), "inside");
        symlinkSync("/real", join(layer, "link"));
        symlinkSync("../../../../../../../etc", join(layer, "out"));
        const tree = (selector: string) =>
          ({
            kind: "tree",
            target: "/m",
            dirs: [layer],
            selector,
            readonly: true,
            upper: null,
            work: null,
          }) as const;
        assert.equal(await out("cat /m/file", { mounts: [tree("link")] }), "inside");
        assert.equal(await out("cat /m", { mounts: [tree("/real/file")] }), "inside");
        await assert.rejects(box.sh("true", { mounts: [tree("out")] }), { code: "CONTEXT_PATH_MISSING" });
        assert.match((await box.sh("touch /m/new", { mounts: [tree("real")] })).err, /Read-only/);
      });
      it("directories are writable or read-only as asked", async () => {
        const dir = box.layer();
        const mount = (readonly: boolean) =>
          ({
            kind: "directory",
            target: "/c",
            path: dir,
            readonly,
            owner: null,
            fileAllowed: false,
          }) as const;
        await out("echo kept > /c/x", { mounts: [mount(false)] });
        assert.equal(
          await out("cat /c/x; echo y > /c/x || echo refused", { mounts: [mount(true)] }),
          "kept\nrefused",
        );
      });
      it("ssh gives the agent's answers through a socket of its own", async () => {
        const path = join(box.store, "agent.sock");
        const asked: string[] = [];
        const agent = createServer((socket) => {
          socket.on("data", (data) => {
            asked.push(data.toString());
            socket.end("answer");
          });
        }).listen(path);
        await new Promise((resolve) => agent.once("listening", resolve));
        try {
          const mounts = [
            { kind: "ssh", target: "/run/agent", socket: path, uid: 0, gid: 0, mode: 0o600 },
          ] as const;
          assert.equal(
            await out("stat -c '%F %a %u' /run/agent; chmod 666 /run/agent", { mounts }),
            "socket 600 0",
          );
          assert.notEqual(lstatSync(path).mode & 0o777, 0o666); // not the host's own socket
          const address = Buffer.alloc(110); // struct sockaddr_un
          address.writeUInt16LE(1);
          address.write("/run/agent", 2);
          const connect = process.arch === "x64" ? 42 : 203;
          const results = await box.calls(
            [
              (program) => program.call("socket", [1, 1, 0]), // gets descriptor 3
              (program) => program.call(connect, [3, address, address.length]),
              (program) => program.call("write", [3, "question", 8]),
              (program) => program.call("read", [3, new Uint8Array(16), 16]),
            ],
            { mounts },
          );
          assert.deepEqual(results, [0, 0, 0, 0]);
          assert.deepEqual(asked, ["question"]);
        } finally {
          agent.close();
        }
      });
      it("a target that is a link to a magic link is refused (P1)", async () => {
        const layer = box.layer();
        symlinkSync("/proc/self/root/tmp", join(layer, "magic"));
        await assert.rejects(
          box.sh("true", { layers: [layer], mounts: [{ kind: "tmpfs", target: "/magic", sizeBytes: null }] }),
          { code: "SANDBOX_UNAVAILABLE" },
        );
      });
      it("a target that leads out of the root stays inside (P1)", async () => {
        const layer = box.layer();
        symlinkSync("../../../../../../tmp", join(layer, "up"));
        assert.equal(
          await out("touch /up/here; ls /tmp", {
            layers: [layer],
            mounts: [{ kind: "tmpfs", target: "/up", sizeBytes: null }],
          }),
          "here",
        );
      });
      it("a device that is not there is an error in words", async () => {
        await assert.rejects(box.sh("true", { devices: ["/dev/not-there"] }), { code: "MOUNT_INVALID" });
      });
    });

    describe("escapes", () => {
      it("no descriptor but three is inherited (E2, CVE-2024-21626)", async () => {
        // No pipe: a shell has its ends open for a moment after it started the first command.
        assert.equal(await out("ls /proc/$$/fd; true"), "0\n1\n2");
        const bad = await box.calls(
          Array.from({ length: 8 }, (_, index) => (program) => program.call("fchdir", [3 + index])),
        );
        assert.deepEqual(
          bad,
          Array.from({ length: 8 }, () => 9),
        ); // EBADF
      });
      it("a working directory below /proc/self/fd is refused (E2, CVE-2024-21626)", async () => {
        for (let fd = 3; fd < 12; fd++)
          await assert.rejects(box.sh("pwd", { cwd: `/proc/self/fd/${fd}` }), {
            code: "SANDBOX_UNAVAILABLE",
          });
        for (const fd of [400, 401, 430, 440, 441])
          await assert.rejects(box.sh("pwd", { cwd: `/proc/self/fd/${fd}/..` }), {
            code: "SANDBOX_UNAVAILABLE",
          });
      });
      it("the program that starts the step cannot be reached for writing (E2, CVE-2019-5736)", async () => {
        const results = await box.calls([
          (program) => program.call("openat", [-100, "/proc/self/exe", 1, 0]),
        ]);
        assert.deepEqual(results, [26]); // ETXTBSY: this is the copy in the image
        // Executing /proc/self/exe gives the outer one: it may run, but its mount is read-only.
        const layer = box.layer();
        writeFileSync(join(layer, "evil"), "#!/proc/self/exe\n", { mode: 0o755 });
        chmodSync(join(layer, "evil"), 0o755);
        const outer = await box.calls([(program) => program.call("openat", [-100, "/proc/self/exe", 1, 0])], {
          layers: [layer],
          command: "/evil",
        });
        assert.ok(outer[0] === EROFS || outer[0] === 26, String(outer[0]));
        assert.deepEqual(
          await box.calls([(program) => program.call("fchdir", [0])], { layers: [layer], command: "/evil" }),
          [20],
        ); // it ran
      });
      it("namespaces cannot be made or joined (E4)", async () => {
        assert.deepEqual(
          await box.calls([
            (program) => program.call("unshare", [CLONE_NEWUSER]),
            (program) => program.call("unshare", [0x2_0000]),
            (program) => program.call("clone", [CLONE_NEWUSER | 17, 0, 0, 0, 0]),
            (program) => program.call(435, [0, 0]), // clone3
            (program) => program.call("setns", [0, 0]),
          ]),
          [EPERM, EPERM, EPERM, ENOSYS, EPERM],
        );
      });
      it("mounts cannot be made, changed or undone (E4)", async () => {
        assert.deepEqual(
          await box.calls([
            (program) => program.call("mount", ["none", "/tmp", "tmpfs", 0, 0]),
            (program) => program.call("mount", ["none", "/proc/sys", 0, 0x1020, 0]), // remount, bind, read-write
            (program) => program.call("umount2", ["/proc/sys", 2]),
            (program) => program.call("pivot_root", [".", "."]),
            (program) => program.call("open_tree", [-100, "/", 1]),
            (program) => program.call("fsopen", ["proc", 0]),
            (program) => program.call("mount_setattr", [-100, "/sys", 0, new Uint8Array(32), 32]),
          ]),
          [EPERM, EPERM, EPERM, EPERM, EPERM, EPERM, EPERM],
        );
      });
      it("keyrings, kernel logs, BPF and tracing of the machine are closed (E3)", async () => {
        const number =
          process.arch === "x64"
            ? { keyctl: 250, add_key: 248, syslog: 103, bpf: 321, perf: 298 }
            : { keyctl: 219, add_key: 217, syslog: 116, bpf: 280, perf: 241 };
        assert.deepEqual(
          await box.calls(Object.values(number).map((nr) => (program) => program.call(nr, [0, 0, 0, 0, 0]))),
          Object.values(number).map(() => EPERM),
        );
      });
      it("a child can be traced, personalities can be asked", async () => {
        const ptrace = process.arch === "x64" ? 101 : 117;
        const personality = process.arch === "x64" ? 135 : 92;
        assert.deepEqual(
          await box.calls([
            (program) => program.call(personality, [0xffff_ffff]),
            (program) => program.call(personality, [0x4_0000]),
            (program) => program.call(ptrace, [0, 0, 0, 0]), // PTRACE_TRACEME
          ]),
          [0, traits.refusedByArgument, 0],
        );
      });
      it("sockets are of any family but AF_ALG and AF_VSOCK (CVE-2026-31431)", async () => {
        const socket = (family: number | bigint) => (program: Program) =>
          program.call("socket", [family, 5 /* SOCK_SEQPACKET, which of these only AF_UNIX has */, 0]);
        const results = await box.calls([
          socket(1),
          socket(38),
          socket(40),
          socket(0x1_0000_0026n), // the kernel looks at 32 bits
          (program) => program.call("socket", [39, 1, 0]),
        ]);
        const { refusedByArgument: refused } = traits;
        assert.deepEqual(results, [0, refused, refused, refused, EAFNOSUPPORT]);
      });
      it("capabilities are Docker's default set, none inheritable or ambient (E3)", async () => {
        const status = await out("grep ^Cap /proc/self/status");
        assert.equal(
          status,
          "CapInh:\t0000000000000000\nCapPrm:\t00000000a80425fb\nCapEff:\t00000000a80425fb\nCapBnd:\t00000000a80425fb\nCapAmb:\t0000000000000000",
        );
      });
      itWithIds("an ordinary user has none, and setuid programs work as in an image (E3)", async function () {
        const layer = box.layer();
        mkdirSync(join(layer, "bin"));
        writeFileSync(join(layer, "bin/suid"), readFileSync(join(box.base, "bin/calls")));
        chmodSync(join(layer, "bin/suid"), 0o4755);
        const status = await out("grep -E '^(CapEff|CapPrm|NoNewPrivs|Seccomp):' /proc/self/status", {
          user: "app",
        });
        assert.equal(
          status,
          "CapPrm:\t0000000000000000\nCapEff:\t0000000000000000\nNoNewPrivs:\t0\nSeccomp:\t2",
        );
        const becomeRoot = [(program: Program) => program.call("setresuid", [0, 0, 0])];
        assert.deepEqual(
          await box.calls(becomeRoot, { layers: [layer], user: "app", command: "/bin/suid" }),
          [0],
        );
        assert.deepEqual(await box.calls(becomeRoot, { layers: [layer], user: "app" }), [EPERM]);
      });
      it("kernel control files are masked or read-only (E4)", async () => {
        const masked =
          "/proc/kcore /proc/keys /proc/latency_stats /proc/timer_list /proc/timer_stats /proc/sched_debug /proc/interrupts";
        assert.equal(await out(`cat ${masked} 2>/dev/null | wc -c`), "0");
        assert.equal(
          await out(
            "for d in /proc/acpi /proc/scsi /proc/asound /sys/firmware /sys/devices/virtual/powercap; do ls $d 2>/dev/null; done | wc -l",
          ),
          "0",
        );
        for (const path of [
          "/proc/sys/kernel/hostname",
          "/proc/sys/kernel/core_pattern",
          "/proc/sysrq-trigger",
          "/sys/kernel/uevent_helper",
          "/sys/power/state",
          "/proc/irq/default_smp_affinity",
        ]) {
          const result = await box.sh(`test -e ${path} || { echo Read-only >&2; exit 1; }; echo x > ${path}`);
          assert.notEqual(result.code, 0, path);
          assert.match(result.err, /Read-only|Permission/, path);
        }
      });
      it("/sys is read-only with every network (E4)", async () => {
        for (const network of ["none", "host", "sandbox"] as const) {
          assert.match(await out("grep ' /sys ' /proc/mounts", { network }), / sysfs ro,/, network);
        }
        assert.equal(
          await out(
            "ls /sys/kernel/debug /sys/kernel/tracing /sys/fs/bpf 2>/dev/null | grep -v : | grep -v '^$' | wc -l",
            { network: "host" },
          ),
          "0",
        );
      });
      it("the host's device nodes cannot be changed (E4)", async () => {
        const before = lstatSync("/dev/null");
        for (const command of ["chmod 600 /dev/null", "chown 1:1 /dev/null", "rm -f /dev/null"])
          assert.notEqual((await box.sh(command)).code, 0, command);
        const after = lstatSync("/dev/null");
        assert.deepEqual([after.mode, after.uid, after.gid], [before.mode, before.uid, before.gid]);
      });
      it("device nodes cannot be made (E3)", async () => {
        assert.notEqual((await box.sh("mknod /disk b 8 0")).code, 0);
        assert.notEqual((await box.sh("mknod /mem c 1 1")).code, 0);
      });
      it("chroot tricks end at the root of the step (E1)", async () => {
        assert.equal(
          await out(
            "mkdir /jail; chroot / sh -c 'cd ..; cd ..; cd ..; ls -d bin etc'; ls -d /proc/1/root/../../bin/calls",
          ),
          "bin\netc\n/proc/1/root/../../bin/calls",
        );
      });
      it("no path or mount of the host is in sight (E2)", async () => {
        const text = await out(
          "cat /proc/self/mountinfo /proc/1/environ /proc/1/cmdline 2>/dev/null | tr '\\0' '\\n'",
        );
        assert.equal(text.includes(box.store), false);
        assert.equal(text.includes(import.meta.dirname), false);
      });
      it("abstract sockets of the host are out of reach without its network (E10, CVE-2020-15257)", async () => {
        const server = createServer().listen(`\0tsbuild-test-${process.pid}`);
        await new Promise((resolve) => server.once("listening", resolve));
        try {
          assert.match(
            await out("cat /proc/net/unix", { network: "host" }),
            new RegExp(`@tsbuild-test-${process.pid}`),
          );
          assert.doesNotMatch(await out("cat /proc/net/unix"), /@tsbuild-test/);
        } finally {
          server.close();
        }
      });
      it("more privilege comes only when it is asked for (E5)", async () => {
        assert.match(
          await out("grep CapEff /proc/self/status; mount -t tmpfs none /tmp && echo mounted", {
            security: "insecure",
          }),
          /0000\t?.*\nmounted|mounted/,
        );
        assert.notEqual((await box.sh("mount -t tmpfs none /tmp")).code, 0);
      });
    });

    itWithOneId("a user without subordinate ids is told what to install", async function () {
      await assert.rejects(box.sh("true", { user: "app" }), { code: "SANDBOX_UNAVAILABLE", hint: /uidmap/ });
    });
  });
}

/** Is this text in any file below the directory? */
function holds(dir: string, text: string): boolean {
  try {
    return readdirSync(dir, { withFileTypes: true }).some((entry) => {
      const path = join(dir, entry.name);
      return entry.isDirectory() ? holds(path, text) : entry.isFile() && readFileSync(path).includes(text);
    });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EACCES") throw error; // overlay's own directory, closed and empty
    return false;
  }
}
