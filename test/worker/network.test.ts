// The default network of steps: in this test's own network, made of loopback and an unconnected tap interface, so that nothing
// real is contacted. This file runs itself again inside it.

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { createSocket } from "node:dgram";
import { once } from "node:events";
import { chownSync, writeFileSync } from "node:fs";
import { createServer as createHttpServer } from "node:http";
import { type AddressInfo, connect, createServer, isIPv4, type Server } from "node:net";
import { arch, constants } from "node:os";
import { setTimeout as delay } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import type { ExecControl } from "../../worker/keeper/contract.ts";
import { findNetworkHelper, type NetworkHelper } from "../../worker/keeper/network-helper.ts";
import type { Program } from "../../worker/launcher/program.ts";
import { stepResolvConf } from "../../worker/sandbox/network.ts";
import { AF, sockaddr } from "../../worker/sandbox/socket-address.ts";
import { SOCK } from "../../worker/sandbox/sockets.ts";
import { needs } from "../support/needs.ts";
import { isRoot } from "../support/privileges.ts";
import { processesWith, temporaryDir } from "../support/store.ts";
import { type Account, accounts } from "../support/unprivileged.ts";
import { openSandboxUnderTest, PATH, type SandboxUnderTest } from "./sandbox-fixture.ts";
import { O } from "../../worker/sys/constants.ts";

const { errno } = constants;
const CONNECT = arch() === "arm64" ? 203 : 42;
const INSIDE = "TSBUILD_TEST_INSIDE_NETWORK";
const HOST_ADDRESS = "10.77.1.1";
/** Answers here, but belongs to no interface, as a server of the host's network. */
const SERVER_ADDRESS = "10.77.2.53";

if (process.env[INSIDE] === undefined) outside();
else inside();

function outside(): void {
  describe("The default network", () => {
    it("is found by what is installed, or says what is missing", () => {
      const none = findNetworkHelper("/nowhere");
      assert.equal(none.kind, "none");
      assert.match(none.kind === "none" ? none.why : "", /apt-get install passt/);
    });
    it("replaces name servers only the host can reach", () => {
      assert.equal(
        stepResolvConf("nameserver 127.0.0.53\nsearch example.org\n", "169.254.1.1"),
        "nameserver 169.254.1.1\nsearch example.org\n",
      );
      assert.equal(
        stepResolvConf("nameserver 127.0.0.1\nnameserver 9.9.9.9\nnameserver 1.1.1.1\n", "169.254.1.1"),
        "nameserver 169.254.1.1\nnameserver 1.1.1.1\n",
      );
      assert.equal(
        stepResolvConf("nameserver 2001:db8::1\n", "10.0.2.3"),
        "nameserver 2001:db8::1\nnameserver 10.0.2.3\n",
      );
      assert.equal(stepResolvConf("", "10.0.2.3"), "nameserver 10.0.2.3\n");
    });
    for (const account of accounts()) {
      it(`works with pasta, with slirp4netns and with neither for ${account.name}`, function () {
        this.timeout(180_000);
        runInside(account);
      });
    }
  });
}

/** This file again, as `account`, where the only network is this test's. Root makes that on the machine and becomes the account in
 *  it; an ordinary user can be only root of a user namespace there. */
