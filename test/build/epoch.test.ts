// Sources of SOURCE_DATE_EPOCH, and which times it changes. reproducible-builds.org/specs/source-date-epoch; Docker
// documentation, "Reproducible builds".

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdirSync, readFileSync, rmSync, statSync, utimesSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { makeRepository, serveGit } from "../support/git-server.ts";
import { type MisbehavingServer, startServer } from "../support/registry.ts";
import { openWorkshop, type Workshop } from "./fixture.ts";

interface Config {
  readonly created?: string;
  readonly history: readonly { readonly created?: string; readonly created_by: string }[];
}

describe("SOURCE_DATE_EPOCH", function () {
  this.timeout(120_000);
  let shop: Workshop;
  let server: MisbehavingServer;
  const served = new Map<string, { readonly body: Buffer; readonly time?: string }>();

  before(async () => {
    shop = await openWorkshop();
    mkdirSync(shop.at("git", "work"), { recursive: true });
    writeFileSync(shop.at("git", "work", "Dockerfile"), "FROM base\nENV A=1\n");
    makeRepository(shop.at("git", "work"), shop.at("git", "repo.git"));
    server = await startServer(async (request, response) => {
      const { pathname } = new URL(request.url, "http://localhost");
      if (pathname.includes(".git/")) return serveGit(shop.at("git"), request, response);
      const found = served.get(pathname);
      if (found?.time !== undefined) response.setHeader("last-modified", found.time);
      if (found === undefined) response.writeHead(404).end();
      else response.end(found.body);
    });
  });
  after(async () => {
    await server[Symbol.asyncDispose]();
    shop[Symbol.dispose]();
  });

  const built = async (epoch: string | null, args: readonly string[], input?: Buffer): Promise<Config> => {
    const image = shop.at("image");
    rmSync(image, { recursive: true, force: true });
    if (input !== undefined) writeFileSync(shop.at("in"), input);
    const given = epoch === null ? [] : ["--build-arg", `SOURCE_DATE_EPOCH=${epoch}`];
    await shop.ok(
      ["build", ...given, "-o", `type=oci,tar=false,dest=${image}`, ...args],
      input === undefined ? {} : { inputFile: shop.at("in") },
    );
    const read = (digest: string): string =>
      readFileSync(join(image, "blobs", "sha256", digest.slice("sha256:".length)), "utf8");
    const [entry] = JSON.parse(readFileSync(join(image, "index.json"), "utf8")).manifests;
    return JSON.parse(read(JSON.parse(read(entry.digest)).config.digest)) as Config;
  };

  it("comes from the commit, the server, or the newest file of an archive", async () => {
    const day = new Date("2001-02-03T04:05:06Z");
    const dir = shop.context("context", { Dockerfile: "FROM base\nENV A=1\n", old: "1", folder: "" });
    utimesSync(join(dir, "old"), 1, 1);
    utimesSync(join(dir, "folder"), 1, 1);
    utimesSync(join(dir, "Dockerfile"), day, day);
    const tar = gzipSync(execFileSync("tar", ["-C", dir, "-cf", "-", "."]));
    served.set("/dated.tar.gz", { body: tar, time: "Fri, 14 Jul 2017 02:40:00 GMT" });
    served.set("/plain.tar.gz", { body: tar });
    served.set("/Dockerfile", {
      body: Buffer.from("FROM base\nENV A=1\n"),
      time: "Fri, 14 Jul 2017 02:40:00 GMT",
    });
    const created = async (args: readonly string[], input?: Buffer): Promise<string | undefined> =>
      (await built("context", args, input)).created;
    assert.equal(await created([`${server.origin}/dated.tar.gz`]), "2017-07-14T02:40:00Z");
    assert.equal(await created([`${server.origin}/plain.tar.gz`]), "2001-02-03T04:05:06Z");
    assert.equal(await created(["-"], tar), "2001-02-03T04:05:06Z");
    assert.equal(await created([`${server.origin}/Dockerfile`]), "2017-07-14T02:40:00Z");
    const git = await created([`${server.origin}/repo.git`]);
    const seconds = execFileSync("git", ["-C", shop.at("git", "repo.git"), "log", "-1", "--format=%ct"], {
      encoding: "utf8",
      env: {
        ...process.env,
        GIT_CONFIG_COUNT: "1",
        GIT_CONFIG_KEY_0: "safe.directory",
        GIT_CONFIG_VALUE_0: "*",
      },
    });
    assert.equal(Date.parse(git ?? ""), Number(seconds) * 1000);
  });

  it("is none for a directory, and for an empty value whatever the Dockerfile says", async () => {
    const dir = shop.context("local", {
      Dockerfile: "ARG SOURCE_DATE_EPOCH=7\nFROM base\nCOPY Dockerfile /\n",
    });
    const start = Date.now() - 1000;
    for (const epoch of ["context", ""]) {
      const { created } = await built(epoch, ["--no-cache", dir]);
      assert.ok(Date.parse(created ?? "") > start - 60_000, `${epoch}: ${created}`);
    }
    assert.equal((await built(null, [dir])).created, "1970-01-01T00:00:07Z", "the Dockerfile's own");
  });

  it("is none for an output that says so", async () => {
    const dir = shop.context("reset", {
      Dockerfile: "ARG SOURCE_DATE_EPOCH=7\nFROM base\nCOPY Dockerfile /\n",
    });
    const tar = shop.at("reset.tar");
    for (const [epoch, time] of [
      ["", /1970-01-01 00:00:07 Dockerfile/],
      [",source-date-epoch=9", /1970-01-01 00:00:09 Dockerfile/],
      [",source-date-epoch=", /20\d\d-.* Dockerfile/],
    ] as const) {
      await shop.ok(["build", "-o", `type=tar,dest=${tar}${epoch}`, dir]);
      assert.match(
        execFileSync("tar", ["tvf", tar, "--full-time", "--utc"], { encoding: "utf8" }),
        time,
        epoch,
      );
    }
  });

  it("comes from a stage that adds one source, or a named context", async () => {
    served.set("/file", { body: Buffer.from("1"), time: "Fri, 14 Jul 2017 02:40:00 GMT" });
    const dir = shop.context("stage", {
      Dockerfile: `FROM scratch AS src\nADD ${server.origin}/file /\nFROM base\nENV A=1\n`,
    });
    assert.equal((await built("src", [dir])).created, "2017-07-14T02:40:00Z");
    const named = ["--build-context", `other=${server.origin}/file`];
    assert.equal((await built("other", [...named, dir])).created, "2017-07-14T02:40:00Z");
    const unknown = await shop.run(["build", "--build-arg", "SOURCE_DATE_EPOCH=nobody", dir]);
    assert.match(unknown.stderr, /invalid SOURCE_DATE_EPOCH: nobody/);
  });

  it("of the environment counts for config, history, index and exported files; for files of layers where that is asked for", async () => {
    const dir = shop.context("everywhere", { Dockerfile: "FROM scratch\nCOPY file /file\n", file: "1\n" });
    utimesSync(join(dir, "file"), 1_600_000_000, 1_600_000_000);
    const epoch = { SOURCE_DATE_EPOCH: "1500000000" };
    const image = async (how: string, env: Readonly<Record<string, string>>) => {
      const out = shop.at("everywhere-image");
      rmSync(out, { recursive: true, force: true });
      await shop.ok(["build", "-o", `type=oci,tar=false,dest=${out}${how}`, dir], { env });
      const json = (digest: string) => JSON.parse(readFileSync(blob(digest), "utf8"));
      const blob = (digest: string): string => join(out, "blobs", "sha256", digest.slice("sha256:".length));
      const [entry] = JSON.parse(readFileSync(join(out, "index.json"), "utf8")).manifests;
      const manifest = json(entry.digest);
      const config = json(manifest.config.digest) as Config;
      const [{ digest: layer }] = manifest.layers;
      const listed = execFileSync("tar", ["tvzf", blob(layer), "--full-time", "--utc"], { encoding: "utf8" });
      return {
        layer: layer as string,
        times: [
          config.created,
          ...config.history.map(({ created }) => created),
          entry.annotations["org.opencontainers.image.created"],
        ],
        fileTime: /(\d{4}-\S+ \S+) file$/m.exec(listed)?.[1],
      };
    };
    const time = "2017-07-14T02:40:00Z";
    const plain = await image("", epoch);
    assert.deepEqual([plain.times, plain.fileTime], [[time, time, time], "2020-09-13 12:26:40"]);
    const rewritten = await image(",rewrite-timestamp=true", epoch);
    assert.deepEqual([rewritten.times, rewritten.fileTime], [[time, time, time], "2017-07-14 02:40:00"]);
    const none = await image(",rewrite-timestamp=true", {});
    assert.equal(none.layer, plain.layer, "without an epoch there is nothing to rewrite to");
    const out = shop.at("everywhere-files");
    await shop.ok(["build", "-o", out, dir], { env: epoch });
    assert.equal(statSync(join(out, "file")).mtimeMs, 1_500_000_000_000);
  });

  it("leaves the history of a newer base alone, also when times are rewritten", async () => {
    const base = shop.context("of-the-base", { Dockerfile: "FROM base\nENV BASE=1\nCOPY Dockerfile /\n" });
    await shop.ok(["build", "--build-arg", "SOURCE_DATE_EPOCH=1600000000", "-t", "newer", base]);
    const dir = shop.context("on-it", { Dockerfile: "FROM newer\nENV OWN=1\n" });
    const { created, history } = await built("7", [dir]);
    assert.equal(created, "1970-01-01T00:00:07Z");
    const times = new Map(history.map((entry) => [entry.created_by, entry.created]));
    assert.equal(times.get("ENV BASE=1"), "2020-09-13T12:26:40Z");
    assert.equal(times.get("COPY Dockerfile / # buildkit"), "2020-09-13T12:26:40Z");
    assert.equal(times.get("ENV OWN=1"), "1970-01-01T00:00:07Z");
    const out = shop.at("rewritten");
    await shop.ok([
      ...["build", "--build-arg", "SOURCE_DATE_EPOCH=7"],
      ...["-o", `type=oci,tar=false,dest=${out},rewrite-timestamp=true`, dir],
    ]);
    const config = execFileSync("grep", ["-rhl", "ENV BASE=1", join(out, "blobs")], { encoding: "utf8" });
    assert.match(
      readFileSync(config.trim(), "utf8"),
      /"created":"2020-09-13T12:26:40Z","created_by":"ENV BASE=1"/,
    );
  });
});
