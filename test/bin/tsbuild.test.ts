import { deepEqual, equal, match, ok } from "node:assert/strict";
import { spawnSync } from "node:child_process";
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { COMMANDS, resolveAlias } from "../../bin/commands.ts";
import { IMAGE_COMMANDS } from "../../bin/image-commands.ts";
import { commandHelp } from "../../bin/args.ts";
import { readConfig } from "../../bin/config.ts";
import { openStore } from "../../cache/store.ts";
import { IMAGE_SPACE } from "../../cache/image-record.ts";
import type { Digest } from "../../solver/graph/digest.ts";

const TSBUILD = fileURLToPath(new URL("../../bin/tsbuild.cjs", import.meta.url));

describe("the command", function () {
  this.timeout(20_000);
  let dir = "";
  before(() => {
    dir = mkdtempSync(join(tmpdir(), "tsbuild-cli-"));
  });
  after(() => rmSync(dir, { recursive: true }));
  function tsbuild(...args: string[]) {
    const env = { PATH: process.env.PATH, HOME: dir, TSBUILD_ROOT: join(dir, "root"), NO_COLOR: "1" };
    const { status, stdout, stderr } = spawnSync(process.execPath, [TSBUILD, ...args], {
      env,
      cwd: dir,
      encoding: "utf8",
    });
    return { status, stdout, stderr };
  }

  it("starts where a power cut has torn its compiled code", () => {
    // V8 itself looks at the head and the length only, and crashes on the rest.
    const project = fileURLToPath(new URL("../../..", import.meta.url));
    const copy = join(dir, "copy");
    mkdirSync(copy);
    for (const name of ["package.json", "dist/bin", "dist/bundle", "dist/solver"])
      cpSync(join(project, name), join(copy, name), { recursive: true });
    symlinkSync(join(project, "node_modules"), join(copy, "node_modules"));
    const bundle = join(copy, "dist", "bundle");
    const compiled = readdirSync(bundle).find((name) =>
      new RegExp(`^main-.*-${process.version}-.*[.]code$`).test(name),
    );
    if (compiled === undefined) return; // built by another Node: nothing is loaded
    const bytes = readFileSync(join(bundle, compiled));
    writeFileSync(join(bundle, compiled), bytes.fill(0, bytes.length >> 1));
    const env = { PATH: process.env.PATH, HOME: dir, TSBUILD_ROOT: join(dir, "torn") };
    const started = spawnSync(process.execPath, [join(copy, "dist", "bin", "tsbuild.cjs"), "images"], {
      env,
    });
    deepEqual([started.status, started.signal], [0, null]);
  });

  it("prints its help, and that of each command", async () => {
    const { status, stdout } = tsbuild("--help");
    equal(status, 0);
    for (const { name, summary } of COMMANDS)
      ok(stdout.includes(`  ${name} `) && stdout.includes(summary), name);
    for (const { name, summary, load } of [...COMMANDS, ...IMAGE_COMMANDS]) {
      const { command } = await load();
      const help = commandHelp({ ...command.flags, name, summary });
      ok(help.startsWith(`Usage:  tsbuild ${name}`), name);
      ok(
        help.split("\n").every((line) => line.length <= 120),
        name,
      );
    }
    equal(tsbuild("build", "--help").stdout, tsbuild("help", "build").stdout);
  });

  it("prints its version in all ways that are asked", () => {
    const { stdout } = tsbuild("--version");
    match(stdout, /^tsbuild version \d+\.\d+\.\d+/);
    equal(tsbuild("version").stdout, stdout);
  });

  it("loads no package for its help and version", () => {
    const hook = join(dir, "hook.mjs");
    // resolve() sees every import of a package; node: and file names are ours
    const resolver = `export async function resolve(name, context, next) {
      if (!/^(node:|file:|[./])/.test(name)) throw new Error("loads " + name);
      return next(name, context);
    }`;
    writeFileSync(
      hook,
      `import { register } from "node:module";
      register("data:text/javascript," + encodeURIComponent(${JSON.stringify(resolver)}));`,
    );
    for (const args of [["--version"], ["--help"], ["build", "--help"], ["run", "--help"]]) {
      const { status, stderr } = spawnSync(process.execPath, ["--import", hook, TSBUILD, ...args], {
        encoding: "utf8",
      });
      equal(status, 0, stderr);
    }
  });

  it("ends with 1 for a wrong command line, with 125 for one of run", () => {
    deepEqual(tsbuild("bulid"), {
      status: 1,
      stdout: "",
      stderr: "ERROR: unknown command: tsbuild bulid\nhint: did you mean 'tsbuild build'?\n",
    });
    deepEqual(tsbuild("verify-attestation", "x"), {
      status: 1,
      stdout: "",
      stderr:
        "ERROR: unknown command: tsbuild verify-attestation\nhint: use 'tsbuild verify-signature --type TYPE'\n",
    });
    match(tsbuild("image", "list-tags", "x").stderr, /^hint: use 'tsbuild image ls-remote'$/m);
    match(tsbuild("image", "copy", "--all", "a", "b").stderr, /^hint: all platforms are copied unless/m);
    match(
      tsbuild("image", "copy", "docker://a", "dir:/b").stderr,
      /^hint: dir: is not supported; use oci:PATH$/m,
    );
    match(
      tsbuild("sign", "--key", "k", "--allow-http-registry", "a").stderr,
      /^hint: use --insecure-registry HOST$/m,
    );
    equal(tsbuild("help", "--help").stdout, tsbuild("--help").stdout);
    deepEqual(tsbuild("build", "--taget", "x", "."), {
      status: 1,
      stdout: "",
      stderr: "ERROR: unknown flag: --taget\nhint: did you mean --target?\n",
    });
    deepEqual(tsbuild("builder", "bogus"), {
      status: 1,
      stdout: "",
      stderr:
        "ERROR: invalid arguments: tsbuild builder bogus\nhint: the forms are ls, add NAME ADDRESS, rm NAME, use NAME and inspect [NAME]\n",
    });
    equal(tsbuild("run", "--privileged", "x").status, 125);
  });

  it("takes global flags on both sides of the command", () => {
    const root = join(dir, "elsewhere");
    equal(tsbuild("--root", root, "images").status, 0);
    ok(readdirSync(root).length > 0);
    rmSync(root, { recursive: true });
    equal(tsbuild("images", "--root", root).status, 0);
    ok(readdirSync(root).length > 0);
  });

  it("refuses what buildx refuses, and leaves no id of an earlier build behind", () => {
    writeFileSync(join(dir, "id"), "sha256:old");
    const error = (...args: string[]): string => {
      const { status, stderr } = tsbuild("build", ...args, ".");
      equal(status, 1);
      return stderr;
    };
    match(
      error("--no-cache", "--no-cache-filter", "x"),
      /--no-cache and --no-cache-filter cannot currently be used/,
    );
    match(error("-q", "--progress=plain"), /progress=plain and quiet cannot be used together/);
    match(
      error("--iidfile", "id", "-o", "out"),
      /local and tar exporters are incompatible with image ID file/,
    );
    equal(readFileSync(join(dir, "id"), "utf8"), "sha256:old");
    error("--iidfile", "id"); // there is no Dockerfile
    equal(existsSync(join(dir, "id")), false);
  });

  it("says what is wrong with the context of a build before anything is made", () => {
    const { status, stderr } = tsbuild("build", "nowhere");
    equal(status, 1);
    equal(stderr, 'ERROR: failed to build: unable to prepare context: path "nowhere" not found\n');
  });

  it("lists, inspects, tags and removes images of the store without keeper or network", async () => {
    const { Id, digest } = await addImage(join(dir, "root"), "docker.io/library/app:1");
    const listed = tsbuild("images", "--format", "{{.Repository}}:{{.Tag}} {{.ID}} {{.Size}}");
    deepEqual(listed, { status: 0, stdout: `app:1 ${Id.slice(7, 19)} 5.43kB\n`, stderr: "" });

    equal(tsbuild("tag", "app:1", "example.com/team/app").status, 0);
    equal(tsbuild("images", "-q", "--no-trunc").stdout, `${Id}\n${Id}\n`);
    const [inspected] = JSON.parse(tsbuild("inspect", Id.slice(7, 15)).stdout);
    equal(inspected.Id, Id);
    deepEqual(inspected.RepoTags, ["app:1", "example.com/team/app:latest"]);
    equal(inspected.Config.Env[0], "A=1");
    equal(
      tsbuild("inspect", "-f", "{{.Config.Env}} {{json .RepoDigests}}", "app:1").stdout,
      `[A=1] ["app@${digest}"]\n`, // nothing was pushed to example.com
    );

    const history = tsbuild("history", "app:1", "--format", "{{.CreatedBy}} {{.Size}} {{.Comment}}");
    equal(history.stdout, 'CMD ["x"] 0B buildkit.dockerfile.v0\nRUN make 4.32kB buildkit.dockerfile.v0\n');

    const several = tsbuild("rmi", Id);
    equal(several.status, 1);
    match(several.stderr, /it has several names/);
    equal(tsbuild("rmi", "app:1").stdout, "Untagged: app:1\n");
    equal(tsbuild("rmi", Id).stdout, "Untagged: example.com/team/app:latest\n");
    equal(tsbuild("images", "-q").stdout, "");
    equal(tsbuild("inspect", "app:1").status, 1);
    equal(tsbuild("rmi", "--force", "app:1").status, 0);
  });

  it("does not remove anything unasked", () => {
    const { status, stderr } = tsbuild("prune");
    equal(status, 1);
    match(stderr, /standard input is not a terminal/);
  });
});

