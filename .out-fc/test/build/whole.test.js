// One image through all rooms, judged by programs that are not ours: docker-registry takes it, skopeo copies it, umoci unpacks
// it, crun and runc run it.
import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import { lstatSync, readFileSync, readlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { needs } from "../support/needs.js";
import { startRegistry } from "../support/registry.js";
import { accounts } from "../support/unprivileged.js";
import { openWorkshop, THREE_STAGES, THREE_STAGES_OUTPUT } from "./fixture.js";
for (const account of accounts()) {
    describe(`a build of three stages as ${account.name}`, () => {
        let shop;
        let registry;
        let image;
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
            const metadata = JSON.parse(readFileSync(shop.at("metadata.json"), "utf8"));
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
                for (const runtime of ["crun", "runc"])
                    assert.equal(runBundle(runtime, bundle), THREE_STAGES_OUTPUT);
            }
            else {
                // Who has one id only cannot become the image's user: what the image holds is what can be looked at.
                assert.match(runBundle("crun", bundle, 0), /^hello\n0\nCOMPILED\nstyle\n1\n$/);
            }
        });
        it("comes back with a pull into another store, and runs there", async () => {
            await shop.ok(["pull", image], { root: shop.at("other-store") });
            const { stdout } = await shop.ok(["run", "--rm", image], { root: shop.at("other-store") });
            assert.equal(stdout, THREE_STAGES_OUTPUT);
        });
        function inspect(from) {
            return JSON.parse(run("skopeo", "inspect", "--tls-verify=false", from));
        }
    });
}
function rootless() {
    return process.getuid?.() === 0 ? ["unpack"] : ["unpack", "--rootless"];
}
function run(program, ...args) {
    const { status, stdout, stderr } = spawnSync(needs(program), args, { encoding: "utf8" });
    assert.equal(status, 0, `${program} ${args.join(" ")}\n${stderr}`);
    return stdout;
}
/** Runs the bundle umoci made, without the terminal it asks for. `uid`: instead of the image's user. */
function runBundle(runtime, bundle, uid = null) {
    const path = join(bundle, "config.json");
    const config = JSON.parse(readFileSync(path, "utf8"));
    config.process.terminal = false;
    if (uid !== null)
        config.process.user = { uid, gid: uid };
    delete config.linux.resources; // cgroups are not what is looked at
    config.linux.namespaces = config.linux.namespaces.filter(({ type }) => type !== "cgroup" && type !== "network");
    writeFileSync(path, JSON.stringify(config));
    const global = ["--root", `${bundle}-${runtime}`, ...(runtime === "crun" ? ["--cgroup-manager=disabled"] : [])];
    const name = `t${process.pid}-${runtime}`;
    return execFileSync(needs(runtime), [...global, "run", "-b", bundle, name], { encoding: "utf8" });
}
//# sourceMappingURL=whole.test.js.map