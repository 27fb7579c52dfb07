// Keys given to --ssh, asked by OpenSSH's own programs.

import assert from "node:assert/strict";
import { execFile, execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { startSshAgent } from "../../bin/ssh-agent.ts";
import { readSshKey } from "../../bin/ssh-keys.ts";
import { BuildError } from "../../solver/graph/error.ts";

const run = promisify(execFile);

describe("an agent for key files", () => {
  let dir: string;
  before(() => {
    dir = mkdtempSync(join(tmpdir(), "tsbuild-keys-"));
  });
  after(() => rmSync(dir, { recursive: true, force: true }));

  function makeKey(name: string, args: readonly string[], passphrase = ""): string {
    const path = join(dir, name);
    execFileSync("ssh-keygen", ["-q", "-N", passphrase, "-C", `${name}@test`, "-f", path, ...args], {
      stdio: "ignore",
    });
    return path;
  }

  for (const [name, args] of [
    ["ed25519", ["-t", "ed25519"]],
    ["rsa", ["-t", "rsa", "-b", "2048"]],
    ["rsa-pem", ["-t", "rsa", "-b", "2048", "-m", "PEM"]],
    ["ecdsa256", ["-t", "ecdsa", "-b", "256"]],
    ["ecdsa521", ["-t", "ecdsa", "-b", "521"]],
    ["ecdsa-pem", ["-t", "ecdsa", "-b", "384", "-m", "PKCS8"]],
  ] as const) {
    it(`lists and signs with ${name}`, async () => {
      const path = makeKey(name, args);
      const socket = startSshAgent([readSshKey(readFileSync(path, "utf8"), path)]);
      const env = { ...process.env, SSH_AUTH_SOCK: socket };
      const { stdout } = await run("ssh-add", ["-L"], { env });
      const [type, blob] = readFileSync(`${path}.pub`, "utf8").split(" ");
      assert.deepEqual(stdout.split(" ").slice(0, 2), [type, blob]);
      // With only the public key at hand the signature has to come from the agent.
      const message = join(dir, `${name}.txt`);
      writeFileSync(message, "signed");
      const publicOnly = join(dir, `${name}-only.pub`);
      writeFileSync(publicOnly, readFileSync(`${path}.pub`));
      await run("ssh-keygen", ["-Y", "sign", "-f", publicOnly, "-n", "file", message], { env });
      const check = ["-Y", "check-novalidate", "-n", "file", "-s", `${message}.sig`];
      execFileSync("ssh-keygen", check, { input: "signed", stdio: ["pipe", "ignore", "ignore"] });
      assert.throws(() => {
        execFileSync("ssh-keygen", check, { input: "other", stdio: ["pipe", "ignore", "ignore"] });
      });
    });
  }

  it("refuses what needs a passphrase, and what is no key", () => {
    const isUsage = (words: RegExp) => (error: unknown) => {
      return error instanceof BuildError && error.code === "USAGE" && words.test(error.message);
    };
    for (const args of [
      ["-t", "ed25519"],
      ["-t", "rsa", "-b", "2048", "-m", "PEM"],
    ]) {
      const path = makeKey(`locked${args.length}`, args, "secret phrase");
      assert.throws(() => readSshKey(readFileSync(path, "utf8"), path), isUsage(/has a passphrase/));
    }
    assert.throws(() => readSshKey("no key", "file"), isUsage(/neither an agent's socket nor a private key/));
    const cut =
      "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjEAAAAA\n-----END OPENSSH PRIVATE KEY-----";
    assert.throws(() => readSshKey(cut, "file"), isUsage(/neither/));
  });
});
