// One image through all rooms, checked with independent programs: docker-registry accepts it, skopeo copies it, umoci unpacks
// it, crun and runc run it.

import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import { existsSync, lstatSync, readFileSync, readlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { needs } from "../support/needs.ts";
import { type RunningRegistry, startRegistry } from "../support/registry.ts";
import { accounts } from "../support/unprivileged.ts";
import { openWorkshop, THREE_STAGES, THREE_STAGES_OUTPUT, type Workshop } from "./fixture.ts";

for (const account of accounts()) {
  describe(`a build of three stages as ${account.name}`, () => {
    let shop: Workshop;
    let registry: RunningRegistry;
    let image: string;

    before(async () => {
      needs("docker-registry");
      registry = await startRegistry();
      shop = await openWorkshop(account);
      image = `${registry.host}/team/app:1`;
      const context = shop.context("app", THREE_STAGES);
      await shop.ok(["build", "-t", image, "--push", "--metadata-file", shop.at("metadata.json"), context]);
    });
    after(async () => {
      await registry[Symbol.asyncDispose]();
      shop[Symbol.dispose]();
    });

    it("is run by tsbuild itself", async () => {
      await shop.ok(["build", "-t", "app", shop.at("app")]);
      const { stdout } = await shop.ok(["run", "--rm", "app"]);
      assert.equal(stdout, THREE_STAGES_OUTPUT);
    });

    it("gives the command's exit code back from a run", async () => {
      const { code } = await shop.run(["run", "--rm", "app", "exit 7"]);
      assert.equal(code, 7);
    });

    it("is in the registry under the digest that the metadata file says", () => {
      const metadata = JSON.parse(readFileSync(shop.at("metadata.json"), "utf8")) as Record<string, string>;
      const inspected = inspect(`docker://${image}`);
      assert.equal(metadata["containerimage.digest"], inspected.Digest);
    });

    it("has one layer for each step that changes files, on top of the base's one", () => {
      // base, COPY, COPY, RUN, and WORKDIR, whose layer BuildKit makes too where the directory was there already
      assert.equal(inspect(`docker://${image}`).Layers.length, 5);
    });

    it("is copied by skopeo, unpacked by umoci and run by crun and runc", () => {
      const layout = shop.at("layout");
      run("skopeo", "copy", "--quiet", "--src-tls-verify=false", `docker://${image}`, `oci:${layout}:1`);
      const bundle = shop.at("bundle");
      run("umoci", ...rootless(), "--image", `${layout}:1`, bundle);
      const rootfs = join(bundle, "rootfs");
      assert.equal(readFileSync(join(rootfs, "usr/bin/program"), "utf8"), "COMPILED\n");
      assert.equal(lstatSync(join(rootfs, "usr/bin/program")).mode & 0o7777, 0o4755);
      assert.equal(readlinkSync(join(rootfs, "srv/main.css")), "style.css");
      assert.ok(lstatSync(join(rootfs, "srv/empty")).isDirectory());
      assert.throws(() => lstatSync(join(rootfs, "bin/wget")), { code: "ENOENT" });
      if (process.getuid?.() === 0) {
        assert.equal(lstatSync(join(rootfs, "srv/style.css")).uid, 1000);
        for (const runtime of ["crun", "runc"]) assert.equal(runBundle(runtime, bundle), THREE_STAGES_OUTPUT);
      } else {
        // umoci's rootless bundle has one id: it is run as that, and its files belong to it.
        assert.equal(runBundle("runc", bundle, 0), THREE_STAGES_OUTPUT.replace("1000", "0"));
      }
    });

    it("comes back with a pull into another store, and runs there", async () => {
      await shop.ok(["pull", image], { root: shop.at("other-store") });
      const { stdout } = await shop.ok(["run", "--rm", image], { root: shop.at("other-store") });
      assert.equal(stdout, THREE_STAGES_OUTPUT);
    });

    function inspect(from: string): { Digest: string; Layers: string[] } {
      return JSON.parse(run("skopeo", "inspect", "--tls-verify=false", from)) as {
        Digest: string;
        Layers: string[];
      };
    }
  });
}

function rootless(): string[] {
  return process.getuid?.() === 0 ? ["unpack"] : ["unpack", "--rootless"];
}

function run(program: string, ...args: string[]): string {
  const { status, stdout, stderr } = spawnSync(needs(program), args, { encoding: "utf8" });
  assert.equal(status, 0, `${program} ${args.join(" ")}\n${stderr}`);
  return stdout;
}

/** Runs the bundle umoci made, without the terminal it asks for. `uid`: instead of the image's user. */
function runBundle(runtime: string, bundle: string, uid: number | null = null): string {
  const path = join(bundle, "config.json");
  const config = JSON.parse(readFileSync(path, "utf8")) as {
    process: { terminal: boolean; user: { uid: number; gid: number } };
    mounts: { type: string }[];
    linux: { namespaces: { type: string }[]; resources?: unknown };
  };
  config.process.terminal = false;
  if (uid !== null) config.process.user = { uid, gid: uid };
  delete config.linux.resources; // cgroups are not what is looked at, and not every machine has those a runtime wants
  config.mounts = config.mounts.filter(({ type }) => type !== "cgroup");
  config.linux.namespaces = config.linux.namespaces.filter(
    ({ type }) => type !== "cgroup" && type !== "network",
  );
  writeFileSync(path, JSON.stringify(config));
  const args = ["--root", `${bundle}-${runtime}`, "run", "-b", bundle, `t${process.pid}-${runtime}`];
  if (runtime === "crun" && existsSync("/sys/fs/cgroup/unified")) {
    // crun refuses machines that have both versions of cgroups mounted: it gets to see one.
    const script = 'mount -t cgroup2 none /sys/fs/cgroup && exec crun --cgroup-manager=disabled "$@"';
    return execFileSync("unshare", ["--mount", "sh", "-c", script, "crun", ...args], { encoding: "utf8" });
  }
  return execFileSync(needs(runtime), args, { encoding: "utf8" });
}
