// Containers of the gateway: processes on results of a build, as BuildKit's debugger and frontends that run commands ask for them.

import { create, type MessageInitShape } from "@bufbuild/protobuf";
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import type { ClientHttp2Session } from "node:http2";
import { setTimeout as delay } from "node:timers/promises";
import { callUnary } from "../../bin/wire/client.ts";
import {
  SolveRequestSchema as ControlSolve,
  SolveResponseSchema as ControlSolved,
} from "../../bin/wire/messages/moby/buildkit/v1/control_pb.ts";
import type { NewContainerRequestSchema } from "../../bin/wire/messages/moby/buildkit/v1/frontend/gateway_pb.ts";
import { CacheSharingOpt, MountType, NetMode, SecurityMode } from "../../bin/wire/messages/pb/ops_pb.ts";
import { CODE, type RpcError } from "../../bin/wire/status.ts";
import { openGraph } from "../../solver/graph/llb.ts";
import { openWorkshop, type Workshop } from "../build/fixture.ts";
import { type CalledDaemon, openCalledDaemon } from "../support/daemon.ts";
import { accounts } from "../support/unprivileged.ts";
import {
  type Bridge,
  bridgeOf,
  busybox,
  type Container,
  CONTROL,
  execOp,
  made,
  mkdir,
  mkfile,
  type MountInit,
  openSession,
  type Plain,
  type Processes,
  sh,
} from "./containers-fixture.ts";

