import assert from "node:assert/strict";
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { dockerCredentials } from "../../../cache/registry/docker-config.js";
const base64 = (text) => Buffer.from(text).toString("base64");
describe("docker's credentials", () => {
    let dir;
    beforeEach(() => {
        dir = mkdtempSync(join(tmpdir(), "tsbuild-docker-config-"));
    });
    afterEach(() => rmSync(dir, { recursive: true, force: true }));
    const open = (config) => {
        const file = join(dir, "config.json");
        writeFileSync(file, typeof config === "string" ? config : JSON.stringify(config));
        return dockerCredentials({
            files: [join(dir, "missing.json"), file],
            env: { ...process.env, PATH: `${dir}:${process.env["PATH"]}` },
        });
    };
    const helper = (name, script) => {
        writeFileSync(join(dir, `docker-credential-${name}`), `#!/bin/sh\n${script}\n`);
        chmodSync(join(dir, `docker-credential-${name}`), 0o755);
    };
    it("come from auths, also under the old keys of URLs", async () => {
        const find = open({
            auths: {
                "https://index.docker.io/v1/": { auth: base64("hub:pa:ss") },
                "https://ghcr.io/v2/": { username: "u", password: "p" },
                "a.example": { identitytoken: "idt" },
                "b.example:5000": { registrytoken: "rt" },
                "c.example": {},
            },
        });
        assert.deepEqual(await find("docker.io"), { kind: "basic", username: "hub", password: "pa:ss" });
        assert.deepEqual(await find("ghcr.io"), { kind: "basic", username: "u", password: "p" });
        assert.deepEqual(await find("a.example"), { kind: "identity-token", token: "idt" });
        assert.deepEqual(await find("b.example:5000"), { kind: "registry-token", token: "rt" });
        assert.equal(await find("c.example"), null);
        assert.equal(await find("b.example"), null);
    });
    it("come from the helper of a host before the store of all", async () => {
        helper("one", 'read s; echo "{\\"ServerURL\\":\\"$s\\",\\"Username\\":\\"one\\",\\"Secret\\":\\"$s\\"}"');
        helper("all", 'read s; echo "credentials not found in native keychain"; exit 1');
        const find = open({
            credsStore: "all",
            credHelpers: { "a.example": "one" },
            auths: { "b.example": { auth: base64("u:p") } },
        });
        assert.deepEqual(await find("a.example"), { kind: "basic", username: "one", password: "a.example" });
        assert.deepEqual(await find("b.example"), { kind: "basic", username: "u", password: "p" });
        assert.equal(await find("c.example"), null);
    });
    it("turn the user <token> into an identity token", async () => {
        helper("tok", 'read s; echo "{\\"Username\\":\\"<token>\\",\\"Secret\\":\\"xyz\\"}"');
        assert.deepEqual(await open({ credsStore: "tok" })("a.example"), {
            kind: "identity-token",
            token: "xyz",
        });
    });
    it("run no program outside of PATH, and name one that is missing", async () => {
        await assert.rejects(open({ credsStore: "../../bin/sh" })("a.example"), {
            code: "REGISTRY_DENIED",
            message: /not the name/,
        });
        await assert.rejects(open({ credsStore: "absent-here" })("a.example"), {
            code: "REGISTRY_DENIED",
            message: /docker-credential-absent-here/,
        });
    });
    it("tell of a broken file without its content", async () => {
        await assert.rejects(async () => open('{"auths": {"x": {"auth": "c2VjcmV0"')("x"), (error) => {
            assert.match(error.message, /config\.json is not valid JSON/);
            assert.ok(!`${error.message}${String(error.cause)}`.includes("c2VjcmV0"));
            return true;
        });
    });
    it("of none without a file", async () => {
        assert.equal(await dockerCredentials({ files: [join(dir, "no", "such")], env: {} })("a.example"), null);
    });
});
//# sourceMappingURL=docker-config.test.js.map