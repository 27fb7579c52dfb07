// Keys and agents given to --ssh, used by OpenSSH's own programs.

import assert from "node:assert/strict";
import { execFile, execFileSync } from "node:child_process";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { promisify } from "node:util";
import { readConfig } from "../../bin/config.ts";
import { readSshKey } from "../../bin/ssh-keys.ts";
import { openSshSockets, type SshSockets } from "../../bin/ssh-sockets.ts";
import { BuildError } from "../../solver/graph/error.ts";
import { needs } from "../support/needs.ts";
import type { SshSource } from "../../bin/flags-values.ts";

const run = promisify(execFile);
/** Form of a key → arguments of ssh-keygen. */
const FORMS = {
  Ed25519: ["-t", "ed25519"],
  RSA: ["-t", "rsa", "-b", "2048"],
  "RSA in PEM": ["-t", "rsa", "-b", "2048", "-m", "PEM"],
  "ECDSA P-256": ["-t", "ecdsa", "-b", "256"],
  "ECDSA P-521": ["-t", "ecdsa", "-b", "521"],
  "ECDSA P-384 in PKCS #8": ["-t", "ecdsa", "-b", "384", "-m", "PKCS8"],
} as const;

describe("--ssh", () => {
  let dir = "";
  before(() => {
    needs("ssh-add");
    dir = mkdtempSync(join(tmpdir(), "tsbuild-keys-"));
  });
  after(() => rmSync(dir, { recursive: true, force: true }));

  const open = (sources: readonly SshSource[], env: Record<string, string> = {}): Promise<SshSockets> =>
    openSshSockets(sources, {
      config: readConfig({ root: null, debug: false, verbose: false }, env, dir),
      tempDir: () => dir,
    });
  const socketOf = (sockets: SshSockets, id = "default"): string => sockets.paths.get(id) ?? "";
  const agentOf = (socket: string) => ({ env: { ...process.env, SSH_AUTH_SOCK: socket } });
  const isUsage = (words: RegExp) => (error: unknown) =>
    error instanceof BuildError && error.code === "USAGE" && words.test(error.message);

  let made = 0;
  function makeKey(args: readonly string[], passphrase = ""): string {
    const path = join(dir, `key${++made}`);
    execFileSync("ssh-keygen", ["-q", "-N", passphrase, "-C", `${made}@test`, "-f", path, ...args]);
    return path;
  }

  /** A signature of the agent (only the public key is at hand), checked by ssh-keygen. */
  async function signs(publicKey: string, socket: string): Promise<void> {
    const place = mkdtempSync(join(dir, "sign-"));
    const [alone, message] = [join(place, "key.pub"), join(place, "message")];
    writeFileSync(alone, readFileSync(publicKey));
    writeFileSync(message, "signed");
    await run("ssh-keygen", ["-Y", "sign", "-f", alone, "-n", "file", message], agentOf(socket));
    const check = (input: string): Buffer =>
      execFileSync("ssh-keygen", ["-Y", "check-novalidate", "-n", "file", "-s", `${message}.sig`], {
        input,
        stdio: ["pipe", "pipe", "ignore"],
      });
    check("signed");
    assert.throws(() => check("other"));
  }

  for (const [form, args] of Object.entries(FORMS)) {
    it(`serves a key file: ${form}`, async () => {
      const path = makeKey(args);
      await using sockets = await open([{ id: "default", paths: [path] }]);
      const socket = socketOf(sockets);
      const [type, blob] = readFileSync(`${path}.pub`, "utf8").split(" ");
      const { stdout } = await run("ssh-add", ["-L"], agentOf(socket));
      assert.deepEqual(stdout.split(" ").slice(0, 2), [type, blob]);
      await signs(`${path}.pub`, socket);
    });
  }

  it("serves several keys under one id, with their comments, and other keys under another", async () => {
    const [first, second, third] = [makeKey(FORMS.Ed25519), makeKey(FORMS.Ed25519), makeKey(FORMS.Ed25519)];
    await using sockets = await open([
      { id: "default", paths: [first, second] },
      { id: "other", paths: [third] },
    ]);
    const list = async (id: string) => (await run("ssh-add", ["-L"], agentOf(socketOf(sockets, id)))).stdout;
    const publics = (...paths: string[]) => paths.map((path) => readFileSync(`${path}.pub`, "utf8")).join("");
    assert.equal(await list("default"), publics(first, second));
    assert.equal(await list("other"), publics(third));
    await signs(`${second}.pub`, socketOf(sockets));
    await assert.rejects(signs(`${third}.pub`, socketOf(sockets)), /No private key found/);
  });

  it("signs with RSA as the client requests: SHA-256, SHA-512, or SHA-1 for old servers", () => {
    const path = makeKey(FORMS.RSA);
    const key = readSshKey(readFileSync(path, "utf8"), path);
    const names = [2, 4, 0].map((flags) => {
      const signature = key.sign(Buffer.from("data"), flags);
      return signature.subarray(4, 4 + signature.readUInt32BE()).toString();
    });
    assert.deepEqual(names, ["rsa-sha2-256", "rsa-sha2-512", "ssh-rsa"]);
  });

  it("makes ECDSA signatures with numbers of every length", async () => {
    const path = makeKey(FORMS["ECDSA P-256"]);
    const key = readSshKey(readFileSync(path, "utf8"), path);
    const lengths = new Set<number>();
    for (let count = 0; lengths.size < 3; count++) {
      const signature = key.sign(Buffer.from(`${count}`), 0);
      const name = signature.readUInt32BE();
      assert.equal(signature.subarray(4, 4 + name).toString(), "ecdsa-sha2-nistp256");
      const first = signature.subarray(4 + name + 4);
      const r = first.subarray(4, 4 + first.readUInt32BE());
      lengths.add(r.length); // 33 with a zero in front, 32, and rarely fewer
      assert.ok(
        (r[0] ?? 0) < 0x80 && (r[0] !== 0 || (r[1] ?? 0) >= 0x80),
        "r is a number as RFC 4251 has them",
      );
    }
  });

  it("adds no keys, takes nothing that is too long, and goes on after a question it does not know", async () => {
    const path = makeKey(FORMS.Ed25519);
    await using sockets = await open([{ id: "default", paths: [path] }]);
    const socket = socketOf(sockets);
    await assert.rejects(
      run("ssh-add", [makeKey(FORMS.Ed25519)], agentOf(socket)),
      /agent refused operation/,
    );
    await assert.rejects(run("ssh-add", ["-D"], agentOf(socket)));
    const talk = (...messages: readonly Buffer[]): Promise<Buffer> =>
      new Promise((resolve, reject) => {
        const parts: Buffer[] = [];
        const client = connect(socket, () => {
          for (const message of messages) client.write(message);
        });
        client.on("data", (part: Buffer) => {
          parts.push(part);
          if (Buffer.concat(parts).length >= 5 * messages.length) client.end();
        });
        client.on("error", reject);
        client.on("close", () => resolve(Buffer.concat(parts)));
      });
    const unknown = Buffer.from([0, 0, 0, 1, 99]);
    const cut = Buffer.from([0, 0, 0, 5, 13, 0, 0, 9, 9]);
    assert.deepEqual(await talk(unknown, cut), Buffer.from([0, 0, 0, 1, 5, 0, 0, 0, 1, 5]));
    assert.equal((await talk(Buffer.from([0x7f, 0, 0, 0]))).length, 0);
    assert.equal((await run("ssh-add", ["-l"], agentOf(socket))).stdout.split("\n").length, 2);
  });

  it("lets nobody else at the socket, and leaves nothing behind", async () => {
    const path = makeKey(FORMS.Ed25519);
    const before = readdirSync(dir).length;
    const sockets = await open([{ id: "default", paths: [path] }]);
    const socket = socketOf(sockets);
    assert.equal(statSync(dirname(socket)).mode & 0o777, 0o700);
    assert.equal(statSync(socket).mode & 0o777, 0o600);
    const idle = connect(socket);
    await new Promise((resolve) => idle.once("connect", resolve));
    const closed = new Promise((resolve) => idle.once("close", resolve));
    await sockets[Symbol.asyncDispose]();
    await sockets[Symbol.asyncDispose]();
    await closed;
    assert.equal(existsSync(dirname(socket)), false);
    assert.equal(readdirSync(dir).length, before);
  });

  it("finds a place for the socket when the store's path is too long for one", async () => {
    const path = makeKey(FORMS.Ed25519);
    const long = join(dir, "x".repeat(100));
    mkdirSync(long);
    await using sockets = await openSshSockets([{ id: "default", paths: [path] }], {
      config: readConfig({ root: null, debug: false, verbose: false }, {}, dir),
      tempDir: () => long,
    });
    assert.match((await run("ssh-add", ["-l"], agentOf(socketOf(sockets)))).stdout, /ED25519/);
  });

  it("forwards the agent of the environment, or the socket it is given, as it is", async () => {
    const path = makeKey(FORMS.Ed25519);
    await using inner = await open([{ id: "default", paths: [path] }]);
    const socket = socketOf(inner);
    await using sockets = await open(
      [
        { id: "default", paths: [] },
        { id: "named", paths: [socket] },
      ],
      { SSH_AUTH_SOCK: socket },
    );
    assert.deepEqual(
      [...sockets.paths],
      [
        ["default", socket],
        ["named", socket],
      ],
    );
  });

  it("refuses keys with a passphrase, and what is no key", async () => {
    const locked = [FORMS.Ed25519, FORMS["RSA in PEM"], FORMS["ECDSA P-384 in PKCS #8"]];
    for (const args of locked) {
      const path = makeKey(args, "secret phrase");
      await assert.rejects(open([{ id: "default", paths: [path] }]), isUsage(/is passphrase protected/));
    }
    for (const text of [
      "no key",
      readFileSync(`${makeKey(FORMS.Ed25519)}.pub`, "utf8"),
      "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjEAAAAA\n-----END OPENSSH PRIVATE KEY-----",
      "-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END OPENSSH PRIVATE KEY-----",
    ]) {
      const path = join(dir, "text");
      writeFileSync(path, text);
      await assert.rejects(
        open([{ id: "default", paths: [path] }]),
        isUsage(/neither an agent's socket nor/),
      );
    }
    await assert.rejects(open([{ id: "default", paths: [dir] }]), isUsage(/neither an agent's socket nor/));
    await assert.rejects(open([{ id: "default", paths: [join(dir, "none")] }]), isUsage(/failed to stat/));
    await assert.rejects(open([{ id: "default", paths: [] }]), isUsage(/SSH_AUTH_SOCK is not set/));
    writeFileSync(join(dir, "large"), Buffer.alloc(100 * 1024 + 1));
    await assert.rejects(open([{ id: "default", paths: [join(dir, "large")] }]), isUsage(/too large/));
  });

  it("refuses a socket beside keys, and an id given twice, and closes what it had opened", async () => {
    const path = makeKey(FORMS.Ed25519);
    await using sockets = await open([{ id: "default", paths: [path] }]);
    const before = readdirSync(dir).length;
    const [key, mixed] = [[path], [socketOf(sockets), path]];
    await assert.rejects(
      open([
        { id: "a", paths: key },
        { id: "b", paths: mixed },
      ]),
      isUsage(/one socket or several keys/),
    );
    await assert.rejects(
      open([
        { id: "a", paths: key },
        { id: "a", paths: key },
      ]),
      isUsage(/given twice/),
    );
    assert.equal(readdirSync(dir).length, before);
  });
});
