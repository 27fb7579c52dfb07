// Contexts in archives, through standard input or by http(s), and archives for ADD. Docker documentation, "Build
// context"; Dockerfile reference, "ADD".

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { rmSync, writeFileSync } from "node:fs";
import { gzipSync } from "node:zlib";
import { type MisbehavingServer, startServer } from "../support/registry.ts";
import { ordinaryUser } from "../support/unprivileged.ts";
import { openWorkshop, type Workshop } from "./fixture.ts";

const account = ordinaryUser();

describe(`contexts that come as a whole, as ${account.name}`, function () {
  this.timeout(120_000);
  let shop: Workshop;
  let server: MisbehavingServer;
  const served = new Map<string, Buffer>();

  before(async () => {
    shop = await openWorkshop(account);
    server = await startServer((request, response) => {
      const body = served.get(request.url);
      response.setHeader("last-modified", "Fri, 14 Jul 2017 02:40:00 GMT");
      if (body === undefined) response.writeHead(404).end();
      else response.end(body);
    });
  });
  after(async () => {
    await server[Symbol.asyncDispose]();
    shop[Symbol.dispose]();
  });

  const built = async (args: readonly string[], stdin?: Buffer): Promise<string[]> => {
    const tar = shop.at("out.tar");
    rmSync(tar, { force: true });
    if (stdin !== undefined) writeFileSync(shop.at("in"), stdin);
    const input = stdin === undefined ? {} : { inputFile: shop.at("in") };
    await shop.ok(["build", "-o", `type=tar,dest=${tar}`, ...args], input);
    const listed = execFileSync("tar", ["tvf", tar, "--full-time", "--utc"], { encoding: "utf8" });
    return listed.split("\n").filter((line) => line.startsWith("-"));
  };
  const names = (lines: readonly string[]): string[] => lines.map((line) => line.replace(/.* /, "")).sort();
  const archiveOf = (dir: string): Buffer => execFileSync("tar", ["-C", dir, "-cf", "-", "."]);

  it("say what of a member the kernel refuses", async () => {
    const dir = shop.context("capable", { Dockerfile: "FROM scratch\nCOPY f /\n", f: "" });
    const broken = ["--format=pax", "--pax-option=SCHILY.xattr.security.capability:=x"];
    const tar = execFileSync("tar", [...broken, "-C", dir, "-cf", "-", "Dockerfile", "f"]);
    writeFileSync(shop.at("in"), tar);
    const { code, stderr } = await shop.run(["build", "-"], { inputFile: shop.at("in") });
    assert.equal(code, 1);
    assert.match(stderr, /unpacking the build context: fsetxattr "security\.capability": E/);
    assert.doesNotMatch(stderr, /bug in tsbuild/);
  });

  it("are not cut by their ignore files, which are for what a client sends", async () => {
    const dir = shop.context("ignoring", {
      Dockerfile: "FROM scratch\nCOPY . /\n",
      ".dockerignore": "dist\n",
      "Dockerfile.dockerignore": "*\n",
      "dist/app": "app\n",
    });
    const all = [".dockerignore", "Dockerfile", "Dockerfile.dockerignore", "dist/app"];
    const tar = archiveOf(dir);
    served.set("/context.tar.gz", gzipSync(tar));
    assert.deepEqual(names(await built(["-"], tar)), all);
    assert.deepEqual(names(await built(["-"], gzipSync(tar))), all);
    assert.deepEqual(names(await built([`${server.origin}/context.tar.gz`])), all);
    assert.deepEqual(names(await built([dir])), [], "a directory is");
  });

  it("have a dockerfile, whose name may be in small letters", async () => {
    const dir = shop.context("small", { "sub/dockerfile": "FROM scratch\nCOPY sub /\n" });
    assert.deepEqual(names(await built(["-f", "sub/Dockerfile", "-"], archiveOf(dir))), ["dockerfile"]);
    assert.deepEqual(names(await built(["-f", shop.at("small/sub/Dockerfile"), dir])), ["dockerfile"]);
  });

  it("are a file called context when they are no archive", async () => {
    served.set("/some/Dockerfile.txt", Buffer.from("FROM scratch\nCOPY context /copied\n"));
    const [line = ""] = await built([`${server.origin}/some/Dockerfile.txt`]);
    assert.match(line, /^-rw------- .* 2017-07-14 02:40:00 copied$/);
    const own = shop.context("own", { "Own.Dockerfile": "FROM scratch\nCOPY context /own\n" });
    const beside = ["-f", `${own}/Own.Dockerfile`, `${server.origin}/some/Dockerfile.txt`];
    assert.deepEqual(names(await built(beside)), ["own"], "beside a Dockerfile of this machine");
    served.set("/data.bin", Buffer.from("data"));
    const takes = shop.context("takes", { Dockerfile: "FROM scratch\nCOPY --from=named /context /data\n" });
    const named = ["--build-context", `named=${server.origin}/data.bin`, takes];
    assert.deepEqual(names(await built(named)), ["data"]);
  });

  it("can go with a Dockerfile from another URL", async () => {
    const dir = shop.context("elsewhere", { a: "a" });
    served.set("/the/Dockerfile", Buffer.from("FROM scratch\nCOPY a /b\n"));
    assert.deepEqual(names(await built(["-f", `${server.origin}/the/Dockerfile`, dir])), ["b"]);
    const beside = ["-f", `${server.origin}/the/Dockerfile`, "-"];
    assert.deepEqual(names(await built(beside, archiveOf(dir))), ["b"], "beside a tar on standard input");
    const missing = await shop.run(["build", "-f", `${server.origin}/the/none`, dir]);
    assert.equal(missing.code, 1);
    assert.match(missing.stderr, /failed to read dockerfile http\S+\/the\/none: invalid response status 404/);
    served.set("/the/long", Buffer.alloc((16 << 20) + 1, "#"));
    const long = await shop.run(["build", "-f", `${server.origin}/the/long`, dir]);
    assert.match(long.stderr, /the\/long is larger than 16777216 bytes/);
  });

  it("ADD of an archive that cannot be read is an error, however small", async () => {
    const dir = shop.context("adds", {
      Dockerfile: "FROM scratch\nADD a.tar.gz /\n",
      "Dockerfile.copy": "FROM scratch\nADD --unpack=false a.tar.gz /\n",
      "in/f": "1\n",
    });
    const whole = gzipSync(archiveOf(shop.at("adds/in")));
    writeFileSync(shop.at("adds/a.tar.gz"), whole);
    assert.deepEqual(names(await built([dir])), ["f"]);
    for (const length of [20, 60, whole.length >> 1]) {
      writeFileSync(shop.at("adds/a.tar.gz"), whole.subarray(0, length));
      const outcome = await shop.run(["build", dir]);
      assert.equal(outcome.code, 1);
      assert.match(outcome.stderr, /a\.tar\.gz: the gzip data is damaged or truncated/);
      assert.match(outcome.stderr, /ADD --unpack=false/);
    }
    assert.deepEqual(names(await built(["-f", `${dir}/Dockerfile.copy`, dir])), ["a.tar.gz"]);
  });
});