function runInside(account: Account): void {
  const helper = findNetworkHelper(PATH);
  assert.notEqual(helper.kind, "none", helper.kind === "none" ? helper.why : "");
  using dir = temporaryDir(account);
  writeFileSync(dir.at("resolv.conf"), "nameserver 127.0.0.1\n");
  if (isRoot) chownSync(dir.at("resolv.conf"), account.uid, account.gid); // the tests write to it
  const script = [
    "set -e",
    "ip link set lo up",
    `ip addr add ${HOST_ADDRESS}/32 dev lo`,
    "ip tuntap add dev out0 mode tap",
    "ip addr add 10.77.0.2/24 dev out0",
    "ip link set out0 up",
    "ip route add default via 10.77.0.1",
    `ip route add local ${SERVER_ADDRESS}/32 dev lo`,
    "echo 0 > /proc/sys/net/ipv4/ip_unprivileged_port_start", // the resolver's, of this namespace only
    `chmod 666 ${dir.at("resolv.conf")}`,
    `mount --bind ${dir.at("resolv.conf")} /etc/resolv.conf`,
    'exec "$@"',
  ].join("\n");
  const mocha = fileURLToPath(import.meta.resolve("mocha/bin/mocha.js"));
  const become =
    isRoot && account.uid !== 0
      ? ["setpriv", `--reuid=${account.uid}`, `--regid=${account.gid}`, "--clear-groups"]
      : [];
  const args = [
    ...become,
    process.execPath,
    mocha,
    "--no-config",
    "--reporter",
    "dot",
    "--timeout",
    "60000",
    fileURLToPath(import.meta.url),
  ];
  const namespaces = isRoot ? ["-n", "-m"] : ["-r", "--map-auto", "-n", "-m"];
  const result = spawnSync("unshare", [...namespaces, "sh", "-c", script, "sh", ...args], {
    encoding: "utf8",
    cwd: "/",
    env: { PATH, TMPDIR: dir.path, [INSIDE]: "1" },
  });
  assert.equal(result.status, 0, `${result.stdout}${result.stderr}`);
}

