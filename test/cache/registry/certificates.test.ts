import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { rootCertificates } from "node:tls";
import { hostCertificates } from "../../../cache/registry/certificates.ts";
import { needs } from "../../support/needs.ts";

describe("certificates of hosts", () => {
  let dir = "";
  const pem = (text: string) => `-----BEGIN CERTIFICATE-----\n${text}\n-----END CERTIFICATE-----\n`;
  before(() => {
    dir = mkdtempSync(join(tmpdir(), "tsbuild-certs-"));
    for (const host of ["one.example:5000", "two.example", "bad.example"]) {
      mkdirSync(join(dir, "a", host), { recursive: true });
    }
    mkdirSync(join(dir, "b", "two.example"), { recursive: true });
    writeFileSync(join(dir, "a", "one.example:5000", "ca.crt"), pem("one"));
    writeFileSync(join(dir, "a", "two.example", "z.crt"), pem("two z"));
    writeFileSync(join(dir, "a", "two.example", "a.crt"), pem("two a"));
    writeFileSync(join(dir, "b", "two.example", "ca.crt"), pem("two b"));
    writeFileSync(join(dir, "a", "bad.example", "ca.crt"), "not PEM");
  });
  after(() => rmSync(dir, { recursive: true }));

  it("are Node's own and those of all directories", async () => {
    const find = hostCertificates([join(dir, "a"), join(dir, "b"), join(dir, "none")]);
    assert.deepEqual((await find("one.example:5000")).ca, [...rootCertificates, pem("one")]);
    assert.deepEqual((await find("two.example")).ca?.slice(-3), [pem("two a"), pem("two z"), pem("two b")]);
  });

  it("are none for a host without a directory, or with another port", async () => {
    const find = hostCertificates([join(dir, "a")]);
    const none = { ca: null, clients: [] };
    assert.deepEqual(await find("three.example"), none);
    assert.deepEqual(await find("one.example"), none);
  });

  it("of this client are NAME.cert with NAME.key, and belong together", async () => {
    const folder = join(dir, "c", "three.example_5000_");
    mkdirSync(folder, { recursive: true });
    const make = (name: string) =>
      execFileSync(
        needs("openssl"),
        [
          "req",
          "-x509",
          "-newkey",
          "ec",
          "-pkeyopt",
          "ec_paramgen_curve:prime256v1",
          "-nodes",
          "-subj",
        ].concat(["/CN=client", "-keyout", `${name}.key`, "-out", `${name}.cert`]),
        { cwd: folder, stdio: "pipe" },
      );
    for (const name of ["a", "b"]) make(name);
    const find = hostCertificates([join(dir, "c")]);
    const text = (name: string) => readFileSync(join(folder, name), "latin1");
    assert.deepEqual((await find("three.example:5000")).clients, [
      { cert: text("a.cert"), key: text("a.key"), kind: "ec" },
      { cert: text("b.cert"), key: text("b.key"), kind: "ec" },
    ]);
    assert.deepEqual((await find("three.example")).clients, []);
    writeFileSync(join(folder, "b.key"), text("a.key"));
    await assert.rejects(find("three.example:5000"), {
      code: "REGISTRY_UNREACHABLE",
      message: /cannot use the client certificate \S+b\.cert with the key \S+b\.key: key values mismatch/,
    });
    rmSync(join(folder, "b.key"));
    await assert.rejects(find("three.example:5000"), {
      message: /missing key b\.key for client certificate \S+b\.cert/,
    });
    rmSync(join(folder, "b.cert"));
    rmSync(join(folder, "a.cert"));
    await assert.rejects(find("three.example:5000"), {
      message: /missing client certificate a\.cert for key \S+a\.key/,
    });
  });

  it("that cannot be used are named", async () => {
    await assert.rejects(hostCertificates([join(dir, "a")])("bad.example"), {
      code: "REGISTRY_UNREACHABLE",
      message: /bad\.example\/ca\.crt: it is not in PEM format/,
    });
  });
});
