// Mirrors, insecure registries and authorities, as configured by a user.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { copyFileSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { createServer, type Server } from "node:https";
import type { AddressInfo } from "node:net";
import { dirname, join } from "node:path";
import { tsbuild } from "../support/cli.ts";
import { needs } from "../support/needs.ts";
import { type RunningRegistry, startRegistry } from "../support/registry.ts";
import { temporaryDir } from "../support/store.ts";

describe("registries as the user's files and flags have them", function () {
  this.timeout(60_000);
  let dir: ReturnType<typeof temporaryDir>;
  let registry: RunningRegistry;
  let secure: Server;
  let port = 0;

  before(async () => {
    dir = temporaryDir();
    registry = await startRegistry();
    mkdirSync(dir.at("context"));
    writeFileSync(dir.at("context", "Dockerfile"), "FROM scratch\nCOPY Dockerfile /\n");
    const { code, stderr } = await tsbuild(
      ["build", "--push", "-t", `${registry.host}/ns/app`, dir.at("context")],
      { root: dir.at("first") },
    );
    assert.equal(code, 0, stderr);

    const subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"];
    const key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", "key.pem"];
    execFileSync(needs("openssl"), ["req", "-x509", ...key, ...subject, "-days", "2", "-out", "ca.crt"], {
      cwd: dir.path,
      stdio: "pipe",
    });
    secure = createServer(
      { cert: readFileSync(dir.at("ca.crt")), key: readFileSync(dir.at("key.pem")) },
      (_request, response) => void response.end("{}"),
    ).listen(0, "127.0.0.1");
    await new Promise((resolve) => secure.once("listening", resolve));
    ({ port } = secure.address() as AddressInfo);
  });
  after(async () => {
    secure.closeAllConnections();
    await new Promise((resolve) => secure.close(resolve));
    await registry[Symbol.asyncDispose]();
    dir[Symbol.dispose]();
  });

  let serial = 0;
  /** `tsbuild ARGS` of a user with these files in ~/.config, and an empty store. */
  async function as(
    files: Readonly<Record<string, string>>,
    args: readonly string[],
    env: Readonly<Record<string, string>> = {},
    input?: string,
  ) {
    const home = dir.at(`home-${serial++}`);
    for (const [name, text] of Object.entries(files)) {
      const path = join(home, ".config", name);
      mkdirSync(dirname(path), { recursive: true });
      writeFileSync(path, text);
    }
    return await tsbuild(args, {
      root: join(home, "store"),
      env: { HOME: home, ...env },
      ...(input === undefined ? {} : { input }),
    });
  }
  const pulled = async (...call: Parameters<typeof as>): Promise<void> => {
    const { code, stdout, stderr } = await as(...call);
    assert.deepEqual([code, stdout], [0, "up.example/app:latest\n"], stderr);
  };
  const PULL = ["pull", "up.example/app"];

  it("are read from a mirror of registries.conf", async () => {
    const conf = `[[registry]]\nlocation = "up.example"\n[[registry.mirror]]\nlocation = "${registry.host}/ns"\n`;
    await pulled({ "containers/registries.conf": conf }, PULL);
    await pulled({ "containers/registries.conf.d/up.conf": conf }, PULL);
    writeFileSync(dir.at("named.conf"), conf);
    await pulled({}, PULL, { CONTAINERS_REGISTRIES_CONF: dir.at("named.conf") });
  });

  it("are read from another location of registries.conf", async () => {
    const conf = `[[registry]]\nprefix = "up.example"\nlocation = "${registry.host}/ns"\n`;
    await pulled({ "containers/registries.conf": conf }, PULL);
  });

  it("are read from a mirror of hosts.toml, in FROM as well", async () => {
    const files = {
      "containerd/certs.d/up.example/hosts.toml": `[host."http://${registry.host}/v2/ns"]\noverride_path = true\n`,
    };
    await pulled(files, PULL);
    writeFileSync(dir.at("context", "mirrored"), "FROM up.example/app\nCOPY Dockerfile /second\n");
    const { code, stderr } = await as(files, [
      "build",
      "-f",
      dir.at("context", "mirrored"),
      dir.at("context"),
    ]);
    assert.equal(code, 0, stderr);
  });

  it("are read from a mirror of --registry-mirror, which may fail", async () => {
    const flag = `--registry-mirror=up.example=${registry.host}/ns`;
    await pulled({}, ["pull", flag, "up.example/app"]);
    await pulled({}, ["pull", "--registry-mirror=up.example=localhost:1", flag, "up.example/app"]);
    const { code, stderr } = await as({}, [
      "pull",
      "--registry-mirror=localhost:2=localhost:1",
      "localhost:2/app",
    ]);
    assert.equal(code, 1);
    assert.match(
      stderr,
      /localhost:2: connection refused \(the mirror localhost:1 was tried first: connection refused\)/,
    );
  });

  it("may be blocked", async () => {
    const conf = '[[registry]]\nlocation = "up.example"\nblocked = true\n';
    const { code, stderr } = await as({ "containers/registries.conf": conf }, PULL);
    assert.equal(code, 1);
    assert.match(
      stderr,
      /up\.example\/app:latest: the registry is blocked in \S+\/containers\/registries\.conf/,
    );
  });

  it("are not guessed at when a file cannot be read", async () => {
    const { code, stderr } = await as({ "containers/registries.conf": "[[registry]\n" }, PULL);
    assert.equal(code, 1);
    assert.match(stderr, /cannot use \S+registries\.conf: line 1: /);
  });

  it("are trusted by the user's own authorities, by those of the environment, or not looked at", async () => {
    const host = `localhost:${port}`;
    const server = { "docker/certs.d/secure.example/hosts.toml": `server = "https://${host}"\n` };
    const login = (files: Readonly<Record<string, string>>, flags: readonly string[] = [], env = {}) =>
      as(
        { ...server, ...files },
        ["login", "-u", "u", "--password-stdin", ...flags, "secure.example"],
        env,
        "p",
      );
    const without = await login({});
    assert.equal(without.code, 1);
    assert.match(
      without.stderr,
      /hint: the registry's certificate is not trusted; put its certificate authority in/,
    );

    const ca = readFileSync(dir.at("ca.crt"), "utf8");
    mkdirSync(dir.at("cas"));
    copyFileSync(dir.at("ca.crt"), dir.at("cas", "own.pem"));
    mkdirSync(dir.at("by-host", host), { recursive: true });
    copyFileSync(dir.at("ca.crt"), dir.at("by-host", host, "ca.crt"));
    const named = {
      "docker/certs.d/secure.example/hosts.toml": `server = "https://${host}"\nca = "own.pem"\n`,
    };
    const lax = {
      "docker/certs.d/secure.example/hosts.toml": `server = "https://${host}"\nskip_verify = true\n`,
    };
    for (const [what, outcome] of [
      ["containers/certs.d", login({ [`containers/certs.d/${host}/ca.crt`]: ca })],
      ["docker/certs.d", login({ [`docker/certs.d/${host}/ca.crt`]: ca })],
      ["hosts.toml, ca", login({ ...named, "docker/certs.d/secure.example/own.pem": ca })],
      ["hosts.toml, skip_verify", login(lax)],
      ["SSL_CERT_FILE", login({}, [], { SSL_CERT_FILE: dir.at("ca.crt") })],
      ["SSL_CERT_DIR", login({}, [], { SSL_CERT_DIR: `/nowhere:${dir.at("cas")}` })],
      ["--cert-dir", login({}, ["--cert-dir", dir.at("by-host")])],
      ["--insecure-registry", login({}, ["--insecure-registry", host])],
    ] as const) {
      const { code, stderr } = await outcome;
      assert.equal(code, 0, `${what}: ${stderr}`);
    }
    const broken = await login({}, [], { SSL_CERT_FILE: dir.at("key.pem") });
    assert.match(broken.stderr, /cannot use the certificate authority \S+key\.pem: it is not in PEM format/);
  });

  it("are trusted as downloads by URL are, which may go through a proxy, too", async () => {
    const url = `https://localhost:${port}/file`;
    writeFileSync(dir.at("context", "download"), `FROM scratch\nADD ${url} /\n`);
    const build = ["build", "-f", dir.at("context", "download"), dir.at("context")];
    const { code } = await as({}, build);
    assert.equal(code, 1);
    const trusted = await as({}, build, { SSL_CERT_FILE: dir.at("ca.crt") });
    assert.equal(trusted.code, 0, trusted.stderr);
    const dated = [
      "--build-context",
      "dated=http://files.example/f",
      "--build-arg",
      "SOURCE_DATE_EPOCH=dated",
    ];
    for (const args of [
      ["build", "http://files.example/Dockerfile"],
      ["build", "-f", "http://files.example/Dockerfile", dir.at("context")],
      [...build, ...dated],
    ]) {
      const proxied = await as({}, args, { HTTP_PROXY: "http://localhost:1" });
      assert.match(proxied.stderr, /ECONNREFUSED 127\.0\.0\.1:1|connection refused/);
    }
    const cloned = await as({}, ["build", "http://files.example/r.git"], {
      HTTP_PROXY: "http://localhost:1",
    });
    assert.match(cloned.stderr, /localhost port 1/);
    const repository = url.replace(/[^/]*$/, "r.git");
    assert.match((await as({}, ["build", repository])).stderr, /certificate/);
    const known = await as({}, ["build", repository], { SSL_CERT_FILE: dir.at("ca.crt") });
    assert.equal(known.code, 1);
    assert.doesNotMatch(known.stderr, /certificate/);
  });

  it("have flags that say what they want", async () => {
    for (const flag of [
      "--insecure-registry=a/b",
      "--registry-mirror=",
      "--registry-mirror=a=",
      "--registry-mirror=m:port",
      "--registry-mirror=ftp://m",
    ]) {
      const { code, stderr } = await as({}, ["pull", flag, "up.example/app"]);
      assert.equal(code, 1);
      assert.match(stderr, /invalid argument .* flag\nhint: the form is /);
    }
    const far = await as({}, ["pull", "up.example:99999/app"]);
    assert.match(
      far.stderr,
      /ERROR: .*up\.example:99999: not an address of a registry\nhint: the form is HOST\[:PORT\]/,
    );
  });
});
