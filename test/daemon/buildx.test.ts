// tsbuildd as docker buildx drives it, by its remote driver.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { existsSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { connect } from "node:tls";
import { openWorkshop, type Workshop } from "../build/fixture.ts";
import { writeBaseImage } from "../support/base-image.ts";
import { buildxProgram } from "../support/buildx.ts";
import { type Outcome, type RunningCommand, startTsbuild } from "../support/cli.ts";
import { BASE, type DaemonShop, openDaemonShop, sh } from "../support/daemon.ts";
import { needs } from "../support/needs.ts";
import { startRegistry } from "../support/registry.ts";
import { accounts } from "../support/unprivileged.ts";

for (const account of accounts()) {
  describe(`tsbuildd as ${account.name}, driven by docker buildx`, function () {
    this.timeout(120_000);
    let shop: Workshop;
    let clients: DaemonShop;

    before(async () => {
      shop = await openWorkshop(account);
      clients = await openDaemonShop(shop, ["--addr", "tcp://127.0.0.1:0"]);
    });
    after(async () => {
      const { code, stderr } = await clients.stop();
      await clients[Symbol.asyncDispose]();
      shop[Symbol.dispose]();
      assert.equal(code, 0, stderr);
      assert.doesNotMatch(stderr, /internal error/);
    });

    const start = (args: readonly string[], input?: string): RunningCommand => clients.start(args, input);
    const buildx = (...args: readonly string[]): Promise<Outcome> => clients.run(...args);
    const ok = (...args: readonly string[]): Promise<Outcome> => clients.ok(...args);
    const context = (name: string, files: Readonly<Record<string, string>>): string =>
      clients.context(name, files);

    it("is known as a worker of this machine's platform", async () => {
      const { stdout } = await ok("inspect");
      assert.match(stdout, /Status: +running/);
      const [, minor] = /BuildKit version: v0\.(\d+)\.0\+tsbuild\.\d+\.\d+\.\d+/.exec(stdout) ?? [];
      assert.ok(Number(minor) >= 11, stdout); // docker/build-push-action asks older ones for no provenance
      assert.match(stdout, /Platforms: +linux\//);
    });

    it("builds stages, leaves out what is ignored, and gives the files back", async () => {
      const dir = context("stages", {
        Dockerfile: `${BASE}${sh("echo made > /made")}FROM base\nCOPY . /src/\n${sh("/bin/busybox cat /src/a /made > /both")}`,
        ".dockerignore": "left-out\n",
        a: "a\n",
        "left-out": "",
        "sub/ü": "non-ascii",
      });
      const out = shop.at("home", "out");
      const { stderr } = await ok("build", "--progress=plain", "-o", out, dir);
      assert.equal(readFileSync(join(out, "both"), "utf8"), "a\nmade\n");
      assert.deepEqual(readdirSync(join(out, "src")).sort(), [
        ".dockerignore",
        "Dockerfile",
        "a",
        "busybox",
        "sub",
      ]);
      assert.equal(readFileSync(join(out, "src/sub/ü"), "utf8"), "non-ascii");
      assert.match(stderr, /\[base 2\/2\] RUN/);
      const again = await ok("build", "--progress=plain", dir);
      assert.equal(again.stderr.match(/^#\d+ CACHED$/gm)?.length, 4, again.stderr);
      writeFileSync(join(dir, "a"), "changed\n");
      await ok("build", "-o", out, dir);
      assert.equal(readFileSync(join(out, "both"), "utf8"), "changed\nmade\n");
    });

    it("gives images as archives, with metadata and an ID", async () => {
      const dir = context("archives", { Dockerfile: `${BASE}LABEL a=b\n` });
      const [oci, docker, metadata, id] = ["o.tar", "d.tar", "m.json", "id"].map((name) =>
        shop.at("home", name),
      );
      await ok(
        ...["build", "-t", "app:1", "-o", `type=oci,dest=${oci}`, "-o", `type=docker,dest=${docker}`],
        ...["--metadata-file", metadata as string, "--iidfile", id as string, dir],
      );
      const listed = execFileSync(needs("skopeo"), ["inspect", "--config", `oci-archive:${oci}`], {
        encoding: "utf8",
      });
      assert.deepEqual((JSON.parse(listed) as { config: { Labels: object } }).config.Labels, { a: "b" });
      assert.match(
        execFileSync("tar", ["-xOf", docker as string, "manifest.json"], { encoding: "utf8" }),
        /"app:1"/,
      );
      const told = JSON.parse(readFileSync(metadata as string, "utf8")) as Record<string, unknown>;
      assert.match(String(told["containerimage.digest"]), /^sha256:[0-9a-f]{64}$/);
      assert.equal(told["image.name"], "docker.io/library/app:1");
      assert.equal(readFileSync(id as string, "utf8"), told["containerimage.config.digest"]);
    });

    it("pushes to a registry with the client's names", async () => {
      const registry = await startRegistry();
      try {
        const dir = context("pushed", { Dockerfile: BASE });
        const name = `${registry.host}/team/app:1`;
        await ok("build", "--push", "-t", name, dir);
        const inspected = execFileSync(
          needs("skopeo"),
          ["inspect", "--tls-verify=false", `docker://${name}`],
          {
            encoding: "utf8",
          },
        );
        assert.match(inspected, /"Digest": "sha256:/);
      } finally {
        await registry[Symbol.asyncDispose]();
      }
    });

    it("tells a failing step with its log, its lines and exit code 1", async () => {
      const dir = context("fails", { Dockerfile: `${BASE}${sh("echo oops; exit 7")}` });
      const { code, stderr } = await buildx("build", "--progress=plain", dir);
      assert.equal(code, 1);
      assert.match(stderr, /did not complete successfully: exit code: 7$/m);
      assert.match(stderr, /^ > \[2\/2\] RUN/m);
      assert.match(stderr, /^Dockerfile:3\n-+\n/m);
      assert.match(stderr, />>> RUN \["\/bin\/busybox", "sh"/);
    });

    it("tells what is wrong with a Dockerfile, or that there is none", async () => {
      const dir = context("wrong", { Dockerfile: "FROM scratch\nCOPPY a b\n" });
      const { stderr } = await buildx("build", dir);
      assert.match(stderr, /dockerfile parse error on line 2: unknown instruction: COPPY/);
      const none = await buildx("build", "-f", join(dir, "none"), dir);
      assert.match(none.stderr, /failed to read dockerfile: open none: no such file or directory/);
    });

    it("checks, outlines and lists targets", async () => {
      const dir = context("checked", { Dockerfile: "from scratch AS one\nARG A=1\nFROM one AS two\n" });
      const { code, stdout } = await buildx("build", "--check", dir);
      assert.equal(code, 1);
      assert.match(stdout, /ConsistentInstructionCasing/);
      assert.match((await ok("build", "--call=outline", dir)).stdout, /TARGET: +two/);
      assert.match((await ok("build", "--call=targets", dir)).stdout, /^two \(default\) *$/m);
    });

    it("mounts the client's secrets, and says which is missing", async () => {
      const dir = context("secret", {
        Dockerfile: `${BASE}RUN --mount=type=secret,id=s ["/bin/busybox","wc","-c","/run/secrets/s"]\n`,
        s: "twelve chars",
      });
      const { stderr } = await ok("build", "--progress=plain", "--secret", `id=s,src=${join(dir, "s")}`, dir);
      assert.match(stderr, / 12 \/run\/secrets\/s/);
      const required = context("required", {
        Dockerfile: `${BASE}RUN --mount=type=secret,id=none,required=true ["/bin/busybox","true"]\n`,
      });
      assert.match((await buildx("build", required)).stderr, /secret none: not found/);
    });

    it("takes named contexts of the client, arguments, targets and a Dockerfile from elsewhere", async () => {
      const dir = context("named", { a: "a" });
      const more = shop.context("more", { x: "of more" });
      const file = join(shop.context("beside", { "My.Dockerfile": "" }), "My.Dockerfile");
      writeFileSync(
        file,
        "ARG A\nFROM scratch AS want\nARG A\nLABEL a=$A\nCOPY --from=more x /\nCOPY a /\nFROM scratch\n",
      );
      const out = shop.at("home", "named-out");
      await ok(
        ...["build", "-f", file, "--build-context", `more=${more}`, "--build-arg", "A=1"],
        ...["--target", "want", "-o", out, dir],
      );
      assert.deepEqual(readdirSync(out).sort(), ["a", "x"]);
    });

    it("builds on an image that is in a layout of the client", async () => {
      const dir = context("layouts", { Dockerfile: `FROM base\n${sh("cat /d/a > /b")}` });
      const layout = shop.at("home", "layout-of-client");
      await writeBaseImage(layout, { layers: [{ "d/a": "of the layout" }] });
      if (account.uid !== process.getuid?.())
        execFileSync("chown", ["-R", `${account.uid}:${account.gid}`, layout]); // buildx locks it
      const out = shop.at("home", "layouts-out");
      await ok("build", "--build-context", `base=oci-layout://${layout}`, "-o", out, dir);
      assert.equal(readFileSync(join(out, "b"), "utf8"), "of the layout");
    });

    it("passes on layers of such an image that no step has needed", async () => {
      const dir = context("lazy", { Dockerfile: "FROM base\nLABEL a=b\n" });
      const registry = await startRegistry();
      try {
        const outputs = [
          `type=image,name=${registry.host}/lazy:1,push=true,store=false`,
          `type=oci,dest=${shop.at("home", "lazy.tar")}`,
          "type=image,name=lazy:1,store=true",
        ];
        for (const [index, output] of outputs.entries()) {
          const layout = shop.at("home", `lazy-layout-${index}`);
          await writeBaseImage(layout, { layers: [{ "d/a": `nobody has layer ${index}` }] });
          if (account.uid !== process.getuid?.())
            execFileSync("chown", ["-R", `${account.uid}:${account.gid}`, layout]); // buildx locks it
          await ok("build", "--build-context", `base=oci-layout://${layout}`, "-o", output, dir);
          rmSync(layout, { recursive: true });
        }
        for (const image of [
          `docker://${registry.host}/lazy:1`,
          `oci-archive:${shop.at("home", "lazy.tar")}`,
        ]) {
          const copied = shop.at("home", "lazy-copy.tar");
          const flags = ["copy", "--src-tls-verify=false", image, `oci-archive:${copied}`];
          execFileSync(needs("skopeo"), flags); // reads all layers
          rmSync(copied);
        }
        const { stdout } = await shop.ok(["run", "--rm", "lazy:1", "cat", "/d/a"]);
        assert.equal(stdout, "nobody has layer 2");
      } finally {
        await registry[Symbol.asyncDispose]();
      }
    });

    it("takes a context through standard input", async () => {
      const dir = context("piped", { Dockerfile: "FROM scratch\nCOPY a /b\n", a: "a\n" });
      const out = shop.at("home", "piped-out");
      const archive = execFileSync("tar", ["-C", dir, "-cf", "-", "Dockerfile", "a"], { encoding: "latin1" });
      const { code, stderr } = await start(["build", "-o", out, "-"], archive).outcome;
      assert.equal(code, 0, stderr);
      assert.equal(readFileSync(join(out, "b"), "utf8"), "a\n");
    });

    it("keeps a cache and an image layout in directories of the client, and reads the cache again", async () => {
      const step = sh("echo $RANDOM > /made");
      const dir = context("kept", { Dockerfile: `${BASE}${step}` });
      const [cache, layout, again] = ["kept-cache", "kept-layout", "kept-again"].map((name) =>
        shop.at("home", name),
      ) as [string, string, string];
      const output = (dest: string): string => `type=oci,tar=false,dest=${dest}`;
      await ok("build", "--cache-to", `type=local,mode=max,dest=${cache}`, "-o", output(layout), dir);
      await ok("prune", "-af");
      const { stderr } = await ok(
        ...["build", "--progress=plain", "--cache-from", `type=local,src=${cache}`, "-o", output(again), dir],
      );
      assert.equal(stderr.match(/^#\d+ CACHED$/gm)?.length, 2, stderr);
      const [first, second] = [layout, again].map(
        (path) =>
          JSON.parse(readFileSync(join(path, "index.json"), "utf8")) as { manifests: { digest: string }[] },
      );
      assert.equal(second?.manifests[0]?.digest, first?.manifests[0]?.digest);
      const inspected = execFileSync(needs("skopeo"), ["inspect", `oci:${again}`], { encoding: "utf8" });
      assert.match(inspected, /"Layers": \[\s+"sha256:/);
      // A damaged cache is told, and the build goes on without it.
      for (const name of readdirSync(join(cache, "blobs/sha256")))
        writeFileSync(join(cache, "blobs/sha256", name), "");
      await ok("prune", "-af");
      const broken = await ok("build", "--progress=plain", "--cache-from", `type=local,src=${cache}`, dir);
      assert.doesNotMatch(broken.stderr, /CACHED/);
    });

    it("gives the result of one target to another, which may read its files for longer", async () => {
      const dir = context("linked", {
        // Sent once more by each target, after the first one has what it needs.
        large: "x".repeat(10_000_000),
        Dockerfile: `${BASE}ENV FROM_BASE=yes\nCOPY a /a\n`,
        "Dockerfile.app": `FROM base\nCOPY --from=base /a /c\n${sh("echo $FROM_BASE > /env")}`,
        a: "a\n",
        "docker-bake.json": JSON.stringify({
          target: {
            base: { output: ["type=cacheonly"] },
            app: {
              contexts: { base: "target:base" },
              dockerfile: "Dockerfile.app",
              output: [shop.at("home", "linked-out")],
            },
          },
        }),
      });
      const { stderr } = await ok(
        "bake",
        "--progress=plain",
        "-f",
        join(dir, "docker-bake.json"),
        "--set",
        `*.context=${dir}`,
        "app",
      );
      assert.equal(readFileSync(shop.at("home", "linked-out", "c"), "utf8"), "a\n", stderr);
      assert.equal(readFileSync(shop.at("home", "linked-out", "env"), "utf8"), "yes\n");
    });

    it("refuses the host's network to who has not been granted it", async () => {
      const dir = context("network", { Dockerfile: `${BASE}${sh("true")}` });
      const { code, stderr } = await buildx("build", "--network=host", "--allow=network.host", dir);
      assert.equal(code, 1);
      assert.match(stderr, /granting entitlement network\.host is not allowed by build daemon configuration/);
    });

    it("stops the step of a build that is cancelled, and goes on with others", async () => {
      const dir = context("long", { Dockerfile: `${BASE}${sh("echo begun; sleep 1000")}` });
      const running = start(["build", "--progress=plain", dir]);
      await running.says(/ begun$/m);
      running.kill("SIGINT");
      const { code, stderr } = await running.outcome;
      assert.equal(code, 130);
      assert.match(stderr, /CANCELED|context canceled/);
      for (let tries = 0; tries < 100 && sleepers(clients.daemon.pid) > 0; tries++) await delay(50);
      assert.equal(sleepers(clients.daemon.pid), 0);
      await ok("build", context("after", { Dockerfile: BASE }));
    });

    it("builds for several clients at one time, and runs equal steps once", async () => {
      const dir = context("many", {
        Dockerfile: `${BASE}RUN --mount=type=cache,target=/c ["/bin/busybox","sh","-c","echo ran >> /c/n; sleep 1; wc -l < /c/n"]\n`,
      });
      const all = await Promise.all(Array.from({ length: 4 }, () => ok("build", "--progress=plain", dir)));
      assert.ok(all.every(({ stderr }) => !/^#\d+ \d+\.\d+ [2-9]$/m.test(stderr)));
    });

    it("shows and frees disk space", async () => {
      assert.match((await ok("du")).stdout, /Total:\t+\d/);
      assert.match((await ok("prune", "--all", "--force")).stdout, /Total:\t[1-9]/);
    });

    it("has a socket that is its user's alone", () => {
      const socket = shop.at("home", "d.sock");
      assert.equal(statSync(socket).mode & 0o777, 0o600);
    });
  });
}

/** `docker buildx ARGS` with a home of its own. */
function client(shop: Workshop, args: readonly string[]): RunningCommand {
  const home = shop.at("home");
  return startTsbuild(args, {
    account: shop.account,
    root: shop.root,
    cwd: shop.dir,
    command: [buildxProgram()],
    env: { HOME: home, DOCKER_CONFIG: home },
  });
}

/** Processes of these tests' long step, wherever they are. */
function sleepers(daemon: number): number {
  const below = (pid: number): number[] => {
    const children = `/proc/${pid}/task`;
    if (!existsSync(children)) return [];
    const found = readdirSync(children).flatMap((task) => {
      try {
        return readFileSync(`${children}/${task}/children`, "latin1")
          .trim()
          .split(" ")
          .filter(Boolean)
          .map(Number);
      } catch {
        return [];
      }
    });
    return found.flatMap((one) => [one, ...below(one)]);
  };
  return below(daemon).filter((pid) => {
    try {
      return readFileSync(`/proc/${pid}/cmdline`, "latin1").includes("sleep 1000");
    } catch {
      return false;
    }
  }).length;
}

describe("tsbuildd with mutual TLS", function () {
  this.timeout(60_000);

  it("serves clients whose certificate its authority has signed, and no others", async () => {
    using shop = await openWorkshop();
    const home = shop.context("home", { ".keep": "" });
    const at = (name: string): string => shop.at("home", name);
    const openssl = (...args: string[]): void =>
      void execFileSync(needs("openssl"), args, { cwd: home, stdio: ["ignore", "ignore", "pipe"] });
    const authority = (name: string): void =>
      openssl(
        ..."req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=test".split(" "),
        "-keyout",
        `${name}.key`,
        "-out",
        `${name}.crt`,
      );
    const signed = (name: string, ca: string): void => {
      openssl(
        ..."req -newkey rsa:2048 -nodes -subj /CN=localhost".split(" "),
        "-keyout",
        `${name}.key`,
        "-out",
        `${name}.csr`,
      );
      writeFileSync(at("ext"), "subjectAltName=DNS:localhost,IP:127.0.0.1\n");
      openssl(
        "x509",
        "-req",
        "-days",
        "2",
        "-in",
        `${name}.csr`,
        "-CA",
        `${ca}.crt`,
        "-CAkey",
        `${ca}.key`,
        "-CAcreateserial",
        "-extfile",
        "ext",
        "-out",
        `${name}.crt`,
      );
    };
    authority("ca");
    authority("other");
    signed("server", "ca");
    signed("client", "ca");
    signed("stranger", "other");
    const daemon = shop.start(
      [
        "--addr",
        "tcp://127.0.0.1:0",
        "--tlscert",
        at("server.crt"),
        "--tlskey",
        at("server.key"),
        "--tlscacert",
        at("ca.crt"),
      ],
      { program: "tsbuildd" },
    );
    try {
      const port = /tcp:\/\/127\.0\.0\.1:(\d+)/.exec(await daemon.says(/listens on tcp:\S+/))?.[1];
      const buildx = (...args: string[]) => client(shop, args).outcome;
      /** What comes first over TLS with these keys: an HTTP/2 server begins with its settings. */
      const answerTo = (who: string): Promise<string> =>
        new Promise((resolve) => {
          const [ca, cert, key] = ["ca.crt", `${who}.crt`, `${who}.key`].map((name) =>
            readFileSync(at(name)),
          );
          const socket = connect({
            port: Number(port),
            host: "127.0.0.1",
            servername: "localhost",
            ca,
            cert,
            key,
          });
          const end = (answer: string) => (): void => {
            socket.destroy();
            resolve(answer);
          };
          socket.on("error", end("nothing")).on("close", end("nothing")).once("data", end("settings"));
          socket.write(
            Buffer.concat([
              Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
              Buffer.from([0, 0, 0, 4, 0, 0, 0, 0, 0]),
            ]),
          );
        });
      const keys = `cacert=${at("ca.crt")},cert=${at("client.crt")},key=${at("client.key")},servername=localhost`;
      const create = ["create", "--name", "client", "--driver", "remote", "--driver-opt", keys];
      await buildx(...create, `tcp://127.0.0.1:${port}`);
      const dir = shop.context("tls", { Dockerfile: "FROM scratch\nCOPY Dockerfile /\n" });
      const served = await buildx("build", "--builder", "client", "-o", at("out"), dir);
      assert.equal(served.code, 0, served.stderr);
      assert.deepEqual(readdirSync(at("out")), ["Dockerfile"]);
      assert.equal(await answerTo("client"), "settings");
      assert.equal(await answerTo("stranger"), "nothing");
    } finally {
      daemon.kill("SIGTERM");
    }
    assert.equal((await daemon.outcome).code, 0);
  });

  it("is not served in plain to other machines", async () => {
    using shop = await openWorkshop();
    const { code, stderr } = await shop.run(["--addr", "tcp://0.0.0.0:0"], { program: "tsbuildd" });
    assert.equal(code, 1);
    assert.match(stderr, /needs TLS/);
  });
});
