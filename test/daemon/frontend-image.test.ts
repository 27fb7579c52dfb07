// Frontends in images: a program of ours on this machine's Node, in an image that a registry has.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { copyFileSync, mkdirSync, readFileSync, realpathSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { build } from "esbuild";
import { openWorkshop, type Workshop } from "../build/fixture.ts";
import { type DaemonShop, openDaemonShop } from "../support/daemon.ts";
import { projectDir } from "../support/project.ts";
import { type RunningRegistry, startRegistry } from "../support/registry.ts";
import { ordinaryUser } from "../support/unprivileged.ts";

const account = ordinaryUser();
const architecture = (): string => (process.arch === "x64" ? "amd64" : process.arch);

describe(`a frontend in an image, run by tsbuildd as ${account.name}`, function () {
  this.timeout(120_000);
  let shop: Workshop;
  let clients: DaemonShop;
  let registry: RunningRegistry;
  let image: string;

  before(async () => {
    shop = await openWorkshop(account);
    registry = await startRegistry();
    image = `${registry.host}/team/frontend:1`;
    clients = await openDaemonShop(shop);
    const dir = shop.context("frontend", {
      Dockerfile: 'FROM scratch\nCOPY root /\nENTRYPOINT ["/node", "/frontend.mjs"]\n',
    });
    await writeProgram(join(dir, "root"));
    await clients.ok("build", "--push", "-t", image, dir);
  });
  after(async () => {
    const { code, stderr } = await clients.stop();
    await clients[Symbol.asyncDispose]();
    await registry[Symbol.asyncDispose]();
    shop[Symbol.dispose]();
    assert.equal(code, 0, stderr);
    assert.doesNotMatch(stderr, /internal error/);
  });

  it("is what a Dockerfile's syntax line names, is told how it was called, and has no network", async () => {
    const dir = shop.context("named", { Dockerfile: `# syntax=${image} and more\nanything at all\n` });
    const out = shop.at("home", "told-out");
    const { stderr } = await clients.ok("build", "--progress=plain", "-o", out, dir);
    assert.match(stderr, new RegExp(`asked for ${image} and more`));
    assert.deepEqual(JSON.parse(readFileSync(join(out, "told"), "utf8")), {
      cmdline: `${image} and more`,
      interfaces: ["lo"],
      hasWorkers: true,
      definitionBytes: true,
    });
  });

  it("is what provenance says of its result, and one of the materials", async () => {
    const dir = shop.context("attested", { Dockerfile: `# syntax=${image} and more\nanything at all\n` });
    const said: unknown[] = [];
    for (const [index, build] of [
      (out: string) => clients.ok("build", "--provenance=true", "-o", out, dir),
      (out: string) => shop.ok(["build", "--provenance=true", "--allow-frontend", "-o", out, dir]),
    ].entries()) {
      const out = shop.at("home", `attested-${index}`);
      await build(out);
      const { predicate } = JSON.parse(readFileSync(join(out, "provenance.json"), "utf8")) as {
        predicate: {
          buildDefinition: {
            externalParameters: { request: { frontend: string; args: Record<string, string> } };
            resolvedDependencies: { uri: string }[];
          };
        };
      };
      const { externalParameters, resolvedDependencies } = predicate.buildDefinition;
      const { frontend, args } = externalParameters.request;
      said.push([frontend, args["source"], args["cmdline"], resolvedDependencies.map(({ uri }) => uri)]);
    }
    const uri = `pkg:docker/${image.replace(":", "%3A").replace(/:1$/, "@1")}?platform=linux%2Famd64`;
    const expected = ["gateway.v0", image, `${image} and more`, [uri.replace("amd64", architecture())]];
    assert.deepEqual(said, [expected, expected]);
  });

  it("is locked like what it names, and updated", async () => {
    const dir = shop.context("locked", { Dockerfile: `# syntax=${image}\nanything at all\n` });
    const out = shop.at("home", "locked");
    const refused = await shop.run(["build", "--allow-frontend", "--locked", "-o", out, dir]);
    assert.match(refused.stderr, /there is no lock file/);
    const { stdout } = await shop.ok(["update", "--allow-frontend", dir]);
    assert.match(stdout, new RegExp(`^\\+ ${image}\n {4}\\+ sha256:\\w{64}\n$`));
    await shop.ok(["build", "--allow-frontend", "--locked", "-o", out, dir]);
    await shop.ok(["update", "--check", "--allow-frontend", dir]);
    writeFileSync(join(dir, "tsbuild.lock"), '{"version":1}');
    const unlisted = await shop.run(["build", "--allow-frontend", "--locked", "-o", out, dir]);
    assert.equal(unlisted.code, 1);
    assert.ok(unlisted.stderr.includes(`the image ${image} is not in the lock file`), unlisted.stderr);
    await shop.ok(["build", "--allow-frontend", "--lock", "-o", out, dir]);
    assert.ok(readFileSync(join(dir, "tsbuild.lock"), "utf8").includes(`"${image}"`));
  });

  it("may be named by a build argument, and may refuse", async () => {
    const dir = shop.context("argued", { Dockerfile: "anything\n" });
    const flags = ["--build-arg", `BUILDKIT_SYNTAX=${image}`];
    await clients.ok("build", ...flags, dir);
    const { code, stderr } = await clients.run("build", ...flags, "--build-arg", "HOW=fail", dir);
    assert.equal(code, 1);
    assert.match(stderr, /failed to solve: the frontend does not like it\n/);
  });

  it("is missed at the line that names it", async () => {
    const dir = shop.context("missing", { Dockerfile: `# syntax=${image}-not\nFROM scratch\n` });
    const { code, stderr } = await clients.run("build", dir);
    assert.equal(code, 1);
    assert.match(stderr, /Dockerfile:1\n-+\n +1 \| >>> # syntax=\S+-not\n/);
  });

  it("is told of when it ends without a result", async () => {
    const dir = shop.context("silent", { Dockerfile: `# syntax=${image}\n` });
    const { code, stderr } = await clients.run("build", "--build-arg", "HOW=silent", dir);
    assert.equal(code, 1);
    assert.match(stderr, /ended without a result \(exit code: 3\): asked for /);
  });

  it("is told of when it speaks something else, and does not end", async () => {
    const dir = shop.context("garbage", { Dockerfile: `# syntax=${image}\n` });
    const { code, stderr } = await clients.run("build", "--build-arg", "HOW=garbage", dir);
    assert.equal(code, 1);
    assert.match(stderr, /ended its connection without a result/);
    assert.match(stderr, /is it an image of a frontend\?/);
  });

  it("may use others, but not any number of them at one time", async () => {
    const dir = shop.context("many", { Dockerfile: `# syntax=${image}\n` });
    const flags = ["--build-arg", "HOW=many", "--build-arg", `SELF=${image}`];
    const { code, stderr } = await clients.run("build", ...flags, dir);
    assert.equal(code, 1);
    assert.match(stderr, /refused: frontends that use frontends, more than 32 at one time/);
  });

  it("may send messages of any size that is allowed", async () => {
    const dir = shop.context("large", { Dockerfile: `# syntax=${image}\n` });
    const out = shop.at("home", "large-out");
    await clients.ok("build", "--build-arg", "HOW=large", "-o", out, dir);
    assert.equal(readFileSync(join(out, "told")).length, 15_000_000);
  });

  it("runs for the command too, as far as it is allowed there", async () => {
    const dir = shop.context("allowed", { Dockerfile: `# syntax=${image} and more\nanything at all\n` });
    const out = shop.at("home", "allowed-out");
    const refused = await shop.run(["build", dir]);
    assert.equal(refused.code, 1);
    assert.match(refused.stderr, /is an image, which is not run unless it is allowed/);
    assert.match(refused.stderr, /allow it with --allow-frontend/);
    const other = await shop.run(["build", "--allow-frontend=docker.io/team/other", dir]);
    assert.equal(other.code, 1);
    assert.match(other.stderr, /is not an allowed gateway source/);
    for (const flag of ["--allow-frontend", `--allow-frontend=docker.io/x,${image.replace(/:1$/, "")}`]) {
      const { stderr } = await shop.ok(["build", "--progress=plain", flag, "-o", out, dir]);
      assert.match(stderr, new RegExp(`asked for ${image} and more`));
      assert.deepEqual(JSON.parse(readFileSync(join(out, "told"), "utf8")), {
        cmdline: `${image} and more`,
        interfaces: ["lo"],
        hasWorkers: true,
        definitionBytes: true,
      });
    }
    const failed = await shop.run(["build", "--allow-frontend", "--build-arg", "HOW=fail", dir]);
    assert.equal(failed.code, 1);
    assert.match(failed.stderr, /failed to solve: the frontend does not like it\n/);
    // A file of this process's own frontend needs none.
    const plain = shop.context("plain", { Dockerfile: "FROM scratch\nCOPY Dockerfile /\n" });
    await shop.ok(["build", "--allow-frontend", "-o", out, plain]);
  });

  it("can be switched off, and bound to some repositories", async () => {
    const dir = shop.context("refused", { Dockerfile: `# syntax=${image}\n` });
    for (const [settings, words] of [
      ["enabled = false", /frontends in images are switched off on this builder/],
      ['allowedRepositories = ["docker.io/docker/dockerfile"]', /is not an allowed gateway source/],
    ] as const) {
      const place = shop.context("config", { "buildkitd.toml": `[frontend."gateway.v0"]\n${settings}\n` });
      const socket = shop.at("home", "refusing.sock");
      const daemon = shop.start(["--addr", `unix://${socket}`, "--config", join(place, "buildkitd.toml")], {
        program: "tsbuildd",
      });
      try {
        await daemon.says(/listens on unix:/);
        const name = `refusing-${settings.length}`;
        await clients.ok("create", "--name", name, "--driver", "remote", `unix://${socket}`);
        const { code, stderr } = await clients.run("build", "--builder", name, dir);
        assert.equal(code, 1);
        assert.match(stderr, words);
      } finally {
        daemon.kill("SIGTERM");
        await daemon.outcome;
      }
    }
  });
});

/** The program with this machine's Node and the libraries that needs. */
async function writeProgram(root: string): Promise<void> {
  mkdirSync(root, { recursive: true });
  const node = realpathSync(process.execPath);
  copyFileSync(node, join(root, "node"));
  const libraries = execFileSync("ldd", [node], { encoding: "utf8" }).matchAll(/(\/[^\s()]+)/g);
  for (const [, path = ""] of libraries) {
    mkdirSync(join(root, dirname(path)), { recursive: true });
    copyFileSync(realpathSync(path), join(root, path));
  }
  const { outputFiles } = await build({
    entryPoints: [join(projectDir, "dist/test/daemon/frontend-program.js")],
    ...{ bundle: true, write: false, platform: "node", format: "esm", target: "node20" },
  });
  writeFileSync(join(root, "frontend.mjs"), outputFiles[0]?.contents ?? "");
}
