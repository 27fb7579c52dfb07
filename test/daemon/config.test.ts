// Settings of the daemon: buildkitd's flags and its configuration file, and what they do to builds.

import assert from "node:assert/strict";
import { chmodSync, mkdirSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { parseFlags } from "../../bin/args.ts";
import { keptBytes } from "../../bin/daemon/collector.ts";
import { type DaemonSettings, readSettings } from "../../bin/daemon/config.ts";
import { DAEMON_FLAGS } from "../../bin/daemon/config-flags.ts";
import { openLog } from "../../bin/daemon/log.ts";
import { resolvConfOf } from "../../bin/engine/host-network.ts";
import { openPlaces } from "../../cache/registry/places.ts";
import { parseReference } from "../../cache/registry/reference.ts";
import { stepResolvConf } from "../../worker/sandbox/network.ts";
import { openWorkshop } from "../build/fixture.ts";
import { BASE, openDaemonShop, sh } from "../support/daemon.ts";
import { startRegistry } from "../support/registry.ts";
import { temporaryDir, type TemporaryDir } from "../support/store.ts";
import { ordinaryUser } from "../support/unprivileged.ts";

describe("the configuration of tsbuildd", () => {
  let dir: TemporaryDir;
  beforeEach(() => void (dir = temporaryDir()));
  afterEach(() => dir[Symbol.dispose]());

  const settingsOf = async (
    args: readonly string[],
    env: Record<string, string> = {},
  ): Promise<DaemonSettings> =>
    await readSettings(parseFlags(DAEMON_FLAGS, args), {
      program: "tsbuildd",
      env: { XDG_RUNTIME_DIR: "/run/user/7", XDG_CONFIG_HOME: dir.at("none"), HOME: dir.path, ...env },
      cwd: "/work",
      isRoot: false,
    });
  const file = (text: string): string => {
    const path = dir.at("buildkitd.toml");
    writeFileSync(path, text);
    return path;
  };
  const fromFile = (text: string, ...args: string[]): Promise<DaemonSettings> =>
    settingsOf(["--config", file(text), ...args]);
  const message = async (work: Promise<unknown>): Promise<string> => {
    const error: unknown = await work.then(
      () => assert.fail("no error"),
      (thrown: unknown) => thrown,
    );
    assert.equal((error as { code?: string }).code, "USAGE", String(error));
    return (error as Error).message;
  };

  describe("flags", () => {
    it("are those that BuildKit's own suites start a daemon with, in both forms", async () => {
      const equals =
        "--oci-worker=true --containerd-worker=false --oci-worker-gc=false --oci-worker-labels=a.b=c --root=/r --addr=unix:///s --debug";
      const spaced =
        "--oci-worker true --containerd-worker false --oci-worker-gc=false --oci-worker-labels a.b=c --root /r --addr unix:///s --debug";
      for (const words of [equals, spaced]) {
        const settings = await settingsOf(words.split(" "));
        assert.deepEqual(settings.addresses, [{ kind: "unix", path: "/s" }]);
        assert.equal(settings.root, "/r");
        assert.deepEqual(settings.worker.labels, { "a.b": "c" });
        assert.deepEqual(settings.gc, { kind: "off" });
        assert.equal(settings.log.level, "debug");
        assert.deepEqual(settings.remarks, []);
      }
    });

    it("take several values at once, and several times", async () => {
      const { allowed, addresses, worker, maxParallelism, network, gc, drainMs } = await settingsOf([
        ...[
          "--allow-insecure-entitlement",
          "network.host,device",
          "--allow-insecure-entitlement=security.insecure",
        ],
        ...["--addr", "unix:///a", "--addr", "tcp://127.0.0.1:1", "--addr=fd://x", "--oci-max-parallelism=3"],
        ...[
          "--oci-worker-platform=linux/arm64,linux/amd64",
          "--oci-worker-net",
          "host",
          "--drain-timeout=1m30s",
        ],
        ...["--oci-worker-gc-keepstorage", "1000,2000"],
      ]);
      assert.deepEqual([...allowed].sort(), ["device", "network.host", "security.insecure"]);
      assert.deepEqual(
        addresses.map(({ kind }) => kind),
        ["unix", "tcp", "fd"],
      );
      assert.deepEqual(
        worker.platforms?.map(({ architecture }) => architecture),
        ["arm64", "amd64"],
      );
      assert.deepEqual([maxParallelism, network, drainMs], [3, "host", 90_000]);
      assert.deepEqual(
        gc.kind === "policies" && gc.policies.map(({ all, reserved, minFree }) => [all, reserved, minFree]),
        [
          [false, { kind: "bytes", bytes: 1e9 }, { kind: "bytes", bytes: 2e9 }],
          [true, { kind: "bytes", bytes: 1e9 }, { kind: "bytes", bytes: 2e9 }],
        ],
      );
    });

    it("without a meaning here are taken, and named once", async () => {
      const moot = [
        "--oci-worker-snapshotter=overlayfs",
        "--rootless",
        "--cdi-disabled",
        "--containerd-worker-gc=false",
      ];
      const named = [
        ...["--otel-socket-path=/s", "--cdi-spec-dir", "/d", "--cdi-spec-dir=/e"],
        ...[
          "--oci-worker-no-process-sandbox",
          "--oci-worker-binary=crun",
          "--oci-worker=false",
          "--save-cache-debug",
        ],
      ];
      const { remarks } = await settingsOf([...moot, ...named]);
      assert.deepEqual(remarks, [
        "no effect in tsbuildd: --cdi-spec-dir, --oci-worker, --oci-worker-binary, " +
          "--oci-worker-no-process-sandbox, --otel-socket-path, --save-cache-debug",
      ]);
    });

    it("give metrics an address on this machine, and no other", async () => {
      const at = async (...args: string[]) => (await settingsOf(args)).debugAddress;
      assert.equal(await at(), null);
      assert.deepEqual(await at("--debugaddr", "unix:///run/d.sock"), { kind: "unix", path: "/run/d.sock" });
      const tcp = { kind: "tcp", host: "127.0.0.1", port: 6060, tls: null };
      assert.deepEqual(await at("--debugaddr=127.0.0.1:6060"), tcp);
      for (const text of ["0.0.0.0:6060", ":6060", "fd://", "tcp://example.com:1"])
        await assert.rejects(at(`--debugaddr=${text}`), /is not of the loopback interface/);
      await assert.rejects(at("--debugaddr=nonsense"), {
        message: 'invalid debug address "nonsense"',
        hint: "the forms are unix://PATH and 127.0.0.1:PORT",
      });
    });

    it("with wrong values are errors that name the flag", async () => {
      for (const [args, words] of [
        [
          ["--allow-insecure-entitlement=all"],
          /--allow-insecure-entitlement must be one of network\.host, .*not "all"/,
        ],
        [["--oci-max-parallelism=x"], /--oci-max-parallelism must be a whole number/],
        [["--oci-worker-net=vpn"], /--oci-worker-net must be one of/],
        [["--log-format=xml"], /--log-format must be one of text, json/],
        [["--addr=npipe:////./x"], /invalid address "npipe:/],
        [["--addr=tcp://h:1", "--tlscert=/c"], /--tlscert, --tlskey and --tlscacert go together/],
        [["--group=no-such-group"], /there is no group "no-such-group"/],
        [["--proxy-network"], /--proxy-network is not supported/],
        [["--config=/none.toml"], /there is no configuration \/none\.toml/],
      ] as const)
        assert.match(await message(settingsOf(args)), words);
    });
  });

  describe("buildkitd.toml", () => {
    it("has all of BuildKit's sections", async () => {
      const settings = await fromFile(`
debug = true
root = "state"
insecure-entitlements = [ "network.host", "security.insecure" ]
[log]
  format = "json"
[dns]
  nameservers=["1.1.1.1","8.8.8.8"]
  options=["edns0"]
  searchDomains=["example.com"]
[grpc]
  address = [ "tcp://0.0.0.0:1234", "unix:///run/x.sock" ]
  debugAddress = "[::1]:6060"
  uid = 0
  gid = 5
  [grpc.tls]
    cert = "/etc/buildkit/tls.crt"
    key = "/etc/buildkit/tls.key"
    ca = "/etc/buildkit/tlsca.crt"
[history]
  maxAge = 172800
  maxEntries = 50
[worker.oci]
  enabled = true
  platforms = [ "linux/amd64", "linux/arm64" ]
  snapshotter = "auto"
  rootless = false
  gc = true
  reservedSpace = "30%"
  maxUsedSpace = "60%"
  minFreeSpace = "20GB"
  max-parallelism = 4
  networkMode = "none"
  [worker.oci.labels]
    "foo" = "bar"
[worker.containerd]
  address = "/run/containerd/containerd.sock"
  enabled = false
[registry."docker.io"]
  mirrors = ["mirror.example:5000", "harbor.example/proxy"]
  http = true
[registry."mirror.example:5000"]
  insecure = true
  ca = ["/etc/config/myca.pem"]
  [[registry."mirror.example:5000".keypair]]
    key="/etc/config/key.pem"
    cert="/etc/config/cert.pem"
[frontend."dockerfile.v0"]
  enabled = false
[frontend."gateway.v0"]
  enabled = true
  allowedRepositories = ["example.com/frontend"]
`);
      const tls = {
        cert: "/etc/buildkit/tls.crt",
        key: "/etc/buildkit/tls.key",
        ca: "/etc/buildkit/tlsca.crt",
      };
      const { gc, registries, worker, ...others } = settings;
      assert.deepEqual(others, {
        file: dir.at("buildkitd.toml"),
        root: "/work/state",
        addresses: [
          { kind: "tcp", host: "0.0.0.0", port: 1234, tls },
          { kind: "unix", path: "/run/x.sock" },
        ],
        debugAddress: { kind: "tcp", host: "::1", port: 6060, tls: null },
        owner: { uid: 0, gid: 5 },
        drainMs: 8_000,
        log: { format: "json", level: "debug" },
        allowed: new Set(["network.host", "security.insecure"]),
        network: "none",
        maxParallelism: 4,
        dns: { nameservers: ["1.1.1.1", "8.8.8.8"], options: ["edns0"], searchDomains: ["example.com"] },
        history: { maxAgeMs: 172_800_000, maxEntries: 50 },
        frontends: { dockerfile: false, gateway: true, gatewayRepositories: ["example.com/frontend"] },
        remarks: [],
      });
      assert.deepEqual(worker.labels, { foo: "bar" });
      assert.deepEqual(
        worker.platforms?.map(({ architecture }) => architecture),
        ["amd64", "arm64"],
      );
      const spaces = {
        reserved: { kind: "share", share: 0.3 },
        maxUsed: { kind: "share", share: 0.6 },
        minFree: { kind: "bytes", bytes: 20 * 2 ** 30 },
      };
      assert.deepEqual(gc, {
        kind: "policies",
        policies: [false, true].map((all) => ({ all, filters: [], keepDurationMs: 0, ...spaces })),
      });
      assert.deepEqual(registries.mirrors, [
        { host: "docker.io", mirror: "mirror.example:5000" },
        { host: "docker.io", mirror: "harbor.example/proxy" },
      ]);
      assert.deepEqual(registries.hosts.get("mirror.example:5000"), {
        http: false,
        insecure: true,
        ca: ["/etc/config/myca.pem"],
        clients: [{ key: "/etc/config/key.pem", cert: "/etc/config/cert.pem" }],
        directories: [],
      });
    });

    it("has rules for the removal of cache, with sizes and times as numbers and texts", async () => {
      const { gc } = await fromFile(`
[[worker.oci.gcpolicy]]
  keepBytes = 512000000
  keepDuration = "48h"
  filters = [ "type==source.local", "type==exec.cachemount"]
[[worker.oci.gcpolicy]]
  all = true
  keepDuration = 3600
  maxUsedSpace = "1GB"
  minFreeSpace = "10%"
`);
      assert.deepEqual(gc, {
        kind: "policies",
        policies: [
          {
            all: false,
            filters: ["type==source.local", "type==exec.cachemount"],
            keepDurationMs: 48 * 3_600_000,
            reserved: { kind: "bytes", bytes: 512_000_000 },
            maxUsed: null,
            minFree: null,
          },
          {
            all: true,
            filters: [],
            keepDurationMs: 3_600_000,
            reserved: null,
            maxUsed: { kind: "bytes", bytes: 2 ** 30 },
            minFree: { kind: "share", share: 0.1 },
          },
        ],
      });
    });

    it("gives way to flags", async () => {
      const { addresses, log, allowed, maxParallelism, network, gc, owner } = await fromFile(
        `debug = true\ninsecure-entitlements = ["device"]\n[grpc]\naddress = ["unix:///file"]\ngid = 3\n` +
          `[worker.oci]\nmax-parallelism = 4\nnetworkMode = "host"\ngckeepstorage = 1000\n`,
        ...[
          "--addr=unix:///flag",
          "--log-level=error",
          "--allow-insecure-entitlement=network.host",
          "--group=9",
        ],
        ...["--oci-max-parallelism=1", "--oci-worker-net=auto", "--oci-worker-gc=false"],
      );
      assert.deepEqual(addresses, [{ kind: "unix", path: "/flag" }]);
      assert.deepEqual(
        [log.level, [...allowed], maxParallelism, network, gc.kind, owner.gid],
        ["error", ["network.host"], 1, "sandbox", "off", 9],
      );
    });

    it("is read where users have it, and need not be there", async () => {
      assert.deepEqual((await settingsOf([])).addresses, [
        { kind: "unix", path: "/run/user/7/tsbuild/tsbuildd.sock" },
      ]);
      mkdirSync(dir.at("none", "buildkit"), { recursive: true });
      writeFileSync(dir.at("none", "buildkit", "buildkitd.toml"), 'root = "/elsewhere"\n');
      assert.equal((await settingsOf([])).root, "/elsewhere");
    });

    it("may have keys nobody knows, and keys without effect: both are named", async () => {
      const { remarks } = await fromFile(
        `spare = 1\n[otel]\nsocketPath = "/s"\n[worker.oci]\ncniPoolSize = 16\nbinary = ""\nnext-thing = true\n` +
          `[worker.containerd]\nenabled = true\n[[worker.oci.gcpolicy]]\nsize = 3\n[system]\nplatformsCacheMaxAge = "1h"\n`,
      );
      const path = dir.at("buildkitd.toml");
      assert.deepEqual(remarks, [
        `${path}: no effect in tsbuildd: otel.socketPath, system.platformsCacheMaxAge, worker.oci.cniPoolSize, worker.containerd`,
        `${path}: unknown keys: worker.oci.gcpolicy.size, spare, worker.oci.next-thing`,
      ]);
    });

    it("is found wrong with its line and key", async () => {
      const path = file("");
      for (const [text, words] of [
        ["\n\nroot = 3\n", `${path}:3: root must be a string, not 3`],
        [
          '[worker.oci]\n# max-parallelism = 1\nmax-parallelism = "x"\n',
          `${path}:3: worker.oci.max-parallelism must be a whole number of at least 0, not "x"`,
        ],
        [
          "[[worker.oci.gcpolicy]]\nall = true\n[[worker.oci.gcpolicy]]\nall = 1\n",
          `${path}:4: worker.oci.gcpolicy.all must be true or false, not 1`,
        ],
        [
          '[registry."a.example"]\n  mirrors = "b"\n',
          `${path}:2: registry."a.example".mirrors must be a list of strings, not "b"`,
        ],
        [
          '[log]\nlevel = "loud"\n',
          `${path}:2: log.level must be one of panic, fatal, error, warn, info, debug, trace, not "loud"`,
        ],
        [
          '[worker.oci]\nreservedSpace = "120%"\n',
          `${path}:2: worker.oci.reservedSpace must be a number of bytes, a size like "10GB" or a share like "10%", not "120%"`,
        ],
        [
          '[dns]\nnameservers = ["192.0.2.1", "nope"]\n',
          `${path}:2: dns.nameservers has "nope", which is no IP address`,
        ],
        ["worker.oci = 3\n", `${path}: worker.oci must be a table, not 3`],
        [
          "proxyNetwork = true\n",
          `${path}:1: proxyNetwork is not supported: remove it, or give steps no network (networkMode = "none")`,
        ],
      ] as const)
        assert.equal(await message(fromFile(text)), words);
      assert.match(await message(fromFile("a = \n")), new RegExp(`^${path}:1: `));
      assert.match(
        await message(fromFile('[registry."x/y"]\nhttp = true\n')),
        /: registry has "x\/y", which is not HOST\[:PORT\]/,
      );
    });
  });

  it("keeps cache down to what its rules say", () => {
    const bytes = (count: number) => ({ kind: "bytes", bytes: count }) as const;
    const kept = (rule: Partial<Parameters<typeof keptBytes>[0]>, total = 500): number | null =>
      keptBytes({ reserved: null, maxUsed: null, minFree: null, ...rule }, total, { total: 1000, used: 900 });
    assert.equal(kept({}), null);
    assert.equal(kept({ reserved: bytes(200) }), 200);
    assert.equal(kept({ maxUsed: { kind: "share", share: 0.3 } }), 300);
    assert.equal(kept({ minFree: bytes(250) }), 350); // 150 of 250 are missing
    assert.equal(kept({ minFree: bytes(50) }), 500);
    assert.equal(kept({ minFree: bytes(250), reserved: bytes(400) }), 400);
    assert.equal(kept({ minFree: bytes(250), maxUsed: bytes(300) }), 300);
  });

  it("says how single registries are spoken to", async () => {
    const { registries } = await fromFile(
      `[registry."docker.io"]\nmirrors = ["m.example:5000", "h.example/proxy/"]\n` +
        `[registry."m.example:5000"]\nhttp = true\n[registry."h.example"]\ninsecure = true\nca = ["${dir.at("ca.pem")}"]\n` +
        `[registry."both.example"]\nhttp = true\ninsecure = true\n`,
    );
    writeFileSync(dir.at("ca.pem"), "-----BEGIN CERTIFICATE-----\nx\n-----END CERTIFICATE-----\n");
    const book = openPlaces({
      ...registries,
      conf: { main: [], more: [] },
      hostDirs: [],
      authorities: async () => null,
      notice: () => {},
    });
    const { mirrors, source } = await book.placesOf(parseReference("alpine"));
    assert.deepEqual(
      mirrors.map(({ at }) => [at.host, at.repository, at.insecure ?? false]),
      [
        ["http://m.example:5000", "library/alpine", false],
        ["h.example", "proxy/library/alpine", true],
      ],
    );
    assert.equal(source.host, "docker.io");
    assert.match((await mirrors[1]?.at.manner?.tls?.())?.ca[0] ?? "", /BEGIN CERTIFICATE/);
    const direct = await book.placesOf(parseReference("m.example:5000/x"));
    assert.equal(direct.target.host, "http://m.example:5000");
    const both = (await book.placesOf(parseReference("both.example/x"))).source;
    assert.deepEqual([both.host, both.insecure], ["both.example", true]);
  });

  it("gives steps its name servers, and lets the machine's own be asked through its resolver", () => {
    const conf = resolvConfOf({
      nameservers: ["192.0.2.1", "192.0.2.2"],
      options: ["ndots:2"],
      searchDomains: ["a.example"],
    });
    assert.equal(conf("none"), "");
    const step = stepResolvConf(conf("host"), "169.254.1.1");
    assert.equal(step, "search a.example\nnameserver 192.0.2.1\nnameserver 192.0.2.2\noptions ndots:2\n");
    const own = conf("host").replace(/(machine asks ).*/, "$1192.0.2.2");
    assert.match(stepResolvConf(own, "169.254.1.1"), /^nameserver 192\.0\.2\.1\nnameserver 169\.254\.1\.1$/m);
  });

  it("chooses what the log has, and its form", () => {
    const lines: string[] = [];
    const log = openLog((line) => void lines.push(line), { format: "text", level: "warn" });
    log.info("quiet");
    log.warn("a\u001b[31m");
    log.set({ format: "json", level: "debug" });
    log.debug("two\nlines");
    const { level, msg, time } = JSON.parse(lines[1] ?? "") as Record<string, string>;
    assert.equal(lines[0], "WARNING: a\uFFFD[31m\n");
    assert.deepEqual([level, msg], ["debug", "two\nlines"]);
    assert.match(time ?? "", /^\d{4}-\d\d-\d\dT/);
  });
});

describe("a configured tsbuildd", function () {
  this.timeout(120_000);

  it("has the mirrors, name servers, network, parallelism and limits of its file, and reads it again with SIGHUP", async () => {
    using shop = await openWorkshop(ordinaryUser());
    const registry = await startRegistry();
    try {
      await shop.ok([
        "build",
        "-q",
        "-t",
        `${registry.host}/mirrored/tool`,
        "--push",
        shop.context("tool", { Dockerfile: "FROM base\n" }),
      ]);
      const config = join(shop.context("etc", { "buildkitd.toml": "" }), "buildkitd.toml");
      chmodSync(config, 0o644);
      const common = `[dns]\nnameservers = ["192.0.2.77"]\n[worker.oci]\nmax-parallelism = 1\n`;
      writeFileSync(config, common);
      await using worker = await openDaemonShop(shop, ["--config", config, "--log-level=debug"]);
      const used = worker.context("used", {
        Dockerfile: `FROM up.example/tool\nRUN cat /etc/resolv.conf\n`,
      });
      const refused = await worker.run("build", "--progress=plain", used);
      assert.equal(refused.code, 1, refused.stderr);

      writeFileSync(
        config,
        `insecure-entitlements = ["network.host"]\n[registry."up.example"]\nmirrors = ["${registry.host}/mirrored"]\n` +
          common.replace("= 1\n", "= 2\n") +
          `[[worker.oci.gcpolicy]]\nall = true\nreservedSpace = 1\n`,
      );
      worker.daemon.kill("SIGHUP");
      await worker.daemon.says(
        /takes effect with the next start: \[worker\.oci\] max-parallelism[^]*read \S+buildkitd\.toml again/,
      );
      const { stderr } = await worker.ok("build", "--progress=plain", used);
      assert.match(stderr, / nameserver 192\.0\.2\.77$/m);
      await worker.daemon.says(
        /build \w+ of unix begins[^]*build \w+ failed after \d+\.\d s, by [^]*build \w+ succeeded after/,
      );
      await worker.daemon.says(/removed \d+ bytes of cache by the rules of the configuration/);
      assert.match(
        (await worker.ok("inspect")).stdout,
        /GC Policy rule#0:\s+All:\s+true[^]*Reserved Space:\s+1B/,
      );

      // Two steps that do not know each other, of which each sees whether the other runs.
      const look = (mine: string, other: string): string =>
        `RUN --mount=type=cache,target=/c touch /c/${mine}; sleep 0.3; test ! -e /c/${other} && rm /c/${mine}\n`;
      const two = worker.context("two", {
        Dockerfile: `FROM up.example/tool AS a\n${look("a", "b")}FROM up.example/tool AS b\n${look("b", "a")}FROM scratch\nCOPY --from=a /etc/passwd /a\nCOPY --from=b /etc/passwd /b\n`,
      });
      await worker.ok("build", two);
      const host = worker.context("host", { Dockerfile: `${BASE}${sh("true")}` });
      await worker.ok("build", "--network=host", "--allow=network.host", host);

      writeFileSync(config, "root = 3\n");
      worker.daemon.kill("SIGHUP");
      await worker.daemon.says(
        /ERROR: goes on with the settings it has: \S+:1: root must be a string, not 3/,
      );
      await worker.ok("build", host);
      assert.equal((await worker.stop()).code, 0);
    } finally {
      await registry[Symbol.asyncDispose]();
    }
  });

  it("can leave all steps without a network, and its sockets to a group", async () => {
    using shop = await openWorkshop();
    await using worker = await openDaemonShop(shop, [
      "--oci-worker-net=none",
      `--group=${process.getgid?.()}`,
      "--log-format=json",
    ]);
    const dir = worker.context("offline", {
      Dockerfile: `${BASE}${sh("/bin/busybox ls /sys/class/net; /bin/busybox wc -c < /etc/resolv.conf")}`,
    });
    const { stderr } = await worker.ok("build", "--progress=plain", "--build-arg=TOKEN=hunter2", dir);
    assert.match(stderr, /^#\d+ \d+\.\d+ lo$\n^#\d+ \d+\.\d+ 0$/m);
    assert.equal(statSync(worker.socket).mode & 0o777, 0o660);
    const { code, stderr: log } = await worker.stop();
    assert.equal(code, 0);
    const lines = log.trim().split("\n");
    const messages = lines.map((line) => (JSON.parse(line) as { msg: string }).msg);
    assert.ok(messages.every((msg) => typeof msg === "string"));
    // A line as a build begins, and one as it ends; no arguments.
    const builds = messages.filter((msg) => msg.startsWith("build "));
    assert.equal(builds.length, 2);
    assert.match(builds[0] ?? "", /^build (\w+) of unix begins$/);
    assert.match(
      builds[1] ?? "",
      /^build \w+ succeeded after \d+\.\d s, by dockerfile\.v0: \d of \d steps cached$/,
    );
    assert.doesNotMatch(log, /TOKEN|hunter2/);
  });

  it("is refused a configuration that is wrong, and says where", async () => {
    using shop = await openWorkshop();
    const config = join(shop.context("etc", { "c.toml": '[grpc]\naddress = "unix:///x"\n' }), "c.toml");
    const { code, stderr } = await shop.run(["--config", config], { program: "tsbuildd" });
    assert.equal(code, 1);
    assert.match(
      stderr,
      /^ERROR: \S+c\.toml:2: grpc\.address must be a list of strings, not "unix:\/\/\/x"$/m,
    );
  });
});