/** Puts an image's documents and name into the store. */
async function addImage(root: string, name: string): Promise<{ Id: Digest; digest: Digest }> {
  await using store = await openStore(root);
  const put = (value: object) => {
    const data = Buffer.from(JSON.stringify(value));
    return { digest: store.content.put(data), size: data.length };
  };
  const comment = "buildkit.dockerfile.v0";
  const config = put({
    architecture: "amd64",
    os: "linux",
    created: "2024-01-01T00:00:00Z",
    config: { Env: ["A=1"], Cmd: ["x"] },
    rootfs: { type: "layers", diff_ids: [`sha256:${"1".repeat(64)}`] },
    history: [
      { created: "2024-01-01T00:00:00Z", created_by: "RUN make", comment },
      { created: "2024-01-01T00:00:00Z", created_by: 'CMD ["x"]', comment, empty_layer: true },
    ],
  });
  const layer = {
    mediaType: "application/vnd.oci.image.layer.v1.tar+gzip",
    digest: `sha256:${"2".repeat(64)}`,
    size: 4321,
  };
  const manifest = put({
    schemaVersion: 2,
    config: { mediaType: "c", ...config },
    layers: [layer, { ...layer, digest: `sha256:${"3".repeat(64)}`, size: 1111 }],
  });
  const target = { mediaType: "application/vnd.oci.image.manifest.v1+json", ...manifest };
  const confirmed = ["docker.io/library/app"];
  store.records.put(IMAGE_SPACE, name, {
    name,
    target,
    createdAtMs: Date.UTC(2024, 0, 1),
    layers: {},
    confirmed,
  });
  return { Id: config.digest, digest: manifest.digest };
}

