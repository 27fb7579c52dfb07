// Passwords in URLs of ADD, contexts and git repositories are only sent to their servers: searches
// everything that is printed, recorded, stored and exported. Threat model S1 and S2.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { gunzipSync } from "node:zlib";
import { makeRepository, serveGit } from "../support/git-server.ts";
import { type MisbehavingServer, startServer } from "../support/registry.ts";
import { ordinaryUser, programDir, self } from "../support/unprivileged.ts";
import { openWorkshop, type Workshop } from "./fixture.ts";

const PASSWORD = "pa55-of-the-url";
const TOKEN = "t0ken-of-the-query";
const AUTHORIZATION = `Basic ${Buffer.from(`user:${PASSWORD}`).toString("base64")}`;
/** What must be nowhere: as written, and as the header that it becomes. */
const SECRETS = [PASSWORD, TOKEN, AUTHORIZATION.slice("Basic ".length)];

for (const account of process.getuid?.() === 0 ? [self(), ordinaryUser()] : [self()]) {
  describe(`passwords in addresses as ${account.name}`, function () {
    this.timeout(300_000);
    let shop: Workshop;
    let server: MisbehavingServer;
    let web: string; // the server's address with user and password
    const output: { readonly what: string; readonly text: string }[] = [];
    const commandLines: string[] = [];

    before(async () => {
      shop = await openWorkshop(account);
      const files = shop.at("web"); // of this process's account: git works on no other's
      mkdirSync(join(files, "work"), { recursive: true });
      writeFileSync(join(files, "file"), "text\n");
      writeFileSync(join(files, "work", "tracked"), "tracked\n");
      const context = shop.context("served", { Dockerfile: "FROM base\nRUN echo context\n" });
      makeRepository(join(files, "work"), join(files, "repo.git"));
      execFileSync("tar", ["cf", join(files, "context.tar"), "-C", context, "."]);
      server = await startServer(async (request, response) => {
        const { pathname } = new URL(request.url, "http://localhost");
        commandLines.push(...readCommandLines());
        if (request.headers.authorization?.replace(/^basic/, "Basic") !== AUTHORIZATION) {
          response.writeHead(401, { "www-authenticate": 'Basic realm="test"' }).end();
          return;
        }
        const file = join(files, pathname);
        if (pathname.includes(".git/")) await serveGit(files, request, response);
        else if (existsSync(file)) response.end(readFileSync(file));
        else response.writeHead(404).end();
      });
      web = `http://user:${PASSWORD}@${server.host}`;
    });
    after(async () => {
      await server[Symbol.asyncDispose]();
      shop[Symbol.dispose]();
    });

    const run = async (what: string, args: readonly string[], code = 0): Promise<string> => {
      const outcome = await shop.run(args);
      const text = outcome.stdout + outcome.stderr;
      assert.equal(outcome.code, code, `${what}: ${text}`);
      output.push({ what, text });
      return text;
    };

    it("open what they are for, in every form of build and output", async () => {
      const context = shop.context("app", {
        Dockerfile: [
          "FROM base AS sources",
          `ARG URL=${web}/file?token=${TOKEN}`,
          "ADD $URL /one",
          `ADD ${web}/file /two`,
          `ADD --keep-git-dir=true ${web}/repo.git#main /repo`,
          "COPY --from=named /tracked /named",
          "FROM sources",
          "COPY --from=sources /one /one",
          "RUN test -s /one && test -s /two && test -s /repo/tracked && test -s /repo/.git/HEAD",
          "",
        ].join("\n"),
      });
      const named = ["--build-context", `named=${web}/repo.git#main`];
      const build = ["build", "--no-cache", ...named, context];
      await run("plain", [...build, "--progress=plain", "--explain", "-t", "app:1"]);
      await run("raw JSON", [...build, "--progress=rawjson", "--metadata-file", shop.at("metadata.json")]);
      await run("outputs", [
        ...[...build, "-o", `type=oci,dest=${shop.at("image.tar")}`],
        ...["--cache-to", `type=local,mode=max,dest=${shop.at("cache")}`],
      ]);
      await run("another argument", [
        ...["build", ...named, context, "--build-arg", `URL=${web}/file?token=${TOKEN}&x=1`],
        ...["--explain", "-t", "app:2"],
      ]);
      await run("a context by URL", ["build", "--progress=plain", `${web}/context.tar`]);
      await run("failing", ["build", "-D", "--progress=plain", `${web}/none.tar`], 1);
      const failing = shop.context("failing", { Dockerfile: `FROM base\nADD ${web}/none /x\n` });
      const said = await run("failing ADD", ["build", "--progress=plain", failing], 1);
      assert.match(said, /xxxxx:xxxxx@localhost/);
      const failingGit = shop.context("failing-git", {
        Dockerfile: `FROM base\nADD ${web}/none.git#main /x\n`,
      });
      await run("failing git", ["-D", "build", "--progress=plain", failingGit], 1);
      await run("a git context", ["build", "--progress=plain", `${web}/none.git#main`], 1);
    });

    it("are not in what the commands say afterwards", async () => {
      for (const args of [
        ["explain"],
        ["history", "--no-trunc", "app:1"],
        ["inspect", "app:1"],
        ["du", "--verbose"],
      ])
        await run(args.join(" "), args);
      assert.match(
        output.find(({ what }) => what.startsWith("history"))?.text ?? "",
        /ADD http:\/\/xxxxx:xxxxx@/,
      );
    });

    it("are not in anything that was printed", () => {
      for (const { what, text } of output)
        for (const secret of SECRETS)
          assert.equal(text.includes(secret), false, `${what} has ${secret}:\n${text}`);
    });

    it("are in no list of processes while git and others use them", () => {
      const own = new RegExp(`^[^\\0]*node[^\\0]*\\0[^\\0]*tsbuild`); // what the user typed himself is his
      const seen = commandLines.filter(
        (line) => !own.test(line) && SECRETS.some((secret) => line.includes(secret)),
      );
      assert.deepEqual(seen, []);
      assert.ok(
        commandLines.some((line) => line.startsWith("git\0")),
        "git was seen at work",
      );
    });

    it("are in no record, file or file name of the store, and in nothing that was written", async () => {
      const looked = { files: 0, traces: 0 };
      for (const place of ["store", "cache", "image.tar", "metadata.json"]) {
        for (const file of filesBelow(shop.at(place))) {
          const data = readFileSync(file);
          const plain = data[0] === 0x1f && data[1] === 0x8b ? gunzipSync(data) : data;
          looked.files++;
          for (const secret of SECRETS) {
            assert.equal(file.includes(secret), false, file);
            assert.equal(plain.includes(secret), false, `${file} has ${secret}`);
          }
        }
      }
      for (const trace of tracesOf(shop)) {
        looked.traces++;
        for (const secret of SECRETS) assert.equal(trace.includes(secret), false, trace);
      }
      assert.ok(looked.files > 20 && looked.traces > 3, JSON.stringify(looked));
    });
  });
}

