import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { rootCertificates } from "node:tls";
import { hostCertificates } from "../../../cache/registry/certificates.ts";

describe("certificate authorities of hosts", () => {
  let dir = "";
  const pem = (text: string) => `-----BEGIN CERTIFICATE-----\n${text}\n-----END CERTIFICATE-----\n`;
  before(() => {
    dir = mkdtempSync(join(tmpdir(), "tsbuild-certs-"));
    for (const host of ["one.example:5000", "two.example", "bad.example"]) {
      mkdirSync(join(dir, "a", host), { recursive: true });
    }
    mkdirSync(join(dir, "b", "two.example"), { recursive: true });
    writeFileSync(join(dir, "a", "one.example:5000", "ca.crt"), pem("one"));
    writeFileSync(join(dir, "a", "one.example:5000", "client.cert"), pem("client"));
    writeFileSync(join(dir, "a", "two.example", "z.crt"), pem("two z"));
    writeFileSync(join(dir, "a", "two.example", "a.crt"), pem("two a"));
    writeFileSync(join(dir, "b", "two.example", "ca.crt"), pem("two b"));
    writeFileSync(join(dir, "a", "bad.example", "ca.crt"), "not PEM");
  });
  after(() => rmSync(dir, { recursive: true }));

  it("are Node's own and those of all directories", async () => {
    const find = hostCertificates([join(dir, "a"), join(dir, "b"), join(dir, "none")]);
    assert.deepEqual(await find("one.example:5000"), [...rootCertificates, pem("one")]);
    assert.deepEqual((await find("two.example"))?.slice(-3), [pem("two a"), pem("two z"), pem("two b")]);
  });

  it("are none for a host without a directory, or with another port", async () => {
    const find = hostCertificates([join(dir, "a")]);
    assert.equal(await find("three.example"), null);
    assert.equal(await find("one.example"), null);
  });

  it("that cannot be used are named", async () => {
    await assert.rejects(hostCertificates([join(dir, "a")])("bad.example"), {
      code: "REGISTRY_UNREACHABLE",
      message: /bad\.example\/ca\.crt: it is not in PEM form/,
    });
  });
});
