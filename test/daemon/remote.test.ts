// Our own command as the client: `tsbuild build --builder`, against tsbuildd.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import {
  appendFileSync,
  existsSync,
  linkSync,
  lstatSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { openWorkshop, type Workshop } from "../build/fixture.ts";
import { writeBaseImage } from "../support/base-image.ts";
import { type CliOptions, type Outcome, type RunningCommand, startTsbuild } from "../support/cli.ts";
import { BASE, busyboxContext, sh } from "../support/daemon.ts";
import { needs } from "../support/needs.ts";
import { startRegistry } from "../support/registry.ts";
import { accounts } from "../support/unprivileged.ts";

for (const account of accounts()) {
  describe(`tsbuild build --builder as ${account.name}`, function () {
    this.timeout(120_000);
    let shop: Workshop;
    let daemon: RunningCommand;

    before(async () => {
      shop = await openWorkshop(account);
      shop.context("home", { ".keep": "" });
      shop.context("far", { ".keep": "" });
      daemon = startTsbuild(["--addr", address()], {
        account,
        program: "tsbuildd",
        root: shop.at("far", "store"),
        env: { TMPDIR: shop.at("far") },
      });
      await daemon.says(/listens on unix:/);
    });
    after(async () => {
      daemon.kill("SIGTERM");
      const { code, stderr } = await daemon.outcome;
      shop[Symbol.dispose]();
      assert.equal(code, 0, stderr);
      assert.doesNotMatch(stderr, /internal error/);
    });

    const address = (): string => `unix://${shop.at("far", "d.sock")}`;
    const home = (): Record<string, string> => ({ HOME: shop.at("home"), TMPDIR: shop.at("home") });
    const env = (): Record<string, string> => ({ ...home(), TSBUILD_HOST: address() });
    const start = (args: readonly string[], options: Partial<CliOptions> = {}): RunningCommand =>
      startTsbuild(args, { account, root: shop.root, cwd: shop.dir, env: env(), ...options });
    const run = (args: readonly string[], options?: Partial<CliOptions>): Promise<Outcome> =>
      start(args, options).outcome;
    async function ok(args: readonly string[], options?: Partial<CliOptions>): Promise<Outcome> {
      const outcome = await run(args, options);
      assert.equal(outcome.code, 0, `tsbuild ${args.join(" ")}:\n${outcome.stdout}${outcome.stderr}`);
      return outcome;
    }
    const plain = (...args: readonly string[]): string[] => ["build", "--progress=plain", ...args];
    const context = (name: string, files: Readonly<Record<string, string>>): string =>
      busyboxContext(shop, name, files);

    it("builds there and keeps the image here, where it can be run", async () => {
      const dir = context("app", {
        Dockerfile: `${BASE}COPY a /a\n${sh("cat /a /a > /both; echo made")}CMD ["/bin/busybox","cat","/both"]\n`,
        a: "once\n",
      });
      const { stderr } = await ok(plain("-t", "app:1", dir));
      assert.match(stderr, /^#\d+ \d+\.\d+ made$/m);
      assert.match(stderr, /importing to image store/);
      assert.equal((await ok(["run", "app:1"])).stdout, "once\nonce\n");
      const again = await ok(plain("-t", "app:1", dir));
      assert.equal(again.stderr.match(/^#\d+ CACHED$/gm)?.length, 3, again.stderr);
      assert.ok(existsSync(shop.at("far", "store")));
    });

    it("sends what is not ignored, with links, modes and hard links, and only what has changed", async () => {
      const dir = context("tree", {
        Dockerfile: `FROM scratch\nCOPY . /\n`,
        ".dockerignore": "*\n!kept\n!way\nkept/not\n",
        "kept/a": "a",
        "kept/not": "",
        "kept/ü": "ü",
        "way/deep/x": "x",
        out: "",
      });
      linkSync(join(dir, "kept/a"), join(dir, "kept/b"));
      symlinkSync("../../../etc/passwd", join(dir, "kept/link"));
      execFileSync("chmod", ["4755", join(dir, "way/deep/x")]);
      const out = shop.at("home", "tree-out");
      await ok(plain("-o", out, dir));
      assert.deepEqual(readdirSync(out).sort(), ["kept", "way"]);
      assert.deepEqual(readdirSync(join(out, "kept")).sort(), ["a", "b", "link", "ü"]);
      assert.equal(readlinkSync(join(out, "kept/link")), "../../../etc/passwd");
      assert.equal(statSync(join(out, "kept/a")).ino, statSync(join(out, "kept/b")).ino);
      // A set-id bit is not made the user's.
      assert.equal(lstatSync(join(out, "way/deep/x")).mode & 0o7777, 0o755);
      writeFileSync(join(dir, "way/deep/x"), "changed");
      const { stderr } = await ok(plain("-o", out, dir));
      assert.match(stderr, /transferring context: 7B/);
      assert.equal(readFileSync(join(out, "way/deep/x"), "utf8"), "changed");
    });

    it("sends what steps take, with what links lead to, and never what is out of it", async () => {
      const dir = context("links", {
        Dockerfile: "FROM scratch\nCOPY in lib/*.txt sub/ /\n",
        "real/file": "inside",
        "lib/a.txt": "a",
        "lib/a.bin": "b".repeat(2_000_000),
        "sub/b": "b",
        unused: "x".repeat(2_000_000),
      });
      symlinkSync("real/file", join(dir, "in"));
      symlinkSync("../home/.keep", join(dir, "outside"));
      const out = shop.at("home", "links-out");
      const sent = await ok(plain("-o", out, dir));
      assert.deepEqual(readdirSync(out).sort(), ["a.txt", "b", "in"]);
      assert.equal(readFileSync(join(out, "in"), "utf8"), "inside");
      // Nothing else, until a step reads all of it.
      assert.match(sent.stderr, /transferring context: 8B( \d+\.\ds)? done/);
      const whole = await run(["build", "--progress=plain", "-f", "-", "-o", out, dir], {
        input: "FROM scratch\nCOPY in .\nFROM scratch\nCOPY --exclude=in . .\nCOPY --from=0 in .\n",
      });
      assert.match(whole.stderr, /transferring context: 5\.\d+MB( \d+\.\ds)? done/, whole.stderr);
      const { code, stderr } = await run(["build", "--progress=plain", "-f", "-", "-o", out, dir], {
        input: "FROM scratch\nCOPY outside /\n",
      });
      assert.equal(code, 1);
      assert.match(stderr, /"\/outside": not found|CONTEXT|home\/\.keep/);
    });

    it("writes archives and files where they are asked for, and to standard output", async () => {
      const dir = context("archives", { Dockerfile: `${BASE}LABEL a=b\n` });
      const [oci, docker, metadata, id] = ["o.tar", "d.tar", "m.json", "id"].map((name) =>
        shop.at("home", name),
      ) as [string, string, string, string];
      await ok(
        plain(
          ...["-t", "app:2", "-o", `type=oci,dest=${oci}`, "-o", `type=docker,dest=${docker}`],
          ...["--metadata-file", metadata, "--iidfile", id, dir],
        ),
      );
      const config = JSON.parse(
        execFileSync(needs("skopeo"), ["inspect", "--config", `oci-archive:${oci}`], { encoding: "utf8" }),
      ) as { readonly config: { readonly Labels: object } };
      assert.deepEqual(config.config.Labels, { a: "b" });
      assert.match(execFileSync("tar", ["-xOf", docker, "manifest.json"], { encoding: "utf8" }), /"app:2"/);
      const told = JSON.parse(readFileSync(metadata, "utf8")) as Record<string, unknown>;
      assert.match(String(told["containerimage.digest"]), /^sha256:[0-9a-f]{64}$/);
      assert.equal(typeof told["containerimage.descriptor"], "object");
      assert.equal(told["image.name"], "docker.io/library/app:2");
      assert.equal(readFileSync(id, "utf8"), told["containerimage.config.digest"]);
      const { stdout } = await ok(plain("-o", "-", dir));
      assert.match(stdout, /bin\/busybox/);
    });

    it("writes files below the directory that was named, and through no link in it", async () => {
      const dir = context("files", {
        Dockerfile: "FROM scratch\nCOPY a b/x /\nCOPY b /b\n",
        a: "new",
        "b/x": "x",
      });
      const out = shop.context("dest", { a: "old", kept: "kept" });
      const aside = shop.context("aside", { target: "mine" });
      symlinkSync(join(aside, "target"), join(out, "x"));
      symlinkSync(aside, join(out, "b"));
      const { code, stderr } = await run(plain("-o", out, dir));
      assert.equal(code, 1);
      assert.match(stderr, /"b" in the output directory is not a directory/);
      assert.deepEqual(readdirSync(aside), ["target"]);
      execFileSync("rm", [join(out, "b")]);
      await ok(plain("-o", out, dir));
      assert.equal(readFileSync(join(aside, "target"), "utf8"), "mine");
      assert.deepEqual(
        ["a", "x", "kept", "b/x"].map((name) => readFileSync(join(out, name), "utf8")),
        ["new", "x", "kept", "x"],
      );
    });

    it("pushes from there", async () => {
      const registry = await startRegistry();
      try {
        const dir = context("pushed", { Dockerfile: BASE });
        const name = `${registry.host}/team/app:1`;
        await ok(plain("--push", "-t", name, dir));
        const inspected = execFileSync(
          needs("skopeo"),
          ["inspect", "--tls-verify=false", `docker://${name}`],
          {
            encoding: "utf8",
          },
        );
        assert.match(inspected, /"Digest": "sha256:/);
        const cached = context("cached", { Dockerfile: BASE });
        await ok(plain("--cache-from", name, "--cache-to", "type=inline", "-o", "type=cacheonly", cached));
      } finally {
        await registry[Symbol.asyncDispose]();
      }
    });

    it("says of a failing step what a build here says", async () => {
      const dir = context("fails", { Dockerfile: `${BASE}${sh("echo oops; exit 7")}` });
      const there = await run(plain(dir));
      const here = await run(plain("--builder=default", dir));
      const end = (text: string): string => text.slice(text.indexOf("------")).replace(/^\d+\.\d+ /gm, "");
      assert.equal(there.code, here.code);
      assert.equal(end(there.stderr), end(here.stderr));
      assert.match(there.stderr, /^Dockerfile:3$/m);
      const broken = shop.context("broken", { Dockerfile: "FROM scratch\nCOPPY a b\n" });
      const [far, near] = [await run(plain(broken)), await run(plain("--builder=default", broken))];
      assert.equal(
        far.stderr.slice(far.stderr.indexOf("Dockerfile:2")),
        near.stderr.slice(near.stderr.indexOf("Dockerfile:2")),
      );
      assert.match(far.stderr, /hint: did you mean COPY\?/);
    });

    it("answers --check and --call as a build here does", async () => {
      const dir = shop.context("checked", { Dockerfile: "from scratch AS one\nARG A=1\nFROM one AS two\n" });
      for (const args of [
        ["--check"],
        ["--call=outline"],
        ["--call=targets,format=json"],
        ["--call=check,format=json"],
      ]) {
        const [far, near] = [
          await run(["build", ...args, dir]),
          await run(["build", "--builder=default", ...args, dir]),
        ];
        assert.equal(far.code, near.code, far.stderr);
        assert.equal(far.stdout, near.stdout);
      }
    });

    it("gives secrets and agents that were named, and no others", async () => {
      const dir = context("secret", {
        Dockerfile: `${BASE}RUN --mount=type=secret,id=s ["/bin/busybox","wc","-c","/run/secrets/s"]\nRUN --mount=type=ssh ["/bin/busybox","sh","-c","test -S $SSH_AUTH_SOCK && echo has an agent"]\n`,
        s: "twelve chars",
      });
      execFileSync(needs("ssh-keygen"), ["-q", "-t", "ed25519", "-N", "", "-f", shop.at("home", "key")]);
      if (account.uid !== process.getuid?.())
        execFileSync("chown", [`${account.uid}:${account.gid}`, shop.at("home", "key")]);
      const { stderr } = await ok(
        plain("--secret", `id=s,src=${join(dir, "s")}`, "--ssh", `default=${shop.at("home", "key")}`, dir),
      );
      assert.match(stderr, / 12 \/run\/secrets\/s/);
      assert.match(stderr, /has an agent/);
      const required = context("required", {
        Dockerfile: `${BASE}RUN --mount=type=secret,id=none,required=true ["/bin/busybox","true"]\n`,
      });
      assert.match((await run(plain(required))).stderr, /secret none: not found/);
    });

    it("takes contexts from standard input, of other directories, and Dockerfiles from elsewhere", async () => {
      const out = shop.at("home", "stdin-out");
      const dir = context("piped", { Dockerfile: "FROM scratch\nCOPY a /\n", a: "of a tar" });
      const tar = shop.at("home", "context.tar");
      execFileSync("tar", ["-C", dir, "-cf", tar, "Dockerfile", "a"]);
      await ok(plain("-o", out, "-"), { inputFile: tar });
      assert.equal(readFileSync(join(out, "a"), "utf8"), "of a tar");
      await ok(plain("-t", "only", "-"), { input: "FROM scratch\nLABEL a=b\n" });
      const more = shop.context("more", { x: "of more" });
      const beside = shop.context("beside", {
        "My.Dockerfile": "FROM scratch\nCOPY --from=more x /\nCOPY a /\n",
      });
      await ok(plain("-f", join(beside, "My.Dockerfile"), "--build-context", `more=${more}`, "-o", out, dir));
      assert.equal(readFileSync(join(out, "x"), "utf8"), "of more");
    });

    it("builds without a cache of this machine that is damaged, and says so", async () => {
      const dir = context("cached", { Dockerfile: `${BASE}${sh("echo made > /made")}` });
      const cache = shop.at("home", "damaged-cache");
      const out = shop.at("home", "cached-out");
      await ok(plain("--no-cache", "--cache-to", `type=local,dest=${cache},mode=max`, dir));
      const index = readFileSync(join(cache, "index.json"), "utf8");
      const manifest = /"sha256:([0-9a-f]{64})"/.exec(index)?.[1] ?? "";
      const blobs = join(cache, "blobs/sha256");
      const { layers } = JSON.parse(readFileSync(join(blobs, manifest), "utf8")) as {
        layers: { digest: string }[];
      };
      const pruned = ["prune", "--all", "--force"];
      const buildWith = async (harm: () => void, words: RegExp): Promise<void> => {
        harm();
        await startTsbuild(pruned, { account, root: shop.at("far", "store") }).outcome;
        const { stderr } = await ok(plain("--cache-from", `type=local,src=${cache}`, "-o", out, dir));
        assert.match(stderr, words);
        assert.equal(readFileSync(join(out, "made"), "utf8"), "made\n");
      };
      await buildWith(
        () => layers.forEach(({ digest }) => rmSync(join(blobs, digest.slice(7)))),
        /continues without imported caches: .* is not in the OCI layout/,
      );
      await buildWith(
        () => writeFileSync(join(blobs, manifest), "{}"),
        /is not used: .* does not match its digest/,
      );
      await buildWith(() => writeFileSync(join(cache, "index.json"), "[1,"), /is not used: .*not JSON/);
    });

    it("says what is wrong with a layout that it builds on, and follows no link in it", async () => {
      const dir = context("on-layout", { Dockerfile: `FROM base\n${sh("true")}` });
      const ways: readonly (readonly [string, (blob: string) => void, RegExp])[] = [
        [
          "missing",
          (blob) => rmSync(blob),
          /ERROR: .*: sha256:[0-9a-f]{64} is not in the OCI layout \S+missing$/m,
        ],
        [
          "linked",
          (blob) => {
            rmSync(blob);
            symlinkSync("/etc/passwd", blob);
          },
          /cannot read the OCI layout \S+linked: blobs\/sha256\/[0-9a-f]{64} in it is a link$/m,
        ],
        ["longer", (blob) => appendFileSync(blob, "x"), /sha256:[0-9a-f]{64} does not match its digest$/m],
        ["shorter", (blob) => truncateSync(blob, 100), /sha256:[0-9a-f]{64} does not match its digest$/m],
      ];
      for (const [name, harm, words] of ways) {
        const layout = shop.at("home", `layout-${name}`);
        await writeBaseImage(layout, { layers: [{ "d/a": `of ${name}` }] });
        const blobs = join(layout, "blobs/sha256");
        const manifest = readdirSync(blobs)
          .map((blob) => readFileSync(join(blobs, blob), "latin1"))
          .find((text) => text.includes('"layers":['));
        const { layers } = JSON.parse(manifest ?? "{}") as { layers: { digest: string }[] };
        harm(join(blobs, layers[1]?.digest.slice(7) ?? ""));
        const { code, stderr } = await run(plain("--build-context", `base=oci-layout://${layout}`, dir));
        assert.equal(code, 1);
        assert.match(stderr, words);
        assert.doesNotMatch(stderr, /\/proc\/self/);
      }
    });

    it("is cancelled by an interrupt, with its step there", async () => {
      const dir = context("long", { Dockerfile: `${BASE}${sh("echo begun; sleep 1000")}` });
      const running = start(plain(dir));
      await running.says(/ begun$/m);
      running.kill("SIGINT");
      const { code, stderr } = await running.outcome;
      assert.equal(code, 130);
      assert.match(stderr, /CANCELED/);
    });

    it("keeps limits and reproducible results there, and refuses what only builds here can do", async () => {
      const dir = context("same", {
        Dockerfile: `${BASE}${sh("cat /sys/fs/cgroup/pids.max 2>/dev/null; true")}`,
      });
      const digest = async (args: readonly string[]): Promise<unknown> => {
        const file = shop.at("home", "digest.json");
        await ok(
          plain(
            "--reproducible",
            "--metadata-file",
            file,
            "-o",
            `type=oci,dest=${shop.at("home", "same.tar")}`,
            ...args,
            dir,
          ),
        );
        return (JSON.parse(readFileSync(file, "utf8")) as Record<string, unknown>)["containerimage.digest"];
      };
      assert.equal(await digest([]), await digest(["--builder=default"]));
      for (const args of [
        ["--explain"],
        ["--max-storage=1GB"],
        ["--oci-runtime=crun"],
        ["--registry-mirror=m"],
        ["--cache-to=type=local,mounts=true,dest=c"],
      ]) {
        const { code, stderr } = await run(plain(...args, dir));
        assert.equal(code, 1, args.join(" "));
        assert.match(stderr, /is not supported by builders elsewhere/);
      }
    });

    it("knows builders by name, and needs none when none is in use", async () => {
      const own = { env: home() };
      const dir = context("named", { Dockerfile: BASE });
      await ok(["builder", "add", "far", address()], own);
      assert.match((await ok(["builder", "ls"], own)).stdout, /^default \* +this process$/m);
      assert.match((await ok(["builder", "inspect", "far"], own)).stdout, /^Version: +tsbuild v\d/m);
      assert.match(
        (await ok(plain("--builder=far", "-t", "x", dir), own)).stderr,
        /importing to image store/,
      );
      assert.doesNotMatch((await ok(plain("-t", "x", dir), own)).stderr, /importing to image store/);
      await ok(["builder", "use", "far"], own);
      assert.match((await ok(plain("-t", "x", dir), own)).stderr, /importing to image store/);
      await ok(["builder", "rm", "far"], own);
      assert.doesNotMatch((await ok(plain("-t", "x", dir), own)).stderr, /importing to image store/);
      const none = await run(plain("--builder=unix:///no/such.sock", dir), own);
      assert.equal(none.code, 1);
      assert.match(
        none.stderr,
        /cannot reach the builder at unix:\/\/\/no\/such\.sock: there is no such socket/,
      );
    });

    it("goes through a program that speaks for the builder", async () => {
      const relay = `const s = require("net").connect(${JSON.stringify(shop.at("far", "d.sock"))}); process.stdin.pipe(s); s.pipe(process.stdout);`;
      const bin = shop.context("bin", {
        docker: `#!/bin/sh\n[ "$*" = "exec -i worker buildctl dial-stdio" ] || exit 9\nexec ${process.execPath} -e '${relay}'\n`,
        ssh: "#!/bin/sh\necho host key verification failed >&2; exit 255\n",
      });
      execFileSync("chmod", ["755", join(bin, "docker"), join(bin, "ssh")]);
      const own = { env: { ...home(), PATH: `${bin}:${process.env.PATH}` } };
      const dir = context("through", { Dockerfile: BASE });
      await ok(plain("--builder=docker-container://worker", "-o", "type=cacheonly", dir), own);
      const { stderr } = await run(plain("--builder=ssh://me@far:2222", dir), own);
      assert.match(
        stderr,
        /cannot reach the builder at ssh -l me -p 2222 -- far buildctl dial-stdio: host key verification failed/,
      );
    });
  });
}

describe("tsbuild build --builder tcp://", function () {
  this.timeout(60_000);

  it("shows its certificate to a builder, and believes only the one that its authority vouches for", async () => {
    using shop = await openWorkshop();
    const home = shop.context("home", { ext: "subjectAltName=DNS:localhost,IP:127.0.0.1\n" });
    const openssl = (line: string): void =>
      void execFileSync(needs("openssl"), line.split(" "), {
        cwd: home,
        stdio: ["ignore", "ignore", "pipe"],
      });
    for (const ca of ["ca", "other"])
      openssl(`req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=test -keyout ${ca}.key -out ${ca}.crt`);
    for (const [name, ca] of [
      ["server", "ca"],
      ["client", "ca"],
      ["stranger", "other"],
    ] as const) {
      openssl(`req -newkey rsa:2048 -nodes -subj /CN=localhost -keyout ${name}.key -out ${name}.csr`);
      openssl(
        `x509 -req -days 2 -in ${name}.csr -CA ${ca}.crt -CAkey ${ca}.key -CAcreateserial -extfile ext -out ${name}.crt`,
      );
    }
    const keys = (who: string, ca: string): string[] => [
      ...["--tlscert", shop.at("home", `${who}.crt`), "--tlskey", shop.at("home", `${who}.key`)],
      ...["--tlscacert", shop.at("home", `${ca}.crt`)],
    ];
    const daemon = startTsbuild(["--addr", "tcp://127.0.0.1:0", ...keys("server", "ca")], {
      program: "tsbuildd",
      root: shop.at("far"),
    });
    try {
      const port = /tcp:\/\/127\.0\.0\.1:(\d+)/.exec(await daemon.says(/listens on tcp:\S+/))?.[1];
      const dir = shop.context("tls", { Dockerfile: "FROM scratch\nCOPY Dockerfile /\n" });
      const build = (...flags: readonly string[]): Promise<Outcome> =>
        startTsbuild(["build", "--builder", `tcp://127.0.0.1:${port}`, ...flags, "-o", shop.at("out"), dir], {
          root: shop.root,
        }).outcome;
      const served = await build(...keys("client", "ca"), "--tlsservername", "localhost");
      assert.equal(served.code, 0, served.stderr);
      assert.deepEqual(readdirSync(shop.at("out")), ["Dockerfile"]);
      const refused: readonly (readonly [readonly string[], RegExp])[] = [
        [keys("stranger", "ca"), /it wants a certificate of this client that it trusts[^]*--tlscert/],
        [
          ["--tlscacert", shop.at("home", "ca.crt")],
          /it wants a certificate of this client that it trusts[^]*--tlscert/,
        ],
        [[], /if it speaks TLS, give --tlscacert, --tlscert and --tlskey/],
        [keys("client", "other"), /no authority that is trusted here[^]*--tlscacert/],
        [[...keys("client", "ca"), "--tlsservername", "elsewhere"], /for another name[^]*--tlsservername/],
      ];
      for (const [flags, why] of refused) {
        const { code, stderr } = await build(...flags);
        assert.equal(code, 1);
        assert.match(stderr, /cannot reach the builder at tcp:\/\/127\.0\.0\.1:\d+: /);
        assert.match(stderr, why);
      }
    } finally {
      daemon.kill("SIGTERM");
    }
    assert.equal((await daemon.outcome).code, 0);
  });
});