function readCommandLines(): string[] {
  return readdirSync("/proc").flatMap((name) => {
    if (!/^\d+$/.test(name)) return [];
    try {
      return [readFileSync(`/proc/${name}/cmdline`, "latin1")];
    } catch {
      return []; // ended meanwhile
    }
  });
}

/** The records of builds in a store, which only its owner opens: read by a process of his. */
function tracesOf({ root, account }: Workshop): string[] {
  const module = new URL(`file://${programDir(account)}/dist/cache/store.js`);
  const code = `
    import { inflateRawSync } from "node:zlib";
    import { openStore } from ${JSON.stringify(module.href)};
    const store = await openStore(${JSON.stringify(root)});
    const values = [...store.records.entries("trace")].map(({ value }) => value);
    const traces = values.filter((value) => value instanceof Uint8Array).map((value) => inflateRawSync(value).toString());
    await store[Symbol.asyncDispose]();
    process.stdout.write(JSON.stringify(traces));`;
  const { uid, gid } = account;
  const said = execFileSync(process.execPath, ["--input-type=module", "-e", code], {
    ...(uid === process.getuid?.() ? {} : { uid, gid }),
    cwd: "/",
    encoding: "utf8",
    maxBuffer: 1 << 28,
  });
  return JSON.parse(said) as string[];
}

function filesBelow(path: string): string[] {
  // The work directories of overlayfs are the kernel's, and closed to their owner as well.
  const args = [path, "-path", "*/work/work", "-prune", "-o", "-type", "f", "-print"];
  const found = execFileSync("find", args, { encoding: "utf8", cwd: dirname(path) });
  return found.split("\n").filter((line) => line !== "");
}
