// Commands of definitions that clients send: everything pb.ExecOp can ask for, run for real.

import assert from "node:assert/strict";
import { createServer } from "node:net";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { ExecMount } from "../../solver/graph/op.ts";
import { bind, failure, type LlbBench, mkdir, mkfile, openLlbBench, ROOT, symlink } from "./llb-bench.ts";

const OPEN = { output: null } as const;

describe("a command of a definition", function () {
  this.timeout(60_000);
  let bench: LlbBench;
  before(async () => {
    bench = await openLlbBench();
  });
  after(() => bench[Symbol.asyncDispose]());

  const log = async (script: string, more: object = {}, options = {}): Promise<string> =>
    (await bench.solve((graph) => graph.sh(script, more), options)).log;

  it("runs in its directory, as its user, with its environment, host name and hosts", async () => {
    const said = await log('pwd; id -u; id -g; echo "$A $B"; hostname; grep h1 /etc/hosts', {
      env: ["A=1", "B=x=y", "PATH=/bin"],
      cwd: "/tmp",
      user: "app",
      hostname: "builder",
      extraHosts: [{ host: "h1", ip: "1.2.3.4" }],
    });
    assert.deepEqual(said.trim().split("\n"), ["/tmp", "1000", "1000", "1 x=y", "builder", "1.2.3.4\th1"]);
  });

  it("finds programs where its environment has no PATH, and sees the one it is given", async () => {
    assert.equal(
      await log("echo $PATH", { env: [] }),
      "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\n",
    );
    const { log: said } = await bench.solve((graph) =>
      graph.add({ ...graph.exec, args: ["pwd"], env: [], mounts: [ROOT] }, [graph.base()]),
    );
    assert.equal(said, "/\n");
  });

  it("gets proxies in both spellings, and values of secrets, also of those that are missing", async () => {
    const secret = async (id: string) => (id === "s" ? Buffer.from("hush") : null);
    const proxyEnv = { httpProxy: "h:1", httpsProxy: "", ftpProxy: "", noProxy: "n", allProxy: "" };
    const secretEnv = [
      { id: "s", name: "SECRET", optional: false },
      { id: "none", name: "NONE", optional: true },
    ];
    const said = await log(
      'echo "$http_proxy $HTTP_PROXY $no_proxy [$https_proxy] $SECRET [${NONE-unset}]"',
      { proxyEnv, secretEnv },
      { session: { secret } },
    );
    assert.equal(said, "h:1 h:1 n [] hush []\n");
    const missing = log(
      "true",
      { secretEnv: [{ id: "none", name: "N", optional: false }] },
      { session: { secret } },
    );
    assert.match(await failure(missing), /^SECRET_MISSING: secret none: not found/);
  });

  it("that cannot be executed did not complete successfully", async () => {
    const missing = bench.solve((graph) =>
      graph.add({ ...graph.exec, args: ["no-such", "program"], env: [], mounts: [ROOT] }, [graph.base()]),
    );
    assert.match(
      await failure(missing),
      /^EXEC_FAILED: process "no-such program" did not complete successfully: exec: "no-such": executable file/,
    );
  });

  it("has its limits", async () => {
    assert.equal(await log("ulimit -n", { ulimits: [{ name: "nofile", soft: 77, hard: 99 }] }), "77\n");
    const unknown = log("true", { ulimits: [{ name: "wishes", soft: 3, hard: 3 }] });
    assert.match(await failure(unknown), /^USAGE: unknown ulimit "wishes"/);
  });

  it("may end with any of its valid exit codes, and with no other", async () => {
    assert.equal(await log("echo on; exit 3", { validExitCodes: [0, 3] }), "on\n");
    assert.match(await failure(log("exit 4", { validExitCodes: [0, 3] })), /^EXEC_FAILED: .*exit code: 4/);
    assert.match(await failure(log("exit 0", { validExitCodes: [3] })), /^EXEC_FAILED: .*exit code: 0/);
  });

  it("needs a grant for the host's network and for more privilege", async () => {
    const host = { network: "host" as const };
    assert.match(await failure(log("true", host)), /^ENTITLEMENT_DENIED: network.host/);
    assert.match(await log("ls /sys/class/net", host, { entitlements: ["network.host"] }), /lo/);
    const insecure = { security: "insecure" as const };
    assert.match(await failure(log("true", insecure)), /^ENTITLEMENT_DENIED: security.insecure/);
    assert.equal(await log("echo in", insecure, { entitlements: ["security.insecure"] }), "in\n");
  });

  it("is refused a device that must be there, and goes without one that need not", async () => {
    const device = (optional: boolean) => ({ devices: [{ name: "vendor.com/x=y", optional }] });
    assert.match(await failure(log("true", device(false))), /^ENTITLEMENT_DENIED: device/);
    const granted = { entitlements: ["device" as const] };
    assert.match(
      await failure(log("true", device(false), granted)),
      /^MOUNT_INVALID: the device vendor.com\/x=y/,
    );
    assert.equal(await log("echo without", device(true)), "without\n");
  });

  describe("with mounts", () => {
    const files = (graph: Parameters<Parameters<LlbBench["solve"]>[0]>[0]) =>
      graph.file(
        [],
        mkdir("/d", OPEN),
        mkfile("/d/f", "text\n", { base: 0, output: null }),
        mkfile("/top", "top\n", { base: 1, output: 0 }),
      );
    const mounted = async (script: string, ...mounts: ExecMount[]) =>
      bench.solve((graph) => graph.sh(script, { mounts: [ROOT, ...mounts] }, [files(graph)]));

    it("sees an input read-only, or a part of it, at targets that are not there yet", async () => {
      const { log: said } = await mounted(
        "cat /new/place/d/f /part/f /file; touch /part/x 2>/dev/null || echo no",
        bind(1, "/new/place"),
        bind(1, "/part", { selector: "/d" }),
        bind(1, "/file", { selector: "d/f" }),
      );
      assert.equal(said, "text\ntext\ntext\nno\n");
    });

    it("is mounted the outer before the inner, whatever the order of the definition", async () => {
      const { log: said } = await mounted("cat /a/top /a/d/d/f", bind(1, "/a/d"), bind(1, "/a"));
      assert.equal(said, "top\ntext\n");
    });

    it("may write to an input that nothing is kept of", async () => {
      const { log: said } = await mounted(
        "echo more >> /w/d/f; cat /w/d/f; rm /w/top; ls /w",
        bind(1, "/w", { readonly: false }),
      );
      assert.equal(said, "text\nmore\nd\n");
      assert.equal(await bench.look(files, "cat /in/d/f /in/top"), "text\ntop\n");
    });

    it("keeps what it writes to each of its outputs, and nothing else of the root", async () => {
      const outputs = [
        { ...ROOT, output: 0 },
        bind(1, "/w", { readonly: false, output: 1 }),
        bind(null, "/empty", { readonly: false, output: 2 }),
        bind(1, "/same", { output: 3 }),
        bind(null, "/nothing", { output: 4 }),
      ] as ExecMount[];
      const script = "echo r > /root/r; echo w > /w/w; rm /w/top; echo e > /empty/e; ls -A /nothing";
      const of = (output: number) =>
        bench.look(
          (graph) => ({ ...graph.sh(script, { mounts: outputs }, [files(graph)]), output }),
          "cd /in; ls -A; cat root/r w e 2>/dev/null; true",
        );
      assert.match(await of(0), /^bin\n[^]*\nr\n$/);
      assert.equal(await of(1), "d\nw\nw\n");
      assert.equal(await of(2), "e\ne\n");
      assert.equal(await of(3), "d\ntop\n");
      assert.equal(await of(4), "");
    });

    it("keeps all of an input of which it sees only a part it writes to", async () => {
      const mounts = [ROOT, bind(1, "/part", { selector: "/d", readonly: false, output: 1 })] as ExecMount[];
      const part = await bench.look(
        (graph) => ({ ...graph.sh("echo new > /part/new", { mounts }, [files(graph)]), output: 1 }),
        "cd /in; find . | sort",
      );
      assert.equal(part, ".\n./d\n./d/f\n./d/new\n./top\n");
    });

    it("may have a root that is empty, or one that it cannot write to", async () => {
      const { log: said } = await bench.solve((graph) =>
        graph.add(
          {
            ...graph.exec,
            args: ["/tools/busybox", "sh", "-c", "/tools/busybox ls /; echo x > /x 2>/tools/err || echo no"],
            mounts: [
              { ...ROOT, input: null, readonly: true } as ExecMount,
              bind(0, "/tools", { selector: "/bin", readonly: false }),
            ],
          },
          [graph.base()],
        ),
      );
      assert.match(said, /tools/);
      assert.match(said, /\nno\n/);
    });

    it("cannot have one in place of the root, by whatever name", async () => {
      for (const target of ["/.", "//", "/a/..", "..", "."]) {
        assert.match(await failure(mounted("true", bind(1, target))), /is the root directory/, target);
      }
    });

    it("says which part of an input is missing", async () => {
      const missing = mounted("true", bind(1, "/m", { selector: "/none" }));
      assert.match(await failure(missing), /^CONTEXT_PATH_MISSING: .*"?\/none/);
    });

    it("cannot leave an input by a link or by dots", async () => {
      const outside = bench.solve((graph) =>
        graph.sh(
          "cat /a/passwd /b/passwd",
          { mounts: [ROOT, bind(1, "/a", { selector: "/l" }), bind(1, "/b", { selector: "/../../../etc" })] },
          [
            graph.file(
              [],
              symlink("/l", "/../../etc", { output: null }),
              mkdir("/etc", { base: 0, output: null }),
              mkfile("/etc/passwd", "mine\n", { base: 1, output: 0 }),
            ),
          ],
        ),
      );
      assert.equal((await outside).log, "mine\nmine\n");
    });

    it("shares, owns alone or locks a cache that lasts, starting with its input", async () => {
      const cache = (sharing: string, id: string, input: number | null = null) =>
        ({
          kind: "cache",
          id,
          input,
          selector: input === null ? "" : "/d",
          target: "/c",
          readonly: false,
          sharing,
        }) as ExecMount;
      for (const sharing of ["shared", "private", "locked"]) {
        const run = async (script: string) =>
          (
            await bench.solve((graph) =>
              graph.sh(script, { mounts: [ROOT, cache(sharing, `id-${sharing}`)] }),
            )
          ).log;
        assert.equal(await run("echo kept > /c/kept; ls /c"), "kept\n", sharing);
        assert.equal(await run(": again; cat /c/kept"), "kept\n", sharing);
      }
      const seeded = await mounted("cat /c/f", cache("shared", "seeded", 1));
      assert.equal(seeded.log, "text\n");
      // Without an id it has that of its place.
      const nameless = async (script: string) =>
        (await bench.solve((graph) => graph.sh(script, { mounts: [ROOT, { ...cache("shared", "") }] }))).log;
      await nameless("echo n > /c/n");
      assert.equal(await nameless("cat /c/n"), "n\n");
    });

    it("has a tmpfs of its size", async () => {
      const { log: said } = await mounted(
        "dd if=/dev/zero of=/t/f bs=1k count=64 2>/dev/null || echo full; grep -c ' /t tmpfs' /proc/mounts",
        { kind: "tmpfs", target: "/t", sizeBytes: 16 << 10 },
      );
      assert.equal(said, "full\n1\n");
    });

    it("sees a secret with its owner and mode, goes without an optional one, and fails for others", async () => {
      const session = { secret: async (id: string) => (id === "s" ? Buffer.from("hush") : null) };
      const secret = (id: string, optional: boolean, target = "/run/s"): ExecMount => ({
        ...{ kind: "secret", id, target, uid: 1000, gid: 1000, mode: 0o440, optional },
      });
      const run = (script: string, ...mounts: ExecMount[]) =>
        bench.solve((graph) => graph.sh(script, { mounts: [ROOT, ...mounts] }), { session });
      const { log: said } = await run(
        "cat /run/s; echo; stat -c '%u %g %a' /run/s; ls /run/none 2>&1",
        secret("s", false),
        secret("none", true, "/run/none"),
      ).catch(() => ({ log: "failed" }));
      assert.equal(said, "failed"); // ls fails for what is not there
      const shown = await run(
        "cat /run/s; echo; stat -c '%u %g %a' /run/s; ls /run",
        secret("s", false),
        secret("none", true, "/run/none"),
      );
      assert.match(shown.log, /^hush\n1000 1000 440\ns\n$/);
      assert.match(
        await failure(run("true", secret("none", false))),
        /^SECRET_MISSING: secret none: not found/,
      );
    });

    it("reaches an agent of the client, goes without an optional one, and fails for others", async () => {
      const dir = mkdtempSync(join(tmpdir(), "tsbuild-agent-"));
      const server = createServer((socket) => socket.end("agent\n"));
      await new Promise<void>((resolve) => {
        server.listen(join(dir, "a"), resolve);
      });
      try {
        const session = { sshSocket: async (id: string) => (id === "default" ? join(dir, "a") : null) };
        const ssh = (id: string, optional: boolean): ExecMount => ({
          ...{ kind: "ssh", id, target: `/agent.${id}`, uid: 0, gid: 0, mode: 0o600, optional },
        });
        const run = (script: string, ...mounts: ExecMount[]) =>
          bench.solve((graph) => graph.sh(script, { mounts: [ROOT, ...mounts] }), { session });
        const { log: said } = await run(
          "test -S /agent. && echo there; test -e /agent.none || echo gone",
          ssh("", false),
          ssh("none", true),
        );
        assert.equal(said, "there\ngone\n");
        assert.match(
          await failure(run("true", ssh("none", false))),
          /^SECRET_MISSING: unset ssh forward key none/,
        );
      } finally {
        server.close();
        rmSync(dir, { recursive: true });
      }
    });
  });

  it("may read the cgroup it is in", async () => {
    assert.match(await log("cat /proc/self/cgroup; test -d /sys/fs/cgroup && echo there"), /there\n$/);
  });
});