describe("configuration", () => {
  const none = { root: null, debug: false, verbose: false };

  it("finds the store by flag, environment and user", () => {
    const env = { HOME: "/home/u", TSBUILD_ROOT: "/t" };
    equal(readConfig({ ...none, root: "r" }, env, "/w").root, "/w/r");
    equal(readConfig(none, env, "/w").root, "/t");
    const own = process.getuid?.() === 0 ? "/var/lib/tsbuild" : "/home/u/.local/share/tsbuild";
    equal(readConfig(none, { HOME: "/home/u" }, "/w").root, own);
    equal(readConfig(none, { HOME: "/home/u" }, "/w").dockerConfigDir, "/home/u/.docker");
    equal(readConfig(none, { DOCKER_CONFIG: "/d" }, "/w").dockerConfigDir, "/d");
  });

  it("knows docker's longer names of commands", () => {
    deepEqual(resolveAlias(["image", "ls", "-q"]), ["images", "-q"]);
    deepEqual(resolveAlias(["image", "rm", "x"]), ["rmi", "x"]);
    deepEqual(resolveAlias(["buildx", "build", "."]), ["build", "."]);
    deepEqual(resolveAlias(["b", "."]), ["build", "."]);
    deepEqual(resolveAlias(["run", "image", "ls"]), ["run", "image", "ls"]);
  });
});