for (const account of accounts()) {
  describe(`containers of tsbuildd as ${account.name}`, function () {
    this.timeout(60_000);
    let shop: Workshop;
    let daemon: CalledDaemon;
    let http: ClientHttp2Session;

    before(async () => {
      shop = await openWorkshop(account);
      daemon = await openCalledDaemon(shop);
      ({ http } = daemon);
    });
    after(async () => {
      await daemon[Symbol.asyncDispose]();
      shop[Symbol.dispose]();
    });

    /** A build whose client has `work` done before it returns nothing. */
    async function driven(
      work: (bridge: Bridge, cancel: () => void) => Promise<void>,
      message: MessageInitShape<typeof ControlSolve> = {},
    ): Promise<void> {
      const name = randomBytes(8).toString("hex");
      const cancelled = new AbortController();
      const solved = callUnary(
        http,
        { path: `${CONTROL}/Solve`, input: ControlSolve, output: ControlSolved },
        create(ControlSolve, { ...message, Ref: name }),
        { signal: cancelled.signal },
      );
      solved.catch(() => {});
      const bridge = bridgeOf(http, name);
      await work(bridge, () => cancelled.abort());
      if (cancelled.signal.aborted) return;
      await bridge.give();
      await solved;
    }

    /** A container with busybox, and a stream for its processes. */
    async function inContainer(
      work: (container: Container, bridge: Bridge) => Promise<void>,
      more: Plain<typeof NewContainerRequestSchema> = {},
    ): Promise<void> {
      await driven(async (bridge) => {
        const root = await bridge.solve(busybox());
        const id = randomBytes(8).toString("hex");
        await bridge.open({
          ...more,
          ContainerID: id,
          Mounts: [{ dest: "/", resultID: root }, ...(more.Mounts ?? [])],
        });
        const processes = bridge.processes();
        try {
          await work(
            { ...processes, id, start: (init) => processes.start({ ContainerID: id, ...init }) },
            bridge,
          );
        } finally {
          processes.end();
        }
      });
    }

    it("run several processes, which see each other's files, processes and network", async () => {
      await inContainer(
        async ({ start }) => {
          const first = start(sh("echo $$; hostname; cat", { Fds: [0, 1] }));
          await first.says("1\nbox\n");
          assert.equal((await start(sh("echo shared > /file")).exit).code, 0);
          const joined = start(sh("cat /file; cat /proc/1/comm; hostname; echo $$", { Fds: [1] }));
          assert.match(await joined.output(), /^shared\n(cat|sh|busybox)\nbox\n[2-9]\d*\n$/);
          const listening = start(sh("nc -l -p 4242"));
          const asking = start(
            sh("until grep -h :1092 /proc/net/tcp /proc/net/tcp6; do sleep 0.1; done", { Fds: [1] }),
          );
          assert.match(await asking.output(), /:1092/);
          listening.signal("KILL");
          await listening.exit;
          await first.input(null);
          assert.equal((await first.exit).code, 0);
        },
        { hostname: "box", Network: NetMode.NONE },
      );
    });

    it("tell of a process in order: start, output, exit, ends of streams, done", async () => {
      await inContainer(async ({ start }) => {
        const process = start(sh("cat; echo words >&2; exit 3", { Fds: [0, 1, 2] }));
        await process.input("some ");
        await process.input("input");
        await process.input(null);
        const { code, error } = await process.exit;
        assert.deepEqual([code, error], [3, "exit code: 3"]);
        assert.equal(await process.output(1), "some input");
        assert.equal(await process.output(2), "words\n");
        const kinds = process.messages.map(({ Input: { case: kind, value } }) =>
          kind === "File" ? (value.EOF ? `end ${value.Fd}` : "File") : kind,
        );
        assert.deepEqual(
          kinds.filter((kind, index) => kind !== kinds[index - 1]),
          ["Started", "File", "Exit", "end 1", "end 2", "Done"],
        );
      });
    });

    it("give terminals, of the first process and of others, and change their size", async () => {
      await inContainer(async ({ start }) => {
        for (const greeting of ["first", "second"]) {
          const shell = start(sh("exec sh", { Fds: [0, 1, 2], Tty: true, Meta: { env: ["PS1=% "] } }));
          shell.resize(40, 80);
          await shell.input(`echo ${greeting}; stty size\n`);
          await shell.says(`${greeting}\r\n40 80\r\n`);
          shell.resize(60, 100);
          await shell.input("test -t 0 && stty size; echo $TERM\n");
          await shell.says("60 100\r\nxterm\r\n");
          if (greeting === "first") continue;
          await shell.input("exit 9\n");
          assert.equal((await shell.exit).code, 9);
        }
      });
    });

    it("pass signals to one process", async () => {
      await inContainer(async ({ start }) => {
        const first = start(sh("echo ready; while :; do sleep 0.1; done", { Fds: [1] }));
        await first.says("ready");
        const other = start(sh("trap 'exit 77' HUP; echo ready; while :; do sleep 0.1; done", { Fds: [1] }));
        await other.says("ready");
        other.signal("HUP");
        assert.equal((await other.exit).code, 77);
        const killed = start(sh("sleep 100"));
        killed.signal("SIGKILL");
        assert.equal((await killed.exit).code, 137);
        first.signal("KILL");
        assert.equal((await first.exit).code, 137);
      });
    });

    it("end with their first process", async () => {
      await inContainer(async ({ start }) => {
        const first = start(sh("read line", { Fds: [0] }));
        const other = start(sh("echo ready; sleep 1000", { Fds: [1] }));
        await other.says("ready");
        await first.input("\n");
        assert.equal((await first.exit).code, 0);
        assert.equal((await other.exit).code, 137);
        const late = await start(sh("true")).exit;
        assert.deepEqual(
          [late.code, late.error],
          [255, "the first process of the container has ended, and no other can be started in it"],
        );
      });
    });

    it("end when they are released, which tells what became of their processes", async () => {
      await inContainer(async ({ start, id }, bridge) => {
        const first = start(sh("echo ready; sleep 1000", { Fds: [1] }));
        const other = start(sh("echo ready; sleep 1000", { Fds: [1] }));
        await Promise.all([first.says("ready"), other.says("ready")]);
        await assert.rejects(bridge.release(id), { code: CODE.CANCELLED, message: /context canceled/ });
        for (const { exit } of [first, other])
          assert.deepEqual(await exit, { code: 137, error: "exit code: 137: context canceled" });
        await assert.rejects(bridge.release(id), { code: CODE.NOT_FOUND });
      });
    });

    it("show files of their mounts, as processes have made them", async () => {
      const mounts: MountInit[] = [
        { dest: "/data", mountType: MountType.TMPFS },
        { dest: "/scratch", mountType: MountType.BIND },
      ];
      await inContainer(
        async ({ start, id }, bridge) => {
          assert.equal(await bridge.read(id, "/etc/motd"), "hello\n"); // before there is a process
          const first = start(sh("cat", { Fds: [0] }));
          const script =
            "mkdir /new /scratch/dir; echo new > /new/file; echo 1 > /data/in-tmpfs; ln -s file /new/link";
          assert.equal((await start(sh(script)).exit).code, 0);
          assert.equal(await bridge.read(id, "/new/link"), "new\n");
          assert.equal(await bridge.read(id, "/in-tmpfs", 1), "1\n");
          assert.deepEqual(await bridge.list(id, "/new"), ["file", "link"]);
          assert.deepEqual(await bridge.list(id, "/", 2), ["dir"]);
          assert.equal((await bridge.stat(id, "/new/file")).size, 4n);
          await assert.rejects(bridge.read(id, "/data/in-tmpfs"), /another mount/);
          await assert.rejects(bridge.read(id, "/proc/1/status"), /another mount/);
          await assert.rejects(bridge.read(id, "/nothing"), /no such file or directory$/);
          await assert.rejects(bridge.read(id, "/x", 3), /no mount 3: the container has 3/);
          await first.input(null);
          await first.exit;
          assert.equal(await bridge.read(id, "/new/file"), "new\n"); // and after the last
        },
        { Mounts: mounts },
      );
    });

    it("mount results, caches, temporary file systems and secrets, and discard what is written", async () => {
      await driven(async (bridge) => {
        const root = await bridge.solve(busybox());
        const files = await bridge.solve(
          made([mkdir("/dir"), mkfile("/dir/file", "text"), mkfile("/other", "")]),
        );
        const mounts: MountInit[] = [
          { dest: "/", resultID: root },
          { dest: "/part", resultID: files, selector: "/dir", readonly: true },
          { dest: "/all", resultID: files },
          {
            dest: "/cache",
            mountType: MountType.CACHE,
            cacheOpt: { ID: "c", sharing: CacheSharingOpt.SHARED },
          },
          { dest: "/tmp", mountType: MountType.TMPFS, TmpfsOpt: { size: 1n << 20n } },
          {
            dest: "/run/key",
            mountType: MountType.SECRET,
            secretOpt: { ID: "none", optional: true, mode: 0o400 },
          },
          { dest: "/empty", readonly: true },
        ];
        for (const expected of ["", "kept"]) {
          const id = randomBytes(8).toString("hex");
          await bridge.open({ ContainerID: id, Mounts: mounts });
          const processes = bridge.processes();
          const process = processes.start({
            ContainerID: id,
            ...sh(
              "cat /part/file; ls /all /empty; cat /cache/x 2>/dev/null; echo kept > /cache/x; echo 1 > /all/new; echo 1 > /new; " +
                "echo 1 2>/dev/null > /part/new || echo refused; echo 1 2>/dev/null > /empty/new || echo refused; " +
                "head -c 2000000 /dev/zero 2>/dev/null > /tmp/big || echo full",
              { Fds: [1] },
            ),
          });
          assert.equal(
            await process.output(),
            `text/all:\ndir\nother\n\n/empty:\n${expected === "" ? "" : `${expected}\n`}refused\nrefused\nfull\n`,
          );
          await bridge.release(id);
          processes.end();
        }
      });
    });

    it("have secrets of the session in variables", async () => {
      const id = randomBytes(8).toString("hex");
      const session = openSession(http, id, { key: "of the client" });
      await driven(
        async (bridge) => {
          const root = await bridge.solve(busybox());
          await bridge.open({ ContainerID: "c", Mounts: [{ dest: "/", resultID: root }] });
          const processes = bridge.processes();
          const secretenv = [
            { ID: "key", name: "KEY" },
            { ID: "other", name: "OTHER", optional: true },
          ];
          const process = processes.start({
            ContainerID: "c",
            ...sh('echo "$KEY-$OTHER-"', { Fds: [1], secretenv }),
          });
          assert.equal(await process.output(), "of the client--\n");
          const missing = await processes.start({
            ContainerID: "c",
            ...sh("true", { secretenv: [{ ID: "other", name: "OTHER" }] }),
          }).exit;
          assert.match(missing.error, /secret other: not found/);
          processes.end();
        },
        { Session: id },
      );
      session.end();
    });

    it("have the hosts, the user, the directory and the PATH that are asked for", async () => {
      await inContainer(
        async ({ start }) => {
          const first = start(sh("cat", { Fds: [0], Meta: { user: "1234:99" } }));
          const process = start(
            sh("id -u; id -g; pwd; echo $PATH $WHAT; grep example /etc/hosts", {
              Fds: [1],
              Meta: { cwd: "/made/here", env: ["WHAT=ever"] },
            }),
          );
          assert.equal(
            await process.output(),
            "1234\n99\n/made/here\n/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin ever\n192.0.2.7\texample.test\n",
          );
          const asRoot = start(sh("id -u", { Fds: [1], Meta: { user: "root" } }));
          assert.equal(await asRoot.output(), "0\n");
          await first.input(null);
          await first.exit;
        },
        { extraHosts: [{ Host: "example.test", IP: "192.0.2.7" }] },
      );
    });

    it("hold a process whose output nobody takes, and lose none of it", async () => {
      await inContainer(async ({ start, id, pause }, bridge) => {
        const first = start(sh("cat", { Fds: [0] }));
        const resume = pause();
        const bytes = 64 << 20;
        const process = start(sh(`head -c ${bytes} /dev/zero; echo 1 > /done`, { Fds: [1] }));
        await delay(1_500);
        await assert.rejects(bridge.stat(id, "/done"), /no such file/);
        resume();
        await process.exit;
        assert.equal((await bridge.stat(id, "/done")).size, 2n);
        assert.equal((await process.output()).length, bytes);
        await first.input(null);
        await first.exit;
      });
    });

    it("hold a client whose input no process takes", async () => {
      await inContainer(async ({ start, id }, bridge) => {
        const first = start(sh("sleep 1000", { Fds: [0] }));
        const chunk = "x".repeat(1 << 20);
        let taken = 0;
        for (;;) {
          const sent = first.input(chunk).then(() => true);
          if (!(await Promise.race([sent, delay(1_000, false)]))) break;
          taken += chunk.length;
          assert.ok(taken < 64 << 20, "a client may send without end");
        }
        await assert.rejects(bridge.release(id), /context canceled/);
        assert.equal((await first.exit).code, 137);
      });
    });

    it("have no more rights than the build", async () => {
      await inContainer(
        async ({ start }) => {
          const { code, error } = await start(sh("true")).exit;
          assert.equal(code, 255);
          assert.match(error, /network\.host is not allowed/);
        },
        { Network: NetMode.HOST },
      );
      await inContainer(async ({ start }) => {
        const insecure = await start(sh("true", { Security: SecurityMode.INSECURE })).exit;
        assert.match(insecure.error, /security\.insecure is not allowed/);
        assert.match(
          (await start(sh("true", { Security: 7 as SecurityMode })).exit).error,
          /invalid security mode 7/,
        );
        const caps = start(sh("grep -E '^(CapEff|Seccomp):' /proc/self/status", { Fds: [1] }));
        assert.equal(await caps.output(), "CapEff:\t00000000a80425fb\nSeccomp:\t2\n");
      });
    });

    it("keep out joined processes as well as first ones", async () => {
      await inContainer(async ({ start }) => {
        const first = start(sh("cat", { Fds: [0] }));
        const inside = start(
          sh(
            "ls /proc/self/fd | wc -l; grep -E '^(CapEff|Seccomp|NSpid):' /proc/self/status | cut -f2-; " +
              "readlink /proc/1/ns/mnt > /a; readlink /proc/self/ns/mnt > /b; cmp /a /b && echo same; ls -A /proc/1/root/.. | wc -l; ls -A / | wc -l",
            { Fds: [1] },
          ),
        );
        const [fds, caps, seccomp, ...rest] = (await inside.output()).split("\n");
        assert.equal(fds, "4"); // its streams, and what ls has open
        assert.match(caps ?? "", /^\d+$|^00000000a80425fb$/);
        assert.deepEqual([caps, seccomp].includes("00000000a80425fb"), true);
        assert.ok(rest.includes("same"));
        await first.input(null);
        await first.exit;
      });
    });

    it("say what is wrong with a request, and go on", async () => {
      await inContainer(async ({ start, id }, bridge) => {
        const root = { dest: "/", resultID: await bridge.solve(busybox()) };
        const refused = async (
          message: Plain<typeof NewContainerRequestSchema>,
          words: RegExp,
          code: number = CODE.UNKNOWN,
        ): Promise<void> => {
          await assert.rejects(bridge.open(message), (error: RpcError) => {
            assert.match(error.message, words);
            assert.equal(error.code, code);
            return true;
          });
        };
        await refused({ ContainerID: id, Mounts: [root] }, /already exists/, CODE.ALREADY_EXISTS);
        await refused({ ContainerID: "", Mounts: [root] }, /needs an id/, CODE.INVALID_ARGUMENT);
        await refused({ ContainerID: "a" }, /no root file system/);
        await refused(
          { ContainerID: "a", Mounts: [{ dest: "/", resultID: "no" }] },
          /no result no/,
          CODE.NOT_FOUND,
        );
        await refused(
          { ContainerID: "a", Mounts: [root, { dest: "/x", mountType: 9 as MountType }] },
          /mount type 9/,
        );
        await refused(
          { ContainerID: "a", Mounts: [root, { dest: "/x", mountType: MountType.SECRET }] },
          /secret/,
        );
        await refused(
          { ContainerID: "a", Mounts: [root], extraHosts: [{ Host: "a\nb", IP: "192.0.2.1" }] },
          /not a host name/,
          CODE.INVALID_ARGUMENT,
        );
        const missing = { dest: "/x", selector: "/nowhere", resultID: root.resultID };
        await refused({ ContainerID: "a", Mounts: [root, missing] }, /"\/nowhere": not found/);
        assert.match((await start({ Meta: {} }).exit).error, /needs arguments/);
        assert.match((await start({ Meta: { args: ["/no/such/program"] } }).exit).error, /no such file/);
      });
      // Only the first process can find out that its container has none.
      await inContainer(async ({ start }) => {
        const first = start(sh("cat", { Fds: [0] }));
        assert.match((await start({ ...sh("true"), ContainerID: "other" }).exit).error, /not created/);
        const wrong = await start({ Meta: { args: ["no-such-program"] } }).exit;
        assert.deepEqual([wrong.code, /not found in \$PATH/.test(wrong.error)], [127, true]);
        assert.match(
          (await start(sh("true", { Meta: { user: "nobody-here" } })).exit).error,
          /unable to find user/,
        );
        assert.match(
          (await start(sh("true", { Meta: { cwd: "relative" } })).exit).error,
          /not an absolute path/,
        );
        await first.input(null);
        await first.exit;
      });
    });

    it("end a stream that breaks the protocol, and its processes", async () => {
      await inContainer(async ({ start }, bridge) => {
        const first = start(sh("sleep 1000"));
        const broken = async (work: (stream: Processes) => void, words: RegExp): Promise<void> => {
          const stream = bridge.processes();
          work(stream);
          await assert.rejects(stream.over, words);
        };
        await broken(
          (stream) => void stream.send("", { case: "Signal", value: { Name: "HUP" } }),
          /ProcessID required/,
        );
        await broken(
          (stream) => void stream.send("x", { case: "File", value: { Fd: 0 } }),
          /IO for process "x" not found/,
        );
        await broken((stream) => {
          const process = stream.start({ ContainerID: "none", ...sh("true") }, "twice");
          void process.exit.then(() => stream.start({ ContainerID: "none", ...sh("true") }, "twice"));
        }, /Process twice already exists/);
        await broken((stream) => stream.raw(Buffer.from([0xff, 0xff])), /not an ExecMessage/);
        first.signal("KILL");
        await first.exit;
      });
      for (const [wrong, words] of [
        [{ case: "Signal", value: { Name: "NONE" } }, /Unknown signal NONE/],
        [{ case: "File", value: { Fd: 1, Data: Buffer.from("x") } }, /fd 1 unavailable to write/],
      ] as const) {
        await inContainer(async ({ id }, bridge) => {
          const stream = bridge.processes();
          const first = stream.start({ ContainerID: id, ...sh("echo ready; sleep 1000", { Fds: [1] }) }, "p");
          await first.says("ready");
          const other = bridge.processes();
          const joined = other.start({ ContainerID: id, ...sh("echo ready; sleep 1000", { Fds: [1] }) });
          await joined.says("ready");
          void stream.send("p", wrong);
          await assert.rejects(stream.over, words);
          assert.equal((await joined.exit).code, 137); // the first process is gone
          other.end();
        });
      }
    });

    it("end with the build, and with what is cut off", async () => {
      await driven(async (bridge, cancel) => {
        const root = await bridge.solve(busybox());
        await bridge.open({ ContainerID: "c", Mounts: [{ dest: "/", resultID: root }] });
        const cut = bridge.processes();
        const first = cut.start({ ContainerID: "c", ...sh("echo ready; sleep 1000", { Fds: [1] }) });
        await first.says("ready");
        const stream = bridge.processes();
        const joined = stream.start({ ContainerID: "c", ...sh("echo ready; sleep 1000", { Fds: [1] }) });
        await joined.says("ready");
        cut.cancel();
        assert.equal((await joined.exit).code, 137);
        await bridge.open({ ContainerID: "d", Mounts: [{ dest: "/", resultID: root }] });
        const last = stream.start({ ContainerID: "d", ...sh("echo ready; sleep 1000", { Fds: [1] }) });
        await last.says("ready");
        cancel();
        await assert.rejects(stream.over, { code: CODE.CANCELLED });
      });
    });

    it("are limited in number", async () => {
      await driven(async (bridge) => {
        const root = await bridge.solve(busybox());
        const open = (name: number): Promise<unknown> =>
          bridge.open({ ContainerID: String(name), Mounts: [{ dest: "/", resultID: root }] });
        for (let name = 0; name < 64; name++) await open(name);
        await assert.rejects(open(64), { code: CODE.RESOURCE_EXHAUSTED });
        await bridge.release("0");
        await open(64);
        const stream = bridge.processes();
        const started = Array.from({ length: 64 }, () =>
          stream.start({ ContainerID: "1", ...sh("echo ready; sleep 1000", { Fds: [1] }) }),
        );
        await Promise.all(started.map((one) => one.says("ready")));
        const more = await stream.start({ ContainerID: "1", ...sh("true") }).exit;
        assert.match(more.error, /no more than 64 processes/);
        stream.cancel();
      });
    });

    it("show what a failed command left, and what it began with", async () => {
      await driven(async (bridge) => {
        const graph = openGraph();
        const base = graph.include(busybox());
        assert.ok(base);
        const op = execOp("echo left > /data; echo left > /rw/data; exit 5", [
          { kind: "bind", input: 0, selector: "/", target: "/", readonly: false, output: 0 },
          { kind: "bind", input: null, selector: "/", target: "/rw", readonly: false, output: null },
          { kind: "bind", input: 0, selector: "/etc", target: "/ro", readonly: true, output: null },
          { kind: "tmpfs", target: "/t", sizeBytes: null },
        ]);
        const root = graph.add(op, null, [base], { name: "fails", ignoreCache: false, at: [], group: null });
        const { inputIDs, mountIDs, op: told } = await bridge.fails(graph.definition(root), /exit code: 5/);
        assert.deepEqual(inputIDs.map(Boolean), [true, false, true, false]);
        assert.deepEqual(mountIDs.map(Boolean), [true, true, true, false]);
        assert.deepEqual(told.exec.meta.args, op.args);
        await bridge.open({
          ContainerID: "c",
          Mounts: [
            { dest: "/", resultID: mountIDs[0] as string },
            { dest: "/rw", resultID: mountIDs[1] as string },
            { dest: "/before", resultID: inputIDs[0] as string },
          ],
        });
        const processes = bridge.processes();
        const process = processes.start({
          ContainerID: "c",
          ...sh("cat /data /rw/data; ls /before/data || echo not before", { Fds: [1] }),
        });
        assert.equal(await process.output(), "left\nleft\nnot before\n");
        processes.end();
      });
    });

    it("show what a failed file step left, and what could not be read for a cache key", async () => {
      await driven(async (bridge) => {
        const root = { dest: "/", resultID: await bridge.solve(busybox()) };
        const cat = async (id: string, path: string): Promise<string> => {
          const container = randomBytes(4).toString("hex");
          await bridge.open({ ContainerID: container, Mounts: [root, { dest: "/left", resultID: id }] });
          return await bridge.read(container, path, 1);
        };
        const file = await bridge.fails(
          made([mkdir("/found"), mkfile("/found/file", "text"), mkfile("/nowhere/file", "text")]),
          /no such file or directory/,
        );
        assert.deepEqual(
          [file.inputIDs, file.mountIDs.map(Boolean), file.file.index],
          [[], [false, false, true], "2"],
        );
        assert.equal(await cat(file.mountIDs[2] as string, "/found/file"), "text");

        const graph = openGraph();
        const [base, input] = [graph.include(busybox()), graph.include(made([mkfile("/here", "text")]))];
        assert.ok(base && input);
        const op = execOp("true", [
          { kind: "bind", input: 0, selector: "/", target: "/", readonly: false, output: 0 },
          { kind: "bind", input: 1, selector: "/nowhere", target: "/in", readonly: true, output: null },
        ]);
        const note = { name: "fails", ignoreCache: false, at: [], group: null };
        const definition = graph.definition(graph.add(op, null, [base, input], note));
        const cache = await bridge.fails(definition, /"\/nowhere": not found/);
        assert.deepEqual([cache.mountIDs, cache.inputIDs.length, cache.cache.index ?? "0"], [[], 1, "1"]);
        assert.equal(await cat(cache.inputIDs[0] as string, "/here"), "text");
      });
    });
  });
}
