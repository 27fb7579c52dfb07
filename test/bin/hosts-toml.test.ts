// hosts.toml and certs.d with registries that check certificates and headers.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { copyFileSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { createServer } from "node:https";
import type { AddressInfo } from "node:net";
import { dirname, join } from "node:path";
import type { TLSSocket } from "node:tls";
import { tsbuild } from "../support/cli.ts";
import { needs } from "../support/needs.ts";
import {
  type DebianRegistry,
  type Request,
  startDeaf,
  startRegistry,
  startServer,
} from "../support/registry.ts";
import { temporaryDir } from "../support/store.ts";

describe("hosts.toml of the user", function () {
  this.timeout(60_000);
  let dir: ReturnType<typeof temporaryDir>;
  /** Lets in who has a certificate of `ca`. */
  let strict: DebianRegistry;
  let plain: DebianRegistry;

  before(async () => {
    dir = temporaryDir();
    const openssl = (...args: readonly string[]) =>
      execFileSync(needs("openssl"), args, { cwd: dir.path, stdio: "pipe" });
    const curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
    for (const name of ["ca", "other-ca"])
      openssl(
        "req",
        "-x509",
        ...curve,
        "-subj",
        `/CN=${name}`,
        "-keyout",
        `${name}.key`,
        "-out",
        `${name}.pem`,
      );
    for (const [name, ca] of [
      ["localhost", "ca"],
      ["client", "ca"],
      ["stranger", "other-ca"],
    ] as const) {
      openssl("req", ...curve, "-subj", `/CN=${name}`, "-keyout", `${name}.key`, "-out", `${name}.csr`);
      writeFileSync(dir.at("names"), `subjectAltName=DNS:${name}\n`);
      const signed = ["-CA", `${ca}.pem`, "-CAkey", `${ca}.key`, "-CAcreateserial", "-extfile", "names"];
      openssl("x509", "-req", "-in", `${name}.csr`, ...signed, "-out", `${name}.pem`);
      writeFileSync(
        dir.at(`${name}-both.pem`),
        readFileSync(dir.at(`${name}.pem`), "utf8") + readFileSync(dir.at(`${name}.key`), "utf8"),
      );
    }
    const tls = {
      certificate: dir.at("localhost.pem"),
      key: dir.at("localhost.key"),
      clientAuthority: dir.at("ca.pem"),
    };
    [strict, plain] = await Promise.all([startRegistry({ tls }), startRegistry()]);
    mkdirSync(dir.at("context"));
    writeFileSync(dir.at("context", "Dockerfile"), "FROM scratch\nCOPY Dockerfile /\n");
    const push = (name: string, files: Files) =>
      as(files, ["build", "--push", "-t", name, dir.at("context")]);
    const taking = hostsToml(
      `capabilities = ["push", "pull"]\nca = "${dir.at("ca.pem")}"\n${client("client-both.pem")}`,
    );
    for (const made of [push(`${plain.host}/app`, {}), push("up.example/app", taking)]) {
      const { code, stderr } = await made;
      assert.equal(code, 0, stderr);
    }
  });
  after(async () => {
    await strict[Symbol.asyncDispose]();
    await plain[Symbol.asyncDispose]();
    dir[Symbol.dispose]();
  });

  type Files = Readonly<Record<string, string>>;
  /** For up.example, whose only place is the registry that wants certificates. */
  const hostsToml = (entry: string): Files => ({
    "containerd/certs.d/up.example/hosts.toml": `[host."https://${strict.host}"]\n${entry}\n`,
  });
  const client = (name: string) => `client = ${JSON.stringify(dir.at(name))}`;
  let serial = 0;
  async function as(files: Files, args: readonly string[], env: Files = {}) {
    const home = dir.at(`home-${serial++}`);
    for (const [name, text] of Object.entries(files)) {
      const path = join(home, ".config", name);
      mkdirSync(dirname(path), { recursive: true });
      writeFileSync(path, text);
    }
    return await tsbuild(args, { root: join(home, "store"), env: { HOME: home, ...env } });
  }
  const PULL = ["pull", "up.example/app"];
  const pulled = async (files: Files, env: Files = {}): Promise<string> => {
    const { code, stdout, stderr } = await as(files, PULL, env);
    assert.deepEqual([code, stdout], [0, "up.example/app:latest\n"], stderr);
    return stderr;
  };

  it("takes a push to a host that is said to take pushes, with a client's certificate", async () => {
    await strict.asked(/^PUT \/v2\/app\/manifests\/latest/);
  });

  it("names client certificates in all of containerd's forms", async () => {
    const [both, cert, key] = ["client-both.pem", "client.pem", "client.key"].map((name) => dir.at(name));
    copyFileSync(dir.at("client-both.pem"), dir.at("near.pem"));
    const ca = `ca = "${dir.at("ca.pem")}"`;
    for (const value of [both, [both], [[cert, key]], [[both, ""]]])
      await pulled(hostsToml(`${ca}\nclient = ${JSON.stringify(value)}`));
    // Relative to the file, and of several the first that is of this kind of key.
    const files = {
      ...hostsToml(`ca = ["ca.pem"]\nclient = ["near.pem", ${JSON.stringify(dir.at("stranger-both.pem"))}]`),
      "containerd/certs.d/up.example/near.pem": readFileSync(dir.at("near.pem"), "utf8"),
      "containerd/certs.d/up.example/ca.pem": readFileSync(dir.at("ca.pem"), "utf8"),
    };
    await pulled(files);
  });

  it("takes a client's certificate out of docker's folder of the host", async () => {
    const pem = (name: string) => readFileSync(dir.at(name), "utf8");
    const folder = `docker/certs.d/${strict.host}`;
    await pulled({
      ...hostsToml(""),
      [`${folder}/ca.crt`]: pem("ca.pem"),
      [`${folder}/client.cert`]: pem("client.pem"),
      [`${folder}/client.key`]: pem("client.key"),
    });
    const { code, stderr } = await as(
      { ...hostsToml(""), [`${folder}/client.cert`]: pem("client.pem") },
      PULL,
    );
    assert.equal(code, 1);
    assert.match(stderr, /missing key client\.key for client certificate \S+client\.cert/);
  });

  it("says what is missing when the registry wants another certificate", async () => {
    const server = `server = "https://${strict.host}"\nca = "${dir.at("ca.pem")}"\n`;
    for (const more of ["", client("stranger-both.pem")]) {
      const { code, stderr } = await as(
        { "containerd/certs.d/up.example/hosts.toml": `${server}${more}\n` },
        PULL,
      );
      assert.equal(code, 1);
      assert.match(stderr, /hint: the registry requires a different client certificate; put it in/);
    }
  });

  it("offers a client's certificate to its host alone, not to where that redirects", async () => {
    const seen: string[] = [];
    const answering = (name: string, answer: (url: string) => string | null) => {
      const pem = (file: string) => readFileSync(dir.at(file));
      const server = createServer(
        {
          cert: pem("localhost.pem"),
          key: pem("localhost.key"),
          ca: pem("ca.pem"),
          requestCert: true,
          rejectUnauthorized: false,
        },
        (request, response) => {
          const { subject } = (request.socket as TLSSocket).getPeerCertificate();
          seen.push(`${name} ${subject?.CN ?? "nobody"} ${request.headers["x-key"] ?? "no key"}`);
          const location = answer(request.url ?? "");
          if (location !== null) response.writeHead(307, { location }).end();
          else response.writeHead(404).end();
        },
      ).listen(0, "127.0.0.1");
      return new Promise<typeof server>((resolve) => server.once("listening", () => resolve(server)));
    };
    const portOf = (server: Awaited<ReturnType<typeof answering>>) => (server.address() as AddressInfo).port;
    const second = await answering("second", () => null);
    const first = await answering("first", (url) => `https://localhost:${portOf(second)}${url}`);
    try {
      const { code } = await as(
        {
          "containerd/certs.d/up.example/hosts.toml": `server = "https://localhost:${portOf(first)}"\n${client("client-both.pem")}\n[header]\nx-key = "secret"\n`,
        },
        PULL,
        { SSL_CERT_FILE: dir.at("ca.pem") },
      );
      assert.equal(code, 1);
      assert.deepEqual([...new Set(seen)], ["first client secret", "second nobody no key"]);
    } finally {
      for (const server of [first, second]) {
        server.closeAllConnections();
        await new Promise((resolve) => server.close(resolve));
      }
    }
  });

  it("has headers for a mirror, which goes by the registry's name, but not for where it redirects", async () => {
    const forward = async ({ url, headers }: Request) =>
      await fetch(`http://${plain.host}${url}`, { headers: { accept: headers.accept ?? "*/*" } });
    await using storage = await startServer(async (request, response) => {
      const answer = await forward(request);
      response.writeHead(answer.status).end(Buffer.from(await answer.arrayBuffer()));
    });
    await using mirror = await startServer(async (request, response) => {
      if (request.headers["x-key"] !== "secret") return void response.writeHead(403).end();
      if (request.url.includes("/blobs/"))
        return void response.writeHead(307, { location: `${storage.origin}${request.url}` }).end();
      const answer = await forward(request);
      const type = answer.headers.get("content-type") ?? "";
      response
        .writeHead(answer.status, { "content-type": type })
        .end(Buffer.from(await answer.arrayBuffer()));
    });
    const entry = `[host."${mirror.origin}"]\nretries = 3\n[host."${mirror.origin}".header]\nX-Key = "secret"\n`;
    const stderr = await pulled({ "containerd/certs.d/up.example/hosts.toml": entry });
    assert.match(stderr, /^WARNING: \S+hosts\.toml: unknown key "retries" of \[host\."http:\S+"\]\n$/m);
    assert.equal(stderr.split("WARNING").length, 2);
    assert.ok(mirror.requests.length >= 2);
    assert.ok(mirror.requests.every(({ url }) => url.endsWith("?ns=up.example")));
    assert.ok(storage.requests.length > 0);
    assert.ok(storage.requests.every(({ headers }) => headers["x-key"] === undefined));
  });

  it("has a time in which a mirror has to be reached", async () => {
    await using deaf = await startDeaf();
    const began = performance.now();
    await pulled({
      "containerd/certs.d/up.example/hosts.toml": `server = "http://${plain.host}"\n[host."http://${deaf.host}"]\ndial_timeout = "300ms"\n`,
    });
    assert.ok(performance.now() - began < 20_000); // a minute without it
  });

  it("has a proxy for a mirror, whatever the environment says", async () => {
    await using proxy = await startServer(async (request, response) => {
      const { pathname, search } = new URL(request.url);
      const { accept = "*/*" } = request.headers;
      const answer = await fetch(`http://${plain.host}${pathname}${search}`, { headers: { accept } });
      const type = answer.headers.get("content-type") ?? "";
      response
        .writeHead(answer.status, { "content-type": type })
        .end(Buffer.from(await answer.arrayBuffer()));
    });
    const entry = `[host."http://mirror.example"]\nproxy = "${proxy.origin}"\n`;
    await pulled({ "containerd/certs.d/up.example/hosts.toml": entry }, { NO_PROXY: "*" });
    assert.ok(proxy.requests.length > 0);
    assert.ok(proxy.requests.every(({ url }) => url.startsWith("http://mirror.example/v2/app/")));
  });

  it("says by what the registry itself may not be asked", async () => {
    const { code, stderr } = await as(
      {
        "containerd/certs.d/up.example/hosts.toml": `server = "http://${plain.host}"\ncapabilities = ["pull"]\n`,
      },
      PULL,
    );
    assert.equal(code, 1);
    assert.match(
      stderr,
      /up\.example\/app:latest: \S+hosts\.toml does not allow the registry to resolve tags/,
    );
  });
});
