// The parts of a git URL, the same for main contexts, named contexts and ADD. Docker documentation, "Build context",
// Git repositories, URL queries.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { copyFileSync, existsSync, mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { serveGit } from "../support/git-server.ts";
import { needs } from "../support/needs.ts";
import { type MisbehavingServer, startServer } from "../support/registry.ts";
import { openWorkshop, type Workshop } from "./fixture.ts";

const COMMITTED = 1_500_000_000;
const MODULE = ["module/.git", "module/part"];

describe("git addresses", function () {
  this.timeout(120_000);
  let shop: Workshop;
  let server: MisbehavingServer;
  let smart: string;
  /** The same repositories as plain files. */
  let plain: string;
  let base: string;
  let root: string;
  /** Called once, before a request for a pack is answered. */
  let beforePack: (() => void) | null = null;
  /** Called once, when the list of refs of plain files has been sent. */
  let afterRefs: (() => void) | null = null;
  const commits: Record<string, string> = {};

  const git = (dir: string, ...args: string[]): string =>
    execFileSync(needs("git"), ["-c", "protocol.file.allow=always", ...args], {
      cwd: dir,
      encoding: "utf8",
      stdio: ["ignore", "pipe", "pipe"],
      env: {
        PATH: process.env.PATH,
        HOME: shop.dir,
        GIT_CONFIG_NOSYSTEM: "1",
        ...Object.fromEntries(
          ["AUTHOR", "COMMITTER"].flatMap((who) => [
            [`GIT_${who}_NAME`, "t"],
            [`GIT_${who}_EMAIL`, "t@t"],
            [`GIT_${who}_DATE`, `${COMMITTED} +0000`],
          ]),
        ),
      },
    }).trim();
  /** A commit on the branch that is checked out, with one more file. */
  const commit = (dir: string, file: string): string => {
    writeFileSync(join(dir, file), `${file}\n`);
    git(dir, "add", "--all");
    git(dir, "commit", "-q", "-m", file);
    return git(dir, "rev-parse", "HEAD");
  };

  before(async () => {
    shop = await openWorkshop();
    root = shop.root;
    base = shop.at("repositories");
    mkdirSync(base);
    server = await startServer(async (request, response) => {
      const { pathname } = new URL(request.url, "http://localhost");
      if (pathname.startsWith("/plain/")) {
        const file = join(base, pathname.slice("/plain/".length));
        if (existsSync(file) && statSync(file).isFile()) response.end(readFileSync(file));
        else response.writeHead(404).end();
        if (pathname.endsWith("/info/refs")) {
          afterRefs?.();
          afterRefs = null;
        }
        return;
      }
      if (request.method === "POST" && request.body.includes("want ")) {
        beforePack?.();
        beforePack = null;
      }
      await serveGit(base, request, response);
    });
    smart = `http://${server.host}`;
    plain = `${smart}/plain`;
    const init = (name: string, ...options: string[]): string => {
      const dir = shop.at(`${name}-work`);
      mkdirSync(dir);
      git(dir, "-c", "init.defaultBranch=main", "init", "-q", ...options);
      return dir;
    };
    const serve = (name: string): void => {
      git(base, "clone", "-q", "--bare", shop.at(`${name}-work`), `${name}.git`);
      git(join(base, `${name}.git`), "update-server-info");
    };
    commit(init("part"), "part");
    serve("part");
    const work = init("app");
    writeFileSync(join(work, "Dockerfile"), "FROM scratch\nCOPY . /\n");
    git(work, "submodule", "-q", "add", join(base, "part.git"), "module");
    git(work, "config", "-f", ".gitmodules", "submodule.module.url", "../part.git");
    commits.first = commit(work, "first");
    git(work, "tag", "light");
    commits.tagged = commit(work, "tagged");
    git(work, "tag", "-a", "v1", "-m", "release");
    commits.tag = git(work, "rev-parse", "v1");
    git(work, "tag", "both");
    git(work, "checkout", "-q", "-b", "both");
    commits.branch = commit(work, "of-the-branch");
    git(work, "checkout", "-q", "main");
    mkdirSync(join(work, "folder"));
    writeFileSync(join(work, "folder", "Dockerfile"), "FROM scratch\nCOPY . /\n");
    commits.main = commit(work, "last");
    serve("app");
    const wide = init("wide", "--object-format=sha256");
    writeFileSync(join(wide, "Dockerfile"), "FROM scratch\nCOPY . /\n");
    commits.wide = commit(wide, "wide");
    serve("wide");
  });
  after(async () => {
    await server[Symbol.asyncDispose]();
    shop[Symbol.dispose]();
  });

  const listed = (tar: string): string[] =>
    execFileSync("tar", ["tf", tar], { encoding: "utf8" })
      .split("\n")
      .map((line) => line.replace(/^\.?\//, ""))
      .filter((line) => line !== "" && !line.endsWith("/") && line !== "Dockerfile" && line !== ".gitmodules")
      .sort();
  /** Files of the image that `args` build, or what it ends with. */
  const built = async (...args: string[]): Promise<string[] | string> => {
    const tar = shop.at("out.tar");
    rmSync(tar, { force: true });
    const output = ["--progress=plain", "-o", `type=tar,dest=${tar}`];
    const outcome = await shop.run(["build", ...output, ...args], { root });
    if (outcome.code !== 0) return outcome.stderr;
    return listed(tar);
  };
  const timeOf = (file: string): string => {
    const tar = ["tvf", shop.at("out.tar"), "--full-time", "--utc"];
    const lines = execFileSync("tar", tar, { encoding: "utf8" }).split("\n");
    const found = lines.find((line) => line.endsWith(` ${file}`)) ?? assert.fail(lines.join("\n"));
    return /\d{4}-\d\d-\d\d \d\d:\d\d:\d\d/.exec(found)?.[0] ?? found;
  };

  it("a ref is a branch, a tag of either kind or a commit", async () => {
    const at = `${smart}/app.git?submodules=0`;
    for (const ref of ["#v1", "#refs/tags/v1", "#tags/v1", "&tag=v1", "&ref=v1", `#${commits.tag}`])
      assert.deepEqual(await built(at + ref), ["first", "tagged"], ref);
    for (const ref of ["#light", `#${commits.first}`])
      assert.deepEqual(await built(at + ref), ["first"], ref);
    for (const ref of ["&branch=both", "#both"])
      assert.deepEqual(await built(at + ref), ["first", "of-the-branch", "tagged"], ref);
    assert.deepEqual(await built(`${at}&tag=both`), ["first", "tagged"]);
  });

  it("the query says what is fetched", async () => {
    const at = `${smart}/app.git`;
    for (const no of ["false", "F"])
      assert.deepEqual(await built(`${at}?submodules=${no}&tag=light`), ["first"]);
    assert.deepEqual(await built(`${at}?submodules#light`), ["first", ...MODULE]);
    const some = `${at}?submodules=0`;
    assert.deepEqual(await built(`${some}&tag=light&checksum=${commits.first?.slice(0, 12)}`), ["first"]);
    for (const sum of [commits.tag, commits.tagged])
      assert.deepEqual(await built(`${some}&tag=v1&checksum=${sum}`), ["first", "tagged"], "tag or commit");
    const byCommit = `${some}&fetch-by-commit=true&checksum=${commits.first}#gone`;
    assert.deepEqual(await built(byCommit), ["first"], "what the ref is now is not asked");
  });

  it("what makes no sense is an error", async () => {
    const at = `${smart}/app.git`;
    const cases: readonly (readonly [string, RegExp])[] = [
      ["?nonsense=1", /unexpected query "nonsense"/],
      ["?branch=both&tag=both", /branch conflicts with tag/],
      ["?ref=both#main", /ref conflicts: "main" vs "both"/],
      ["?ref=a&ref=b", /query "ref" has multiple values/],
      ["?submodules=perhaps", /invalid submodules value: "perhaps"/],
      ["?mtime=never", /invalid mtime value: "never" \(must be "checkout" or "commit"\)/],
      ["?checksum=nonsense", /invalid checksum nonsense for Git URL, expected hex commit hash/],
      ["?fetch-by-commit=1", /fetch-by-commit requires a checksum or a commit SHA ref/],
      ["?fetch-by-commit=1&checksum=abc", /fetch-by-commit requires a full commit SHA checksum, got "abc"/],
      ["#-x", /invalid git ref "-x"/],
      ["#none", /repository does not contain ref none/],
      ["#0123456789012345678901234567890123456789", /not our ref|does not contain commit/],
    ];
    for (const [query, message] of cases) assert.match(String(await built(at + query)), message, query);
  });

  it("repositories are behind plain files too", async () => {
    const at = `${plain}/app.git`;
    assert.deepEqual(await built(at), ["first", "folder/Dockerfile", "last", ...MODULE, "tagged"]);
    assert.deepEqual(await built(`${at}#${commits.first}`), ["first", ...MODULE]);
    const kept = await built(`${at}?keep-git-dir=true#v1`);
    assert.ok(kept.includes(".git/HEAD") && kept.includes("tagged"), String(kept));
  });

  it("keep-git-dir keeps of plain files what it keeps of other servers: the commit alone", async () => {
    const kept = async (server: string, more: string): Promise<object> => {
      const dir = shop.at(`kept-${server === plain ? "plain" : "smart"}`);
      rmSync(dir, { recursive: true, force: true });
      const at = `${server}/${more.replace("?", "?keep-git-dir=1&")}`;
      await shop.ok(["build", "-o", `type=local,dest=${dir}`, at], { root });
      assert.equal(git(dir, "status", "--porcelain", "--ignore-submodules"), "");
      git(dir, "fsck", "--strict");
      const found = execFileSync("find", [join(dir, ".git"), "-type", "f"], { encoding: "utf8" });
      return {
        names: found
          .split("\n")
          .map((name) => name.slice(dir.length))
          .sort(),
        objects: git(dir, "cat-file", "--batch-all-objects", "--batch-check").split("\n"),
        refs: git(dir, "for-each-ref"),
        history: git(dir, "log", "--format=%H"),
        shallow: readFileSync(join(dir, ".git/shallow"), "utf8"),
        config: git(dir, "config", "--local", "--list").replaceAll(server, "SERVER"),
      };
    };
    for (const more of [
      "app.git?submodules=0#v1",
      "app.git?submodules=0#both",
      `app.git?submodules=0#${commits.first}`,
      "wide.git?submodules=0",
    ])
      assert.deepEqual(await kept(plain, more), await kept(smart, more), more);
  });

  it("repositories of SHA-256 are built", async () => {
    for (const ref of ["", `#${commits.wide}`])
      assert.deepEqual(await built(`${smart}/wide.git${ref}`), ["wide"], ref);
  });

  const ways: readonly (readonly [string, (address: string) => Promise<string[] | string>])[] = [
    ["a context", (address) => built(address)],
    ["ADD", (address) => built(shop.context("adds", { Dockerfile: `FROM scratch\nADD ${address} /\n` }))],
    [
      "a named context",
      (address) =>
        built(
          ...["--build-context", `named=${address}`],
          shop.context("takes", { Dockerfile: "FROM scratch\nCOPY --from=named / /\n" }),
        ),
    ],
  ];
  for (const [way, filesOf] of ways) {
    it(`an address means the same in ${way}`, async () => {
      const at = `${smart}/app.git?submodules=0`;
      assert.deepEqual(await filesOf(`${at}#v1`), ["first", "tagged"]);
      assert.deepEqual(await filesOf(`${at}&branch=both`), ["first", "of-the-branch", "tagged"]);
      const kept = await filesOf(`${at}&keep-git-dir=1#light`);
      assert.ok(kept.includes(".git/HEAD") && kept.includes(".git/refs/tags/light"), String(kept));
      assert.match(
        String(await filesOf(`${at}&tag=v1&commit=0${commits.tag}`)),
        /expected checksum to match [0-9a-f]+, got [0-9a-f]+ or [0-9a-f]+/,
      );
      assert.match(String(await filesOf(`${at}&nonsense=1`)), /unexpected query "nonsense"/);
      assert.deepEqual(await filesOf(`${plain}/app.git#v1`), ["first", ...MODULE, "tagged"]);
      root = shop.at(`store-of-${way}`); // an earlier result would stand for this one, with its times
      assert.deepEqual(await filesOf(`${at}&mtime=commit#light`), ["first"]);
      root = shop.root;
      assert.match(timeOf("first"), /^2017-07-14 02:40:00/);
    });
  }

  it("a context gets the time of its commit with SOURCE_DATE_EPOCH, unless it says otherwise", async () => {
    const epoch = ["--build-arg", "SOURCE_DATE_EPOCH=1700000000"];
    const time = async (query: string): Promise<string> => {
      const image = shop.at("image");
      rmSync(image, { recursive: true, force: true });
      const address = `${smart}/app.git?submodules=0${query}`;
      const output = ["-o", `type=oci,tar=false,dest=${image}`];
      await shop.ok(["build", ...epoch, ...output, address], { root: shop.at(`store-${query}`) });
      const read = (digest: string): string => join(image, "blobs", "sha256", digest.slice("sha256:".length));
      const [entry] = JSON.parse(readFileSync(join(image, "index.json"), "utf8")).manifests;
      const [layer] = JSON.parse(readFileSync(read(entry.digest), "utf8")).layers;
      copyFileSync(read(layer.digest), shop.at("out.tar"));
      return timeOf("first");
    };
    assert.match(await time(""), /^2017-07-14 02:40:00/);
    assert.doesNotMatch(await time("&mtime=checkout"), /^2017/);
  });

  it("the step is called by the address that was given, and says which commit it has", async () => {
    const address = `${smart}/app.git?branch=both&submodules=0`;
    const said = (await shop.ok(["build", "--progress=plain", address])).stderr;
    assert.ok(said.includes(`[internal] load git source ${address}\n`), said);
    assert.equal(said.split(`${commits.branch}\trefs/heads/both`).length, 2, said);
    const named = ["--build-context", `named=${smart}/app.git#v1`];
    const takes = shop.context("names", { Dockerfile: "FROM scratch\nCOPY --from=named / /\n" });
    const also = (await shop.ok(["build", "--progress=plain", ...named, takes])).stderr;
    assert.ok(also.includes(`[internal] load git source ${smart}/app.git#v1\n`), also);
    assert.ok(also.includes(`${commits.tag}\trefs/tags/v1`), also);
  });

  it("is one commit for all of a build, also when the branch moves on meanwhile", async () => {
    const bare = join(base, "moves.git");
    git(base, "clone", "-q", "--bare", shop.at("app-work"), "moves.git");
    let moved = false;
    beforePack = () => {
      git(bare, "update-ref", "refs/heads/main", commits.branch ?? "");
      moved = true;
    };
    const files = await built(`${smart}/moves.git?branch=main&submodules=0`);
    assert.ok(moved);
    assert.ok(files.includes("last") && !files.includes("of-the-branch"), String(files));
  });

  it("is the commit that an annotated tag had, also when the tag is moved meanwhile", async () => {
    for (const [way, address] of [
      ["smart", `${smart}/retagged-smart.git`],
      ["plain", `${plain}/retagged-plain.git`],
    ] as const) {
      const bare = join(base, `retagged-${way}.git`);
      git(base, "clone", "-q", "--bare", shop.at("app-work"), bare);
      git(bare, "update-server-info");
      const move = () => {
        git(bare, "tag", "-f", "v1", commits.main ?? "");
        git(bare, "update-server-info");
      };
      if (way === "smart") beforePack = move;
      else afterRefs = move;
      const tar = shop.at(`retagged-${way}.tar`);
      await shop.ok(["build", "--no-cache", "-o", `type=tar,dest=${tar}`, `${address}#v1`]);
      assert.deepEqual(listed(tar), ["first", ...MODULE, "tagged"].sort(), way);
      assert.equal(git(bare, "rev-parse", "v1"), commits.main, "the tag was moved");
    }
  });

  it("credentials do not follow a server that leads elsewhere", async () => {
    const sent: (string | undefined)[] = [];
    await using elsewhere = await startServer((request, response) => {
      sent.push(request.headers.authorization);
      response.writeHead(401).end();
    });
    await using redirecting = await startServer((request, response) => {
      response.writeHead(302, { location: `http://${elsewhere.host}${request.url}` }).end();
    });
    const said = await built(`http://user:word@${redirecting.host}/app.git#main`);
    assert.match(String(said), /the server redirects, and credentials are not sent to another address/);
    assert.deepEqual(sent, []);
    await built(`http://${redirecting.host}/app.git#main`); // without any it is followed
    assert.ok(sent.length > 0);
  });

  it("trees that stand for one another do not make git look for ever, though they hold no file", async () => {
    const repository = shop.at("endless-work");
    mkdirSync(repository);
    git(repository, "-c", "init.defaultBranch=main", "init", "-q");
    const make = (text: string): string =>
      execFileSync(needs("git"), ["mktree"], { cwd: repository, input: text, encoding: "utf8" }).trim();
    let tree = make("");
    for (let level = 0; level < 12; level++)
      tree = make(
        "abcdefghij"
          .split("")
          .map((name) => `040000 tree ${tree}\t${name}\n`)
          .join(""),
      );
    git(repository, "update-ref", "refs/heads/main", git(repository, "commit-tree", "-m", "x", tree));
    git(base, "clone", "-q", "--bare", repository, "endless.git");
    assert.match(String(await built(`${smart}/endless.git#main`)), /the repository has more than \d+ files/);
  });

  it("a tag and a branch at one commit are one step to the cache, unless .git is kept", async () => {
    const build = async (query: string): Promise<string> =>
      (await shop.ok(["build", "--progress=plain", `${smart}/app.git?${query}`])).stderr;
    await built(`${smart}/app.git?branch=both`);
    assert.match(await build(`ref=${commits.branch}`), /COPY \. \/\n#\d+ CACHED/);
    const kept = await build("keep-git-dir=1&branch=both");
    assert.doesNotMatch(kept, /COPY \. \/\n#\d+ CACHED/);
    assert.doesNotMatch(await build(`keep-git-dir=1&ref=${commits.branch}`), /COPY \. \/\n#\d+ CACHED/);
  });
});