function inside(): void {
  const ways = [
    { kind: "pasta", networkAhead: false },
    { kind: "pasta", networkAhead: true },
    { kind: "slirp4netns", networkAhead: true }, // which makes no difference there
    { kind: "own", networkAhead: true }, // nor here
  ] as const;
  for (const { kind, networkAhead } of ways) {
    const when = networkAhead ? "with the keeper" : "with the first step";
    // A machine that lacks all helpers.
    const helper = (): NetworkHelper =>
      kind === "own" ? { kind: "none", why: "there is no helper" } : { kind, file: needs(kind) };
    describe(`A step's network made by ${kind === "own" ? "the keeper" : kind}, started ${when}`, () => {
      let box: SandboxUnderTest;
      before(async () => {
        box = await openSandboxUnderTest({ network: helper(), networkAhead });
      });
      after(async () => {
        await box?.[Symbol.asyncDispose]();
      });
      const network = "sandbox" as const;

      it("is its own, with loopback up and a way out", async () => {
        const result = await box.sh(
          `readlink /proc/self/ns/net; ip addr show dev lo | grep -c 127.0.0.1; ip route show table all | grep -c '^\\(local \\)*default'`,
          { network },
        );
        assert.deepEqual(
          result.otherNetwork,
          kind === "own" ? { kind: "forwarded", why: "there is no helper" } : undefined,
        );
        const [namespace, ...rest] = result.out.trim().split("\n");
        assert.deepEqual(rest, ["1", "1"]);
        assert.notEqual(
          namespace,
          (await box.sh("readlink /proc/self/ns/net", { network: "host" })).out.trim(),
        );
      });
      it("reaches servers of the host's network", async () => {
        const body = "x".repeat(3_000_000);
        const server = createHttpServer((_request, response) => response.end(body)).listen(0, HOST_ADDRESS);
        await once(server, "listening");
        const { port } = server.address() as { port: number };
        try {
          assert.equal((await box.sh(`wget -q -O - http://${HOST_ADDRESS}:${port}/`, { network })).out, body);
        } finally {
          server.close();
        }
      });
      it("does not reach what listens on the host's loopback only, not through its gateway either", async () => {
        const server = createHttpServer((_request, response) => response.end("secret\n"));
        server.listen(0, "127.0.0.1");
        // In the same way it is reached on the host's other address: what is not said is not for want of asking.
        const open = createHttpServer((_request, response) => response.end("reached\n"));
        open.listen(0, HOST_ADDRESS);
        await Promise.all([once(server, "listening"), once(open, "listening")]);
        const [closedPort, openPort] = [server, open].map((one) => (one.address() as { port: number }).port);
        try {
          const result = await box.sh(
            `ask() { timeout 2 wget -q -O - http://$1:$2/; }; for a in 127.0.0.1 $(ip route | sed -n 's/^default via \\([0-9.]*\\).*/\\1/p') 169.254.1.1 10.0.2.2 10.0.2.3; do ask $a ${closedPort}; done; ask ${HOST_ADDRESS} ${openPort}`,
            { network },
          );
          assert.equal(result.out, "reached\n", result.err);
        } finally {
          server.close();
          open.close();
        }
      });
      it("shows no port of a step on the host", async () => {
        let control: ExecControl | null = null;
        const answers: Promise<string>[] = [];
        const listening = "until cat /proc/net/tcp /proc/net/tcp6 | grep -q ':B043 .* 0A '; do :; done"; // port 45123, TCP_LISTEN
        await box.sh(`nc -l -p 45123 > /dev/null & ${listening}; echo up; cat`, {
          network,
          stdin: true,
          onStart(started) {
            control = started;
          },
          onOutput() {
            answers.push(connectTo(45123).finally(() => control?.stdin(null)));
          },
        });
        assert.deepEqual(await Promise.all(answers), ["ECONNREFUSED"]);
      });
      it("asks the host's resolver for names, even one on its loopback", async () => {
        const resolver = createSocket("udp4");
        resolver.on("message", (query, from) => resolver.send(answer(query), from.port, from.address));
        resolver.bind(53, "127.0.0.1");
        await once(resolver, "listening");
        try {
          const result = await box.sh("nslookup -type=a name.test", {
            network,
            resolvConf: "nameserver 127.0.0.1\n",
          });
          assert.match(result.out, /10\.9\.8\.7/, result.err);
        } finally {
          resolver.close();
        }
      });
      it("asks a resolver in the host's network for names", async () => {
        const resolver = createSocket("udp4");
        resolver.on("message", (query, from) => resolver.send(answer(query), from.port, from.address));
        resolver.bind(53, SERVER_ADDRESS);
        await once(resolver, "listening");
        const text = `nameserver ${SERVER_ADDRESS}\n`;
        writeFileSync("/etc/resolv.conf", text); // this test's own, read by the helper when it starts
        try {
          await using fresh = await openSandboxUnderTest({ network: helper() });
          const result = await fresh.sh("nslookup -type=a name.test", { network, resolvConf: text });
          assert.match(result.out, /10\.9\.8\.7/, result.err);
        } finally {
          writeFileSync("/etc/resolv.conf", "nameserver 127.0.0.1\n");
          resolver.close();
        }
      });
      it("is used again by the next step, and not shared by two at the same time", async () => {
        const namespaceOf = async (script: string): Promise<string> =>
          (await box.sh(`readlink /proc/self/ns/net; ${script}`, { network })).out.trim();
        const first = await namespaceOf("true");
        assert.equal(await namespaceOf("true"), first);
        const [one, two] = await Promise.all([namespaceOf("sleep 0.3"), namespaceOf("sleep 0.3")]);
        assert.notEqual(one, two);
      });
      if (kind !== "own") {
        it("is not used again once its helper has ended", async () => {
          const routes = async (): Promise<string> =>
            (await box.sh("ip route | grep -c ^default", { network })).out;
          assert.equal(await routes(), "1\n");
          const helpers = processesWith(`${box.store}/bin/net/`);
          assert.ok(helpers.length > 0);
          for (const pid of helpers) process.kill(Number(pid), "SIGKILL");
          while (processesWith(`${box.store}/bin/net/`).some((pid) => helpers.includes(pid))) await delay(10);
          // The keeper hears of it a moment later. A namespace without its helper has no route.
          const end = Date.now() + 20_000;
          let found = await routes();
          while (found !== "1\n" && Date.now() < end) found = await routes();
          assert.equal(found, "1\n");
        });
      }
      it("is not used again after a step that could change it", async () => {
        await box.sh("ip link set lo down", { network, security: "insecure" });
        assert.equal((await box.sh("ip addr show dev lo | grep -c UP", { network })).out, "1\n");
      });
    });
  }

  describe("Connections the keeper forwards", () => {
    let box: SandboxUnderTest;
    const network = "sandbox" as const;
    before(async () => {
      box = await openSandboxUnderTest({ network: { kind: "none", why: "there is no helper" } });
    });
    after(async () => {
      await box?.[Symbol.asyncDispose]();
    });
    const to = (port: number, address = HOST_ADDRESS): Uint8Array =>
      sockaddr({ family: isIPv4(address) ? "ipv4" : "ipv6", address, port });
    const serve = async (server: Server, address = HOST_ADDRESS): Promise<number> => {
      server.listen(0, address);
      await once(server, "listening");
      return (server.address() as AddressInfo).port;
    };

    it("fail as the true ones do, also for who does not wait", async () => {
      const closed = createServer();
      const port = await serve(closed);
      closed.close();
      await once(closed, "close");
      assert.deepEqual(
        await box.calls(
          [
            (program) => program.call("socket", [AF.ipv4, SOCK.STREAM, 0]),
            (program) => program.call(CONNECT, [3, to(port), 16]),
            (program) => program.call("socket", [AF.ipv4, SOCK.STREAM | O.NONBLOCK, 0]),
            (program) => program.call(CONNECT, [4, to(port), 16]),
            (program) => program.call("socket", [AF.ipv4, SOCK.STREAM, 0]),
            (program) => program.call(CONNECT, [5, to(80, "10.99.0.1"), 1]), // too short
            (program) => program.call(CONNECT, [5, 8, 16]), // an address that is none
          ],
          { network },
        ),
        [0, errno.ECONNREFUSED, 0, errno.ECONNREFUSED, 0, errno.EINVAL, errno.EFAULT],
      );
    });
    it("are made when they are asked for without waiting", async () => {
      const server = createServer((socket) => socket.end());
      const port = await serve(server);
      try {
        assert.deepEqual(
          await box.calls(
            [
              (program) => program.call("socket", [AF.ipv4, SOCK.STREAM | O.NONBLOCK, 0]),
              (program) => program.call(CONNECT, [3, to(port), 16]),
            ],
            { network },
          ),
          [0, errno.EINPROGRESS],
        );
      } finally {
        server.close();
      }
    });
    it("end one way at a time, as TCP does", async () => {
      const server = createServer({ allowHalfOpen: true }, (socket) => {
        const said: Buffer[] = [];
        socket.on("data", (data) => said.push(data));
        socket.once("end", () => socket.end(`got ${Buffer.concat(said).length}\n`));
      });
      const port = await serve(server);
      try {
        const result = await box.sh(`head -c 5000000 /dev/zero | nc ${HOST_ADDRESS} ${port}`, { network });
        assert.equal(result.out, "got 5000000\n", result.err);
      } finally {
        server.close();
      }
    });
    it("are as many at the same time as a build makes", async () => {
      const server = createHttpServer((request, response) => response.end(request.url));
      const port = await serve(server);
      try {
        const one = `wget -q -O - http://${HOST_ADDRESS}:${port}/`;
        const script = `i=0; while [ $i -lt 40 ]; do ${one}$i & i=$((i+1)); done; wait`;
        const { out } = await box.sh(script, { network });
        const asked = Array.from({ length: 40 }, (_, index) => `/${index}`);
        assert.deepEqual(out.slice(1).split("/").sort(), asked.map((path) => path.slice(1)).sort());
      } finally {
        server.close();
      }
    });
    it("reach whoever the step itself is, and not the host's services on the same port", async () => {
      const server = createServer((socket) => socket.end("the host\n"));
      const port = await serve(server, "127.0.0.1");
      try {
        const listening = `until grep -q ':${port.toString(16).toUpperCase().padStart(4, "0")} .* 0A ' /proc/net/tcp /proc/net/tcp6; do :; done`;
        const script = `echo the step | nc -l -p ${port} & ${listening}; nc 127.0.0.1 ${port} < /dev/null`;
        assert.equal((await box.sh(script, { network })).out, "the step\n");
      } finally {
        server.close();
      }
    });
    it("may be datagrams, with the answer coming back", async () => {
      const echo = createSocket("udp4");
      echo.on("message", (data, from) => echo.send(data, from.port, from.address));
      echo.bind(0, HOST_ADDRESS);
      await once(echo, "listening");
      const { port } = echo.address();
      const answered = [
        (program: Program) => program.call("read", [3, new Uint8Array(16), 16]),
        (program: Program) => program.call("read", [4, new Uint8Array(16), 16]),
      ];
      try {
        assert.deepEqual(
          await box.calls(
            [
              (program) => program.call("socket", [AF.ipv4, SOCK.DGRAM, 0]),
              (program) => program.call(CONNECT, [3, to(port), 16]),
              (program) => program.call("write", [3, "ping", 4]),
              (program) => program.call("socket", [AF.ipv4, SOCK.DGRAM, 0]),
              (program) => program.call("sendto", [4, "ping", 4, 0, to(port), 16]),
              ...answered,
            ],
            { network },
          ),
          [0, 0, 0, 0, 0, 0, 0],
        );
      } finally {
        echo.close();
      }
    });
    it("are made for a program of any user, with --security=insecure too", async () => {
      const server = createServer((socket) => socket.end("reached\n"));
      const port = await serve(server);
      try {
        const script = `nc ${HOST_ADDRESS} ${port} < /dev/null`;
        assert.equal((await box.sh(script, { network, user: "app" })).out, "reached\n");
        assert.equal((await box.sh(script, { network, security: "insecure" })).out, "reached\n");
      } finally {
        server.close();
      }
    });
    it("do not reach an abstract socket of the host (E10)", async () => {
      const server = createServer((socket) => socket.end("secret")).listen("\0tsbuild-test-abstract");
      await once(server, "listening");
      try {
        const address = Buffer.concat([Buffer.of(1, 0, 0), Buffer.from("tsbuild-test-abstract")]);
        const results = await box.calls(
          [
            (program) => program.call("socket", [1, SOCK.STREAM, 0]),
            (program) => program.call(CONNECT, [3, address, address.length]),
          ],
          { network },
        );
        assert.deepEqual(results, [0, errno.ECONNREFUSED]);
      } finally {
        server.close();
      }
    });
    it("end with the step that is cancelled while one is being made", async () => {
      const abort = new AbortController();
      const script = `echo up; nc 10.77.0.9 80`; // behind the interface that nobody answers on
      await assert.rejects(
        box.sh(script, {
          network,
          signal: abort.signal,
          onOutput: () => abort.abort(new Error("enough")),
        }),
        /enough/,
      );
    });
  });

  describe("A network helper that does not work", () => {
    for (const file of ["/bin/false", "/nowhere"]) {
      for (const networkAhead of [false, true]) {
        it(`gives the step a network that is forwarded here and says so: ${file}${networkAhead ? ", started with the keeper" : ""}`, async () => {
          await using box = await openSandboxUnderTest({ network: { kind: "pasta", file }, networkAhead });
          for (let step = 0; step < 2; step++) {
            const result = await box.sh("echo ran", { network: "sandbox" });
            assert.deepEqual([result.code, result.out], [0, "ran\n"]);
            assert.equal(result.otherNetwork?.kind, "forwarded");
            assert.match(result.otherNetwork?.why ?? "", /^(pasta failed|spawn)/);
          }
        });
      }
    }
  });
}

/** "connected", or the code of the error. */
function connectTo(port: number): Promise<string> {
  return new Promise((resolve) => {
    const socket = connect(port, "127.0.0.1");
    socket.once("connect", () => {
      socket.destroy();
      resolve("connected");
    });
    socket.once("error", (error: NodeJS.ErrnoException) => resolve(error.code ?? error.message));
  });
}

/** The answer to a query for an address: 10.9.8.7. RFC 1035, section 4. */
function answer(query: Buffer): Buffer {
  const end = query.indexOf(0, 12) + 5; // the question: name, type, class
  const head = Buffer.from(query.subarray(0, end));
  head.writeUInt16BE(0x8180, 2);
  head.writeUInt16BE(1, 6);
  head.fill(0, 8, 12);
  return Buffer.concat([head, Buffer.from([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 10, 9, 8, 7])]);
}
