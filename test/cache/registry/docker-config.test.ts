import assert from "node:assert/strict";
import { chmodSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { type DockerConfigOptions, dockerCredentials } from "../../../cache/registry/docker-config.ts";

/** Waits until a process is no more. */
async function gone(pid: number): Promise<void> {
  for (let tries = 0; tries < 1000; tries++) {
    try {
      if (/^State:\t[ZX]/m.test(readFileSync(`/proc/${pid}/status`, "latin1"))) return;
    } catch {
      return;
    }
    await delay(10);
  }
  assert.fail(`process ${pid} lives on`);
}

const base64 = (text: string) => Buffer.from(text).toString("base64");

describe("docker's credentials", () => {
  let dir: string;
  beforeEach(() => {
    dir = mkdtempSync(join(tmpdir(), "tsbuild-docker-config-"));
  });
  afterEach(() => rmSync(dir, { recursive: true, force: true }));
  const open = (config: unknown, more: Partial<DockerConfigOptions> = {}) => {
    const file = join(dir, "config.json");
    writeFileSync(file, typeof config === "string" ? config : JSON.stringify(config));
    return dockerCredentials({
      files: [join(dir, "missing.json"), file],
      env: { ...process.env, PATH: `${dir}:${process.env["PATH"]}` },
      signal: new AbortController().signal,
      ...more,
    });
  };
  const helper = (name: string, script: string) => {
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
      message: /not a valid credential helper name/,
    });
    await assert.rejects(open({ credsStore: "absent-here" })("a.example"), {
      code: "REGISTRY_DENIED",
      message: /docker-credential-absent-here/,
    });
  });

  it("tell of a broken file without its content", async () => {
    await assert.rejects(
      async () => open('{"auths": {"x": {"auth": "c2VjcmV0"')("x"),
      (error: Error) => {
        assert.match(error.message, /config\.json is not valid JSON/);
        assert.ok(!`${error.message}${String(error.cause)}`.includes("c2VjcmV0"));
        return true;
      },
    );
  });

  it("come at once from a helper whose child keeps its output open", async () => {
    helper("leaves", `sleep 1000 & echo $! > '${dir}/pid'; echo '{"Username":"u","Secret":"s"}'`);
    const from = performance.now();
    const find = open({ credHelpers: { "a.example": "leaves" } });
    assert.deepEqual(await find("a.example"), { kind: "basic", username: "u", password: "s" });
    assert.ok(performance.now() - from < 5_000);
    process.kill(Number(readFileSync(join(dir, "pid"), "utf8")), "SIGKILL"); // a daemon is the helper's business
  });

  it("are not waited for without end, and the helper's children end with it", async () => {
    helper("hangs", `trap '' TERM; sleep 1000 & echo $! > '${dir}/pid'; wait; wait`);
    const find = open({ credHelpers: { "a.example": "hangs" } }, { helperTotalMs: 1000 });
    await assert.rejects(find("a.example"), {
      code: "REGISTRY_DENIED",
      message: "docker-credential-hangs did not answer within 1 s for a.example",
    });
    await gone(Number(readFileSync(join(dir, "pid"), "utf8")));
  });

  it("are not taken from a helper that does not stop talking", async () => {
    helper("talks", "exec yes");
    await assert.rejects(open({ credHelpers: { "a.example": "talks" } })("a.example"), {
      code: "REGISTRY_DENIED",
      message: /^docker-credential-talks sent more than \d+ bytes for a\.example$/,
    });
  });

  it("are not waited for when the command is cancelled", async () => {
    helper("hangs", `echo $$ > '${dir}/pid.tmp'; mv '${dir}/pid.tmp' '${dir}/pid'; exec sleep 1000`);
    const controller = new AbortController();
    const asked = open({ credHelpers: { "a.example": "hangs" } }, { signal: controller.signal })("a.example");
    asked.catch(() => {});
    while (!existsSync(join(dir, "pid"))) await delay(10);
    const reason = new Error("cancelled by the test");
    controller.abort(reason);
    await assert.rejects(asked, (error) => error === reason);
    await gone(Number(readFileSync(join(dir, "pid"), "utf8")));
  });

  it("of none without a file", async () => {
    const { signal } = new AbortController();
    const find = dockerCredentials({ files: [join(dir, "no", "such")], env: {}, signal });
    assert.equal(await find("a.example"), null);
  });
});
