// --lock, --locked and `tsbuild update`: what references stand for is kept in a file, honoured, and updated with a diff. docs/locks.md.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { makeRepository, serveGit } from "../support/git-server.ts";
import { needs } from "../support/needs.ts";
import { pushImage } from "../support/pushed-image.ts";
import {
  type DebianRegistry,
  type MisbehavingServer,
  startRegistry,
  startServer,
} from "../support/registry.ts";
import { self } from "../support/unprivileged.ts";
import { openWorkshop, type Workshop } from "./fixture.ts";

interface LockText {
  readonly version: number;
  readonly images: Readonly<
    Record<string, { digest: string; local?: boolean; platforms: Record<string, string> }>
  >;
  readonly urls: Readonly<Record<string, { checksum: string }>>;
  readonly git: Readonly<Record<string, { commit: string }>>;
}

const PLATFORMS = ["linux/amd64", "linux/arm64"];

describe("locks", function () {
  this.timeout(60_000);
  let shop: Workshop;
  let registry: DebianRegistry;
  let server: MisbehavingServer;
  let isServed = true;
  const served = new Map<string, string>();
  const onServed = new Map<string, () => void>();
  let serial = 0;

  before(async () => {
    shop = await openWorkshop(self());
    registry = await startRegistry();
    mkdirSync(shop.at("git", "work"), { recursive: true });
    writeFileSync(shop.at("git", "work", "word"), "git one\n");
    writeFileSync(shop.at("git", "work", "Dockerfile"), "FROM scratch\nCOPY word /word\n");
    mkdirSync(shop.at("git", "work", "folder"));
    writeFileSync(shop.at("git", "work", "folder", "file"), "in a folder\n");
    makeRepository(shop.at("git", "work"), shop.at("git", "repo.git"));
    git("tag", "-a", "-m", "tag", "v1", "main");
    server = await startServer(async (request, response) => {
      const { pathname } = new URL(request.url, "http://localhost");
      if (!isServed) return void response.writeHead(503).end();
      if (pathname.includes(".git/")) return serveGit(shop.at("git"), request, response);
      const found = served.get(pathname);
      onServed.get(pathname)?.();
      if (found === undefined) response.writeHead(404).end();
      else response.end(found);
    });
  });
  after(async () => {
    await registry[Symbol.asyncDispose]();
    await server[Symbol.asyncDispose]();
    shop[Symbol.dispose]();
  });

  /** Pushes an image for two platforms with this word in it; the digest of its index. */
  const push = (name: string, word: string): Promise<string> => pushImage(name, { word }, PLATFORMS);

  function git(...args: string[]): string {
    const own = ["-c", "safe.directory=*", "-c", "user.name=a", "-c", "user.email=a@b"];
    const at = ["-C", shop.at("git", "repo.git")];
    return execFileSync(needs("git"), [...own, ...at, ...args], { encoding: "utf8" }).trim();
  }
  const read = (file: string): LockText => JSON.parse(readFileSync(file, "utf8"));
  const sha256 = (text: string): string => `sha256:${createHash("sha256").update(text).digest("hex")}`;
  const wordIn = (out: string): string => readFileSync(join(out, "word"), "utf8");
  /** A name in the registry, a store and an output that no other test has. */
  function fresh(): { image: string; root: string; out: string; context: string } {
    const number = serial++;
    return {
      image: `${registry.host}/image-${number}`,
      ...{ root: shop.at(`store-${number}`), out: shop.at(`out-${number}`), context: `context-${number}` },
    };
  }
  const manifestRequests = async (): Promise<number> =>
    (await registry.requests()).filter((line) => line.includes("/manifests/")).length;

  describe("of images", () => {
    it("list index and manifests, sorted, and pin later builds until they are updated", async () => {
      const { image, root, out, context } = fresh();
      const [first, side] = [await push(`${image}:1`, "one"), await push(`${image}-side:latest`, "side")];
      const dir = shop.context(context, {
        Dockerfile: [
          `FROM ${image}:1`,
          `COPY --from=${image}-side /word /side`,
          "COPY --from=given /word /given",
          "",
        ].join("\n"),
      });
      const given = await push(`${image}-given:2`, "given");
      const flags = ["--build-context", `given=docker-image://${image}-given:2`];
      await shop.ok(["build", "--lock", ...flags, "-o", out, dir], { root });
      const file = join(dir, "tsbuild.lock");
      const { images, version, urls } = read(file);
      assert.equal(version, 1);
      assert.deepEqual(urls, {});
      assert.deepEqual(
        Object.keys(images),
        [`${image}-given:2`, `${image}-side:latest`, `${image}:1`].sort(),
      );
      assert.deepEqual(
        [
          images[`${image}:1`]?.digest,
          images[`${image}-side:latest`]?.digest,
          images[`${image}-given:2`]?.digest,
        ],
        [first, side, given],
      );
      const index = JSON.parse(
        execFileSync(needs("skopeo"), ["inspect", "--raw", "--tls-verify=false", `docker://${image}:1`], {
          encoding: "utf8",
        }),
      ) as { manifests: { digest: string; platform: { os: string; architecture: string } }[] };
      const own = index.manifests.find(
        ({ platform }) => platform.architecture === (process.arch === "x64" ? "amd64" : "arm64"),
      );
      assert.deepEqual(Object.values(images[`${image}:1`]?.platforms ?? {}), [own?.digest]);

      const second = await push(`${image}:1`, "two");
      const text = readFileSync(file, "utf8");
      const { mtimeMs } = statSync(file);
      const cases = [
        ["--lock", root],
        ["--locked", root],
        [`--locked=${file}`, `${root}-other`],
      ] as const;
      for (const [flag, store] of cases) {
        rmSync(out, { recursive: true, force: true });
        await shop.ok(["build", flag, ...flags, "-o", out, dir], { root: store });
        assert.equal(wordIn(out), "one", `${flag} ${store}`);
      }
      assert.equal(readFileSync(file, "utf8"), text);
      assert.equal(statSync(file).mtimeMs, mtimeMs, "nothing is new, and nothing was written");

      const checked = await shop.run(["update", "--check", ...flags, dir], { root });
      assert.equal(checked.code, 1, checked.stderr);
      assert.equal(checked.stdout, `~ ${image}:1\n    - ${first}\n    + ${second}\n`);
      const dry = await shop.ok(["update", "--dry-run", ...flags, dir], { root });
      assert.equal(dry.stdout, checked.stdout);
      assert.match(dry.stderr, /tsbuild\.lock: 1 changed, 0 added, 0 removed, not written\n/);
      assert.equal(readFileSync(file, "utf8"), text);

      const updated = await shop.ok(["update", ...flags, dir], { root });
      assert.equal(updated.stdout, checked.stdout);
      assert.equal(readFileSync(file, "utf8").replaceAll(second, first).length, text.length);
      const again = await shop.ok(["update", "--check", ...flags, dir], { root });
      assert.equal(again.stdout, "");
      assert.match(again.stderr, /tsbuild\.lock: up to date\n/);
      rmSync(out, { recursive: true, force: true });
      await shop.ok(["build", "--locked", ...flags, "-o", out, dir], { root });
      assert.equal(wordIn(out), "two");
    });

    it("fail with the line of what is not listed, and ask nobody for it", async () => {
      const { image, root, context } = fresh();
      await push(`${image}:1`, "one");
      const dir = shop.context(context, {
        Dockerfile: `FROM ${image}:1 AS one\nFROM scratch\nCOPY --from=one /word /\n`,
        "tsbuild.lock": '{"version":1}',
      });
      const before = await manifestRequests();
      const { code, stderr } = await shop.run(["build", "--locked", dir], { root });
      assert.equal(code, 1);
      assert.match(stderr, /Dockerfile:1\n/);
      assert.ok(
        stderr.includes(`the image ${image}:1 is not in the lock file ${context}/tsbuild.lock`),
        stderr,
      );
      assert.match(stderr, /'tsbuild update' adds it/);
      assert.equal(await manifestRequests(), before);
      const missing = await shop.run(["build", `--locked=${shop.at("nowhere.lock")}`, dir], { root });
      assert.match(missing.stderr, /--locked: there is no lock file \S*nowhere\.lock/);
    });

    it("need no registry where the store has the content", async () => {
      const { image, root, out, context } = fresh();
      const other = await startRegistry();
      const name = image.replace(registry.host, other.host);
      await push(`${name}:1`, "one");
      const dir = shop.context(context, { Dockerfile: `FROM ${name}:1\nCOPY Dockerfile /d\n` });
      await shop.ok(["build", "--lock", "-o", out, dir], { root });
      await other[Symbol.asyncDispose]();
      rmSync(out, { recursive: true, force: true });
      await shop.ok(["build", "--locked", "-o", out, dir], { root });
      assert.equal(wordIn(out), "one");
      const { code, stderr } = await shop.run(["build", "-o", out, dir], { root });
      assert.equal(code, 1, `the control: without the lock the registry is asked\n${stderr}`);
    });

    it("keep platforms that were listed, and add those that are asked for", async () => {
      const { image, root, out, context } = fresh();
      await push(`${image}:1`, "one");
      const dir = shop.context(context, { Dockerfile: `FROM ${image}:1\n` });
      const file = join(dir, "tsbuild.lock");
      const platforms = (): string[] => Object.keys(read(file).images[`${image}:1`]?.platforms ?? {});
      await shop.ok(["build", "--lock", "--platform", "linux/arm64", "-o", out, dir], { root });
      assert.deepEqual(platforms(), ["linux/arm64"]);
      const other = await shop.ok(["update", "--check", "--platform", "linux/amd64", dir], { root });
      assert.equal(other.stdout, `~ ${image}:1\n    platforms: linux/amd64\n`);
      const { stderr } = await shop.ok(["build", "--lock", "--platform", "linux/amd64", "-o", out, dir], {
        root,
      });
      assert.match(stderr, /tsbuild\.lock: platforms added\n/);
      assert.deepEqual(platforms(), PLATFORMS);
      await push(`${image}:1`, "two");
      await shop.ok(["update", "--platform", "linux/amd64", dir], { root });
      assert.deepEqual(platforms(), PLATFORMS);
    });

    it("say which are in the local store alone", async () => {
      const { root, out, context } = fresh();
      const own = shop.context("own", { Dockerfile: "FROM scratch\nCOPY word /\n", word: "own" });
      await shop.ok(["build", "-t", "only/here:1", own], { root });
      const dir = shop.context(context, { Dockerfile: "FROM only/here:1\nCOPY Dockerfile /d\n" });
      const { stderr: told } = await shop.ok(["build", "--lock", "-o", out, dir], { root });
      assert.match(
        told,
        /tsbuild\.lock: 1 added\nWARNING: \S+: docker\.io\/only\/here:1 is only in the local image store/,
      );
      const entry = read(join(dir, "tsbuild.lock")).images["docker.io/only/here:1"];
      assert.equal(entry?.local, true);
      await shop.ok(["build", "--locked", "-o", out, dir], { root });
      assert.equal(wordIn(out), "own");
      const { stdout } = await shop.ok(["update", "--check", dir], { root });
      assert.equal(stdout, "", "no registry has it, and it is not missed there");
    });

    it("say where a digest comes from that is gone", async () => {
      const { image, root, out, context } = fresh();
      await push(`${image}:1`, "one");
      const entry = { digest: `sha256:${"a".repeat(64)}` };
      const dir = shop.context(context, {
        Dockerfile: `FROM ${image}:1\nCOPY Dockerfile /d\n`,
        "tsbuild.lock": JSON.stringify({ version: 1, images: { [`${image}:1`]: entry } }),
      });
      const { code, stderr } = await shop.run(["build", "--locked", "-o", out, dir], { root });
      assert.equal(code, 1);
      assert.match(
        stderr,
        /hint: \S+tsbuild\.lock says this digest: 'tsbuild update' looks for what \S+:1 is now/,
      );
    });
  });

  describe("of URLs and repositories", () => {
    const bodies = (context: string) =>
      shop.context(context, {
        Dockerfile: [
          "FROM scratch",
          `ADD ${server.origin}/${context}.txt /word`,
          `ADD ${server.origin}/repo.git /branch`,
          `ADD ${server.origin}/repo.git#v1 /tag`,
          "",
        ].join("\n"),
      });

    it("hold checksums and commits, of annotated tags too, and work while the server is gone", async () => {
      const { root, out, context } = fresh();
      const commit = git("rev-parse", "main");
      served.set(`/${context}.txt`, "text one");
      const dir = bodies(context);
      await shop.ok(["build", "--lock", "-o", out, dir], { root });
      const file = join(dir, "tsbuild.lock");
      const lock = read(file);
      assert.deepEqual(lock.urls, { [`${server.origin}/${context}.txt`]: { checksum: sha256("text one") } });
      assert.deepEqual(lock.git, {
        [`${server.origin}/repo.git`]: { commit },
        [`${server.origin}/repo.git#v1`]: { commit },
      });
      isServed = false;
      try {
        rmSync(out, { recursive: true, force: true });
        await shop.ok(["build", "--locked", "-o", out, dir], { root });
        assert.equal(wordIn(out), "text one");
      } finally {
        isServed = true;
      }

      // Branch and file move on: the lock stays, in a store that has never seen them too.
      writeFileSync(shop.at("git", "work", "word"), "git two\n");
      const at = [
        "--git-dir",
        shop.at("git", "repo.git"),
        "--work-tree",
        shop.at("git", "work"),
        "-c",
        "core.bare=false",
      ];
      git(...at, "commit", "-q", "-a", "-m", "two");
      const moved = git("rev-parse", "main");
      rmSync(out, { recursive: true, force: true });
      await shop.ok(["build", "--locked", "-o", out, dir], { root: `${root}-other` });
      assert.equal(readFileSync(join(out, "branch", "word"), "utf8"), "git one\n");
      served.set(`/${context}.txt`, "text two");
      const { code, stderr } = await shop.run(["build", "--locked", "-o", out, dir], {
        root: `${root}-third`,
      });
      assert.equal(code, 1);
      assert.match(stderr, /digest mismatch/);

      const only = await shop.ok(["update", `${server.origin}/repo.git`, dir], { root });
      assert.equal(only.stdout, `~ ${server.origin}/repo.git\n    - ${commit}\n    + ${moved}\n`);
      const all = await shop.ok(["update", dir], { root });
      assert.equal(
        all.stdout,
        `~ ${server.origin}/${context}.txt\n    - ${sha256("text one")}\n    + ${sha256("text two")}\n`,
      );
      rmSync(out, { recursive: true, force: true });
      await shop.ok(["build", "--locked", "-o", out, dir], { root: `${root}-third` });
      assert.equal(readFileSync(join(out, "branch", "word"), "utf8"), "git two\n");
      assert.equal(readFileSync(join(out, "tag", "word"), "utf8"), "git one\n");
    });

    it("leave the cache as it is", async () => {
      const { root, out, context } = fresh();
      served.set(`/${context}.txt`, "text");
      const dir = bodies(context);
      const lock = `--lock=${shop.at(`${context}.lock`)}`;
      await shop.ok(["build", "-o", out, dir], { root });
      for (const flag of [lock, lock.replace("lock", "locked")]) {
        const { stderr } = await shop.ok(["build", "--progress=plain", flag, "-o", out, dir], { root });
        const done = [...stderr.matchAll(/^(#\d+) \[\d.* ADD /gm)].map(([, step = ""]) => step);
        assert.ok(done.length >= 3, stderr);
        for (const step of done) assert.ok(stderr.includes(`${step} CACHED\n`), `${step}\n${stderr}`);
      }
    });

    it("leave image and provenance as they are", async () => {
      const { image, root, context } = fresh();
      await push(`${image}:1`, "one");
      served.set(`/${context}.txt`, "text");
      const adds = [`${server.origin}/${context}.txt /text`, `${server.origin}/repo.git#main:folder /folder`];
      const dir = shop.context(context, {
        "of/Dockerfile": `FROM ${image}:1\n${adds.map((one) => `ADD ${one}\n`).join("")}`,
      });
      const metadata = shop.at(`${context}.json`);
      const digests: string[] = [];
      for (const lock of [[], ["--lock"], ["--locked"]]) {
        const output = ["-o", `type=oci,dest=${shop.at("image.tar")}`, "--metadata-file", metadata];
        const args = [
          "--reproducible",
          "--provenance=mode=min",
          "-f",
          join(dir, "of/Dockerfile"),
          ...output,
          dir,
        ];
        await shop.ok(["build", ...lock, ...args], { root });
        digests.push(JSON.parse(readFileSync(metadata, "utf8"))["containerimage.digest"]);
      }
      assert.equal(new Set(digests).size, 1, digests.join(" "));
    });

    it("fail with the line of the step for what is not listed", async () => {
      const { root, context } = fresh();
      const lines = [
        "FROM scratch",
        `ADD --checksum=${sha256("x")} ${server.origin}/x /x`,
        `ADD --checksum=${git("rev-parse", "v1")} ${server.origin}/repo.git#v1 /tag`,
        `ADD ${server.origin}/y /y`,
      ];
      const dir = shop.context(context, {
        Dockerfile: `${lines.join("\n")}\n`,
        "tsbuild.lock": '{"version":1}',
      });
      served.set("/x", "x");
      const { code, stderr } = await shop.run(["build", "--locked", dir], { root });
      assert.equal(code, 1);
      assert.match(stderr, /Dockerfile:4\n/);
      assert.match(stderr, new RegExp(`the URL ${server.origin}/y is not in the lock file`));
    });

    it("hold for contexts and Dockerfiles too", async () => {
      const { root, out, context } = fresh();
      const repository = `${server.origin}/repo.git#v1`;
      const file = shop.at(`${context}.lock`);
      const refused = await shop.run(["build", "--lock", "-o", out, repository], { root });
      assert.match(refused.stderr, /there is no place for a lock file/);
      await shop.ok(["build", `--lock=${file}`, "-o", out, repository], { root });
      assert.deepEqual(Object.keys(read(file).git), [repository]);

      const [dir, url] = [shop.context(context, { word: "local" }), `${server.origin}/${context}.Dockerfile`];
      served.set(`/${context}.Dockerfile`, "FROM scratch\nCOPY word /word\n");
      await shop.ok(["build", "--lock", "-f", url, "-o", out, dir], { root });
      assert.deepEqual(Object.keys(read(join(dir, "tsbuild.lock")).urls), [url]);
      served.set(`/${context}.Dockerfile`, "FROM scratch\nCOPY . /other\n");
      const changed = await shop.run(["build", "--locked", "-f", url, "-o", out, dir], {
        root: `${root}-other`,
      });
      assert.match(changed.stderr, /failed to read dockerfile .*digest mismatch/);
      await shop.ok(["update", "-f", url, dir], { root });
      await shop.ok(["build", "--locked", "-f", url, "-o", out, dir], { root });

      writeFileSync(file, '{"version":1}');
      const unlisted = await shop.run(["build", `--locked=${file}`, "-o", out, repository], { root });
      assert.match(unlisted.stderr, new RegExp(`the repository ${repository} is not in the lock file`));
      const updated = await shop.ok(["update", "--lock", file, repository], { root });
      assert.match(updated.stdout, new RegExp(`^\\+ ${repository}\n {4}\\+ [0-9a-f]{40}\n$`));
    });

    it("keep no password", async () => {
      const { root, out, context } = fresh();
      served.set("/secret.txt", "text");
      const address = server.origin.replace("://", "://user:hunter2@");
      const dir = shop.context(context, {
        Dockerfile: `FROM scratch\nADD ${address}/secret.txt?token=abc /word\n`,
      });
      await shop.ok(["build", "--lock", "-o", out, dir], { root });
      const text = readFileSync(join(dir, "tsbuild.lock"), "utf8");
      assert.doesNotMatch(text, /hunter2|abc"/);
      await shop.ok(["build", "--locked", "-o", out, dir], { root });
    });
  });

  describe("updated", () => {
    it("know all stages, drop what no stage uses, and keep it where that is asked for", async () => {
      const { image, root, context } = fresh();
      for (const name of ["a", "b", "c"]) await push(`${image}:${name}`, name);
      const dir = shop.context(context, {
        Dockerfile: `FROM ${image}:a AS a\nFROM ${image}:b AS b\nFROM scratch AS last\nCOPY Dockerfile /\n`,
      });
      const file = join(dir, "tsbuild.lock");
      const keys = (): string[] => Object.keys(read(file).images);
      const { stdout, stderr } = await shop.ok(["update", dir], { root });
      assert.match(stdout, new RegExp(`^\\+ ${image}:a\n {4}\\+ sha256:\\w{64}\n\\+ ${image}:b\n`));
      assert.match(stderr, /0 changed, 2 added, 0 removed/);
      writeFileSync(join(dir, "Dockerfile"), `FROM ${image}:b AS b\nFROM ${image}:c AS last\n`);
      const partial = await shop.ok(["update", "--target", "last", dir], { root });
      assert.match(partial.stdout, new RegExp(`^\\+ ${image}:c\n`));
      assert.deepEqual(keys(), [`${image}:a`, `${image}:b`, `${image}:c`]);
      await shop.ok(["update", "--keep-unused", dir], { root });
      assert.equal(keys().length, 3);
      const dropped = await shop.ok(["update", dir], { root });
      assert.match(dropped.stdout, new RegExp(`^- ${image}:a\n {4}- sha256:\\w{64}\n$`));
      assert.deepEqual(keys(), [`${image}:b`, `${image}:c`]);
      assert.ok(!existsSync(join(root, "nothing")));
    });

    it("keep what a build has added meanwhile", async () => {
      const { root, context } = fresh();
      const path = `/meanwhile${serial}`;
      served.set(path, "one\n");
      const dir = shop.context(context, { Dockerfile: `FROM scratch\nADD ${server.origin}${path} /file\n` });
      const file = join(dir, "tsbuild.lock");
      const added = { "https://other.test/file": { checksum: `sha256:${"0".repeat(64)}` } };
      // As the build writes it, while this asks for the URL.
      onServed.set(path, () => writeFileSync(file, JSON.stringify({ version: 1, urls: added })));
      const { stdout } = await shop.ok(["update", dir], { root });
      assert.equal(stdout.match(/^[-+~] /gm)?.join(""), "+ ");
      const { urls } = JSON.parse(readFileSync(file, "utf8")) as LockText;
      assert.deepEqual(Object.keys(urls), [`${server.origin}${path}`, "https://other.test/file"].sort());
      assert.deepEqual(urls["https://other.test/file"], added["https://other.test/file"]);
    });

    it("take names, and know which are meant", async () => {
      const { image, root, context } = fresh();
      for (const name of ["a:1", "a:2", "b:1"]) await push(`${image}-${name}`, "old");
      const dir = shop.context(context, {
        Dockerfile: `FROM ${image}-a:1 AS one\nFROM ${image}-a:2 AS two\nFROM ${image}-b:1\n`,
      });
      await shop.ok(["update", dir], { root });
      for (const name of ["a:1", "a:2", "b:1"]) await push(`${image}-${name}`, "new");
      const changed = async (...names: string[]): Promise<string[]> => {
        const { stdout } = await shop.ok(["update", "--dry-run", ...names, dir], { root });
        return [...stdout.matchAll(/^~ \S*-(\w:\w)$/gm)].map(([, name = ""]) => name);
      };
      assert.deepEqual(await changed(`${image}-a`), ["a:1", "a:2"]);
      assert.deepEqual(await changed(`${image}-a:2`, `${image}-b:1`), ["a:2", "b:1"]);
      assert.deepEqual(await changed(), ["a:1", "a:2", "b:1"]);
      const { code, stderr } = await shop.run(["update", `${image}-c:1`, dir], { root });
      assert.equal(code, 1);
      assert.match(stderr, /"\S+-c:1" is not in the lock file/);
      assert.match(stderr, /did you mean \S+-[ab]:1\?/);
    });
  });

  describe("on builders elsewhere", () => {
    it("are source policies: what is listed is used as it is locked, and nothing else", async () => {
      const { image, root, out, context } = fresh();
      await push(`${image}:1`, "one");
      served.set(`/${context}.txt`, "text");
      served.set("/checked.txt", "checked");
      const lines = [
        `FROM ${image}:1`,
        `ADD ${server.origin}/${context}.txt /text`,
        `ADD --checksum=${sha256("checked")} ${server.origin}/checked.txt /checked`,
        `ADD ${server.origin}/repo.git /branch`,
        `ADD ${server.origin}/repo.git#v1:folder /tag`,
        `ADD --checksum=${git("rev-parse", "v1")} ${server.origin}/repo.git#v1 /checked-tag`,
      ];
      const dir = shop.context(context, { Dockerfile: `${lines.join("\n")}\n` });
      await shop.ok(["update", dir], { root });
      await push(`${image}:1`, "two");
      const socket = shop.at(`${context}.sock`);
      const addr = ["--addr", `unix://${socket}`];
      const daemon = shop.start(addr, { root: `${root}-daemon`, program: "tsbuildd" });
      await daemon.says(/listens on unix:/);
      try {
        const build = (...args: string[]) =>
          shop.run(["build", "--builder", `unix://${socket}`, "-o", out, ...args, dir], { root });
        const { code, stderr } = await build("--locked");
        assert.equal(code, 0, stderr);
        assert.equal(wordIn(out), "one");
        assert.equal(readFileSync(join(out, "tag", "file"), "utf8"), "in a folder\n");
        const cases = [
          [`FROM ${image}:2`, `docker-image://${image}:2`],
          [`FROM scratch\nADD ${server.origin}/y /y`, `${server.origin}/y`],
          [`FROM scratch\nADD ${server.origin}/repo.git#other /y`, `git://${server.host}/repo.git#other`],
        ] as const;
        for (const [dockerfile, source] of cases) {
          writeFileSync(join(dir, "Dockerfile"), `${dockerfile}\n`);
          const refused = await build("--locked");
          assert.equal(refused.code, 1);
          assert.ok(refused.stderr.includes(`source "${source}" denied by policy`), refused.stderr);
          assert.match(
            refused.stderr,
            /what is not in the lock file \S+ is denied; 'tsbuild update' adds it/,
          );
        }
        assert.match((await build("--lock")).stderr, /--lock.*builder/s);
      } finally {
        daemon.kill("SIGTERM");
        await daemon.outcome;
      }
    });
  });

  describe("as files", () => {
    it("lie beside the Dockerfile, or where they are named, and links to them stay", async () => {
      const { image, root, out, context } = fresh();
      await push(`${image}:1`, "one");
      const dir = shop.context(context, { "docker/Dockerfile": `FROM ${image}:1\n`, file: "1" });
      await shop.ok(["build", "--lock", "-f", join(dir, "docker/Dockerfile"), "-o", out, dir], { root });
      const text = readFileSync(join(dir, "docker/tsbuild.lock"), "utf8");
      assert.ok(!existsSync(join(dir, "tsbuild.lock")));
      writeFileSync(join(dir, "target.lock"), '{"version":1}\n');
      symlinkSync("target.lock", join(dir, "link.lock"));
      await shop.ok(["build", "--lock=link.lock", "-f", "docker/Dockerfile", "-o", out, "."], {
        root,
        cwd: dir,
      });
      assert.equal(readFileSync(join(dir, "target.lock"), "utf8"), text);
      const input = `FROM ${image}:1\n`;
      const none = await shop.run(["build", "--lock", "-o", out, "-"], { root, input });
      assert.match(none.stderr, /there is no place for a lock file/);
      await shop.ok(["build", `--locked=${join(dir, "target.lock")}`, "-o", out, "-"], { root, input });
      const two = await shop.run(["build", "--lock=a", "--locked=b", dir], { root });
      assert.match(two.stderr, /a build has one lock file: a, b were given/);
    });

    it("that cannot be written end a build before its first step", async () => {
      const { image, root, out, context } = fresh();
      await push(`${image}:1`, "one");
      const dir = shop.context(context, { Dockerfile: `FROM ${image}:1\n` });
      const { code, stderr } = await shop.run(["build", "--lock=/proc/a.lock", "-o", out, dir], { root });
      assert.equal(code, 1);
      assert.match(stderr, /cannot write \/proc\/a\.lock/);
      assert.ok(!existsSync(out));
    });

    it("lose nothing to builds that write them at the same time", async () => {
      const { image, root, out } = fresh();
      const tags = ["1", "2", "3", "4"];
      for (const tag of tags) await push(`${image}:${tag}`, tag);
      const lock = `--lock=${shop.at(`many${serial}.lock`)}`;
      await Promise.all(
        tags.map((tag) => {
          const dir = shop.context(`many${serial}-${tag}`, { Dockerfile: `FROM ${image}:${tag}\n` });
          return shop.ok(["build", lock, "-o", out, dir], { root });
        }),
      );
      const { images } = JSON.parse(readFileSync(shop.at(`many${serial}.lock`), "utf8")) as LockText;
      assert.deepEqual(
        Object.keys(images),
        tags.map((tag) => `${image}:${tag}`),
      );
    });

    it("that are broken end a build with their name, line and what is wrong", async () => {
      const { root, context } = fresh();
      const dir = shop.context(context, { Dockerfile: "FROM scratch\nCOPY Dockerfile /\n" });
      const digest = `sha256:${"a".repeat(64)}`;
      const file = join(dir, "tsbuild.lock");
      const cases: readonly (readonly [string, RegExp])[] = [
        ["", /tsbuild\.lock:1: expected a value, found the end/],
        ['{"version": 1,\n<<<<<<< HEAD\n', /tsbuild\.lock:2: expected a name, found "<<<<<<< HEAD"/],
        ['{"version": 2}', /tsbuild\.lock:1: version 2 is not known, only 1/],
        ["[]", /tsbuild\.lock:1: the lock is not an object/],
        ['{"version": 1, "images": {\n"a/b": {}}}', /tsbuild\.lock:2: "a\/b" is no reference of "images"/],
        [`{"version":1,"urls":{"file:///etc":{"checksum":"${digest}"}}}`, /is no reference of "urls"/],
        ['{"version":1,"urls":{"http://a/":{"checksum":"md5"}}}', /"checksum" is no sha256 digest/],
        [
          '{"version":1,"git":{"http://a/b.git":{"commit":"main"}}}',
          /"commit" is no full digest of a commit/,
        ],
        ['{"version":1,"git":{"--upload-pack=x":{"commit":"a"}}}', /is no reference of "git"/],
        [
          `{"version":1,"urls":{"http://a/":{"checksum":"${digest}"},\n"http://a/":{}}}`,
          /:2: "http:\/\/a\/" stands here a second time/,
        ],
        [`{"version":1,"images":{"__proto__":{"digest":"${digest}"}}}`, /"__proto__" is no reference/],
        ['{"version":1,"more":1}', /"more" is not known here/],
        [`{"version":1,"images":${"[".repeat(100_000)}`, /too deeply nested/],
        [`{"version":1}${" ".repeat(4 << 20)}`, /is longer than 4194304 bytes/],
        [`{"version":1}\u0000`, /tsbuild\.lock:1: expected the end/],
      ];
      for (const [text, expected] of cases) {
        writeFileSync(file, text);
        const { code, stderr } = await shop.run(["build", "--locked", dir], { root });
        assert.equal(code, 1, text.slice(0, 100));
        assert.match(stderr, expected);
        assert.ok(stderr.length < 2000, `${stderr.length}`);
      }
      rmSync(file);
      mkdirSync(file);
      assert.match((await shop.run(["build", "--lock", dir], { root })).stderr, /is a directory/);
    });

    it("that say two things of an image are found out", async () => {
      const { image, root, out, context } = fresh();
      await push(`${image}:1`, "one");
      const dir = shop.context(context, { Dockerfile: `FROM ${image}:1\nCOPY Dockerfile /d\n` });
      const file = join(dir, "tsbuild.lock");
      await shop.ok(["build", "--lock", "-o", out, dir], { root });
      const text = readFileSync(file, "utf8");
      const [, manifest = ""] = /"linux\/\w+": "sha256:(\w+)"/.exec(text) ?? [];
      writeFileSync(file, text.replace(manifest, "0".repeat(64)));
      const { code, stderr } = await shop.run(["build", "--locked", "-o", out, dir], { root });
      assert.equal(code, 1);
      assert.match(
        stderr,
        /is locked to sha256:\w+, which has sha256:\w+ for linux\/\w+ and not sha256:0{64}/,
      );
    });
  });
});
