var __addDisposableResource = (this && this.__addDisposableResource) || function (env, value, async) {
    if (value !== null && value !== void 0) {
        if (typeof value !== "object" && typeof value !== "function") throw new TypeError("Object expected.");
        var dispose, inner;
        if (async) {
            if (!Symbol.asyncDispose) throw new TypeError("Symbol.asyncDispose is not defined.");
            dispose = value[Symbol.asyncDispose];
        }
        if (dispose === void 0) {
            if (!Symbol.dispose) throw new TypeError("Symbol.dispose is not defined.");
            dispose = value[Symbol.dispose];
            if (async) inner = dispose;
        }
        if (typeof dispose !== "function") throw new TypeError("Object not disposable.");
        if (inner) dispose = function() { try { inner.call(this); } catch (e) { return Promise.reject(e); } };
        env.stack.push({ value: value, dispose: dispose, async: async });
    }
    else if (async) {
        env.stack.push({ async: true });
    }
    return value;
};
var __disposeResources = (this && this.__disposeResources) || (function (SuppressedError) {
    return function (env) {
        function fail(e) {
            env.error = env.hasError ? new SuppressedError(e, env.error, "An error was suppressed during disposal.") : e;
            env.hasError = true;
        }
        var r, s = 0;
        function next() {
            while (r = env.stack.pop()) {
                try {
                    if (!r.async && s === 1) return s = 0, env.stack.push(r), Promise.resolve().then(next);
                    if (r.dispose) {
                        var result = r.dispose.call(r.value);
                        if (r.async) return s |= 2, Promise.resolve(result).then(next, function(e) { fail(e); return next(); });
                    }
                    else s |= 1;
                }
                catch (e) {
                    fail(e);
                }
            }
            if (s === 1) return env.hasError ? Promise.reject(env.error) : Promise.resolve();
            if (env.hasError) throw env.error;
        }
        return next();
    };
})(typeof SuppressedError === "function" ? SuppressedError : function (error, suppressed, message) {
    var e = new Error(message);
    return e.name = "SuppressedError", e.error = error, e.suppressed = suppressed, e;
});
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { runOutputs } from "../../exporters/exporter.js";
import { parseOutput } from "../../exporters/output-grammar.js";
import { loadImage, loadLayout, pullLayer } from "../../cache/registry/image.js";
import { parseReference } from "../../cache/registry/reference.js";
import { startRegistry } from "../support/registry.js";
import { openFixture } from "./fixture.js";
const AMD64 = { os: "linux", architecture: "amd64" };
const skopeo = (...args) => execFileSync("skopeo", args, { encoding: "utf8", stdio: ["ignore", "pipe", "pipe"] });
describe("an image leaves the house", () => {
    let fixture;
    let registry;
    before(async () => {
        registry = await startRegistry();
    });
    after(() => registry[Symbol.asyncDispose]());
    beforeEach(async () => {
        fixture = await openFixture();
    });
    afterEach(() => fixture[Symbol.asyncDispose]());
    it("as an OCI tar that skopeo reads and umoci unpacks", async () => {
        const image = fixture.image([
            await fixture.addLayer("a.txt", "one\n"),
            await fixture.addLayer("b.txt", "two\n"),
        ]);
        const dest = join(fixture.dir, "image.tar");
        const [outcome] = await runOutputs([image], [parseOutput(`type=oci,dest=${dest},name=app:1`)], fixture.deps, fixture.context());
        const inspected = JSON.parse(skopeo("inspect", `oci-archive:${dest}:1`));
        assert.equal(inspected.Digest, outcome?.descriptor?.digest);
        assert.equal(inspected.Layers.length, 2);
        const layout = join(fixture.dir, "layout");
        skopeo("copy", "--quiet", `oci-archive:${dest}:1`, `oci:${layout}:1`);
        execFileSync("umoci", ["unpack", "--rootless", "--image", `${layout}:1`, join(fixture.dir, "bundle")], {
            stdio: "ignore",
        });
        assert.equal(readFileSync(join(fixture.dir, "bundle/rootfs/b.txt"), "utf8"), "two\n");
    });
    it("as the same bytes each time, with members in order and nothing of this machine", async () => {
        const env_1 = { stack: [], error: void 0, hasError: false };
        try {
            const image = fixture.image([await fixture.addLayer("a.txt", "one\n")]);
            const files = ["x.tar", "y.tar"].map((name) => join(fixture.dir, name));
            const outputs = files.map((dest) => parseOutput(`type=oci,dest=${dest}`));
            await runOutputs([image], outputs, fixture.deps, fixture.context());
            const other = __addDisposableResource(env_1, await openFixture(), true);
            const again = join(fixture.dir, "z.tar");
            const same = other.image([await other.addLayer("a.txt", "one\n")]);
            await runOutputs([same], [parseOutput(`type=oci,dest=${again}`)], other.deps, other.context({ nowMs: () => 1 }));
            const [x, y] = files.map((file) => readFileSync(file));
            assert.ok(x.equals(y) && x.equals(readFileSync(again)));
            const names = execFileSync("tar", ["tf", again], { encoding: "utf8" }).trim().split("\n");
            assert.deepEqual(names, names.toSorted());
            const listing = execFileSync("tar", ["tvf", again, "--full-time"], {
                encoding: "utf8",
                env: { ...process.env, TZ: "UTC" },
            });
            assert.match(listing, /-r--r--r-- 0\/0 +\d+ 1970-01-01 00:00:00 index\.json/);
            assert.deepEqual(readdirSync(fixture.dir).toSorted(), ["x.tar", "y.tar", "z.tar"]);
        }
        catch (e_1) {
            env_1.error = e_1;
            env_1.hasError = true;
        }
        finally {
            const result_1 = __disposeResources(env_1);
            if (result_1)
                await result_1;
        }
    });
    it("as a directory with tar=false, to which a second image is added", async () => {
        const first = fixture.image([await fixture.addLayer("a.txt", "one\n")]);
        const second = fixture.image([await fixture.addLayer("b.txt", "two\n")]);
        const dest = join(fixture.dir, "layout");
        for (const [name, image] of [
            ["x:1", first],
            ["x:2", second],
            ["x:1", second],
        ]) {
            await runOutputs([image], [parseOutput(`type=oci,tar=false,dest=${dest},name=${name}`)], fixture.deps, fixture.context());
        }
        const index = JSON.parse(readFileSync(join(dest, "index.json"), "utf8"));
        assert.deepEqual(index.manifests.map(({ annotations }) => annotations["io.containerd.image.name"]), ["docker.io/library/x:2", "docker.io/library/x:1"]);
        const one = await loadLayout(dest, "1", fixture.store, AMD64, fixture.context());
        const two = await loadLayout(dest, "2", fixture.store, AMD64, fixture.context());
        assert.equal(one.digest, two.digest);
    });
    it("as a docker tar with short names, or null without a name", async () => {
        const image = fixture.image([await fixture.addLayer("a.txt", "one\n")]);
        const dest = join(fixture.dir, "docker.tar");
        const manifestOf = async (attributes) => {
            await runOutputs([image], [parseOutput(`type=docker,dest=${dest}${attributes}`)], fixture.deps, fixture.context());
            return JSON.parse(execFileSync("tar", ["xOf", dest, "manifest.json"], { encoding: "utf8" }));
        };
        assert.equal((await manifestOf(""))[0]?.RepoTags, null);
        const [named] = await manifestOf(',"name=app,ghcr.io/o/app:2"');
        assert.deepEqual(named?.RepoTags, ["app:latest", "ghcr.io/o/app:2"]);
        assert.equal(named?.Layers.length, 1);
        assert.match(skopeo("inspect", `docker-archive:${dest}:app:latest`), /"amd64"/);
    });
    it("to a registry under all its names, and back by a pull", async () => {
        const env_2 = { stack: [], error: void 0, hasError: false };
        try {
            const image = fixture.image([
                await fixture.addLayer("a.txt", "one\n"),
                await fixture.addLayer("b.txt", "two\n"),
            ]);
            const names = [
                `${registry.host}/team/app:1`,
                `${registry.host}/team/app:2`,
                `${registry.host}/other/app`,
            ];
            const [outcome] = await runOutputs([image], [parseOutput(`type=registry,"name=${names.join(",")}"`)], fixture.deps, fixture.context());
            for (const name of [...names.slice(0, 2), `${names[2]}:latest`]) {
                const inspected = JSON.parse(skopeo("inspect", "--tls-verify=false", `docker://${name}`));
                assert.equal(inspected.Digest, outcome?.descriptor?.digest);
            }
            const fresh = __addDisposableResource(env_2, await openFixture(), true);
            const loaded = await loadImage(fresh.registry, fresh.store, parseReference(names[0] ?? ""), AMD64, fresh.context());
            assert.equal(loaded.digest, outcome?.descriptor?.digest);
            for (const remote of loaded.layers)
                await pullLayer(remote, fresh.store, fresh.registry, fresh.context());
            assert.ok(loaded.layers.every(({ descriptor }) => fresh.store.content.has(descriptor.digest)));
        }
        catch (e_2) {
            env_2.error = e_2;
            env_2.hasError = true;
        }
        finally {
            const result_2 = __disposeResources(env_2);
            if (result_2)
                await result_2;
        }
    });
    it("as an index for several platforms, whose manifests can be chosen", async () => {
        const layer = await fixture.addLayer("a.txt", "one\n");
        const images = ["amd64", "arm64"].map((architecture) => fixture.image([layer], { architecture }));
        const name = `${registry.host}/multi/app:1`;
        const output = parseOutput(`type=registry,name=${name},annotation-index.org.x=y`);
        const [outcome] = await runOutputs(images, [output], fixture.deps, fixture.context({ multiPlatform: true }));
        assert.match(outcome?.descriptor?.mediaType ?? "", /image\.index/);
        const raw = JSON.parse(skopeo("inspect", "--raw", "--tls-verify=false", `docker://${name}`));
        assert.deepEqual(raw.manifests.map(({ platform }) => platform.architecture), ["amd64", "arm64"]);
        assert.deepEqual(raw.annotations, { "org.x": "y" });
        const arm = { os: "linux", architecture: "arm64", variant: "v8" };
        const loaded = await loadImage(fixture.registry, fixture.store, parseReference(name), arm, fixture.context());
        assert.equal(JSON.parse(Buffer.from(loaded.configBytes).toString()).architecture, "arm64");
    });
    it("into the local store by name, without packing a blob", async () => {
        const layer = await fixture.addLayer("a.txt", "one\n");
        const output = parseOutput("type=image,name=app:1,name-canonical=true");
        const [outcome] = await runOutputs([fixture.image([layer])], [output], fixture.deps, fixture.context());
        const record = fixture.store.records.get("image", "docker.io/library/app:1");
        assert.equal(record?.target.digest, outcome?.descriptor?.digest);
        assert.deepEqual(record?.layers, { "linux/amd64": [layer] });
        assert.ok(fixture.store.records.get("image", `docker.io/library/app:1@${outcome?.descriptor?.digest}`));
        const manifest = JSON.parse(Buffer.from(fixture.store.content.read(outcome?.descriptor?.digest, 1e6)).toString());
        assert.equal(fixture.store.content.has(manifest.layers[0]?.digest), false);
    });
    it("pushes by digest alone when asked to", async () => {
        const image = fixture.image([await fixture.addLayer("a.txt", "digest only\n")]);
        const output = parseOutput(`type=image,push=true,push-by-digest=true,name=${registry.host}/bydigest/app`);
        const [outcome] = await runOutputs([image], [output], fixture.deps, fixture.context());
        const reference = parseReference(`${registry.host}/bydigest/app@${outcome?.descriptor?.digest}`);
        assert.equal((await fixture.registry.resolve(reference, fixture.context())).digest, outcome?.descriptor?.digest);
        await assert.rejects(fixture.registry.resolve(parseReference(`${registry.host}/bydigest/app:latest`), fixture.context()), { code: "REGISTRY_NOT_FOUND" });
    });
    it("fetches layers that are only in a registry before it writes a tar, and mounts them for a push", async () => {
        const env_3 = { stack: [], error: void 0, hasError: false };
        try {
            const image = fixture.image([await fixture.addLayer("base.txt", "base of another repository\n")]);
            const from = `${registry.host}/bases/one`;
            await runOutputs([image], [parseOutput(`type=registry,name=${from}:1`)], fixture.deps, fixture.context());
            const fresh = __addDisposableResource(env_3, await openFixture(), true);
            const loaded = await loadImage(fresh.registry, fresh.store, parseReference(`${from}:1`), AMD64, fresh.context());
            const [remote] = loaded.layers;
            assert.ok(remote);
            const diffId = JSON.parse(Buffer.from(loaded.configBytes).toString()).rootfs.diff_ids[0];
            const layers = {
                ...fresh.layers,
                blob: async () => ({ descriptor: remote.descriptor, diffId, remote }),
            };
            const base = fresh.image([`d-${String(diffId).slice(7)}`]);
            const push = parseOutput(`type=registry,name=${registry.host}/derived/app:1`);
            await runOutputs([base], [push], { ...fresh.deps, layers }, fresh.context());
            assert.equal(fresh.store.content.has(remote.descriptor.digest), false, "the push mounted the layer");
            assert.match(skopeo("inspect", "--tls-verify=false", `docker://${registry.host}/derived/app:1`), new RegExp(remote.descriptor.digest));
            const dest = join(fresh.dir, "image.tar");
            await runOutputs([base], [parseOutput(`type=oci,dest=${dest}`)], { ...fresh.deps, layers }, fresh.context());
            assert.match(skopeo("inspect", `oci-archive:${dest}`), new RegExp(remote.descriptor.digest));
        }
        catch (e_3) {
            env_3.error = e_3;
            env_3.hasError = true;
        }
        finally {
            const result_3 = __disposeResources(env_3);
            if (result_3)
                await result_3;
        }
    });
    it("leaves an older file as it was when the export fails, and no other file", async () => {
        const dest = join(fixture.dir, "image.tar");
        writeFileSync(dest, "older");
        const layer = await fixture.addLayer("a.txt", "one\n");
        const layers = {
            ...fixture.layers,
            blob: async (...args) => {
                const made = await fixture.layers.blob(...args);
                return { ...made, descriptor: { ...made.descriptor, digest: made.diffId } }; // a blob that is not in the store
            },
        };
        await assert.rejects(runOutputs([fixture.image([layer])], [parseOutput(`type=oci,dest=${dest}`)], { ...fixture.deps, layers }, fixture.context()), { code: "STORE_CORRUPT" });
        assert.equal(readFileSync(dest, "utf8"), "older");
        assert.deepEqual(readdirSync(fixture.dir), ["image.tar"]);
    });
});
//# sourceMappingURL=image-output.test.js.map