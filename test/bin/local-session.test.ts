import { deepEqual, equal, rejects, throws } from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { readConfig } from "../../bin/config.ts";
import { resolveContext } from "../../bin/context-source.ts";
import { openLocalSession } from "../../bin/local-session.ts";

describe("session of this machine", () => {
  let dir = "";
  before(() => {
    dir = mkdtempSync(join(tmpdir(), "tsbuild-session-"));
  });
  after(() => rmSync(dir, { recursive: true }));
  const config = (env: Record<string, string>) =>
    readConfig({ root: null, debug: false, verbose: false }, env, dir);
  const { signal } = new AbortController();
  const none = { directories: new Map<string, string>(), secrets: [], ssh: [], signal };

  it("reads secrets when they are asked for", async () => {
    const path = join(dir, "secret");
    writeFileSync(path, "first");
    const session = openLocalSession(config({ TOKEN: "t" }), {
      ...none,
      secrets: [
        { id: "file", from: { kind: "file", path } },
        { id: "env", from: { kind: "env", name: "TOKEN" } },
      ],
    });
    writeFileSync(path, "second");
    equal(Buffer.from((await session.secret("file")) ?? "").toString(), "second");
    equal(Buffer.from((await session.secret("env")) ?? "").toString(), "t");
    equal(await session.secret("other"), null);
  });

  it("refuses secrets that are missing or too large before anything is built", () => {
    const open = (path: string) =>
      openLocalSession(config({}), { ...none, secrets: [{ id: "s", from: { kind: "file", path } }] });
    throws(() => open(join(dir, "nothing")), /secret "s": failed to stat/);
    const large = join(dir, "large");
    writeFileSync(large, "");
    truncateSync(large, 500 * 1024 + 1);
    throws(() => open(large), /larger than 500 KiB/);
  });

  it("has the agents it was given", async () => {
    const session = openLocalSession(config({}), { ...none, ssh: [["default", "/run/agent"]] });
    equal(await session.sshSocket("default"), "/run/agent");
    equal(await session.sshSocket(""), "/run/agent");
    equal(await session.sshSocket("other"), null);
  });

  it("finds credentials in DOCKER_CONFIG", async () => {
    const auth = Buffer.from("user:pass").toString("base64");
    writeFileSync(join(dir, "config.json"), JSON.stringify({ auths: { "example.com": { auth } } }));
    const session = openLocalSession(config({ DOCKER_CONFIG: dir, HOME: dir }), none);
    deepEqual(await session.credentials("example.com"), {
      kind: "basic",
      username: "user",
      password: "pass",
    });
    equal(await session.credentials("other.example"), null);
  });

  it("knows only the directories it was given", async () => {
    const session = openLocalSession(config({}), { ...none, directories: new Map([["context", dir]]) });
    deepEqual(await session.files("context"), { kind: "here", path: dir });
    await rejects(session.files("../etc"), /no build context named/);
  });
});

describe("context and Dockerfile", () => {
  let dir = "";
  before(() => {
    dir = mkdtempSync(join(tmpdir(), "tsbuild-context-"));
    writeFileSync(join(dir, "file"), "");
  });
  after(() => rmSync(dir, { recursive: true }));
  const resolve = (context: string, file: string | null, stdin = "") =>
    resolveContext(context, file, {
      cwd: dir,
      stdin: async function* () {
        for (const byte of Buffer.from(stdin, "latin1")) yield Uint8Array.of(byte); // the smallest chunks there are
      },
      tempDir: () => dir,
      signal: new AbortController().signal,
    });

  it("takes a directory before anything else, and -f from the working directory", async () => {
    deepEqual(await resolve(".", "file"), {
      context: { kind: "directory", path: dir },
      dockerfile: { kind: "path", path: join(dir, "file") },
    });
    deepEqual((await resolve(".", null)).dockerfile, { kind: "default" });
  });

  it("takes URLs of git and http", async () => {
    for (const url of [
      "https://example.com/x.git#main:dir",
      "git@example.com:a/b",
      "git://h/x",
      "github.com/a/b",
    ]) {
      deepEqual(await resolve(url, "sub/Dockerfile"), {
        context: { kind: "remote", url },
        dockerfile: { kind: "path", path: "sub/Dockerfile" },
      });
    }
  });

  it("says what is wrong with a path", async () => {
    await rejects(resolve("nowhere", null), /unable to prepare context: path "nowhere" not found/);
    await rejects(resolve("file", null), /path "file" is not a directory/);
  });

  it("reads a Dockerfile from standard input, with and without a context", async () => {
    const data = Buffer.from("FROM scratch\n");
    deepEqual(await resolve(".", "-", "FROM scratch\n"), {
      context: { kind: "directory", path: dir },
      dockerfile: { kind: "bytes", data },
    });
    deepEqual(await resolve("-", null, "FROM scratch\n"), {
      context: { kind: "empty" },
      dockerfile: { kind: "bytes", data },
    });
    await rejects(resolve("-", null), /it is empty/);
    await rejects(resolve("-", "-"), /cannot both be read/);
  });

  it("keeps a tar from standard input as it is", async () => {
    for (const format of ["v7", "ustar", "pax"]) {
      const tar = execFileSync("tar", [`--format=${format}`, "-C", dir, "-c", "file"]).toString("latin1");
      const { context } = await resolve("-", "my.Dockerfile", tar);
      equal(context.kind, "archive", format);
      equal(context.kind === "archive" ? readFileSync(context.path, "latin1") : "", tar);
    }
    equal((await resolve("-", null, "\x1f\x8b\x08rest")).context.kind, "archive");
    await rejects(resolve("-", "my.Dockerfile", "FROM scratch\n"), /ambiguous Dockerfile source/);
  });

  it("takes a Dockerfile from a URL, and beside a remote context from this machine by an absolute path", async () => {
    const url = "http://example.com/Dockerfile";
    deepEqual((await resolve(".", url)).dockerfile, { kind: "remote", url });
    const { dockerfile } = await resolve("https://example.com/x.git", join(dir, "file"));
    equal(dockerfile.kind, "bytes");
    await rejects(
      resolve("https://example.com/x.git", "/nowhere/x"),
      /failed to read dockerfile: open .*ENOENT/,
    );
  });
});
