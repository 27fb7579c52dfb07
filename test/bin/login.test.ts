import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readFileSync,
  readlinkSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { programDir, self } from "../support/unprivileged.ts";
import { needs } from "../support/needs.ts";
import { REGISTRY_USER, type RunningRegistry, startRegistry } from "../support/registry.ts";
import { temporaryDir } from "../support/store.ts";
import { type CliOptions, tsbuild } from "../support/cli.ts";

const { username, password } = REGISTRY_USER;
const base64 = (text: string): string => Buffer.from(text).toString("base64");

describe("login and logout", function () {
  this.timeout(30_000);
  let registry: RunningRegistry;
  let dir: ReturnType<typeof temporaryDir>;
  let file: string;
  before(async () => {
    registry = await startRegistry({ auth: true });
  });
  after(() => registry[Symbol.asyncDispose]());
  beforeEach(() => {
    dir = temporaryDir();
    file = dir.at("docker", "config.json");
  });
  afterEach(() => dir[Symbol.dispose]());

  const env = (): Record<string, string> => ({
    DOCKER_CONFIG: dir.at("docker"),
    PATH: `${dir.path}:${process.env.PATH}`,
  });
  const call = (args: readonly string[], more: Partial<CliOptions> = {}) =>
    tsbuild(args, { root: dir.at("store"), env: env(), ...more });
  const login = (input = `${password}\n`, server = registry.host) =>
    call(["login", "-u", username, "--password-stdin", server], { input });
  const config = () => JSON.parse(readFileSync(file, "utf8")) as Record<string, unknown>;
  const write = (value: object): void => {
    mkdirSync(dir.at("docker"), { recursive: true });
    writeFileSync(file, JSON.stringify(value));
  };
  /** A program that keeps one secret in a file beside it. */
  const helper = (name: string): string => {
    const kept = dir.at(`${name}.kept`);
    const path = dir.at(`docker-credential-${name}`);
    writeFileSync(
      path,
      `#!/bin/sh
case $1 in
store) cat > ${kept} ;;
get) if [ -e ${kept} ]; then cat ${kept}; else echo credentials not found in native keychain; exit 1; fi ;;
erase) read server; if grep -q "\\"$server\\"" ${kept}; then rm ${kept}; else echo credentials not found; exit 1; fi ;;
esac
`,
    );
    chmodSync(path, 0o755);
    return kept;
  };

  it("keeps what the registry accepts, for its owner alone", async () => {
    const { code, stdout, stderr } = await login();
    assert.deepEqual([code, stdout], [0, "Login Succeeded\n"], stderr);
    assert.match(stderr, /^\nWARNING! Your credentials are stored unencrypted in '.*config\.json'\.\n/);
    assert.deepEqual(config(), { auths: { [registry.host]: { auth: base64(`${username}:${password}`) } } });
    assert.equal(statSync(file).mode & 0o777, 0o600);
    assert.equal(statSync(dir.at("docker")).mode & 0o777, 0o700);
    const { code: again, stderr: said } = await call(["login", registry.host]);
    assert.equal(again, 0);
    assert.match(said, /Authenticating with existing credentials\.\.\. \[Username: builder\]/);
  });

  it("lets a push in, and logging out keeps it out", async () => {
    const context = dir.at("context");
    mkdirSync(context);
    writeFileSync(join(context, "Dockerfile"), "FROM scratch\nCOPY Dockerfile /\n");
    const push = () => call(["build", "--push", "-t", `${registry.host}/app`, context]);
    assert.match((await push()).stderr, new RegExp(`hint: .*log in: tsbuild login ${registry.host}`));
    await login();
    assert.equal((await push()).code, 0);
    const { code, stdout } = await call(["logout", registry.host]);
    assert.deepEqual([code, stdout], [0, `Removing login credentials for ${registry.host}\n`]);
    assert.deepEqual(config(), { auths: {} });
    assert.equal((await push()).code, 1);
    assert.equal((await call(["logout", registry.host])).code, 0);
  });

  it("keeps nothing that the registry does not accept", async () => {
    write({ auths: {}, note: "kept" });
    const before = readFileSync(file, "utf8");
    const { code, stdout, stderr } = await login("wrong");
    assert.deepEqual([code, stdout], [1, ""]);
    assert.match(stderr, /ERROR: localhost:\d+: the registry does not accept the user name or password/);
    assert.doesNotMatch(stderr, /wrong/);
    assert.equal(readFileSync(file, "utf8"), before);
  });

  it("leaves everything else in the file, through a link, and under no other key of the server", async () => {
    write({
      HttpHeaders: { a: "b" },
      auths: {
        "other.example": { auth: "eA==" },
        [`https://${registry.host}/v1/`]: { auth: base64("o:ld") },
      },
      unknown: [1, { deep: null }],
    });
    renameSync(file, dir.at("dotfiles.json"));
    symlinkSync(dir.at("dotfiles.json"), file);
    assert.equal((await login()).code, 0);
    assert.equal(readlinkSync(file), dir.at("dotfiles.json"));
    assert.deepEqual(config()["unknown"], [1, { deep: null }]);
    assert.equal((await call(["logout", `https://${registry.host}`])).code, 0);
    assert.deepEqual(config(), {
      HttpHeaders: { a: "b" },
      auths: { "other.example": { auth: "eA==" } },
      unknown: [1, { deep: null }],
    });
  });

  for (const [what, names] of [
    ["of all servers", () => ({ credsStore: "own" })],
    ["of one server", () => ({ credsStore: "none", credHelpers: { [registry.host]: "own" } })],
  ] as const) {
    it(`gives the password to the program ${what}`, async () => {
      write(names());
      const kept = helper("own");
      const { code, stderr } = await login();
      assert.equal(code, 0, stderr);
      assert.doesNotMatch(stderr, /unencrypted/);
      assert.deepEqual(JSON.parse(readFileSync(kept, "utf8")), {
        ServerURL: registry.host,
        Username: username,
        Secret: password,
      });
      assert.deepEqual(config(), { ...names(), auths: { [registry.host]: {} } });
      assert.equal((await call(["logout", registry.host])).code, 0);
      assert.equal(existsSync(kept), false);
      assert.deepEqual(config(), { ...names(), auths: {} });
    });
  }

  it("says which program it cannot run", async () => {
    write({ credsStore: "nowhere" });
    const { code, stderr } = await login();
    assert.equal(code, 1);
    assert.match(stderr, /cannot run the credential helper docker-credential-nowhere/);
  });

  it("says what of the command line is wrong, as docker does", async () => {
    for (const [args, words] of [
      [["--password-stdin"], /Must provide --username with --password-stdin/],
      [["-u", "u", "-p", "p", "--password-stdin"], /--password and --password-stdin are mutually exclusive/],
      [["-u", "u"], /Cannot perform an interactive login from a non TTY device/],
      [["a", "b"], /accepts at most 1 argument/],
    ] as const) {
      const { code, stderr } = await call(["login", ...args], { input: "x" });
      assert.equal(code, 1);
      assert.match(stderr, words);
    }
    const { code, stderr } = await call(["login", "-u", username, "-p", password, registry.host]);
    assert.equal(code, 0);
    assert.match(stderr, /WARNING! Using --password via the CLI is insecure/);
  });

  it("keeps the Hub under docker's key for it", async () => {
    const hub = "https://index.docker.io/v1/";
    for (const name of [[], ["docker.io"], ["index.docker.io"]]) {
      write({ auths: { [hub]: { auth: base64("u:p") } } });
      const { stdout } = await call(["logout", ...name]);
      assert.equal(stdout, `Removing login credentials for ${hub}\n`);
      assert.deepEqual(config(), { auths: {} });
    }
  });

  it("asks at a terminal, and does not show the password", async () => {
    needs("script");
    const program = join(programDir(self()), "dist", "bin", "tsbuild.cjs");
    const child = spawn(
      "script",
      ["-qec", `${process.execPath} ${program} login ${registry.host}`, "/dev/null"],
      {
        env: { ...process.env, ...env(), HOME: dir.path, TSBUILD_ROOT: dir.at("store") },
        stdio: ["pipe", "pipe", "ignore"],
      },
    );
    const closed = once(child, "close");
    let seen = "";
    child.stdout.setEncoding("utf8").on("data", (text: string) => {
      const before = seen;
      seen += text;
      if (!before.includes("Username: ") && seen.includes("Username: ")) child.stdin.write(`${username}\r`);
      if (!before.includes("Password: ") && seen.includes("Password: ")) child.stdin.write(`${password}\r`);
    });
    assert.deepEqual(await closed, [0, null], seen);
    child.stdin.destroy();
    assert.match(seen, /Login Succeeded/);
    assert.ok(seen.includes(username) && !seen.includes(password), seen);
    rmSync(file);
  });
});
