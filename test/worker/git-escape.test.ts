// Untrusted repositories, from a real git server, with files outside that must neither change nor get into the layer.

import assert from "node:assert/strict";
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import {
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { createServer } from "node:net";
import { hostname } from "node:os";
import { dirname, join } from "node:path";
import { createInterface } from "node:readline";
import { openStore } from "../../cache/store.ts";
import { fetchGit, type GitContext } from "../../worker/sources/git.ts";
import { needs } from "../support/needs.ts";
import { type TemporaryDir, temporaryDir } from "../support/store.ts";
import { NO_SESSION } from "../support/session.ts";
import type { Store } from "../../cache/contract.ts";

describe("an untrusted git repository", () => {
  let temporary: TemporaryDir;
  let store: Store;
  let daemon: ChildProcess;
  let base: string;
  const context: GitContext = {
    signal: new AbortController().signal,
    session: NO_SESSION,
    variables: async () => ({}),
    emit: () => {},
  };

  before(async () => {
    temporary = temporaryDir();
    store = await openStore(temporary.at("store"));
    const port = await freePort();
    mkdirSync(temporary.at("served"));
    mkdirSync(temporary.at("host", "dir"), { recursive: true });
    writeFileSync(temporary.at("host", "dir", "secret"), "of the host");
    const listen = ["--listen=127.0.0.1", `--port=${port}`, "--reuseaddr"];
    daemon = spawn(
      needs("git"),
      ["daemon", "--verbose", "--export-all", `--base-path=${temporary.at("served")}`, ...listen],
      {
        stdio: ["ignore", "ignore", "pipe"],
        env: { ...process.env, LC_ALL: "C", GIT_CONFIG_GLOBAL: temporary.at("daemon.config") },
        detached: true, // with its children
      },
    );
    writeFileSync(temporary.at("daemon.config"), "[safe]\n\tdirectory = *\n");
    for await (const line of createInterface({
      input: daemon.stderr as NonNullable<ChildProcess["stderr"]>,
    })) {
      if (line.includes("Ready to rumble")) break;
    }
    base = `git://127.0.0.1:${port}`;
  });
  after(async () => {
    if (daemon.pid !== undefined && daemon.exitCode === null) {
      const ended = once(daemon, "exit");
      process.kill(-daemon.pid, "SIGTERM");
      await ended;
    }
    await store[Symbol.asyncDispose]();
    temporary[Symbol.dispose]();
  });

  const git = (dir: string, ...args: string[]): string =>
    execFileSync("git", ["-c", "protocol.file.allow=always", ...args], {
      cwd: dir,
      encoding: "utf8",
      stdio: ["ignore", "pipe", "pipe"],
      env: {
        PATH: process.env.PATH,
        HOME: temporary.path,
        GIT_CONFIG_NOSYSTEM: "1",
        ...Object.fromEntries(
          ["AUTHOR", "COMMITTER"].flatMap((who) => [
            [`GIT_${who}_NAME`, "t"],
            [`GIT_${who}_EMAIL`, "t@t"],
          ]),
        ),
      },
    });

  /** A repository with these files; "-> x" makes a link, and commits of other repositories stand as submodules. */
  const repository = (
    name: string,
    files: Readonly<Record<string, string>>,
    submodules: Readonly<Record<string, string>> = {},
  ): void => {
    const dir = temporary.at("served", name);
    mkdirSync(dir, { recursive: true });
    git(dir, "-c", "init.defaultBranch=main", "init", "-q");
    for (const [path, text] of Object.entries(files)) {
      mkdirSync(dirname(join(dir, path)), { recursive: true });
      if (text.startsWith("-> ")) symlinkSync(text.slice(3), join(dir, path));
      else writeFileSync(join(dir, path), text);
    }
    git(dir, "add", "--all", "--force");
    for (const [path, commit] of Object.entries(submodules)) {
      git(dir, "update-index", "--add", "--cacheinfo", `160000,${commit},${path}`);
    }
    git(dir, "commit", "-q", "-m", "c");
  };
  const headOf = (name: string): string => git(temporary.at("served", name), "rev-parse", "HEAD").trim();

  const fetch = async (fragment: string, attrs: Readonly<Record<string, string>> = {}): Promise<string> => {
    const fullurl = `${base}/${fragment.split("#")[0]}`;
    const id = await fetchGit(
      {
        kind: "source",
        identifier: `git://host/${fragment}`,
        attrs: { "git.fullurl": fullurl, ...attrs },
      },
      store,
      context,
    );
    return store.layers.directory(id);
  };
  const names = (dir: string): string[] => readdirSync(dir).sort();
  const hostIsWhole = (): void => {
    assert.deepEqual(names(temporary.at("host", "dir")), ["secret"]);
    assert.equal(readFileSync(temporary.at("host", "dir", "secret"), "utf8"), "of the host");
  };

  it("does not move files of the host into the image by a link as its folder", async () => {
    const host = temporary.at("host", "dir");
    repository("links", { k: `-> ${host}`, "in/k": `-> ${host}`, "real/file": "1", inside: "-> real" });
    for (const subdir of ["k", "in/k", "k/.", "inside", "./k/", "../k"]) {
      await assert.rejects(fetch(`links#main:${subdir}`), {
        code: "SOURCE_FAILED",
        message: /is not a directory of the repository$/,
      });
    }
    hostIsWhole();
    assert.deepEqual(names(await fetch("links#main:real")), ["file"]);
    assert.deepEqual(names(await fetch("links#main:../../real/..")), ["in", "inside", "k", "real"]);
    assert.ok(lstatSync(join(await fetch("links#main:in"), "k")).isSymbolicLink());
    hostIsWhole();
  });

  it("runs no program of its own by settings in its files", async () => {
    const run = temporary.at("host", "was-run");
    const smudge = `sh -c 'touch ${run}; cat'`;
    const settings = `[filter "x"]\n\tsmudge = "${smudge}"\n\tclean = cat\n[core]\n\tfsmonitor = "touch ${run}"\n`;
    repository("filtered", { ".gitattributes": "* filter=x\n", file: "text" });
    repository(
      "settings",
      {
        ".gitconfig": settings,
        ".config/git/config": settings,
        ".gitattributes": "* filter=x\n",
        ".gitmodules": '[submodule "s"]\n\tpath = s\n\turl = ../filtered\n',
      },
      { s: headOf("filtered") },
    );
    const layer = await fetch("settings#main");
    assert.equal(readFileSync(join(layer, "s", "file"), "utf8"), "text");
    assert.equal(existsSync(run), false, "a program named by .gitconfig was run");
  });

  it("gets no repository of the host as a submodule, and no program as a transport", async () => {
    const secret = temporary.at("host-repository");
    mkdirSync(secret);
    git(secret, "init", "-q");
    writeFileSync(join(secret, "secret"), "of the host");
    git(secret, "add", "--all");
    git(secret, "commit", "-q", "-m", "c");
    const commit = git(secret, "rev-parse", "HEAD").trim();
    const run = temporary.at("host", "transport-was-run");
    const urls = {
      file: `file://${secret}`,
      path: secret,
      ext: `ext::sh -c touch% ${run}`,
      relative: `../../../../../../../..${secret}`,
    };
    const allowed = '[protocol]\n\tallow = always\n[protocol "file"]\n\tallow = always\n';
    for (const [kind, url] of Object.entries(urls)) {
      const gitmodules = `[submodule "s"]\n\tpath = s\n\turl = "${url}"\n`;
      repository(`sub-${kind}`, { ".gitmodules": gitmodules, ".gitconfig": allowed }, { s: commit });
      await assert.rejects(fetch(`sub-${kind}#main`), { code: "SOURCE_FAILED" }, kind);
    }
    assert.equal(existsSync(run), false);
  });

  it("has submodules of submodules, whose .git says the same on every machine", async () => {
    repository("leaf", { leaf: "1" });
    const gitmodules = (path: string, url: string) =>
      `[submodule "${path}"]\n\tpath = ${path}\n\turl = ${url}\n`;
    repository(
      "middle",
      { ".gitmodules": gitmodules("deep/leaf", "../leaf") },
      { "deep/leaf": headOf("leaf") },
    );
    repository("top", { ".gitmodules": gitmodules("m", "../middle"), x: "1" }, { m: headOf("middle") });
    const layer = await fetch("top#main");
    assert.deepEqual(names(layer), [".gitmodules", "m", "x"]);
    assert.equal(readFileSync(join(layer, "m/deep/leaf/leaf"), "utf8"), "1");
    assert.equal(readFileSync(join(layer, "m/.git"), "utf8"), "gitdir: ../.git/modules/m\n");
    assert.deepEqual(names(await fetch("top#main:m/deep/leaf")), [".git", "leaf"]);
    const without = await fetch("top#main", { "git.skipsubmodules": "true" });
    assert.deepEqual(names(join(without, "m")), []);
    const kept = await fetch("top#main", { "git.keepgitdir": "true" });
    assert.deepEqual(names(kept), [".git", ".gitmodules", "m", "x"]);
    // As BuildKit: .git stays with the whole repository only.
    assert.deepEqual(names(await fetch("top#main:m/deep", { "git.keepgitdir": "true" })), ["leaf"]);
  });

  it("is kept with nothing in .git of the machine, the user and the time it was fetched", async () => {
    repository("part", { p: "1" });
    const gitmodules = '[submodule "m"]\n\tpath = m\n\turl = ../part\n';
    repository("kept", { ".gitmodules": gitmodules, x: "1" }, { m: headOf("part") });
    const files = async (): Promise<Map<string, string>> => {
      const git = join(await fetch("kept#main", { "git.keepgitdir": "true" }), ".git");
      const all = readdirSync(git, { recursive: true, encoding: "utf8" }).filter((name) =>
        statSync(join(git, name)).isFile(),
      );
      return new Map(all.sort().map((name) => [name, readFileSync(join(git, name), "latin1")]));
    };
    const first = await files();
    assert.ok(first.has("index") && first.has("modules/m/index") && first.has("modules/m/logs/HEAD"));
    assert.deepEqual(await files(), first);
    for (const [name, text] of first) assert.equal(text.includes(hostname()), false, name);
  });

  it("leads git nowhere by control characters in names of submodules", async () => {
    repository("leaf-2", { leaf: "1" });
    const gitmodules = '[submodule "s"]\n\tpath = "s\\b"\n\turl = ../leaf-2\n';
    repository("control", { ".gitmodules": gitmodules }, { "s\b": headOf("leaf-2") });
    await assert.rejects(fetch("control#main"), { code: "SOURCE_FAILED", message: /control characters/ });
  });

  it("is refused when its directories stand for one another until their files are endless", async () => {
    const dir = temporary.at("served", "bomb");
    mkdirSync(dir);
    git(dir, "-c", "init.defaultBranch=main", "init", "-q");
    let object = execFileSync("git", ["hash-object", "-w", "--stdin"], {
      cwd: dir,
      input: "1",
      encoding: "utf8",
    });
    let [mode, type] = ["100644", "blob"];
    for (let level = 0; level < 10; level++) {
      const lines = Array.from({ length: 10 }, (_, name) => `${mode} ${type} ${object.trim()}\td${name}\n`);
      object = execFileSync("git", ["mktree"], { cwd: dir, input: lines.join(""), encoding: "utf8" });
      [mode, type] = ["040000", "tree"];
    }
    git(dir, "update-ref", "refs/heads/main", git(dir, "commit-tree", "-m", "c", object.trim()).trim());
    await assert.rejects(fetch("bomb#main"), { code: "LIMIT_EXCEEDED" });
  });

  it("has the same modes whatever the umask of who builds", async () => {
    repository("modes", { "d/file": "1" });
    const umask = process.umask(0o077);
    try {
      const layer = await fetch("modes#main");
      assert.deepEqual(
        ["d", "d/file"].map((path) => statSync(join(layer, path)).mode & 0o777),
        [0o755, 0o644],
      );
    } finally {
      process.umask(umask);
    }
  });
});

async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as { port: number };
  server.close();
  await once(server, "close");
  return port;
}
